"""Figures where each image has captions by people, and one by the model."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets import Batch
from ..evaluated_images import EvaluatedImages, Rows, text_row
from ..evaluation import Evaluator, choose_metric
from ..intervals import Difference, Estimate, Weights, bootstrap, paired_bootstrap
from .baselines import BASELINES, blind_caption
from .bleu import COUNTS, ORDER, Words, bleu, bleu_counts, reference_runs
from .cider import cider
from .java_metrics import meteor, ptb_words, spice
from .rouge import rouge_l
from .words import caption_words

_SELECTABLE = ("cider", "bleu4", "bleu1", "bleu2", "bleu3", "rouge_l")
#: With fewer distinct captions than this share of the images, a model is said to repeat itself.
_REPEATS_ITSELF = 0.05


class CaptionEvaluator(Evaluator):
    """Keeps each image's caption and references, and how well the one fits the other.

    Rows: ``caption`` and ``references`` (a JSON list), text ``[N]``; ``truth_hash`` uint64 ``[N]``, of the references;
    ``seen`` bool ``[N]``, whether the caption is one of the training split's, word for word. ``complete`` adds what
    takes the whole split, for S speakers: ``bleu`` int32 ``[N, S, 10]``, the counts of ``bleu.COUNTS``; ``rouge_l`` and
    ``cider`` float64 ``[N, S]``. The first speaker is the model, the second says one caption of every image, the third
    what the model said of another image, half the split away; its CIDEr isn't a number where there is one image. While
    figures have to be brief there is only the model. With ``java``, ``meteor`` and ``spice`` are float64 ``[N, 2]``:
    the score of the model's caption, and by how much the corpus's figure is above the mean.

    How rare a word is for CIDEr is taken from the references of the whole split, and stays so for each sample of the
    bootstrap: the interval is that of a mean of scores.

    Args:
        blind_caption: What a baseline says of every image.
        primary: The metric that chooses the checkpoint, one of ``selectable``.
    """

    task = "captioning"
    truth = ("truth_hash",)
    # each fold has a blind caption of its own; figures are made of rows, which hold what it gave
    may_differ = ("primary", "blind_caption")
    kind = "captions of an image"
    selectable = _SELECTABLE
    java: tuple[str, ...] = ()
    """What Java programs are asked for, of ``java_metrics.JAVA_METRICS``."""

    def __init__(self, blind_caption: str, *, primary: str | None = None) -> None:
        """See the class."""
        self.blind_caption = blind_caption
        self.primary = choose_metric(primary, self.selectable)

    def description(self) -> dict[str, Any]:
        """Return the blind caption, and what chose the checkpoint; there are no classes."""
        return {"classes": [], "blind_caption": self.blind_caption, "primary": self.primary}

    def collect(self, output: dict[str, Any], batch: Batch) -> Rows:
        """Return the rows of a batch that need no other.

        Args:
            output: ``texts``, the B captions, and ``seen``, bool ``[B]``.
            batch: With ``captions`` among its targets.
        """
        references = [json.dumps(list(texts), ensure_ascii=False) for texts in batch.targets["captions"]]
        hashes = [
            int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
            for text in references
        ]
        return {
            "caption": text_row(output["texts"]),
            "references": text_row(references),
            "truth_hash": np.array(hashes, dtype=np.uint64),
            "seen": output["seen"].cpu().numpy(),
        }

    def complete(self, images: EvaluatedImages) -> EvaluatedImages:
        """Return the images with the scores of all speakers.

        Raises:
            UserError: If a Java program that was asked for can't be run.
        """
        captions = list(images.rows["caption"])
        texts: list[list[str]] = [json.loads(each) for each in images.rows["references"]]
        words = self._words([*captions, self.blind_caption, *(text for each in texts for text in each)])
        references = [[words[text] for text in each] for each in texts]
        said = [words[text] for text in captions]
        size = len(captions)
        speakers: list[tuple[Sequence[Words], Sequence[int]]] = [(said, range(size))]
        if not self.is_brief:
            speakers.append(([words[self.blind_caption]] * size, range(size)))
            # what was said of image i, held against the references of the image half the split further on
            speakers.append((said, [(place + size // 2) % size for place in range(size)]))
        scores = _scores(speakers, references)
        if size == 1 and not self.is_brief:
            scores["cider"][:, -1] = np.nan  # there is no other image
        return replace(images, rows={**images.rows, **scores, **self._java_rows(said, references)})

    def _words(self, texts: Sequence[str]) -> dict[str, Words]:
        """Return the words of each text; many are said more than once."""
        distinct = list(dict.fromkeys(texts))
        found = ptb_words(distinct) if "ptb" in self.java else map(caption_words, distinct)
        return dict(zip(distinct, found, strict=True))

    def _java_rows(self, captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> Rows:
        rows = {}
        for name, score in (("meteor", meteor), ("spice", spice)):
            if name in self.java:
                corpus, each = score(captions, references)
                rows[name] = np.stack([each, np.full(len(each), corpus - each.mean())], axis=1)
        return rows

    def measure(self, rows: Rows, weights: Weights) -> dict[str, NDArray[np.float64]]:
        """Return the model's metrics: those of ``selectable``, and what Java was asked for.

        The figure of METEOR is the corpus's, which the mean of the images isn't; its interval is that of the mean,
        moved by the difference.
        """
        found = _figures(rows, weights, 0)
        for name in ("meteor", "spice"):
            if name in rows:
                found[name] = weights @ rows[name].sum(axis=1) / weights.sum(axis=1)
        return found

    def details(self, rows: Rows) -> dict[str, Any]:
        """Return what captions that don't look at the image would get, and how much the model's differ.

        ``blind`` says the training split's most typical caption of every image; ``other_photo`` is the model's own
        caption held against another image's references: what it gains over that it owes to looking. ``gain`` is by how
        much the model is better, image by image.
        """
        count = rows["cider"].shape[1]
        speakers = {name: place for place, name in enumerate(BASELINES, 1) if place < count}
        # of a split of one image nobody else's captions are known
        known = {name: place for name, place in speakers.items() if np.isfinite(rows["cider"][:, place]).all()}
        baselines = {name: _baseline(rows, place) for name, place in known.items()}
        captions, size = rows["caption"].tolist(), len(rows["caption"])
        distinct = len(set(captions))
        about = {
            "distinct": distinct,
            "distinct_share": distinct / size,
            "seen_in_training": float(rows["seen"].mean()),
            "mean_words": float(rows["bleu"][:, 0, -2].mean()),
            "empty": int((rows["bleu"][:, 0, -2] == 0).sum()),
        }
        details = {"baselines": {**baselines, "blind_caption": self.blind_caption}, "captions": about}
        notes = self._notes(about, size, baselines)
        return {**details, "notes": notes} if notes else details

    def _notes(self, about: dict[str, Any], size: int, baselines: dict[str, Any]) -> list[str]:
        notes = []
        if size > 1 and (about["distinct"] == 1 or about["distinct_share"] < _REPEATS_ITSELF):
            notes.append(
                f"Only {about['distinct']:,} of {size:,} captions are distinct: the model says much the same of every "
                "image."
            )
        if about["empty"]:
            notes.append(f"{about['empty']:,} of {size:,} captions have no word.")
        for name, what in (
            ("blind", f"saying '{self.blind_caption}' of every image"),
            ("other_photo", "its captions of other images"),
        ):
            if name in baselines and baselines[name]["gain"]["cider"]["low"] <= 0:
                notes.append(f"By CIDEr the captions aren't measurably better than {what}.")
        return notes

    def describe(self, rows: Rows, index: int) -> dict[str, Any]:
        """Return an image's caption, whether it is one of the training split's, its scores and the references."""
        scores = {
            name: round(float(rows[name][index, 0]), 6)
            for name in ("cider", "rouge_l", "meteor", "spice")
            if name in rows
        }
        return {
            "caption": rows["caption"][index],
            **scores,
            "seen_in_training": bool(rows["seen"][index]),
            "references": json.loads(rows["references"][index]),
        }


def _scores(
    speakers: Sequence[tuple[Sequence[Words], Sequence[int]]], references: Sequence[Sequence[Words]]
) -> dict[str, NDArray[Any]]:
    """Return the rows of S speakers, each with its captions and the image whose references each is held against."""
    runs = [reference_runs(each) for each in references]
    pairs = [list(zip(captions, places, strict=True)) for captions, places in speakers]
    flat = [pair for each in pairs for pair in each]
    shape = (len(speakers), len(references))
    counts = np.array([bleu_counts(words, runs[place]) for words, place in flat], dtype=np.int32)
    overlap = np.array([rouge_l(words, references[place]) for words, place in flat])
    agreement = cider([words for words, _ in flat], references, [place for _, place in flat])
    return {
        "bleu": counts.reshape(*shape, COUNTS).swapaxes(0, 1),
        "rouge_l": overlap.reshape(shape).T,
        "cider": agreement.reshape(shape).T,
    }


def _figures(rows: Rows, weights: Weights, speaker: int) -> dict[str, NDArray[np.float64]]:
    """Return the metrics of a speaker."""
    total = weights.sum(axis=1)
    found = {name: weights @ rows[name][:, speaker] / total for name in ("cider", "rouge_l")}
    corpus = bleu(rows["bleu"][:, speaker], weights)
    found |= {f"bleu{order + 1}": corpus[:, order] for order in range(ORDER)}
    return {name: found[name] for name in _SELECTABLE}


def _baseline(rows: Rows, speaker: int) -> dict[str, Any]:
    """Return the figures of a speaker, and by how much the model is better."""
    theirs, models, size = (
        partial(_figures, rows, speaker=speaker),
        partial(_figures, rows, speaker=0),
        len(rows["cider"]),
    )
    figures: dict[str, Estimate] = bootstrap(theirs, size)
    gain: dict[str, Difference] = paired_bootstrap(theirs, models, size)
    return {
        **{name: asdict(estimate) for name, estimate in figures.items()},
        "gain": {name: asdict(difference) for name, difference in gain.items()},
    }


def make_evaluator(train: Sequence[Sequence[str]], *, select: str | None = None) -> CaptionEvaluator:
    """Return the evaluator.

    Args:
        train: The captions of each training image, from which the blind one is chosen.
        select: The metric that chooses the checkpoint; nothing for the first there is.

    Raises:
        UserError: If it has no metric of that name.
    """
    return CaptionEvaluator(blind_caption(train), primary=select)


def rebuild_evaluator(description: dict[str, Any]) -> CaptionEvaluator:
    """Return the evaluator that a run kept with its images and its model."""
    return CaptionEvaluator(description["blind_caption"], primary=description["primary"])
