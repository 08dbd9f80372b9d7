"""Learning rates over a run."""

import pytest
import torch
from onetrunk.apps.schedule import RatePlan, set_momentum


def rates(**settings) -> list[float]:
    plan = RatePlan(steps=100, **settings)
    return [plan.factor(step) for step in range(101)]


def test_the_rate_rises_then_falls_to_zero() -> None:
    found = rates(schedule="cosine", warmup_fraction=0.1)
    assert found[0] == 0.1
    assert found[9] == found[10] == 1.0
    assert found[55] == pytest.approx(0.5)
    assert found[100] == pytest.approx(0)
    assert set(rates(schedule="constant")) == {1.0}


def test_one_cycle_equals_torchs() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    torchs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=100)
    plan = RatePlan(steps=100, schedule="one_cycle")
    for step in range(100):
        assert plan.factor(step) == pytest.approx(torchs.get_last_lr()[0], abs=1e-9), step
        assert plan.momentum(step) == pytest.approx(optimizer.param_groups[0]["momentum"]), step
        optimizer.step()
        if step < 99:
            torchs.step()


def test_a_thawed_run_has_two_phases_the_second_lower() -> None:
    plan = RatePlan(steps=100, warmup_fraction=0.1, thaw_step=40, thaw_factor=0.5)
    assert plan.factor(4) == 1.0
    assert plan.factor(39) < 0.01
    assert plan.factor(40) == pytest.approx(0.5 / 6)
    assert plan.factor(46) == 0.5
    assert plan.factor(100) == pytest.approx(0)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_runs_have_finite_rates(schedule, steps) -> None:
    plan = RatePlan(steps=steps, schedule=schedule, warmup_fraction=0.05)
    assert all(0 <= plan.factor(step) <= 1 for step in range(steps + 1))


def test_momentum_is_adams_first_beta() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    adam, sgd = torch.optim.AdamW([parameter]), torch.optim.SGD([parameter], lr=1, momentum=0.9, nesterov=True)
    set_momentum(adam.param_groups[0], 0.85)
    set_momentum(sgd.param_groups[0], 0.85)
    assert adam.param_groups[0]["betas"] == (0.85, 0.999)
    assert sgd.param_groups[0]["momentum"] == 0.85
