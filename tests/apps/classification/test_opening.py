"""Where a run's split comes from, whether or not the run was interrupted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from onetrunk.apps.app_training import open_splits
from onetrunk.apps.classification import EvaluateOptions, TrainOptions
from onetrunk.apps.classification.opening import open_for_model
from onetrunk.apps.classification.training import TRAINING
from onetrunk.apps.opening import Trained
from onetrunk.datasets import DataError, write_split


@pytest.mark.parametrize(
    ("more", "origin"),
    [
        ({"val_fraction": 0.3}, "seeded 0.3 of everything, seed 0"),
        ({"folds": 3, "fold": 2}, "fold 2 of 3, seed 0 of everything"),
    ],
)
def test_a_run_that_goes_on_keeps_its_split_and_the_splits_origin(
    more: dict, origin: str, pictures: Path, tmp_path: Path
) -> None:
    data, file = Path(shutil.copytree(pictures / "train", tmp_path / "data")), tmp_path / "split.csv"
    begun = open_splits(TRAINING, TrainOptions(data=str(data), **more), file)
    write_split(file, begun["train"].splits)
    shutil.copy(pictures / "val" / "red" / "00.png", data / "red" / "new.png")  # a cut made now would be another
    went_on = open_splits(TRAINING, TrainOptions(data=str(data), resume=True, **more), file)
    for split in ("train", "val"):
        assert went_on[split].split_origin == begun[split].split_origin == origin
        assert went_on[split].fingerprint() == begun[split].fingerprint()


def test_a_split_that_nobody_cut_comes_from_a_file(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    write_split(file, open_splits(TRAINING, TrainOptions(data=str(pictures)), file)["train"].splits)
    assert open_splits(TRAINING, TrainOptions(data=str(pictures), resume=True), file)["train"].split_origin == "file"


def test_a_fold_of_train_and_val_in_the_voc_layout_goes_on_with_the_same_images(
    label_voc: Path, tmp_path: Path
) -> None:
    file, fold = tmp_path / "split.csv", {"folds": 2, "fold": 1}
    begun = open_splits(TRAINING, TrainOptions(data=str(label_voc), **fold), file)
    write_split(file, begun["train"].splits)
    went_on = open_splits(TRAINING, TrainOptions(data=str(label_voc), resume=True, **fold), file)
    for split in ("train", "val"):
        assert went_on[split].fingerprint() == begun[split].fingerprint()


@pytest.fixture
def model_of_fold(tmp_path: Path) -> Callable[[Path], Path]:
    """Writes what a model keeps of its data, here of the first of two folds."""

    def make(data: Path) -> Path:
        splits = open_splits(TRAINING, TrainOptions(data=str(data), folds=2, fold=1), tmp_path / "none.csv")
        model = tmp_path / "model"
        model.mkdir()
        write_split(model / "split.csv", splits["train"].splits)
        readout = "sigmoid" if "labels" in splits["val"].records[0].targets else "softmax"
        facts = {"fingerprint": splits["val"].fingerprint()}
        (model / "model.json").write_text(json.dumps({"format": 1, "readout": readout, "data": facts}))
        return model

    return make


@pytest.mark.parametrize("layout", ["pictures", "label_voc"])
def test_a_model_of_a_fold_is_evaluated_on_its_own_split(
    layout: str, model_of_fold: Callable[[Path], Path], request: pytest.FixtureRequest
) -> None:
    data = request.getfixturevalue(layout)
    model = model_of_fold(data)
    images = open_for_model(Trained.read(str(model)), EvaluateOptions(data=str(data), model=str(model)))
    listed = (model / "split.csv").read_text().splitlines()
    assert {f"{record.name},val" for record in images.records} <= set(listed)


def test_a_split_that_holds_images_the_model_was_trained_on_is_refused(
    pictures: Path, tmp_path: Path, model_of_fold: Callable[[Path], Path]
) -> None:
    """The data changed since the fold was cut, so that the model's split no longer fits; their own val is no match."""
    data = Path(shutil.copytree(pictures, tmp_path / "data"))
    model = model_of_fold(data)
    listed = dict(line.split(",") for line in (model / "split.csv").read_text().splitlines())
    changed = next(name for name in listed if listed[name] == "val")
    shutil.copy(pictures / "train" / "red" / "01.png", data / changed)
    options = EvaluateOptions(data=str(data), model=str(model))
    count = sum(name.startswith("val/") and split == "train" for name, split in listed.items())
    with pytest.raises(DataError, match=rf"{count} of the 15 images of 'val' .* trained on.*--split all"):
        open_for_model(Trained.read(str(model)), options)
    for split, size in (("all", 48), ("train", 33)):
        others = EvaluateOptions(data=str(data), model=str(model), split=split)
        assert len(open_for_model(Trained.read(str(model)), others)) == size


def test_a_split_that_may_hold_images_the_model_was_trained_on_is_warned_of(
    pictures: Path, tmp_path: Path, model_of_fold: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Other data may have the same names; what isn't there any more can't tell."""
    data = Path(shutil.copytree(pictures, tmp_path / "data"))
    model = model_of_fold(data)
    (data / "train" / "red" / "00.png").unlink()
    images = open_for_model(Trained.read(str(model)), EvaluateOptions(data=str(data), model=str(model)))
    assert len(images) == 15
    assert "of the 15 images of 'val' have the names of images that the model was trained on" in capsys.readouterr().out


def test_other_data_are_evaluated_without_a_warning(
    pictures: Path, tmp_path: Path, model_of_fold: Callable[[Path], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of_fold(pictures)
    for folder in ("red", "green", "blue"):
        for file in (pictures / "val" / folder).iterdir():
            copy = tmp_path / "others" / "val" / folder / f"other-{file.name}"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    images = open_for_model(Trained.read(str(model)), EvaluateOptions(data=str(tmp_path / "others"), model=str(model)))
    assert len(images) == 15
    assert "warning" not in capsys.readouterr().out
