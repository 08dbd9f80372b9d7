"""Weights of tasks' losses, and one gradient of several for the trunk, against values computed by hand."""

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from onetrunk.apps.multitask import balance
from onetrunk.apps.multitask.balance import AGGREGATORS, Balance, Term, backward_aggregated
from onetrunk.apps.multitask.options import Aggregation, BalanceOptions
from onetrunk.backbones.errors import UserError
from torch import Tensor, nn
from torchjd.aggregation import Sum

TASKS = ["labels", "masks"]


def term(loss_of: Callable[..., Tensor], *outputs: Tensor) -> Term:
    """A loss of what a trunk gave, computed behind a cut."""
    leaves = [output.detach().requires_grad_() for output in outputs]
    return Term(loss_of(*leaves), outputs, leaves)


def losses(*values: float) -> dict[str, Tensor]:
    return {name: torch.tensor(value, requires_grad=True) for name, value in zip(TASKS, values, strict=True)}


def test_given_weights_multiply() -> None:
    given = losses(2.0, 3.0)
    weighed = Balance(BalanceOptions(weights=[0.5, 4.0]), TASKS).weigh(given)
    assert {name: value.item() for name, value in weighed.items()} == {"labels": 1.0, "masks": 12.0}
    plain = Balance(BalanceOptions(), TASKS)
    assert all(torch.equal(plain.weigh(given)[name], given[name]) for name in TASKS)  # to the bit
    assert plain.describe() == {"labels": 1.0, "masks": 1.0}


def test_uncertainty_is_kendalls_formula_and_learns_to_trust_small_losses() -> None:
    learned = Balance(BalanceOptions(method="uncertainty", weights=[1.0, 2.0]), TASKS)
    with torch.no_grad():
        learned.log_variances["labels"].fill_(0.3)
        learned.log_variances["masks"].fill_(-1.0)
    weighed = learned.weigh(losses(0.5, 4.0))
    assert float(weighed["labels"]) == pytest.approx(math.exp(-0.3) * 0.5 + 0.15)
    assert float(weighed["masks"]) == pytest.approx(2.0 * (math.exp(1.0) * 4.0 - 0.5))
    assert learned.describe() == pytest.approx({"labels": math.exp(-0.3), "masks": 2 * math.exp(1.0)})
    optimizer = torch.optim.SGD(learned.parameters(), 0.05)
    for _ in range(2000):
        optimizer.zero_grad()
        torch.stack(list(learned.weigh(losses(0.1, 4.0)).values())).sum().backward()
        optimizer.step()
    # where its derivative is 0 the variance is twice the loss, and the given weight has its say
    assert learned.describe() == pytest.approx({"labels": 1 / 0.2, "masks": 2 / 8}, rel=0.01)


def test_a_task_without_a_loss_keeps_its_variance() -> None:
    learned = Balance(BalanceOptions(method="uncertainty"), TASKS)
    learned.weigh({"masks": torch.tensor(2.0)})["masks"].backward()
    assert learned.log_variances["labels"].grad is None
    assert float(learned.log_variances["masks"].grad) == pytest.approx(0.5 - 2.0)


def test_dwa_is_the_formula_of_its_paper() -> None:
    """Liu 2019, equation 7: w = loss of the last epoch / of the one before; weights K exp(w / T) / sum exp(w / T)."""
    followed = Balance(BalanceOptions(method="dwa", temperature=2.0), TASKS)
    followed.end_epoch({"labels": 2.0, "masks": 1.0})
    assert followed.describe() == {"labels": 1.0, "masks": 1.0}  # one epoch has no ratio
    followed.end_epoch({"labels": 1.0, "masks": 0.9})
    powers = [math.exp(0.5 / 2), math.exp(0.9 / 2)]
    expected = {name: 2 * power / sum(powers) for name, power in zip(TASKS, powers, strict=True)}
    assert followed.describe() == pytest.approx(expected)
    weighed = followed.weigh(losses(1.0, 10.0))
    assert float(weighed["masks"]) == pytest.approx(10 * expected["masks"])
    # what a checkpoint keeps gives the same weights
    again = Balance(BalanceOptions(method="dwa", temperature=2.0), TASKS)
    again.restore(followed.history())
    assert again.describe() == followed.describe()


def test_dwa_shares_its_weights_among_the_tasks_that_are_trained() -> None:
    """Else one that is stopped would keep a share, and the others' losses would count less from then on."""
    followed = Balance(BalanceOptions(method="dwa"), [*TASKS, "boxes"])
    followed.end_epoch({"labels": 2.0, "masks": 1.0, "boxes": 1.0})
    followed.end_epoch({"labels": 1.0, "masks": 0.9})
    weights = followed.describe()
    assert weights["labels"] + weights["masks"] == pytest.approx(2)
    assert weights["labels"] < 1 < weights["masks"]
    # one that comes back is compared with its last mean
    followed.end_epoch({"labels": 1.0, "masks": 0.9, "boxes": 0.5})
    powers = {"labels": math.exp(1 / 2), "masks": math.exp(1 / 2), "boxes": math.exp(0.5 / 2)}
    expected = {name: 3 * power / sum(powers.values()) for name, power in powers.items()}
    assert followed.describe() == pytest.approx(expected)


def test_dwa_bears_a_loss_of_zero_and_one_that_explodes() -> None:
    followed = Balance(BalanceOptions(method="dwa"), TASKS)
    followed.end_epoch({"labels": 0.0, "masks": 1e-3})
    followed.end_epoch({"labels": 0.0, "masks": 1e3})
    assert all(math.isfinite(weight) for weight in followed.describe().values())


def conflict() -> tuple[nn.Parameter, Tensor, Tensor]:
    """A trunk of two parameters, and two gradients that point against each other."""
    return nn.Parameter(torch.tensor([1.0, 1.0])), torch.tensor([3.0, 0.0]), torch.tensor([-1.0, 1.0])


def test_pcgrad_of_two_that_conflict_is_the_projection_computed_by_hand() -> None:
    trunk, first, second = conflict()
    output = trunk * 1.0
    backward_aggregated(
        [term(lambda x: (x * first).sum(), output), term(lambda x: (x * second).sum(), output)], "pcgrad", [trunk]
    )
    # each loses what points against the other: [3, 0] - (-3 / 2) [-1, 1] and [-1, 1] - (-3 / 9) [3, 0]
    assert torch.allclose(trunk.grad, torch.tensor([1.5, 1.5]) + torch.tensor([0.0, 1.0]))
    assert not torch.allclose(trunk.grad, first + second)


def test_pcgrad_of_two_that_agree_is_their_sum() -> None:
    trunk, first, _ = conflict()
    output, second = trunk * 1.0, torch.tensor([1.0, 2.0])
    backward_aggregated(
        [term(lambda x: (x * first).sum(), output), term(lambda x: (x * second).sum(), output)], "pcgrad", [trunk]
    )
    assert torch.allclose(trunk.grad, first + second)


class Net(nn.Module):
    """A trunk whose second level comes of the first, and a head for each of two losses."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stages = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
        self.heads = nn.ModuleList([nn.Linear(3, 1), nn.Linear(3, 1)])
        self.images = torch.randn(4, 3)

    def levels(self) -> tuple[Tensor, Tensor]:
        shallow = torch.tanh(self.stages[0](self.images))
        return shallow, torch.tanh(self.stages[1](shallow))

    def loss(self, head: int, *read: Tensor) -> Tensor:
        return torch.stack([self.heads[head](one).pow(2).mean() for one in read]).sum()

    def gradients(self) -> list[Tensor | None]:
        return [None if each.grad is None else each.grad.clone() for each in self.parameters()]


def compare(terms_of: Callable[[Net], Sequence[Term]], plain_of: Callable[[Net], Tensor], name: str) -> None:
    """Aggregated gradients and those of a plain sum are the same, also in which there are none."""
    aggregated, plain = Net(), Net()
    backward_aggregated(terms_of(aggregated), name, list(aggregated.stages.parameters()))
    plain_of(plain).backward()
    for found, expected in zip(aggregated.gradients(), plain.gradients(), strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            torch.testing.assert_close(found, expected)


@pytest.fixture
def summed(monkeypatch: pytest.MonkeyPatch) -> str:
    """An aggregation that is nothing but the sum."""
    monkeypatch.setattr(balance, "AGGREGATORS", {**AGGREGATORS, "sum": Sum})
    return "sum"


def test_levels_that_depend_on_each_other_count_once(summed: str) -> None:
    def terms(net: Net) -> list[Term]:
        shallow, deep = net.levels()
        part = deep[torch.tensor([0, 2])]  # of a task that knows some of the pictures
        return [
            term(lambda one, two: net.loss(0, one, two), shallow, deep),
            term(lambda one: net.loss(1, one), part),
        ]

    def plain(net: Net) -> Tensor:
        shallow, deep = net.levels()
        return net.loss(0, shallow, deep) + net.loss(1, deep[torch.tensor([0, 2])])

    compare(terms, plain, summed)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_single_loss_is_a_plain_backward_pass(name: str) -> None:
    """What it doesn't reach of the trunk has no gradient, so that no optimizer moves it."""
    compare(
        lambda net: [term(lambda one: net.loss(0, one), net.levels()[0])],
        lambda net: net.loss(0, net.levels()[0]),
        name,
    )


@pytest.mark.parametrize("name", AGGREGATORS)
def test_a_loss_that_does_not_reach_the_trunk_has_no_say_in_its_gradient(name: str) -> None:
    """The head of one reads what is frozen."""
    compare(
        lambda net: [Term(net.loss(1, net.images), [], []), term(lambda one: net.loss(0, one), net.levels()[1])],
        lambda net: net.loss(0, net.levels()[1]) + net.loss(1, net.images),
        name,
    )


@pytest.mark.parametrize("name", AGGREGATORS)
def test_heads_have_the_gradients_of_their_own_losses_whatever_becomes_of_the_trunks(name: str) -> None:
    net, plain = Net(), Net()
    torch.manual_seed(1)
    backward_aggregated(
        [term(lambda one, head=head: net.loss(head, one), net.levels()[1]) for head in (0, 1)],
        name,
        list(net.stages.parameters()),
    )
    (plain.loss(0, plain.levels()[1]) + plain.loss(1, plain.levels()[1])).backward()
    for found, expected in zip(net.heads.parameters(), plain.heads.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad)
    assert all(torch.isfinite(each.grad).all() for each in net.stages.parameters())


def test_gradients_add_up_over_accumulated_batches(summed: str) -> None:
    net, plain = Net(), Net()
    for head in (0, 1):
        deep = net.levels()[1]
        terms = [term(lambda one, head=head: net.loss(head, one), deep), term(lambda one: net.loss(0, one), deep)]
        backward_aggregated(terms, summed, list(net.stages.parameters()))
        (plain.loss(head, plain.levels()[1]) + plain.loss(0, plain.levels()[1])).backward()
    for found, expected in zip(net.gradients(), plain.gradients(), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_options_name_all_aggregators() -> None:
    assert set(Aggregation.__args__) == {"none", *AGGREGATORS}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weights": [1.0, 0.0]}, r"--balance.weights takes numbers above 0, not 1 0\."),
        ({"weights": [1.0, math.nan]}, r"--balance.weights takes numbers above 0, not 1 nan\."),
        ({"weights": [1.0, math.inf]}, r"--balance.weights takes numbers above 0, not 1 inf\."),
        ({"method": "dwa", "temperature": 0.0}, r"--balance.temperature takes a number above 0, not 0\."),
        (
            {"temperature": 3.0},
            r"temperature: has no effect without --balance.method dwa; leave it out",
        ),
        ({"method": "dva"}, r"Unknown value of --method 'dva'\. .*Did you mean 'dwa'\?"),
        ({"aggregation": "pcgrat"}, r"Unknown value of --aggregation 'pcgrat'\. .*Did you mean 'pcgrad'\?"),
    ],
)
def test_what_means_nothing_is_refused(given: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BalanceOptions(**given)
