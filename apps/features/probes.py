"""``features probe``: how well simple classifiers tell the classes apart by the features."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.table import Table
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from ..card import Card, Cost, make_card
from ..classification.binary import choose_positive
from ..classification.metrics import ClassificationEvaluator
from ..classification.readout import TOP_K
from ..console import wide_console
from ..evaluated_images import EvaluatedImages, Rows
from ..evaluation import Evaluation
from ..hardware import peak_memory_mib
from ..intervals import proportion
from ..outputs import IMAGES, PREDICTIONS, RESULTS, output_folder, write_evaluation
from .files import read_features, read_recipe
from .options import ProbeOptions
from .samples import Samples, check_classes, count_units, places_in_split, skipped_images, split_fingerprint, take
from .table import FeatureTable, choose_layer

STRENGTHS = tuple(float(strength) for strength in np.logspace(-6, 2, 9))
"""The inverse regularisation ``C`` that logistic regression chooses from."""
NAMES = ("logistic_regression", "knn")
_FILES = (RESULTS, IMAGES, *PREDICTIONS)
NEIGHBOURS = (1, 3, 5, 10, 20)
"""The numbers of neighbours that kNN chooses from."""


@dataclass(frozen=True)
class Probe:
    """A classifier that chooses one setting by cross-validation.

    Attributes:
        name: Of its folder.
        search: scikit-learn's search over the settings; it refits the best on all training rows.
        setting: The name of the setting in the search.
    """

    name: str
    search: GridSearchCV
    setting: str

    @property
    def chosen(self) -> dict[str, float]:
        """The setting that was chosen, and its mean accuracy over the folds."""
        key = self.setting.rpartition("__")[2]
        score = self.search.cv_results_["mean_test_score"][self.search.best_index_]
        return {key: self.search.best_params_[self.setting], "cross_validation": float(score)}


def run_probe(options: ProbeOptions) -> dict[str, Card]:
    """Fit logistic regression and nearest neighbours on the training split; print and return a card of each.

    Returns:
        The cards by classifier; of several layers by ``layer/classifier``.

    Raises:
        UserError: For a file that can't be read, or that lacks labels or a split.
    """
    there = tuple(read_recipe(options.features)["layers"])
    layers = there if options.layer is None else (choose_layer(there, options.layer),)
    folders = [f"{layer}/" if len(layers) > 1 else "" for layer in layers]
    files = [f"{folder}{name}/{file}" for folder in folders for name in NAMES for file in _FILES]
    where = output_folder(options.output, *files, overwrite=options.overwrite)
    cards: dict[str, Card] = {}
    for layer, folder in zip(layers, folders, strict=True):
        of_layer = _probe_layer(layer, None if where is None else where / folder, options)
        cards |= {f"{folder}{name}": card for name, card in of_layer.items()}
    return cards


def _probe_layer(layer: str, where: Path | None, options: ProbeOptions) -> dict[str, Card]:
    table = read_features(options.features, [layer])
    train, test = take(table, layer, "train"), take(table, layer, options.split)
    check_classes(options, train, test)
    cards = {}
    for probe in make_probes(train, options.folds):
        started = time.monotonic()
        fit(probe, train)
        evaluator, images = judge(probe, train, test, table)
        seconds = time.monotonic() - started
        evaluation = evaluator.evaluate(images, skipped_images(table, options.split))
        evaluation.details["probe"] = {"classifier": probe.name, "layer": layer, **probe.chosen} | {
            "folds": probe.search.n_splits_,
            "train": {"used": len(train.labels), "skipped": len(skipped_images(table, "train"))},
        }
        card = _card(evaluation, table, options, probe, seconds)
        if where is not None:
            write_evaluation(where / probe.name, evaluator, evaluation, None)
            card.write(where / probe.name / RESULTS)
        cards[probe.name] = card
    _print(cards, table, train, test, where, options)
    return cards


def make_probes(train: Samples, folds: int) -> list[Probe]:
    """Return the classifiers, not yet fitted.

    Logistic regression on standardised features with an L2 penalty (Kornblith et al. 2019, section 3, chooses its
    strength alike), and nearest neighbours by the cosine.

    Args:
        train: What they will be fitted to.
        folds: Into how many parts to cut that, at most; no more than the rarest class has rows or groups.
    """
    parts = max(2, min(folds, *count_units(train).values()))
    cut = StratifiedKFold(parts) if train.groups is None else StratifiedGroupKFold(parts)
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    setting = "logisticregression__C"
    smallest = len(train.labels) * (parts - 1) // parts // 2  # groups make parts of unlike sizes
    neighbours = [count for count in NEIGHBOURS if count <= max(1, smallest)]
    return [
        Probe(NAMES[0], GridSearchCV(regression, {setting: list(STRENGTHS)}, cv=cut, refit=best_setting), setting),
        Probe(
            NAMES[1],
            GridSearchCV(
                KNeighborsClassifier(metric="cosine"), {"n_neighbors": neighbours}, cv=cut, refit=best_setting
            ),
            "n_neighbors",
        ),
    ]


def best_setting(results: Mapping[str, Any]) -> int:
    """Return which of the settings to take: the most accurate, and of several as accurate the one in the middle.

    scikit-learn would take the first. On few images that is the strongest regularisation there is, whose
    probabilities are all alike.

    Args:
        results: ``cv_results_`` of a search, whose settings are in order.
    """
    scores = results["mean_test_score"]
    best = np.flatnonzero(scores >= np.nanmax(scores) - 1e-9)
    return int(best[(len(best) - 1) // 2])


def fit(probe: Probe, train: Samples) -> None:
    """Choose a probe's setting by cross-validation, and fit it with that to all rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of strengths so weak that they are hardly ever chosen
        warnings.filterwarnings("ignore", "The least populated class")
        probe.search.fit(train.features, train.labels, groups=train.groups)


def judge(
    probe: Probe, train: Samples, test: Samples, table: FeatureTable
) -> tuple[ClassificationEvaluator, EvaluatedImages]:
    """Return what a fitted probe makes of each row, and the evaluator that knows the figures."""
    classes = probe.search.classes_.tolist()
    found = probe.search.predict_proba(test.features)
    # the first of equally probable classes, as scikit-learn's predict has it
    top = np.argsort(-found, axis=1, kind="stable")[:, :TOP_K]
    labels = np.searchsorted(probe.search.classes_, test.labels)
    rows: Rows = {
        "label": labels.astype(np.int64),
        "label_probability": found[np.arange(len(labels)), labels].astype(np.float32),
        "top": top.astype(np.int64),
        "probability": np.take_along_axis(found, top, axis=1).astype(np.float32),
    }
    of_class = dict(zip(*np.unique(train.labels, return_counts=True), strict=True))
    positive = choose_positive({str(name): int(count) for name, count in of_class.items()}, None)
    names = tuple(table.columns["name"][row] for row in test.rows.tolist())
    places = places_in_split(table, test)
    return ClassificationEvaluator(classes, positive=positive), EvaluatedImages(places, names, rows)


def _card(evaluation: Evaluation, table: FeatureTable, options: ProbeOptions, probe: Probe, seconds: float) -> Card:
    backbone, data = table.recipe["backbone"], table.recipe["data"]
    best = probe.search.best_estimator_
    trained = sum(array.size for array in (best[-1].coef_, best[-1].intercept_)) if isinstance(best, Pipeline) else 0
    return make_card(
        evaluation,
        task="classification",
        split=options.split,
        selected_on=None,
        cost=Cost(evaluation.used / seconds, peak_memory_mib(torch.device("cpu")), trained, trained, seconds),
        backbone={
            "name": backbone["recipe"]["name"],
            "weights": backbone["weights"],
            "fingerprint_before": backbone["fingerprint"],
            "fingerprint_after": backbone["fingerprint"],
        },
        data={
            "path": data["path"],
            "fingerprint": split_fingerprint(table, options.split),
            "split_origin": data["split_origin"],
            "features": options.features,
        },
    )


def _print(
    cards: Mapping[str, Card],
    table: FeatureTable,
    train: Samples,
    test: Samples,
    where: Path | None,
    options: ProbeOptions,
) -> None:
    shown = Table("classifier", "chosen", "cross-validation", "top1", "95% interval")
    for name, card in cards.items():
        about, top1 = card.details["probe"], card.metrics["top1"]
        key = "C" if "C" in about else "n_neighbors"
        interval = f"{top1['low']:.4f} to {top1['high']:.4f}"
        shown.add_row(
            name, f"{key} {about[key]:g}", f"{about['cross_validation']:.4f}", f"{top1['value']:.4f}", interval
        )
    names, counts = np.unique(train.labels, return_counts=True)
    share = proportion(int((test.labels == names[counts.argmax()]).sum()), len(test.labels))
    shown.add_row(
        "most frequent class",
        str(names[counts.argmax()]),
        "",
        f"{share.value:.4f}",
        f"{share.low:.4f} to {share.high:.4f}",
    )
    console = wide_console()
    trunk = table.recipe["backbone"]
    layer = next(iter(cards.values())).details["probe"]["layer"]
    rows = f"{len(train.labels):,} training rows, {len(test.labels):,} of {options.split}"
    console.print(
        f"{options.features}: {layer} of {trunk['recipe']['name']} ({trunk['weights']}), {train.features.shape[1]} "
        f"numbers; {rows}",
        soft_wrap=True,
    )
    console.print(shown)
    parts = next(iter(cards.values())).details["probe"]["folds"]
    if parts < options.folds:
        console.print(f"cross-validation in {parts} parts, because the rarest class has no more", soft_wrap=True)
    left_out = len(skipped_images(table, "train")) + len(skipped_images(table, options.split))
    if left_out:
        console.print(
            f"{left_out} images without features were left out; the column 'error' has the reasons", soft_wrap=True
        )
    if where is not None:
        console.print(f"cards      {' and '.join(str(where / name / RESULTS) for name in cards)}", soft_wrap=True)
