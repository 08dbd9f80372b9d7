import numpy as np
import pyarrow
import pytest
from onetrunk.datasets import DataError, guess_kind, open_dataset
from onetrunk.datasets.table import read_table
from pyarrow import parquet


@pytest.fixture
def write(tmp_path, draw):
    """Writes a table beside the pictures ``img/0.png`` to ``img/4.png``."""
    for index in range(5):
        draw(tmp_path / "img" / f"{index}.png", seed=index)

    def write(text: str, name: str = "labels.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def _all(data):
    return {record.name: record.targets for records in data.splits.values() for record in records}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_csv_with_splits(write, tmp_path, separator, start):
    rows = [
        "path,label,split",
        "img/0.png,01,train",
        "img/1.png,1,Training",
        "img/2.png,01,valid",
        "",
        "img/3.png,1,val",
    ]
    path = write(start + "\n".join(rows).replace(",", separator))
    train = open_dataset(path, "train")
    assert train.classes == ("01", "1"), "labels are text"
    assert [record.path for record in train.records] == [tmp_path / "img" / "0.png", tmp_path / "img" / "1.png"]
    assert (train.format, train.split_origin, tuple(train.splits)) == ("table", "column", ("train", "val"))
    assert [record.targets for record in train.select("val").records] == [{"label": "01"}, {"label": "1"}]


def test_without_a_split_column_val_is_cut_by_class(write):
    data = open_dataset(write("label,path\n" + "".join(f"{i % 2},img/{i}.png\n" for i in range(4))), "val")
    assert data.split_origin == "seeded 0.2 of everything, seed 0"
    assert data.class_counts() == data.select("train").class_counts() == {"0": 1, "1": 1}


def test_all_of_a_table_with_and_without_splits(write):
    split = write("path,label,split\nimg/2.png,b,val\nimg/1.png,a,train\nimg/0.png,b,train\nimg/3.png,a,test\n")
    data = open_dataset(split, "all")
    assert [record.name for record in data.records] == [f"img/{index}.png" for index in (1, 0, 2, 3)]
    assert (data.split_origin, tuple(data.splits)) == ("all", ("train", "val", "test"))
    unsplit = open_dataset(write("path,label\nimg/1.png,a\nimg/0.png,a\n", "unsplit.csv"), "all")
    assert [record.name for record in unsplit.records] == ["img/1.png", "img/0.png"], "the table's order"


def test_quoted_values_and_further_columns(write):
    path = write('path,photographer,label\nimg/0.png,"Doe, Jane",cat\n')
    assert _all(open_dataset(path, "train")) == {"img/0.png": {"label": "cat"}}


def test_several_labels(write):
    path = write("path,labels\nimg/0.png,dog;cat\nimg/1.png,\nimg/2.png, eel ;dog;dog\n")
    data = open_dataset(path, "train")
    assert data.classes == ("cat", "dog", "eel") or len(data) == 2
    assert _all(data) == {
        "img/0.png": {"labels": ("dog", "cat")},
        "img/1.png": {"labels": ()},
        "img/2.png": {"labels": ("eel", "dog")},
    }


def test_subjects_are_text(write, tmp_path):
    path = write("path,label,subject\nimg/0.png,a, 01\nimg/1.png,b,1\nimg/2.png,b,01\n")
    assert {name: targets["subject"] for name, targets in _all(open_dataset(path, "train")).items()} == {
        "img/0.png": "01",
        "img/1.png": "1",
        "img/2.png": "01",
    }
    table = {"path": ["img/0.png", "img/1.png"], "labels": [["a"], []], "subject": [7, 8]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    assert _all(open_dataset(tmp_path / "a.parquet", "train"))["img/1.png"] == {"labels": (), "subject": "8"}


@pytest.mark.parametrize("column", ["Subject", "patient_id", "Patient ID"])
def test_a_column_that_looks_like_subjects_is_noted(write, column):
    rows = "img/0.png,a,1\nimg/1.png,a,1\n"
    data = open_dataset(write(f"path,label,{column}\n{rows}"), "train")
    assert any(f"labels.csv: the column '{column}' isn't read. If it tells" in note for note in data.notes)
    assert not any("isn't read" in note for note in open_dataset(write(f"path,label,x\n{rows}"), "train").notes)


@pytest.mark.parametrize("label", [[7, 7, 8], ["07", "7", "8"]])
def test_parquet(tmp_path, write, label):
    table = {"path": [f"img/{i}.png" for i in range(3)], "label": label, "split": ["train", "train", "val"]}
    parquet.write_table(pyarrow.table({**table, "size": [1, 2, 3]}), tmp_path / "a.parquet")
    data = open_dataset(tmp_path / "a.parquet", "train")
    assert [record.targets["label"] for record in data.records] == [str(name) for name in label[:2]]


def test_parquet_lists_of_labels(tmp_path, write):
    table = {"path": ["img/0.png", "img/1.png"], "labels": [["a;b", "c"], []]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    assert _all(open_dataset(tmp_path / "a.parquet", "train")) == {
        "img/0.png": {"labels": ("a;b", "c")},
        "img/1.png": {"labels": ()},
    }


def test_absolute_paths_and_single_missing_files_are_taken(write, tmp_path):
    path = write(f"path,label\n{tmp_path / 'img' / '0.png'},a\nimg/gone.png,a\n")
    assert len(_all(open_dataset(path, "train"))) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column 'path' is missing; columns: none"),
        ("path,label\n", "the table has no rows"),
        ("Path,label\nimg/0.png,a\n", "'path' is missing; columns: Path, label. Is it 'Path'"),
        ("file_name,label\nimg/0.png,a\n", "Is it 'file_name'"),
        ("paths,label\nimg/0.png,a\n", "Is it 'paths'. Call it 'path'"),
        ("path,label,spilt\nimg/0.png,a,test\n", "no column 'split'; columns: path, label, spilt. Is it 'spilt'?"),
        ("path,lable\nimg/0.png,a\n", "column 'label' is missing; columns: path, lable. Is it 'lable'"),
        ("path,category\nimg/0.png,a\n", "Is it 'category'. Call it 'label'"),
        ("path,x\nimg/0.png,a\n", "column 'label' is missing; columns: path, x.$"),
        ("path,label,labels\nimg/0.png,a,b\n", "'label' and 'labels' can't both be there"),
        ("path,label\nimg/0.png,a\n ,b\n", "row 3: the path is empty"),
        ("path,label\nimg/0.png,a\nimg/1.png,\n", "row 3: the label of 'img/1.png' is empty"),
        (
            "path,label,subject\nimg/0.png,a,p\nimg/1.png,a,\n",
            "row 3: the subject of 'img/1.png' is empty. If",
        ),
        ("path,label\nimg/0.png,a\n\nimg/1.png,a,b\n", "row 4: 3 values for the 2 columns path, label"),
        ("path,label\nimg/0.png,a\nimg/1.png,a\nimg/0.png,b\n", "row 4: the image 'img/0.png' is in row 2 already"),
        ("path,label,split\nimg/0.png,a,trian\n", "row 2: the split 'trian' isn't one of .*Did you mean 'train'"),
        ("path,label\nimages/0.png,a\nimages/1.png,a\n", "none of its 2 images exists, e.g. .*relative to the table's"),
        ("path,label,split\nimg/0.png,a,train\nimg/1.png,b,val\n", "img/1.png: the class 'b' isn't one of the 1"),
    ],
)
def test_a_damaged_table_is_refused_with_file_and_row(write, text, words):
    path = write(text)
    with pytest.raises(DataError, match=words) as raised:
        open_dataset(path, "val")
    assert str(path.parent) in str(raised.value)


def test_other_encodings_and_broken_parquet_are_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes("path,label\nimg/0.png,Käse\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"a\.csv: the table isn't UTF-8"):
        open_dataset(tmp_path / "a.csv", "train")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match=r"a\.parquet: the Parquet table can't be read"):
        open_dataset(tmp_path / "a.parquet", "train")
    with pytest.raises(DataError, match=r"gone\.csv: the table can't be read"):
        read_table(tmp_path / "gone.csv")


def test_parquet_without_a_label_in_a_row(tmp_path, write):
    table = {"path": ["img/0.png", "img/1.png"], "label": ["a", None]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 2: the label of 'img/1\.png' is empty"):
        open_dataset(tmp_path / "a.parquet", "train")


def test_all_faulty_rows_are_refused_at_once(write):
    rows = ["img/0.png,a,train", ",a,train", "img/1.png,,trian", "img/2.png,a", "img/0.png,b,val", "img/3.png,b,val"]
    path = write("path,label,split\n" + "\n".join(rows))
    with pytest.raises(DataError, match=r"labels\.csv: 5 faults:\n") as raised:
        open_dataset(path, "train")
    _, *lines = str(raised.value).splitlines()
    expected = [
        "row 3: the path is empty",
        "row 4: the label of 'img/1.png' is empty",
        "row 4: the split 'trian' isn't one of",
        "row 5: 2 values for the 3 columns",
        "row 6: the image 'img/0.png' is in row 2 already",
    ]
    assert all(words in line for words, line in zip(expected, lines, strict=True))


def test_of_many_faults_twenty_are_listed_and_all_are_counted(write):
    path = write("path,label\nimg/0.png,a\n" + ",a\n" * 30)
    with pytest.raises(DataError, match=r"30 faults:\n(.*row \d+: the path is empty\.\n){20}  \.\.\. and 10 more$"):
        open_dataset(path, "train")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('path,label\nimg/0.png,"a\nimg/1.png,b\n', "row 2: this is no row of CSV .* Is a quote left open"),
        ('path,label\n"img/0.png"x,a\nimg/1.png,b\n', "row 2: this is no row of CSV"),
        ('path,"label\nimg/0.png,a\n', "row 1: this is no row of CSV"),
        ("path,label,path\nimg/0.png,a,img/1.png\n", "the column 'path' is there 2 times; columns: path, label, path"),
    ],
)
def test_quotes_that_swallow_rows_and_columns_that_hide_one_another_are_refused(write, text, words):
    with pytest.raises(DataError, match=words):
        open_dataset(write(text), "train")


def _boxes_of(data):
    return {record.name: (record.targets["label"], record.targets["boxes"]) for record in data.records}


BOXED = "path,label,xmin,ymin,xmax,ymax\n"


def test_boxes_of_a_picture_stand_in_several_rows(write):
    rows = "img/0.png,cat,1,2,3,4\nimg/1.png,dog,0,0,5.5,5\nimg/0.png,cat,0,0,9,9\n./img/0.png,cat,4,4,4,9\n"
    path = write(BOXED + rows)
    data = open_dataset(path, "all", kind="boxes")
    assert _boxes_of(data) == {
        "img/0.png": ("cat", ((0, 0, 9, 9), (1, 2, 3, 4))),
        "img/1.png": ("dog", ((0, 0, 5.5, 5),)),
    }
    assert any("1 boxes without an area were left out; their pictures have others" in note for note in data.notes)
    assert guess_kind(path) == "objects"
    assert open_dataset(write("path,label\nimg/0.png,cat\nimg/1.png,dog\n", "l.csv"), "all").classes == ("cat", "dog")
    assert guess_kind(path.with_name("l.csv")) == "labels"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOXED + "img/0.png,cat,1,2,three,4\n", r"row 2: a box is four numbers, not '1', '2', 'three', '4'\."),
        (BOXED + "img/0.png,cat,1,2,,4\n", "row 2: a box is four numbers, not '1', '2', '', '4'"),
        (BOXED + "img/0.png,,1,2,3,4\n", "row 2: the label of 'img/0.png' is empty"),
        (
            BOXED + "img/0.png,cat,1,2,3,4\nimg/0.png,dog,1,2,3,4\n",
            "row 3: 'img/0.png' has another label, subject or s",
        ),
        (
            "path,label,xmin,ymin,xmax\nimg/0.png,cat,1,2,3\n",
            r"the column 'ymax' is missing; columns: path, label, xmin",
        ),
        ("path,label,x1,y1,x2,y2\nimg/0.png,cat,1,2,3,4\n", r"'xmin' is missing; .* Is it 'x1'\? Call it 'xmin'\."),
        ("path,xmin,ymin,xmax,ymax\nimg/0.png,1,2,3,4\n", "the column 'label' is missing"),
        (BOXED + "0.png,cat,1,2,3,4\n", "none of its 1 images exists"),
        (BOXED, "the table has no rows"),
    ],
)
def test_faulty_tables_of_boxes_are_refused_by_row(write, text, words):
    with pytest.raises(DataError, match=words):
        open_dataset(write(text), "all", kind="boxes")


def test_boxes_come_from_parquet_too(write, tmp_path):
    columns = {"path": ["img/0.png"] * 2, "label": ["cat"] * 2, "xmin": [0.0, 2], "ymin": [0, 2], "xmax": [9, 4]}
    parquet.write_table(pyarrow.table({**columns, "ymax": [9, 4]}), tmp_path / "b.parquet")
    write("")
    data = open_dataset(tmp_path / "b.parquet", "all", kind="boxes")
    assert _boxes_of(data) == {"img/0.png": ("cat", ((0, 0, 9, 9), (2, 2, 4, 4)))}


def test_masks_of_a_table_lie_anywhere_and_labels_beside_them_are_for_others(write, write_mask, tmp_path):
    values = np.tile(np.arange(56) % 3, (40, 1))
    for index in range(3):
        write_mask(tmp_path / "drawn" / f"{index}.png", values)
    rows = "img/0.png,drawn/0.png,cat,train\nimg/1.png,drawn/1.png,,train\n" + f"img/2.png,{tmp_path}/drawn/2.png,a,val"
    path = write("path,mask,label,split\n" + rows)
    data = open_dataset(path, "train", kind="masks")
    assert (data.classes, data.split_origin) == (("0", "1", "2"), "column")
    assert [record.targets["labels"] for record in data.records] == [("0", "1", "2")] * 2
    assert "label" not in data.records[0].targets
    assert data.select("val").records[0].targets["mask"].read(data.classes, (40, 56)).tolist() == values.tolist()
    assert guess_kind(path) == "masks"
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    assert open_dataset(path, "train", kind="masks").classes == ("sky", "road", "car")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,label\nimg/0.png,cat\n", "the column 'mask' is missing; columns: path, label"),
        ("path,segmentation\nimg/0.png,0.png\n", r"'mask' is missing; .* Is it 'segmentation'\? Call it 'mask'\."),
        ("path,mask\nimg/0.png,\n", "row 2: the mask of 'img/0.png' is empty"),
        ("path,mask\nimg/0.png,a.png\nimg/0.png,b.png\n", r"row 3: the image 'img/0.png' is in row 2 already"),
    ],
)
def test_faulty_tables_of_masks_are_refused_by_row(write, text, words):
    with pytest.raises(DataError, match=words):
        open_dataset(write(text), "all", kind="masks")


def test_json_lines(write):
    rows = [
        '{"path": "img/0.png", "label": "01"}',
        "",
        '{"label": 1, "path": "img/1.png"}',
        '{"path":"img/2.png","label":1}',
    ]
    data = open_dataset(write("\n".join(rows), "a.jsonl"), "train")
    assert data.classes == ("01", "1"), "numbers stay as they are written"
    assert len(data.everything) == 3


def test_lists_and_missing_values_in_json_lines(write):
    rows = ['{"path": "img/0.png", "labels": ["dog", 2], "split": "train"}', '{"path": "img/1.png", "split": "val"}']
    data = open_dataset(write("\n".join(rows), "a.jsonl"), "all")
    assert _all(data) == {"img/0.png": {"labels": ("dog", "2")}, "img/1.png": {"labels": ()}}


def test_objects_from_json_lines(write):
    box = '"xmin": 1, "ymin": 2.5, "xmax": 9, "ymax": 9'
    rows = [f'{{"path": "img/0.png", "label": "cat", {box}}}', f'{{"path": "img/0.png", "label": "dog", {box}}}']
    path = write("\n".join([*rows, '{"path": "img/1.png"}']), "a.jsonl")
    data = open_dataset(path, "all", kind="objects")
    assert [len(record.targets["objects"]) for record in data.records] == [2, 0]
    assert guess_kind(path) == "objects"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{path: 1}", r"a\.jsonl, row 2: this is no JSON object \(.*\)\. Each line holds one"),
        ('["img/1.png", "b"]', r"row 2: this is no JSON object, but a list\. Each line holds one, such as "),
        ("null", "row 2: this is no JSON object, but null"),
        ('{"path": ["img/1.png"], "label": "b"}', "row 2: 'path' is one value, text or a number, not a list"),
        ('{"path": "img/1.png", "label": {"a": 1}}', "row 2: 'label' is one value, text or a number, not an object"),
        ('{"path": "img/1.png", "label": true}', "row 2: 'label' is one value, text or a number, not true or false"),
        ('{"path": "img/1.png"}', r"row 2: the label of 'img/1\.png' is empty"),
    ],
)
def test_what_is_wrong_with_a_line_of_json_is_said(write, line, words):
    with pytest.raises(DataError, match=words):
        open_dataset(write(f'{{"path": "img/0.png", "label": "a"}}\n{line}\n', "a.jsonl"), "train")


def test_json_lines_without_any_row_or_column_are_refused(write):
    with pytest.raises(DataError, match=r"the column 'path' is missing; columns: none"):
        open_dataset(write("\n", "a.jsonl"), "train")
    with pytest.raises(DataError, match=r"row 1: this is no JSON object"):
        open_dataset(write("path,label\n", "a.jsonl"), "train")
    with pytest.raises(DataError, match=r"the column 'label' is missing; columns: path, lable\. Is it 'lable'"):
        open_dataset(write('{"path": "img/0.png", "lable": "a"}', "a.jsonl"), "train")
