"""Each option of the engine, alone and in combinations: a run that was stopped goes on to the same bits."""

import pytest

OPTIONS = (
    "--optim.layer-decay 0.7",
    "--optim.schedule one_cycle",
    "--optim.schedule one_cycle --optim.name sgd",
    "--optim.schedule constant",
    "--optim.ema 0.9",
    "--fit.patience 1",
    "--fit.accumulate 3",
    "--fit.clip-norm 0.5",
    "--augment.mixup 0.2",
    "--augment.cutmix 1",
    "--augment.policy randaugment",
    "--augment.policy trivialaugment",
    "--augment.erasing 0.5",
    "--augment.vertical-flip 0.5",
    "--sampling balanced",
    "--loss.class-weights balanced",
    "--loss.label-smoothing 0.1",
    "--freeze until:2",
    "--tune norm",
    "--tune lora",
    "--fit.checkpoint-activations",
    "--optim.layer-decay 0.7 --optim.ema 0.9 --augment.mixup 0.2 --sampling balanced --fit.accumulate 2",
    "--freeze until:1 --optim.schedule one_cycle --augment.cutmix 1 --fit.clip-norm 0.5 --loss.label-smoothing 0.1",
    "--tune lora --optim.ema 0.9 --fit.checkpoint-activations --augment.policy randaugment --fit.patience 1",
)


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS)
def test_a_stopped_run_goes_on(harness, tmp_path, options: str) -> None:
    more = options.split()
    left_alone, run = tmp_path / "left_alone", tmp_path / "run"
    assert harness.run("unfrozen", left_alone, *more)[0] == 0
    fault = {"place": "step", "count": 7, "signals": ["SIGTERM"]}
    assert harness.run("unfrozen", run, *more, fault=fault)[0] == 143
    code, said = harness.run("unfrozen", run, *more, "--resume")
    assert code == 0, said
    assert harness.outcome_of(run) == harness.outcome_of(left_alone)
