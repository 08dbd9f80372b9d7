"""Figures of captions: three speakers, whole splits, and what a run keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps.captioning import metrics
from onetrunk.apps.captioning.metrics import CaptionEvaluator, make_evaluator, rebuild_evaluator
from onetrunk.apps.card import Card, print_card
from onetrunk.apps.evaluated_images import pool_images, read_images
from onetrunk.apps.evaluation import Piece, join_pieces
from onetrunk.backbones import UserError
from onetrunk.datasets import Batch, Context
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

BLIND = "A dog runs."
CAPTIONS = ["a dog runs on grass", "a cat sits on a mat", "two men are talking", "A red car stops!", "", "a dog runs"]
REFERENCES = [
    ("A dog runs on the grass.", "The dog's on grass"),
    ("A cat sits.",),
    ("Two men talk to a woman", "2 men are talking", "Men in a bar"),
    ("The red car stops", "A car"),
    ("A white horse in the snow",),
    ("A dog runs after a ball", "a dog plays"),
]
SEEN = [False, False, True, False, False, True]


def batch_of(start: int, stop: int, captions=CAPTIONS) -> tuple[dict, Batch]:
    sizes = torch.tensor([[20, 20]] * (stop - start))
    batch = Batch(
        images=None,
        features=None,
        context=Context((20, 20), sizes, sizes),
        targets={"captions": list(REFERENCES[start:stop])},
        indices=torch.arange(start, stop),
        names=[f"{place}.png" for place in range(start, stop)],
    )
    return {"texts": list(captions[start:stop]), "seen": torch.tensor(SEEN[start:stop])}, batch


def images_of(evaluator: CaptionEvaluator, batch_size: int = 6, captions=CAPTIONS, size: int = 6):
    pieces = []
    for start in range(0, size, batch_size):
        output, batch = batch_of(start, min(size, start + batch_size), captions)
        pieces.append(Piece(batch.indices.numpy(), batch.names, evaluator.collect(output, batch), [], 0.0))
    return evaluator.complete(join_pieces(pieces)[0])


def evaluate(batch_size: int = 6, captions=CAPTIONS):
    evaluator = CaptionEvaluator(BLIND)
    return evaluator.evaluate(images_of(evaluator, batch_size, captions))


def peers_figures(said: list[str], references: list) -> dict[str, float]:
    hypotheses = {place: [" ".join(metrics.caption_words(text))] for place, text in enumerate(said)}
    truths = {place: [" ".join(metrics.caption_words(text)) for text in each] for place, each in enumerate(references)}
    found = {f"bleu{n}": value for n, value in enumerate(Bleu(4).compute_score(truths, hypotheses, verbose=0)[0], 1)}
    found["rouge_l"] = float(Rouge().compute_score(truths, hypotheses)[0])
    found["cider"] = float(Cider().compute_score(truths, hypotheses)[0])
    return found


def test_all_speakers_have_pycocoevalcap_s_figures() -> None:
    evaluation = evaluate()
    model = peers_figures(CAPTIONS, REFERENCES)
    assert {name: each.value for name, each in evaluation.metrics.items()} == pytest.approx(model, abs=1e-9)
    baselines = evaluation.details["baselines"]
    others = REFERENCES[3:] + REFERENCES[:3]
    for name, said, references in [("blind", [BLIND] * 6, REFERENCES), ("other_photo", CAPTIONS, others)]:
        expected = peers_figures(said, references)
        assert {metric: baselines[name][metric]["value"] for metric in expected} == pytest.approx(expected, abs=1e-9)
        gains = {metric: baselines[name]["gain"][metric]["value"] for metric in expected}
        assert gains == pytest.approx({metric: model[metric] - expected[metric] for metric in expected}, abs=1e-9)
    assert baselines["blind_caption"] == BLIND


def test_a_resampled_corpus_is_one_of_repeated_images() -> None:
    evaluator = CaptionEvaluator(BLIND)
    images = images_of(evaluator)
    drawn = [0, 0, 3, 5, 2, 2]
    found = evaluator.measure(images.rows, np.bincount(drawn, minlength=6)[None])
    expected = peers_figures([CAPTIONS[place] for place in drawn], [REFERENCES[place] for place in drawn])
    for name in ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"):
        assert found[name][0] == pytest.approx(expected[name], abs=1e-9)
    # words stay as rare as they are in the split
    assert found["cider"][0] == pytest.approx(images.rows["cider"][drawn, 0].mean())


@pytest.mark.parametrize("batch_size", [1, 4])
def test_batches_change_nothing(batch_size: int) -> None:
    whole, parts = evaluate(), evaluate(batch_size)
    assert parts.metrics == whole.metrics
    assert parts.predictions == whole.predictions
    assert parts.details == whole.details


def test_predictions_name_caption_scores_and_references() -> None:
    rows = evaluate().predictions
    assert rows[3]["image"] == "3.png"
    assert rows[3]["caption"] == "A red car stops!"
    assert rows[3]["references"] == ["The red car stops", "A car"]
    assert [row["seen_in_training"] for row in rows] == SEEN
    assert rows[4]["cider"] == rows[4]["rouge_l"] == 0 < rows[0]["cider"]
    json.dumps(rows)


def test_the_card_counts_captions() -> None:
    details = evaluate().details
    assert details["captions"] == {
        "distinct": 6,
        "distinct_share": 1.0,
        "seen_in_training": pytest.approx(2 / 6),
        "mean_words": pytest.approx((5 + 6 + 4 + 4 + 0 + 3) / 6),
        "empty": 1,
    }
    assert details["notes"][0] == "1 of 6 captions have no word."


def test_a_model_that_says_the_same_of_every_image_is_named() -> None:
    notes = evaluate(captions=[BLIND] * 6).details["notes"]
    assert notes[0].startswith("Only 1 of 6 captions are distinct: the model says much the same of every image.")
    assert notes[1] == f"By CIDEr the captions aren't measurably better than saying '{BLIND}' of every image."
    assert notes[2] == "By CIDEr the captions aren't measurably better than its captions of other images."


def test_between_epochs_only_the_model_speaks() -> None:
    evaluator = CaptionEvaluator(BLIND)
    evaluator.is_brief = True
    images = images_of(evaluator)
    assert images.rows["bleu"].shape == (6, 1, 10)
    assert images.rows["cider"].shape == images.rows["rouge_l"].shape == (6, 1)
    found = evaluator.values(images)
    assert found == pytest.approx(peers_figures(CAPTIONS, REFERENCES), abs=1e-9)
    assert evaluator.primary in found


def test_of_one_image_there_is_no_other() -> None:
    evaluator = CaptionEvaluator(BLIND)
    evaluation = evaluator.evaluate(images_of(evaluator, size=1))
    assert evaluation.details["baselines"].keys() == {"blind", "blind_caption"}
    assert evaluation.metrics["cider"].value == 0
    assert evaluation.metrics["bleu1"].value > 0.9


def test_a_fold_of_one_image_goes_with_larger_ones() -> None:
    evaluator = CaptionEvaluator(BLIND)
    pooled = pool_images([images_of(evaluator), images_of(evaluator, size=1)])
    assert evaluator.evaluate(pooled).details["baselines"].keys() == {"blind", "blind_caption"}


def test_what_a_run_keeps_makes_the_same_figures(tmp_path: Path) -> None:
    evaluator = make_evaluator(REFERENCES, select="bleu4")
    images = images_of(evaluator)
    images.save(tmp_path / "images.npz", evaluator)
    again, rebuilt = read_images(tmp_path / "images.npz")
    assert rebuilt.description() == evaluator.description()
    assert rebuilt.primary == "bleu4"
    kept, found = rebuilt.evaluate(again), evaluator.evaluate(images)
    assert kept.metrics == found.metrics
    assert kept.details == found.details
    assert kept.predictions == found.predictions


def test_folds_with_other_blind_captions_are_compared() -> None:
    assert CaptionEvaluator("a").judges_as(CaptionEvaluator("b", primary="bleu1"))


def test_truths_differ_where_references_do() -> None:
    hashes = images_of(CaptionEvaluator(BLIND)).rows["truth_hash"]
    assert hashes.dtype == np.uint64
    assert len(set(hashes.tolist())) == 6
    assert (hashes == images_of(CaptionEvaluator(BLIND), captions=[BLIND] * 6).rows["truth_hash"]).all()


def test_the_printed_card_shows_the_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    evaluation = evaluate()
    print_card(
        Card(
            task="captioning",
            split="val",
            selected_on=None,
            metrics={name: vars(each) for name, each in evaluation.metrics.items()},
            per_class=[],
            samples={"used": 6, "skipped": 0, "skipped_files": []},
            cost={"images_per_second": 1, "peak_memory_mib": 1, "trained_parameters": 1, "parameters": 1, "seconds": 1},
            backbone={"name": "tiny", "weights": "none"},
            data={"path": "data"},
            details=evaluation.details,
        )
    )
    printed = capsys.readouterr().out
    assert "blind      cider " in printed
    assert "other_photo cider " in printed
    assert "note       1 of 6 captions have no word." in printed


def test_java_figures_are_the_corpus_s_with_the_spread_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    each = np.array([0.1, 0.2, 0.3, 0.4, 0.0, 0.5])
    monkeypatch.setattr(metrics, "meteor", lambda captions, references: (0.3, each))
    monkeypatch.setattr(metrics, "spice", lambda captions, references: (0.25, each))
    monkeypatch.setattr(metrics, "ptb_words", lambda texts: [text.split() for text in texts])
    evaluator = CaptionEvaluator(BLIND)
    evaluator.java = ("ptb", "meteor", "spice")
    evaluation = evaluator.evaluate(images_of(evaluator))
    found = evaluation.metrics["meteor"]
    assert found.value == pytest.approx(0.3)
    assert found.low < 0.3 < found.high
    assert evaluation.metrics["spice"].value == pytest.approx(0.25)
    assert evaluation.predictions[5]["meteor"] == 0.5
    # split at spaces, "stops!" isn't "stops"
    assert evaluation.metrics["bleu1"].value != pytest.approx(evaluate().metrics["bleu1"].value)


@pytest.mark.parametrize(
    "make", [make_evaluator, lambda _, select: rebuild_evaluator({"blind_caption": "", "primary": select})]
)
def test_an_unknown_metric_is_refused(make) -> None:
    with pytest.raises(UserError, match=r"Unknown metric for --select 'bleu5'. Known: cider, bleu4.*Did you mean"):
        make([], select="bleu5")
