"""How the losses of several tasks move one trunk: weights for them, and what is made of gradients that disagree.

Of a trunk that is frozen nothing has to be balanced: no loss moves what another head reads.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchjd.aggregation import IMTLG, MGDA, Aggregator, AlignedMTL, ConFIG, GradDrop, PCGrad, UPGrad

from .options import BalanceOptions

#: Ways to make one gradient of those of several tasks; torchjd names their papers. None of them remembers anything from
#: step to step, which a checkpoint would have to hold.
AGGREGATORS: Mapping[str, Callable[[], Aggregator]] = {
    "aligned_mtl": AlignedMTL,
    "config": ConFIG,
    "graddrop": GradDrop,
    "imtlg": IMTLG,
    "mgda": MGDA,
    "pcgrad": PCGrad,
    "upgrad": UPGrad,
}


class Balance(nn.Module):
    """Weights of tasks' losses: given ones, learned ones, or ones that follow how fast each loss falls.

    Learned: each loss ``L`` counts as ``exp(-s) L + s / 2`` with the task's log variance ``s``, which is trained along
    (Kendall 2018, equation 7, with one form for all tasks); a given weight multiplies both, or the variance would learn
    to undo it. Following: dynamic weight average (Liu 2019, section 3.2), whose weights of an epoch are a softmax over
    the ratios of the last two mean losses, times the number of the tasks that were trained in the last epoch; 1 for a
    task that wasn't, or before it has two.

    Attributes:
        log_variances: The learned ones, by task; empty for other ways.
    """

    def __init__(self, options: BalanceOptions, tasks: Sequence[str]) -> None:
        """Begin with every task as the options weigh it.

        Args:
            options: The way.
            tasks: Their names; given weights are in this order.
        """
        super().__init__()
        self._options = options
        self._weights = dict(zip(tasks, options.weights or [1.0] * len(tasks), strict=True))
        learned = tasks if options.method == "uncertainty" else ()
        self.log_variances = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in learned})
        self._history: list[dict[str, float]] = [{}, {}]  # the last mean before the last epoch, and that of it

    def weigh(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the losses of a batch's tasks as they count."""
        rates = self._rates(list(losses))
        found = dict(losses)
        for task in found.keys() & self.log_variances.keys():
            variance = self.log_variances[task]
            found[task] = torch.exp(-variance) * found[task] + variance / 2
        return {task: self._weights[task] * rates[task] * loss for task, loss in found.items()}

    def end_epoch(self, means: Mapping[str, float]) -> None:
        """Take the mean loss of each task that was trained in an epoch."""
        older, newer = self._history
        self._history = [{**older, **newer}, dict(means)]

    def describe(self) -> dict[str, float]:
        """Return by task what a loss is multiplied with by now."""
        rates = self._rates(list(self._weights))
        learned = {task: math.exp(-float(variance.detach())) for task, variance in self.log_variances.items()}
        return {task: weight * rates[task] * learned.get(task, 1.0) for task, weight in self._weights.items()}

    def history(self) -> list[dict[str, float]]:
        """Return the mean losses that the weights follow, for a checkpoint."""
        return self._history

    def restore(self, history: list[dict[str, float]]) -> None:
        """Take what a checkpoint holds."""
        self._history = history

    def _rates(self, tasks: Sequence[str]) -> dict[str, float]:
        if self._options.method != "dwa":
            return dict.fromkeys(tasks, 1.0)
        older, newer = self._history
        known = [task for task in self._weights if task in older and task in newer]
        # a loss that is 0 stays what it is
        ratios = {task: newer[task] / older[task] if older[task] else 1.0 for task in known}
        largest = max(ratios.values(), default=0.0)  # or a loss that leaps would be more than a float holds
        powers = {task: math.exp((ratio - largest) / self._options.temperature) for task, ratio in ratios.items()}
        total = sum(powers.values())
        return {task: len(known) * powers[task] / total if task in powers else 1.0 for task in tasks}


@dataclass(frozen=True)
class Term:
    """The loss of a task, and where it meets the trunk.

    Attributes:
        loss: A scalar.
        outputs: What the trunk gave the head, with the trunk's graph behind it.
        leaves: The same values without that graph, from which the loss was computed.
    """

    loss: Tensor
    outputs: Sequence[Tensor]
    leaves: Sequence[Tensor]


def backward_aggregated(terms: Sequence[Term], name: str, trunk: Sequence[nn.Parameter]) -> None:
    """Give each head the gradients of its own loss, and the trunk one gradient that is made of those of all losses.

    Not by torchjd's ``mtl_backward``: it takes representations that don't depend on one another, as levels do.

    Args:
        terms: One a task.
        name: One of ``AGGREGATORS``.
        trunk: The trunk's trained parameters.
    """
    rows = []
    for term in terms:
        term.loss.backward()  # type: ignore[no-untyped-call]
        # a head may leave some of what it reads unused, or read nothing but what is frozen
        met = [(output, leaf.grad) for output, leaf in zip(term.outputs, term.leaves, strict=True)]
        if reached := [(output, gradient) for output, gradient in met if gradient is not None]:
            outputs, gradients = zip(*reached, strict=True)
            rows.append(torch.autograd.grad(outputs, trunk, gradients, retain_graph=True, allow_unused=True))
    # what no loss reaches has no gradient: zeros would let the optimizer move it by what it remembers
    moved = [place for place in range(len(trunk)) if any(row[place] is not None for row in rows)]
    if not moved:
        return
    matrix = torch.stack([torch.cat([_flat(row[place], trunk[place]) for place in moved]) for row in rows])
    whole = AGGREGATORS[name]()(matrix) if len(rows) > 1 else matrix[0]
    sizes = [trunk[place].numel() for place in moved]
    parts: Sequence[Tensor] = torch.split(whole, sizes)
    for parameter, part in zip([trunk[place] for place in moved], parts, strict=True):
        gradient = part.view_as(parameter)
        parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient


def _flat(gradient: Tensor | None, parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
