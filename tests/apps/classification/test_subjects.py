"""Several pictures of one subject judged together, by hand and through the command line."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps.classification.averaging import mean_softmax
from onetrunk.apps.classification.metrics import ClassificationEvaluator
from onetrunk.apps.classification.subjects import SubjectEvaluator, subjects_of
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import EvaluatedImages, read_images
from onetrunk.datasets import BadSample, Batch, Context, DataError, open_dataset

TINY = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()
SUBJECTS = {"a1": "ann", "b1": "bob", "a2": "ann", "c1": "cec", "a3": "ann"}
PROBABILITIES = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.2, 0.8], [0.4, 0.6]])
LABELS = torch.tensor([0, 1, 0, 1, 0])


@pytest.fixture
def evaluator() -> SubjectEvaluator:
    return SubjectEvaluator(ClassificationEvaluator(["no", "yes"]), SUBJECTS, mean_softmax)


@pytest.fixture
def images(evaluator: SubjectEvaluator) -> EvaluatedImages:
    sizes = torch.full((5, 2), 8)
    batch = Batch(None, None, Context((8, 8), sizes, sizes), {"label": LABELS}, torch.arange(5), list(SUBJECTS))
    return EvaluatedImages(np.arange(5), tuple(SUBJECTS), evaluator.collect(PROBABILITIES.log(), batch))


def test_a_subject_is_the_mean_of_its_images(evaluator: SubjectEvaluator, images: EvaluatedImages) -> None:
    subjects, places = evaluator.merge(images)
    assert subjects.names == ("ann", "bob", "cec")
    assert places.tolist() == [0, 1, 0, 2, 0]
    assert subjects.rows["label"].tolist() == [0, 1, 1]
    # ann: (0.9 + 0.4 + 0.4) / 3, right although two of her three images are wrong
    assert subjects.rows["top"][:, 0].tolist() == [0, 0, 1]
    assert subjects.rows["probability"][:, 0] == pytest.approx([1.7 / 3, 0.7, 0.8])


def test_figures_and_intervals_are_of_subjects(evaluator: SubjectEvaluator, images: EvaluatedImages) -> None:
    found = evaluator.evaluate(images, [BadSample(5, "a1", Path("a1"), "broken")])
    assert evaluator.values(images)["top1"] == pytest.approx(2 / 3)
    assert found.metrics["top1"].value == pytest.approx(2 / 3)
    assert found.metrics["top1"].low == pytest.approx(0.2077, abs=1e-4)  # Wilson's for 2 of 3
    assert (found.used, len(found.skipped)) == (5, 1)
    assert found.details["by_subject"]["subjects"] == 3
    assert found.details["confusion_matrix"]["rows_are_labels"] == [[1, 0], [1, 1]]


def test_the_images_figures_are_kept_with_intervals_over_subjects(
    evaluator: SubjectEvaluator, images: EvaluatedImages
) -> None:
    kept = evaluator.evaluate(images).details["by_subject"]["metrics_of_images"]["top1"]
    assert kept["value"] == pytest.approx(2 / 5)
    # a sample of three subjects may hold bob alone (0 of 3 images right) or cec alone (3 of 3), but no share between
    # those that three subjects make with ann's 1 of 3
    assert (kept["low"], kept["high"]) == (0.0, 1.0)


def test_predictions_have_images_and_then_subjects(evaluator: SubjectEvaluator, images: EvaluatedImages) -> None:
    rows = evaluator.evaluate(images).predictions
    assert [row["image"] for row in rows[:5]] == list(SUBJECTS)
    assert [row["subject"] for row in rows] == [*SUBJECTS.values(), "ann", "bob", "cec"]
    assert [row["images"] for row in rows[5:]] == [3, 1, 1]
    assert [row["correct"] for row in rows[5:]] == [True, False, True]


def write_table(folder: Path, *rows: str) -> Path:
    (folder / "t.csv").write_text("\n".join(rows) + "\n")
    return folder / "t.csv"


def test_labels_of_a_subject_must_agree(pictures: Path, tmp_path: Path) -> None:
    a, b = pictures / "val/red/00.png", pictures / "val/red/01.png"
    table = write_table(tmp_path, "path,label,subject", f"{a},red,ann", f"{b},green,ann")
    with pytest.raises(DataError, match=r"subject 'ann' have different labels: .*00.png has 'red', .*01.png has 'gre"):
        subjects_of(open_dataset(table, "all"))


def test_sets_of_labels_must_agree_too(pictures: Path, tmp_path: Path) -> None:
    a, b = pictures / "val/red/00.png", pictures / "val/red/01.png"
    table = write_table(tmp_path, "path,labels,subject", f"{a},red;blue,ann", f"{b},red,ann")
    with pytest.raises(DataError, match=r"'ann' have different labels: .* has 'blue;red', .* has 'red'"):
        subjects_of(open_dataset(table, "all"))


def test_images_without_subjects_are_refused(pictures: Path) -> None:
    with pytest.raises(DataError, match="--by-subject needs a table with a column 'subject'"):
        subjects_of(open_dataset(pictures, "val"))


@pytest.fixture(scope="module")
def run(subject_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small run that was judged by subject."""
    run = tmp_path_factory.mktemp("by-subject") / "run"
    words = ["classification", "train", "--data", str(subject_table), "--output", str(run), "--by-subject", *TINY]
    assert main([*words, "--epochs", "3", "--learning-rate", "0.01"]) == 0
    return run


def test_train_judges_subjects(run: Path) -> None:
    card = json.loads((run / "results.json").read_text())
    assert card["details"]["by_subject"]["subjects"] == 9
    assert card["samples"]["used"] == 15
    assert sum(row["images"] for row in card["per_class"]) == 9
    rows = json.loads((run / "predictions.json").read_text())
    assert len(rows) == 15 + 9
    assert sum(row["correct"] for row in rows[15:]) / 9 == pytest.approx(card["metrics"]["top1"]["value"])


def test_a_subjects_probabilities_are_its_images_mean(run: Path) -> None:
    rows = json.loads((run / "predictions.json").read_text())
    of_images = defaultdict(list)
    for row in rows[:15]:
        of_images[row["subject"]].append({entry["class"]: entry["probability"] for entry in row["top"]})
    for row in rows[15:]:
        for entry in row["top"]:
            mean = np.mean([one[entry["class"]] for one in of_images[row["subject"]]])
            assert entry["probability"] == pytest.approx(mean, abs=2e-6)


def test_a_run_keeps_subjects_for_comparisons(run: Path) -> None:
    kept, evaluator = read_images(run / "images.npz")
    assert len(kept) == 9
    card = json.loads((run / "results.json").read_text())
    assert evaluator.values(kept)["top1"] == pytest.approx(card["metrics"]["top1"]["value"])


def test_evaluate_repeats_the_subjects_figures(
    run: Path, subject_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classification", "evaluate", "--model", str(run), "--data", str(subject_table), "--workers", "0"]
    assert main([*words, "--device", "cpu", "--by-subject", "--batch-size", "4", "--output", str(tmp_path)]) == 0
    assert "figures are of subjects, each the mean of its images' probabilities: 9 val" in capsys.readouterr().out
    found, kept = (json.loads((folder / "results.json").read_text()) for folder in (tmp_path, run))
    for name, row in kept["metrics"].items():
        assert found["metrics"][name] == pytest.approx(row, abs=1e-3), name
    assert found["details"]["by_subject"]["metrics_of_images"].keys() == kept["metrics"].keys()


def test_folds_count_subjects_and_their_images(subject_table: Path, tmp_path: Path) -> None:
    words = ["classification", "train", "--data", str(subject_table), "--output", str(tmp_path / "folds"), *TINY]
    assert main([*words, "--by-subject", "--folds", "2", "--epochs", "1"]) == 0
    card = json.loads((tmp_path / "folds" / "results.json").read_text())
    subjects, evaluator = read_images(tmp_path / "folds" / "images.npz")
    assert subjects.members is not None
    assert card["samples"]["used"] == len(subjects.members.images) == 48
    assert card["details"]["by_subject"]["subjects"] == len(subjects) == 27
    of_images = card["details"]["by_subject"]["metrics_of_images"]
    assert of_images["top1"]["value"] == pytest.approx(evaluator.values(subjects.members.images)["top1"])
    parts = [json.loads((tmp_path / "folds" / f"fold-{n}" / "predictions.json").read_text()) for n in (1, 2)]
    right = [row["correct"] for rows in parts for row in rows if "images" not in row]
    assert of_images["top1"]["value"] == pytest.approx(np.mean(right))
    assert len(right) == 48


def test_a_folder_without_subjects_is_refused_by_the_command(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classification", "train", "--data", str(pictures), "--output", str(tmp_path / "r"), "--by-subject"]
    assert main([*words, *TINY]) == 2
    assert "--by-subject needs a table" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_predict_averages_the_pictures_of_a_folder(run: Path, pictures: Path, tmp_path: Path) -> None:
    words = ["classification", "predict", "--model", str(run), "--images", str(pictures / "val"), "--workers", "0"]
    assert main([*words, "--device", "cpu", "--by-folder", "--output", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "predictions.json").read_text())
    folders = [row for row in rows if "folder" in row]
    assert [Path(row["folder"]).name for row in folders] == ["blue", "green", "red"]
    for folder in folders:
        own = [row for row in rows if "image" in row and Path(row["image"]).parent == Path(folder["folder"])]
        assert len(own) == folder["images"] == 5
        for entry in folder["top"]:
            each = [one["probability"] for row in own for one in row["top"] if one["class"] == entry["class"]]
            assert entry["probability"] == pytest.approx(np.mean(each), abs=2e-6)
    assert not any("output" in row for row in rows)
