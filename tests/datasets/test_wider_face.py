"""WIDER FACE: its text files, which faces are ignored, and in which sets they are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from onetrunk.datasets import DataError, open_dataset
from onetrunk.datasets.contents import Contents, raise_faults
from onetrunk.datasets.wider_face import holds_wider, read_wider

FLAGS = "0 0 0 0 0"
ZEROS = "0 0 0 0 0 0 0 0 0 0"
VAL = f"""0--Parade/0_Parade_1.jpg
3
1 2 10 20 {FLAGS} 0
5 6 0 4 {FLAGS} 0
8 9 3 4 {FLAGS} 1
1--Handshaking/1_Handshaking_7.jpg
1
4 4 4 4 2 1 1 2 1 0
1--Handshaking/1_Handshaking_8.jpg
0
{ZEROS}
"""
COUNTS = {"0--Parade": {"0_Parade_1": 3}, "1--Handshaking": {"1_Handshaking_7": 1, "1_Handshaking_8": 0}}


def _cells(values: list[object]) -> np.ndarray:
    """A column of MATLAB's cells."""
    column = np.empty((len(values), 1), dtype=object)
    for place, value in enumerate(values):
        column[place, 0] = value
    return column


def _write_mat(path: Path, counted: dict[str, list[int]], counts: dict[str, dict[str, int]] = COUNTS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    faces = [[np.ones((count, 4)) for count in files.values()] for files in counts.values()]
    places = [[np.array(counted.get(name, [])).reshape(-1, 1) for name in files] for files in counts.values()]
    scipy.io.savemat(
        path,
        {
            "event_list": _cells(list(counts)),
            "file_list": _cells([_cells(list(files)) for files in counts.values()]),
            "face_bbx_list": _cells([_cells(list(found)) for found in faces]),
            "gt_list": _cells([_cells(list(found)) for found in places]),
        },
    )


@pytest.fixture
def make_wider(tmp_path: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Writes the text file of ``val`` and its pictures."""

    def make(text: str = VAL, folder: str = "wider_face_split", split: str = "val") -> Path:
        root = tmp_path / "wider"
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"wider_face_{split}_bbx_gt.txt").write_text(text)
        for seed, name in enumerate(line for line in VAL.splitlines() if line.endswith(".jpg")):
            draw(root / f"WIDER_{split}" / "images" / name, height=40, width=60, seed=seed)
        return root

    return make


@pytest.fixture
def make_sets(make_wider: Callable[..., Path]) -> Callable[..., Path]:
    """The same with the files of the evaluation."""

    def make(folder: str = "eval_tools/ground_truth", **hard: object) -> Path:
        root = make_wider()
        _write_mat(root / folder / "wider_easy_val.mat", {"0_Parade_1": [1]})
        _write_mat(root / folder / "wider_medium_val.mat", {"0_Parade_1": [1]})
        arguments = {"counted": {"0_Parade_1": [1, 2], "1_Handshaking_7": [1]}, **hard}
        _write_mat(root / folder / "wider_hard_val.mat", **arguments)
        return root

    return make


def read(root: Path) -> Contents:
    contents = read_wider(root)
    raise_faults(root, contents.faults)
    return contents


@pytest.mark.parametrize("folder", ["wider_face_split", "."])
def test_faces_are_boxes_of_one_class_and_invalid_ones_ignored(make_wider, folder):
    root = make_wider(folder=folder)
    assert holds_wider(root)
    contents = read(root)
    assert (list(contents.splits), contents.order) == (["val"], ("face",))
    first, second, third = contents.splits["val"]
    assert first.name == "WIDER_val/images/0--Parade/0_Parade_1.jpg"
    assert first.path.is_file()
    objects = first.targets["objects"]
    assert objects.boxes == ((1, 2, 11, 22), (5, 6, 5, 10), (8, 9, 11, 13))
    assert (objects.ignored, objects.sound, objects.sets) == ((False, False, True), (0, 2), ())
    assert objects.where(2).endswith("wider_face_val_bbx_gt.txt: line 5 ('face')")
    assert second.targets["objects"].ignored == ()
    assert [one.targets["labels"] for one in (first, second, third)] == [("face",), ("face",), ()]
    assert len(third.targets["objects"]) == 0
    assert any("1 box" in note and "area" in note for note in contents.notes)
    assert any("easy, medium and hard faces can't be told apart" in note for note in contents.notes)
    assert any("wider_easy_val.mat, wider_medium_val.mat, wider_hard_val.mat of" in note for note in contents.notes)


def test_it_opens_as_a_data_set_of_objects(make_wider):
    make_wider(split="train")
    data = open_dataset(make_wider(), "val", kind="objects")
    assert (tuple(data.splits), data.classes, len(data)) == (("train", "val"), ("face",), 3)


@pytest.mark.parametrize("folder", ["ground_truth", "eval_tools/ground_truth", "."])
def test_the_files_of_the_evaluation_say_which_faces_count(make_sets, folder):
    contents = read(make_sets(folder))
    assert [record.targets["objects"].sets for record in contents.splits["val"]] == [(7, 4, 0), (4,), ()]
    assert not any("told apart" in note for note in contents.notes)


def test_a_picture_without_faces_may_have_a_face_of_zeros_there(make_sets):
    counts = {**COUNTS, "1--Handshaking": {"1_Handshaking_7": 1, "1_Handshaking_8": 1}}
    contents = read(make_sets(counts=counts))
    assert contents.splits["val"][2].targets["objects"].sets == ()


def test_a_missing_file_of_the_evaluation_is_named(make_sets):
    root = make_sets("ground_truth")
    (root / "ground_truth" / "wider_hard_val.mat").unlink()
    contents = read(root)
    assert contents.splits["val"][0].targets["objects"].sets == ()
    assert any("wider_hard_val.mat of the benchmark's evaluation, eval_tools, is needed" in n for n in contents.notes)


@pytest.mark.parametrize(
    ("hard", "message"),
    [
        (
            {"counts": {"0--Parade": {"0_Parade_1": 3}}},
            r"wider_hard_val\.mat: '1--Handshaking/1_Handshaking_7' isn't in it",
        ),
        (
            {"counted": {"0_Parade_1": [4]}},
            r"hard_val\.mat: '0--Parade/0_Parade_1' has no face 4; its 3 are counted from",
        ),
        (
            {"counts": {**COUNTS, "0--Parade": {"0_Parade_1": 2}}},
            r"hard_val\.mat: '0--Parade/0_Parade_1' has 2 faces, and 3 in .*wider_face_val_bbx_gt\.txt",
        ),
    ],
)
def test_an_evaluation_of_other_faces_is_refused(make_sets, hard, message):
    with pytest.raises(DataError, match=message):
        read(make_sets(**hard))


def test_a_file_of_the_evaluation_that_is_none_is_refused(make_sets):
    root = make_sets()
    path = root / "eval_tools" / "ground_truth" / "wider_easy_val.mat"
    path.write_bytes(b"nonsense")
    with pytest.raises(
        DataError, match=r"wider_easy_val\.mat: this can't be read as a list of WIDER FACE's evaluation"
    ):
        read(root)
    scipy.io.savemat(path, {"other": 1})
    with pytest.raises(DataError, match=r"wider_easy_val\.mat: this can't be read.*KeyError"):
        read(root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("10 20", "10 x", r"wider_face_val_bbx_gt\.txt, line 3: a face is 10 numbers, not '1 2 10 x 0 0 0 0 0 0'"),
        ("1 2 10 20", "1 2 10", r"line 3: 9 numbers; a face has 10: x, y, width, height, blur, expression"),
        ("2 1 1 2 1 0", "2 1 1 2 1 5", r"line 8: the last number, whether the face is invalid, is 5, neither 0 nor 1"),
        ("jpg\n3", "jpg\n4", r"line 2: '0--Parade/0_Parade_1\.jpg' is said to show 4 faces, and 3 lines follow"),
        ("jpg\n3", "jpg\n2", r"line 2: .* is said to show 2 faces, and 3 lines follow\. Is the file cut off\?"),
        ("jpg\n3\n", "jpg\n", r"line 2: the number of faces of '0--Parade/0_Parade_1\.jpg' was expected, not '1 2 10"),
        (f"8.jpg\n0\n{ZEROS}", "8.jpg", r"line 10: the number of faces of .*8\.jpg' was expected, not the end of the"),
        ("0--Parade/0", "# faces\n0--Parade/0", r"line 1: the path of a picture was expected, not '# faces'"),
        ("7.jpg", "8.jpg", r"line 9: '1--Handshaking/1_Handshaking_8\.jpg' is there already, in line 6"),
    ],
)
def test_faulty_lines_are_named(make_wider, old, new, message):
    with pytest.raises(DataError, match=message):
        read(make_wider(VAL.replace(old, new, 1)))


def test_a_faulty_block_does_not_hide_the_next(make_wider):
    contents = read_wider(make_wider(VAL.replace("10 20", "10 x").replace("2 1 1 2 1 0", "x")))
    assert [fault.split(", ")[1][:7] for fault in contents.faults] == ["line 3:", "line 8:"]
    assert len(contents.splits["val"]) == 1


def test_an_empty_list_and_one_that_is_no_text_are_refused(make_wider):
    root = make_wider("\n")
    with pytest.raises(DataError, match=r"bbx_gt\.txt: the list of faces is empty"):
        read(root)
    (root / "wider_face_split" / "wider_face_val_bbx_gt.txt").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"bbx_gt\.txt: the list of faces can't be read"):
        read(root)


def test_pictures_that_are_not_there_are_counted_or_refused(make_wider):
    root = make_wider()
    pictures = root / "WIDER_val" / "images"
    (pictures / "0--Parade" / "0_Parade_1.jpg").unlink()
    contents = read(root)
    assert len(contents.splits["val"]) == 3
    assert any("1 of the 3 pictures are missing, e.g. " in note for note in contents.notes)
    for path in pictures.glob("*/*.jpg"):
        path.unlink()
    with pytest.raises(DataError, match=r"bbx_gt\.txt: none of its 3 pictures is in .*WIDER_val/images, e\.g\. "):
        read(root)


def test_a_split_without_its_pictures_is_left_out_and_said_so(make_wider):
    root = make_wider()
    (root / "wider_face_split" / "wider_face_train_bbx_gt.txt").write_text(VAL)
    contents = read(root)
    assert list(contents.splits) == ["val"]
    assert any("the split 'train' was left out" in note for note in contents.notes)
    (root / "WIDER_val" / "images").rename(root / "elsewhere")
    with pytest.raises(
        DataError, match=r"no pictures of WIDER FACE\. .* unpacked beside one another: wider_face_split"
    ):
        read(root)


def test_other_folders_are_not_taken_for_it(pets):
    assert not holds_wider(pets)
