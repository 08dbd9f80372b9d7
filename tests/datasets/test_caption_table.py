import json

import pyarrow
import pytest
from onetrunk.datasets import DataError, guess_kind, open_dataset
from onetrunk.datasets.caption_table import read_caption_table
from pyarrow import parquet


@pytest.fixture
def write(tmp_path, draw):
    """Writes a table beside the pictures ``0.png`` to ``5.png``."""
    for index in range(6):
        draw(tmp_path / f"{index}.png", height=8, width=8, seed=index)

    def write(text, name="captions.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def _captions(contents):
    return {record.name: record.targets["captions"] for records in contents.splits.values() for record in records}


def test_rows_of_the_same_picture_are_joined_in_the_order_of_the_table(write):
    path = write(
        'path,caption,split\n1.png,One.,train\n0.png,"A cat, ""Tom"".",val\n'
        "1.png, Two\tof  them. ,train\n2.png,x,test\n"
    )
    train = open_dataset(path, "train", kind="captions")
    assert [(record.name, record.targets) for record in train.records] == [
        ("1.png", {"captions": ("One.", "Two of them.")})
    ]
    assert train.select("val").records[0].targets["captions"] == ('A cat, "Tom".',)
    assert (train.classes, train.format, train.split_origin) == ((), "table", "column")
    assert not train.notes


@pytest.mark.parametrize("name", ["captions.jsonl", "captions.parquet"])
def test_captions_may_be_a_list(tmp_path, write, name):
    rows = [{"image": "0.png", "captions": ["a", " b "]}, {"image": "1.png", "captions": ["c"]}]
    path = tmp_path / name
    if name.endswith(".parquet"):
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        write("".join(json.dumps(row) + "\n" for row in rows), name)
    assert _captions(read_caption_table(path)) == {"0.png": ("a", "b"), "1.png": ("c",)}
    assert guess_kind(path) == "captions"


def test_a_column_of_json_lists_in_csv(write):
    path = write('path\tcaptions\n0.png\t"[""a, b"", ""c""]"\n1.png\t"[""d""]"\n', "captions.tsv")
    assert _captions(read_caption_table(path)) == {"0.png": ("a, b", "c"), "1.png": ("d",)}


def test_empty_captions_and_pictures_without_any_are_left_out_and_named(write):
    path = write("path,caption\n0.png,a\n0.png,  \n1.png,\n2.png,b\n")
    contents = read_caption_table(path)
    assert _captions(contents) == {"0.png": ("a",), "2.png": ("b",)}
    assert contents.notes == [
        f"{path}: 2 empty captions were left out: row 3 (0.png), row 4 (1.png).",
        f"{path}: 1 image without a caption was left out: 1.png.",
    ]
    assert not contents.faults


def test_of_many_empty_captions_the_first_few_are_named(write):
    rows = "".join(f"{index}.png,a\n{index}.png,\n" for index in range(6))
    note = read_caption_table(write(f"path,caption\n{rows}")).notes[0]
    assert note.endswith("6 empty captions were left out: row 3 (0.png), row 5 (1.png), row 7 (2.png), row 9 (3.png), "
                         "row 11 (4.png) and 1 more.")  # fmt: skip


def test_captions_of_any_length_stay(write):
    assert len(_captions(read_caption_table(write(f"path,caption\n0.png,{'word ' * 5000}\n")))["0.png"][0]) == 24999


def test_a_missing_picture_is_found_when_it_is_read_but_all_of_them_at_once(write):
    assert len(_captions(read_caption_table(write("path,caption\n0.png,a\ngone.png,b\n")))) == 2
    path = write("path,caption\nimg/0.png,a\nimg/1.png,b\n")
    with pytest.raises(
        DataError, match=r"none of its 2 images exists, e\.g\. .*0\.png\. Paths are relative to the tab"
    ):
        open_dataset(path, "train", kind="captions")


def test_a_seeded_cut_needs_no_classes(write):
    path = write("path,caption\n" + "".join(f"{index}.png,a\n" for index in range(6)))
    train = open_dataset(path, "train", kind="captions", val_fraction=0.34)
    assert (len(train), len(train.select("val")), len(train.select("all"))) == (4, 2, 6)
    assert train.split_origin == "seeded 0.34 of everything, seed 0"
    folds = [train.with_fold(fold, folds=3, seed=1).select("val").records for fold in (1, 2, 3)]
    assert sorted(record.name for records in folds for record in records) == [f"{index}.png" for index in range(6)]
    assert train.fingerprint() != open_dataset(path, "val", kind="captions").fingerprint()


def test_one_picture_can_not_be_cut(write):
    path = write("path,caption\n0.png,a\n0.png,b\n")
    with pytest.raises(DataError, match="the split 'val' is empty; a data set is cut from two images on"):
        open_dataset(path, "val", kind="captions")


def test_pictures_of_a_subject_stay_together(write):
    rows = "".join(f"{index}.png,a,{'xy'[index % 2]}\n" for index in range(6))
    train = open_dataset(write(f"path,caption,subject\n{rows}"), "train", kind="captions")
    assert {record.targets["subject"] for record in train.records} in ({"x"}, {"y"})


def test_the_fingerprint_tells_captions_apart(write):
    prints = {
        open_dataset(write(f"path,caption\n0.png,{text}\n"), "all", kind="captions").fingerprint() for text in "aab"
    }
    assert len(prints) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,caption\n", "the table has no rows"),
        (
            "path,captoin\n0.png,a\n",
            "the column 'caption' is missing; columns: path, captoin. Is it 'captoin'? Call it",
        ),
        (
            "path,text\n0.png,a\n",
            "the column 'caption' is missing; columns: path, text. Is it 'text'? Call it 'caption'",
        ),
        ("file_name,caption\n0.png,a\n", "the column 'path' is missing; .* Is it 'file_name'? Call it 'path'"),
        ("path,caption,captions\n0.png,a,b\n", "'caption' and 'captions' can't both be there; columns: path, caption"),
        ("path,caption,caption\n0.png,a,b\n", "the column 'caption' is there 2 times"),
        ("path,captions\n0.png,a cat\n", r"row 2: captions are a list, such as .*, not 'a cat'. A column of single"),
        ("path,captions\n0.png,[[1]]\n", "row 2: a caption is text, not a list or an object"),
        ("path,caption\n0.png,\n1.png, \n", "every caption is empty; there is none to learn"),
        ("path,caption\n0.png,a\n,b\n", "row 3: the path is empty"),
        ("path,caption\n0.png,a, b\n", "row 2: 3 values for the 2 columns path, caption. Put values that contain ','"),
        ("path,caption,split\n0.png,a,train\n0.png,b,val\n", "row 3: '0.png' has another subject or split in row 2"),
        (
            "path,caption,split\n0.png,a,trian\n",
            "the split 'trian' isn't one of train, val, test. Did you mean 'train'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_row(write, text, message):
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        open_dataset(write(text), "all", kind="captions")


def test_a_table_of_another_ending_is_no_data_set(write):
    path = write("path,caption\n0.png,a\n", "captions.doc")
    with pytest.raises(
        DataError, match=r"a table \(.csv, .tsv, .parquet, .jsonl\), a COCO or Karpathy JSON file or Fl"
    ):
        open_dataset(path, "all", kind="captions")
