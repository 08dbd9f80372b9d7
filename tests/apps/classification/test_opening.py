"""Where a run's split comes from, whether or not the run was interrupted."""

import shutil
from pathlib import Path

import pytest
from onetrunk.apps.classification import TrainOptions
from onetrunk.apps.classification.opening import open_for_training
from onetrunk.datasets import write_split


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
    begun = open_for_training(TrainOptions(data=str(data), **more), file)
    write_split(file, begun["train"].splits)
    shutil.copy(pictures / "val" / "red" / "00.png", data / "red" / "new.png")  # a cut made now would be another
    went_on = open_for_training(TrainOptions(data=str(data), resume=True, **more), file)
    for split in ("train", "val"):
        assert went_on[split].split_origin == begun[split].split_origin == origin
        assert went_on[split].fingerprint() == begun[split].fingerprint()


def test_a_split_that_nobody_cut_comes_from_a_file(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    write_split(file, open_for_training(TrainOptions(data=str(pictures)), file)["train"].splits)
    assert open_for_training(TrainOptions(data=str(pictures), resume=True), file)["train"].split_origin == "file"
