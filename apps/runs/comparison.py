"""Two models on the same images: differences of metrics and classes with intervals, and the images that tell."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...backbones.errors import UserError
from ..evaluation import Evaluator, ImageScores, Share
from ..intervals import CONFIDENCE, Difference, Weights, mcnemar, paired_bootstrap, paired_proportions, values_of
from .judged import Judged, other_contents

Shares = Mapping[str, Share]


@dataclass(frozen=True)
class Compared:
    """A figure of two models.

    Attributes:
        first: A's value.
        second: B's value.
        difference: B - A on the same images.
        images: How many images it is about, where that isn't all of them.
    """

    first: float
    second: float
    difference: Difference
    images: int | None = None


@dataclass(frozen=True)
class Disagreement:
    """On how many images only one of two models is right, and the exact test of McNemar (1947) on them.

    Attributes:
        only_first: Images that only A has right.
        only_second: Images that only B has right.
        p_value: Two-sided, of the binomial distribution: were both alike, each such image would fall to either.
    """

    only_first: int
    only_second: int
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """What the images that two models share say about them.

    Attributes:
        first: A's folder.
        second: B's folder.
        images: How many images, or other units, both were judged on.
        only_first: How many more A has; they are left out.
        only_second: How many more B has; they are left out.
        primary: The metric of the verdict.
        metrics: By name; the primary one first.
        disagreement: Where each is a single model and a task that says of an image whether it is right.
        per_class: By class, the largest difference of recall first.
        unlike: The images that one has right and the other hasn't, those with the largest difference of the
            probability of the truth first; of several seeds, the share that is right.
        notes: What else one has to know, full sentences.
        unit: What was judged: ``image`` or ``subject``.
        lower_is_better: The metrics of which less is better.
    """

    first: str
    second: str
    images: int
    only_first: int
    only_second: int
    primary: str
    metrics: dict[str, Compared]
    disagreement: Disagreement | None = None
    per_class: dict[str, Compared] = field(default_factory=dict)
    unlike: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unit: str = "image"
    lower_is_better: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """What the interval of the primary metric says, in a sentence."""
        return verdict(self)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "verdict": self.verdict}


def compare_judged(first: Judged, second: Judged) -> Comparison:
    """Compare two models on the images that both were judged on.

    Raises:
        UserError: If they were judged in different ways, share no image, or disagree on what is known of one.
    """
    _refuse_unlike(first, second)
    places = {name: place for place, name in enumerate(second.names)}
    common = [place for place, name in enumerate(first.names) if name in places]
    if not common:
        raise UserError(
            f"'{first.path}' and '{second.path}' share no {first.unit}: '{first.names[0]}' and the like against "
            f"'{second.names[0]}' and the like. Evaluate both on the same split."
        )
    mine = first.select(common)
    others = second.select([places[name] for name in mine.names])
    _refuse_other_truth(mine, others)
    _refuse_other_contents(mine, others)
    metrics = _compare_metrics(mine, others)
    primary = mine.card.primary or mine.evaluator.primary
    primary = primary if primary in metrics else next(iter(metrics))
    return Comparison(
        first=str(first.path),
        second=str(second.path),
        images=len(common),
        only_first=len(first.names) - len(common),
        only_second=len(second.names) - len(common),
        primary=primary,
        metrics={primary: metrics[primary]} | metrics,
        disagreement=_disagreement(mine.scores(), others.scores()),
        per_class=_compare_classes(mine, others),
        unlike=_find_unlike(mine, others),
        notes=_notes(first, second, common),
        unit=mine.unit,
        lower_is_better=sorted(mine.evaluator.lower_is_better & set(metrics)),
    )


def _compare_metrics(first: Judged, second: Judged) -> dict[str, Compared]:
    """Return the metrics that both models have, with B - A; of shares the closed interval, where there is one."""
    images = len(first.names)
    before, after = values_of(first.measure, images), values_of(second.measure, images)
    differences = paired_bootstrap(first.measure, second.measure, images)
    found = {name: Compared(before[name], after[name], shift) for name, shift in differences.items()}
    shares = _compare_shares(first.shares(), second.shares())
    return {name: shares.get(name, compared) for name, compared in found.items()}


def _compare_shares(first: Sequence[Shares], second: Sequence[Shares]) -> dict[str, Compared]:
    """Return the shares that both models have, with B - A; of several seeds by their means, resampling images."""
    found = {}
    for name, share in first[0].items():
        if any(name not in shares for shares in (*first, *second)):
            continue
        before, after = ([shares[name].right[share.counted] for shares in each] for each in (first, second))
        shift = (
            paired_proportions(before[0], after[0])
            if len(before) == len(after) == 1
            else paired_bootstrap(partial(_mean_share, before), partial(_mean_share, after), len(before[0]))["share"]
        )
        images = None if share.counted.all() else int(share.counted.sum())
        found[name] = Compared(float(np.mean(before)), float(np.mean(after)), shift, images)
    return found


def _mean_share(rights: Sequence[NDArray[np.bool_]], weights: Weights) -> dict[str, NDArray[np.float64]]:
    return {"share": weights @ np.mean(rights, axis=0) / weights.sum(axis=1)}


def verdict(comparison: Comparison) -> str:
    """Return what the interval of the primary metric says, in a sentence."""
    name, found = comparison.primary, comparison.metrics[comparison.primary]
    low, high = 100 * found.difference.low, 100 * found.difference.high
    interval = f"{CONFIDENCE:.0%} interval {low:+.1f} to {high:+.1f}"
    if not (low > 0 or high < 0):
        return (
            f"{name}: no difference that {comparison.images} {comparison.unit}s can show "
            f"(B - A is {100 * found.difference.value:+.1f} points, {interval})."
        )
    better, least, most = ("B", low, high) if low > 0 else ("A", -high, -low)
    text = f"{name}: {better} is better by {least:.1f} to {most:.1f} points ({comparison.images} {comparison.unit}s)."
    if found.difference.p_value > 1 - CONFIDENCE:
        text += f" But the test doesn't bear it out (p = {found.difference.p_value:.3f})."
    return text


def _refuse_unlike(first: Judged, second: Judged) -> None:
    if first.unit != second.unit:
        raise UserError(
            f"'{first.path}' was judged by {first.unit}, '{second.path}' by {second.unit}: one of them with "
            "--by-subject, the other without. Evaluate both alike."
        )
    if first.evaluator.judges_as(second.evaluator):
        return
    one, other = (_describe(each.evaluator) for each in (first, second))
    aside = set(first.evaluator.may_differ) & set(second.evaluator.may_differ)
    keys = [key for key in one | other if one.get(key) != other.get(key) and key not in aside]
    differences = "; ".join(f"{key}: {_shorten(one.get(key))} against {_shorten(other.get(key))}" for key in keys)
    raise UserError(f"'{first.path}' and '{second.path}' were judged in different ways ({differences}).")


def _describe(evaluator: Evaluator) -> dict[str, Any]:
    kind = {"judged": evaluator.kind} if evaluator.kind else {}
    return {"task": evaluator.task, **kind, **evaluator.description()}


def _shorten(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _refuse_other_truth(first: Judged, second: Judged) -> None:
    for mine, others in zip(first.truth(), second.truth(), strict=True):
        differs = np.flatnonzero((mine != others).reshape(len(mine), -1).any(axis=1))
        if len(differs):
            raise UserError(
                f"'{first.path}' and '{second.path}' have {len(differs)} of {len(mine)} images under the same name "
                f"but with another truth, such as '{first.names[differs[0]]}'. Evaluate both on the same data."
            )


def _refuse_other_contents(first: Judged, second: Judged) -> None:
    differs = np.flatnonzero(other_contents(first.contents, second.contents))
    if len(differs):
        raise UserError(
            f"'{first.path}' and '{second.path}' have {len(differs)} of {len(first.names)} {first.unit}s under the "
            f"same name but with other contents, such as '{first.names[differs[0]]}': these are other data, or files "
            "that have changed in between. Evaluate both on the same data: evaluate --output DIR."
        )


def _notes(first: Judged, second: Judged, common: Sequence[int]) -> list[str]:
    notes = []
    for label, each in (("A", first), ("B", second)):
        if more := len(each.names) - len(common):
            notes.append(f"{label} has {more} more {each.unit}s, which are left out.")
        if len(each.parts) > 1:
            notes.append(f"{label} is the mean of {len(each.parts)} seeds; how much seeds differ isn't in an interval.")
        if (tried := len(each.card.sweep.get("candidates", []))) > 1:
            notes.append(f"{label} is the best of {tried} candidates on these very {each.unit}s, which flatters it.")
    prints = [each.card.data.get("fingerprint") for each in (first, second)]
    if first.contents is None or second.contents is None:
        if set(first.names) == set(second.names) and None not in prints:
            if prints[0] != prints[1]:
                notes.append("The names are the same, but the contents of the images have changed in between.")
        else:
            notes.append("Images were matched by their names alone: an older release kept no hash of their files.")
    if first.card.split != second.card.split:
        notes.append(f"A was judged on '{first.card.split}', B on '{second.card.split}'.")
    return notes


def _disagreement(first: Sequence[ImageScores], second: Sequence[ImageScores]) -> Disagreement | None:
    if len(first) != 1 or len(second) != 1:
        return None
    only_first = int((first[0].correct & ~second[0].correct).sum())
    only_second = int((~first[0].correct & second[0].correct).sum())
    return Disagreement(only_first, only_second, mcnemar(only_first, only_second))


def _compare_classes(first: Judged, second: Judged) -> dict[str, Compared]:
    """Return the recalls of the classes, the largest difference first."""
    found = _compare_shares(first.recalls(), second.recalls())
    return dict(sorted(found.items(), key=lambda row: -abs(row[1].difference.value)))


def _find_unlike(first: Judged, second: Judged) -> list[dict[str, Any]]:
    scores = first.scores(), second.scores()
    if not all(scores):
        return []
    right, probability = (
        [np.mean([getattr(each, name) for each in of], axis=0) for of in scores] for name in ("correct", "probability")
    )
    lifts: NDArray[np.float64] = probability[1] - probability[0]
    places = np.flatnonzero(right[0] != right[1])
    rows = []
    for place in places[np.argsort(-np.abs(lifts[places]), kind="stable")].tolist():
        row: dict[str, Any] = {"image": first.names[place]}
        for key, judged, hits, share in zip(("first", "second"), (first, second), right, probability, strict=True):
            described = judged.evaluator.describe(judged.parts[0].rows, place)
            row |= {key: described[key] for key in ("label", "labels") if key in described}
            row[key] = {"right": float(hits[place]), "probability": float(share[place])}
            if len(judged.parts) == 1 and "predicted" in described:
                row[key]["predicted"] = described["predicted"]
        rows.append(row)
    return rows
