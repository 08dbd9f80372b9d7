import pytest
from onetrunk.datasets import DataError
from onetrunk.datasets.class_lists import read_class_list
from onetrunk.datasets.masks import MaskCoding


@pytest.mark.parametrize(
    ("name", "text", "coding"),
    [
        ("classes.txt", "sky\nroad sign\n\n# a remark\ncar\n", MaskCoding({0: "sky", 1: "road sign", 2: "car"})),
        ("codes.txt", "\ufeff0 sky\n7 road sign\n90, car", MaskCoding({0: "sky", 7: "road sign", 90: "car"})),
        ("class_names.txt", "sky\nvoid\ncar", MaskCoding({0: "sky", 2: "car"}, frozenset({1, 255}))),
        ("classes.txt", "0 sky\n11 Unlabelled\n", MaskCoding({0: "sky"}, frozenset({11, 255}))),
        ("classes.txt", "0 sky\n255 car\n", MaskCoding({0: "sky", 255: "car"}, frozenset())),
        ("classes.txt", "0\n1\n", MaskCoding({0: "0", 1: "1"})),
        (
            "label_colors.txt",
            "64 128 64\tAnimal\n0 0 0\t\tVoid\n192 0 128 Arch way\n",
            MaskCoding(
                {0: "Animal", 2: "Arch way"},
                frozenset({1, 255}),
                {(64, 128, 64): 0, (0, 0, 0): 1, (192, 0, 128): 2},
            ),
        ),
        (
            "class_dict.csv",
            "name,r,g,b\nsky, 1,2,3\ncar,4,5,6\n",
            MaskCoding({0: "sky", 1: "car"}, colors={(1, 2, 3): 0, (4, 5, 6): 1}),
        ),
        ("classes.csv", "Value, Name\n5,sky\n1,car\n", MaskCoding({5: "sky", 1: "car"})),
        ("classes.csv", "name\nsky\ncar\n", MaskCoding({0: "sky", 1: "car"})),
    ],
)
def test_every_form_of_list(tmp_path, name, text, coding):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_list(tmp_path) == coding


def test_no_list_says_nothing(tmp_path):
    assert read_class_list(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("classes.txt", "sky\nsky\n", r"classes\.txt: the class 'sky', its value or its colour is there twice"),
        ("classes.txt", "0 sky\n0 car\n", "the class 'car', its value or its colour is there twice"),
        ("classes.txt", "1 2 3 sky\n1 2 3 car\n", "the class 'car', its value or its colour is there twice"),
        ("classes.txt", "1 2 3 sky\n4 5 6\n", r"classes\.txt, line 2: the name of the class is missing"),
        ("classes.txt", "sky\n1 2 256 car\n", r"line 2: a colour is three numbers from 0 to 255, not \(1, 2, 256\)"),
        ("classes.txt", "70000 car\n", "line 1: a value is a number from 0 to 65535, not 70000"),
        ("classes.txt", "\n# nothing\n", r"classes\.txt: the list names no class"),
        ("classes.txt", "void\n", "the list names no class"),
        ("classes.txt", "".join(f"c{n}\n" for n in range(256)), "256 classes; a segmentation has at most 255"),
        ("classes.csv", "class,value\nsky,1\n", "the column 'name' is missing; columns: class, value"),
        ("classes.csv", "", "the column 'name' is missing; columns: none"),
        ("classes.csv", "name,value\nsky,one\n", r"row 2: a value or colour is no whole number \(.*'one'"),
        ("classes.csv", "name,r,g,b\nsky,1,2\n", "row 2: a value or colour is no whole number"),
        ("classes.csv", "name,r,g,b\nsky,1,2,-3\n", "line 2: a colour is three numbers from 0 to 255"),
        ("classes.csv", "name,value\n,1\n", "line 2: the name of the class is missing"),
        ("classes.csv", "name,value\nsky,-1\n", "line 2: a value is a number from 0 to 65535, not -1"),
    ],
)
def test_faulty_lists_are_refused_by_name_and_line(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        read_class_list(tmp_path)


def test_a_list_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"classes\.txt: the list of classes can't be read"):
        read_class_list(tmp_path)
