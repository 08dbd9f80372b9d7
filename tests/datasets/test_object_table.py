"""Tables of boxes for detection."""

from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from onetrunk.datasets import DataError, open_dataset
from pyarrow import parquet

BOXED = "path,label,xmin,ymin,xmax,ymax\n"


@pytest.fixture
def write(tmp_path, draw) -> Callable[[str], Path]:
    """Writes a table beside the pictures 0 to 2."""

    def write(text: str) -> Path:
        for number in range(3):
            draw(tmp_path / "img" / f"{number}.png", seed=number)
        (tmp_path / "objects.csv").write_text(text)
        return tmp_path / "objects.csv"

    return write


def test_rows_of_a_picture_may_have_several_labels_or_none(write):
    path = write(BOXED + "img/0.png,cat,1,2,3,4\nimg/1.png,,,,,\n./img/0.png,dog,0,0,9.5,9\nimg/2.png,cat,5,5,5,9\n")
    data = open_dataset(path, "all", kind="objects")
    first, bare, flat = (record.targets["objects"] for record in data.records)
    assert (first.boxes, first.names) == (((1, 2, 3, 4), (0, 0, 9.5, 9)), ("cat", "dog"))
    assert first.where(1) == f"{path}: row 4 ('dog')"
    assert (len(bare), len(flat), flat.sound) == (0, 1, ())
    assert [record.targets["labels"] for record in data.records] == [("cat", "dog"), (), ()]
    assert "label" not in data.records[0].targets
    assert (data.format, data.classes) == ("table", ("cat", "dog"))
    assert data.notes == (
        f"{path}: 2 images without an object stay, as nothing to be found is something to learn.",
        f"{path}: 1 box without an area was left out: {path}: row 5 ('cat').",
    )


def test_splits_and_subjects_are_the_image_s(write):
    header = "path,label,labels,subject,split,xmin,ymin,xmax,ymax\n"
    data = open_dataset(
        write(
            header + "img/0.png,cat,x,tom,train,1,2,3,4\nimg/0.png,dog,y,tom,train,1,2,3,4\nimg/1.png,,,jo,val,,,,\n"
        ),
        "train",
        kind="objects",
    )
    assert (data.splits_origin, len(data), len(data.select("val"))) == ("column", 1, 1)
    assert data.records[0].targets["subject"] == "tom"
    assert data.records[0].targets["labels"] == ("cat", "dog")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            BOXED + "img/0.png,cat,1,2,three,4\n",
            r"row 2: a box is four numbers, not '1', '2', 'three', '4'\. An image w",
        ),
        (BOXED + "img/0.png,cat,,,,\n", "row 2: a box is four numbers, .* is a row with neither label nor box"),
        (BOXED + "img/0.png,,1,2,3,4\n", "row 2: the label of 'img/0.png' is empty"),
        (BOXED + ",,,,,x\n", "row 2: the path is empty"),
        (
            BOXED + "img/0.png,cat,1,2,3,4\nimg/0.png,,,,,\n",
            r"row 3: 'img/0\.png' is in row 2 already\. An image without objects has one row",
        ),
        (BOXED + "img/0.png,,,,,\nimg/0.png,cat,1,2,3,4\n", r"row 3: 'img/0\.png' is in row 2 already"),
        (BOXED + "img/0.png,,,,,\nimg/0.png,,,,,\n", r"row 3: 'img/0\.png' is in row 2 already"),
        (
            "split," + BOXED + "train,img/0.png,cat,1,2,3,4\nval,img/0.png,dog,1,2,3,4\n",
            r"row 3: 'img/0\.png' has another subject or split in row 2",
        ),
        (
            "subject," + BOXED + "tom,img/0.png,cat,1,2,3,4\njo,img/0.png,,,,,\n",
            r"row 3: 'img/0\.png' has another subject or split in row 2",
        ),
        (
            "path,label,xmin,ymin,xmax\nimg/0.png,cat,1,2,3\n",
            r"the column 'ymax' is missing; columns: path, label, xmin",
        ),
        ("path,xmin,ymin,xmax,ymax\nimg/0.png,1,2,3,4\n", "the column 'label' is missing"),
        (BOXED + "0.png,cat,1,2,3,4\n", "none of its 1 images exists"),
        (BOXED, "the table has no rows"),
        (BOXED + "img/0.png,,,,,\n", "no image has a label"),
    ],
)
def test_faulty_tables_are_refused_by_row(write, text, words):
    with pytest.raises(DataError, match=words):
        open_dataset(write(text), "all", kind="objects")


def test_parquet_has_nulls_for_what_is_not_there(write, tmp_path):
    write("")
    bounds = {"xmin": [0.0, None], "ymin": [0, None], "xmax": [9.5, None], "ymax": [9, None]}
    columns = {"path": ["img/0.png", "img/1.png"], "label": ["cat", None], **bounds}
    parquet.write_table(pyarrow.table(columns), tmp_path / "b.parquet")
    data = open_dataset(tmp_path / "b.parquet", "all", kind="objects")
    assert [record.targets["objects"].boxes for record in data.records] == [((0, 0, 9.5, 9),), ()]
