"""YOLO's text files: the layouts, the lines, and what is said of faulty ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
from onetrunk.datasets import DataError
from onetrunk.datasets.contents import Contents, raise_faults
from onetrunk.datasets.yolo import holds_yolo, read_yolo
from onetrunk.datasets.yolo_layout import find_labels
from PIL import Image

HEIGHT, WIDTH = 40, 80
LABELS = {"a": "0 0.5 0.5 0.25 0.5\n1 0.125 0.25 0.25 0.5\n", "b": "1 0.5 0.5 1 1\n", "c": ""}


@pytest.fixture
def make_yolo(tmp_path: Path, draw: Callable[..., Path]) -> Callable[..., Path]:
    """Writes pictures and label files where ``images`` says, ``{}`` being a picture's name; None: no label file."""

    def make(images: str = "images/train/{}.jpg", labels: dict[str, str | None] | None = None, **files: str) -> Path:
        root = tmp_path / "set"
        for seed, (name, lines) in enumerate((LABELS if labels is None else labels).items()):
            path = draw(root / images.format(name), height=HEIGHT, width=WIDTH, seed=seed)
            if lines is not None:
                file = Path(str(path).replace("images", "labels")).with_suffix(".txt")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(lines)
        for name, text in files.items():
            (root / name.replace("__", ".")).write_text(text)
        return root

    return make


YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\nnc: 2\n"


def read(root: Path) -> Contents:
    contents = read_yolo(root)
    raise_faults(root, contents.faults)
    return contents


def boxes(contents: Contents, split: str = "train") -> dict[str, list[tuple[float, ...]]]:
    return {record.path.stem: list(record.targets["objects"].boxes) for record in contents.splits[split]}


def test_shares_become_pixels_of_named_classes(make_yolo):
    make_yolo()
    root = make_yolo("images/val/{}.jpg", {"d": "1 0.5 0.5 0.5 0.5"}, data__yaml=YAML)
    assert holds_yolo(root)
    contents = read(root)
    assert boxes(contents) == {"a": [(30, 10, 50, 30), (0, 0, 20, 20)], "b": [(0, 0, 80, 40)], "c": []}
    assert (contents.order, contents.numbers, list(contents.splits)) == (("cat", "dog"), {}, ["train", "val"])
    first = contents.splits["train"][0]
    assert (first.name, first.targets["labels"]) == ("images/train/a.jpg", ("cat", "dog"))
    assert first.targets["objects"].where(1) == f"{root}/labels/train/a.txt: line 2 ('dog')"
    assert contents.splits["train"][2].targets["labels"] == ()
    assert len(contents.notes) == 1, "of the negative"


@pytest.mark.parametrize(
    ("train", "path"),
    [
        ("../train/images", ""),
        ("/home/me/elsewhere/set/train/images", ""),
        ("C:\\set\\train\\images", ""),
        ("train/images", "path: /nowhere/set"),
        ("train/images", "path: ../set"),
        ("images", "path: train"),
        ("[train/images]", "path: ''"),
    ],
)
def test_folders_are_found_that_were_named_on_another_machine(make_yolo, train, path):
    root = make_yolo("train/images/{}.jpg", data__yaml=f"{path}\ntrain: {train}\ntest:\nnames: {{0: cat, 1: dog}}\n")
    assert list(boxes(read(root))) == ["a", "b", "c"]
    assert read(root / "data.yaml").splits == read(root).splits
    assert holds_yolo(root / "data.yaml")


def test_a_list_names_pictures_in_several_ways(make_yolo):
    listed = "./images/train/a.jpg\n\nset/images/train/b.jpg\n/home/me/set/images/train/c.jpg\n"
    root = make_yolo(train__txt=listed, own__yml="train: train.txt\nnames: [cat, dog]\n")
    assert list(boxes(read(root))) == ["a", "b", "c"]


def test_a_list_that_names_missing_pictures_is_refused_by_line(make_yolo):
    root = make_yolo(
        train__txt="images/train/a.jpg\nimages/train/z.jpg\n", data__yaml="train: train.txt\nnames: [a, b]"
    )
    with pytest.raises(DataError, match=r"train\.txt, line 2: the picture 'images/train/z\.jpg' isn't there; looked"):
        read(root)
    (root / "train.txt").write_text("\n")
    with pytest.raises(DataError, match=r"train\.txt: the list of pictures is empty"):
        read(root)
    (root / "train.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"train\.txt: the list of pictures can't be read"):
        read(root)


@pytest.mark.parametrize(
    ("images", "split", "classes"),
    [
        ("images/train/{}.jpg", "train", "classes__txt"),
        ("valid/images/{}.jpg", "val", "obj__names"),
        ("images/{}.jpg", "", "classes__txt"),
    ],
)
def test_layouts_without_a_description(make_yolo, images, split, classes):
    root = make_yolo(images, **{classes: "cat\ndog\n"})
    assert holds_yolo(root)
    contents = read(root)
    assert (list(contents.splits), contents.order) == ([split], ("cat", "dog"))
    assert boxes(contents, split)["b"] == [(0, 0, 80, 40)]


def test_labels_beside_their_pictures(make_yolo):
    root = make_yolo("obj/{}.jpg", data__yaml="train: obj\nnames: [cat, dog]\n")
    assert boxes(read(root))["b"] == [(0, 0, 80, 40)]


def test_only_the_last_folder_called_images_is_replaced(make_yolo, tmp_path, draw):
    draw(tmp_path / "set" / "images" / "x" / "images" / "a.png", height=HEIGHT, width=WIDTH)
    labels = tmp_path / "set" / "images" / "x" / "labels"
    labels.mkdir()
    (labels / "a.txt").write_text(LABELS["b"])
    (tmp_path / "set" / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    assert boxes(read(tmp_path / "set")) == {"a": [(0, 0, 80, 40)]}


@pytest.mark.parametrize(
    ("picture", "root", "labels"),
    [
        ("/set/images/train/a.jpg", "/set", "/set/labels/train/a.txt"),
        ("images/a.b.jpg", ".", "labels/a.b.txt"),
        ("/images/a.jpg", "/", "/labels/a.txt"),
        ("/images/set/obj/a.jpg", "/images/set", "/images/set/obj/a.txt"),
        ("/elsewhere/images/x/a.jpg", "/set", "/elsewhere/labels/x/a.txt"),
        ("set/images/y/images/a.png", "set", "set/images/y/labels/a.txt"),
        ("set/images/a", "set", "set/labels/a.txt"),
        ("set/images", "set", "set/images.txt"),
    ],
)
def test_where_the_labels_of_a_picture_are(picture, root, labels):
    assert find_labels(Path(picture), Path(root)) == Path(labels)


def test_polygons_become_regions_with_the_box_around_them(make_yolo):
    root = make_yolo(
        labels={"a": "0 0.5 0.5 0.25 0.5\n1 0.25 0.5 0.5 0.5 0.5 1\n"}, data__yaml=YAML.replace("val", "#")
    )
    objects = read(root).splits["train"][0].targets["objects"]
    assert objects.boxes == ((30, 10, 50, 30), (20, 20, 40, 40))
    assert objects.regions == (None, [[20, 20, 40, 20, 40, 40]])


def test_points_of_skeletons_are_passed_over(make_yolo):
    yaml = "train: images/train\nnames: [cat, dog]\nkpt_shape: [2, 2]\n"
    contents = read(make_yolo(labels={"a": "0 0.5 0.5 0.25 0.5 0.1 0.1 0.2 0.2"}, data__yaml=yaml))
    assert boxes(contents) == {"a": [(30, 10, 50, 30)]}
    assert ["aren't read" in note for note in contents.notes] == [True]


def test_shares_are_of_the_upright_picture(make_yolo):
    root = make_yolo(labels={"a": LABELS["b"]}, classes__txt="cat\ndog")
    path = root / "images" / "train" / "a.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.open(path).save(path, exif=exif)
    assert boxes(read(root)) == {"a": [(0, 0, HEIGHT, WIDTH)]}


def test_negatives_flat_boxes_and_missing_files_are_counted(make_yolo):
    labels = {"a": "0 0.5 0.5 0 0.5\n1 0.5 0.5 0.5 0.5\n", "b": None, "c": " \n"}
    contents = read(make_yolo(labels=labels, classes__txt="cat\ndog\n"))
    assert contents.splits["train"][0].targets["objects"].sound == (1,)
    assert contents.splits["train"][0].targets["labels"] == ("dog",)
    flat = [note for note in contents.notes if "without an area" in note]
    assert len(flat) == 1
    assert ": 1 box" in flat[0]
    assert any("1 of the 3 pictures of 'train' have no label file" in note for note in contents.notes)


def test_a_picture_that_cannot_be_read_stays_for_the_loader_to_tell(make_yolo):
    root = make_yolo(classes__txt="cat\ndog")
    (root / "images" / "train" / "a.jpg").write_text("404")
    assert boxes(read(root))["a"] == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 x 0.1", r"a\.txt, line 2: a line is a class and shares, all numbers, not '0 0\.5 0\.5 x 0\.1'"),
        ("0.5 0.5 0.5 0.1 0.1", r"line 2: the class '0\.5' is no whole number"),
        ("nan 0.5 0.5 0.1 0.1", r"line 2: the class 'nan' is no whole number"),
        (
            "2 0.5 0.5 0.1 0.1",
            r"line 2: there is no class 2; classes\.txt names 2, 0 to 1\. Classes are counted from 0",
        ),
        ("-1 0.5 0.5 0.1 0.1", r"line 2: there is no class -1"),
        ("0 20 0.5 0.1 0.1", r"line 2: 20 is no share of the picture; shares go from 0 to 1\. Are these pixels\?"),
        ("0 0.5 -0.01 0.1 0.1", r"line 2: -0\.01 is no share of the picture; shares go from 0 to 1\.$"),
        ("0 0.5 nan 0.1 0.1", r"line 2: nan is no share of the picture"),
        ("0 0.5 0.5 0.1", r"line 2: 4 numbers; a line has five, class, centre x and y, width, height, or a class and"),
        ("0 0.5 0.5 0.1 0.1 0.9", r"line 2: 6 numbers; .* The sixth number of a prediction is its score"),
        ("0 0.5 0.5 0.1 0.1 0.9 0.1 0.1", r"line 2: 8 numbers; a line has five"),
    ],
)
def test_faulty_lines_are_named(make_yolo, line, message):
    root = make_yolo(labels={"a": f"0 0.5 0.5 1.0005 1\n{line}\n", "b": ""}, classes__txt="cat\ndog\n")
    with pytest.raises(DataError, match=message):
        read(root)


def test_all_faulty_lines_are_named_at_once(make_yolo):
    root = make_yolo(labels={"a": "7 0 0 0 0\n0 .5 .5 .1 .1\n0 2 0 0 0", "b": "8 0 0 0 0"}, classes__txt="cat\ndog\n")
    with pytest.raises(DataError, match=r"(?s)3 faults:.*a\.txt, line 1.*a\.txt, line 3.*b\.txt, line 1"):
        read(root)


def test_labels_that_are_no_text_are_named(make_yolo):
    root = make_yolo(classes__txt="cat\ndog\n")
    (root / "labels" / "train" / "a.txt").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"a\.txt: the labels can't be read"):
        read(root)


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("train: [", r"data\.yaml: this can't be read as YAML"),
        ("names: [cat, dog]", r"data\.yaml: it has no names, or neither train nor val\. Understood are"),
        ("train:\nnames: [cat, dog]", r"data\.yaml: train, val and test are all empty"),
        (
            "train: images/tran\nnames: [a]",
            r"'train' is 'images/tran', which isn't there; looked for .*set/images/tran, ",
        ),
        ("train: labels\nnames: [a]", r"'train' is .*labels, which has no pictures; it holds 1 folder"),
        ("train: 5\nnames: [a]", r"'train' holds 5; it is a folder, a list of them, or a \.txt file of paths"),
        ("val: images\nvalid: images\nnames: [a]", r"'val' and 'valid' both name the split 'val'\. Keep one"),
        ("train: images\nnames: {1: a, 2: b}", r"the numbers of names are 1, 2; they run from 0 to 1 without a gap"),
        ("train: images\nnames: cat", r"names is neither a list of classes nor numbers with classes, but 'cat'"),
        ("train: images\nnames: [yes, no]", r"the name of class 0 is True, no text\. Put it between quotes"),
        ("train: images\nnames: [a, '']", r"the name of class 1 is empty"),
        ("train: images\nnames: [a, b, a]", r"the classes 0 and 2 are both called 'a'"),
        ("train: images\nnames: [a, b]\nnc: 80", r"nc is 80, and there are 2 names\. Mend either"),
        (
            "train: images\nval: images\nnames: [a, b]",
            r"3 of the 3 pictures of 'val' are in 'train' too, e\.g\. .*a\.jpg",
        ),
    ],
)
def test_faulty_descriptions_are_refused(make_yolo, yaml, message):
    with pytest.raises(DataError, match=message):
        read(make_yolo(data__yaml=yaml))


def test_several_descriptions_are_refused_unless_one_is_given(make_yolo):
    root = make_yolo(one__yaml="train: images\nnames: [a, b]", two__yml="train: images\nnames: [c, d]")
    with pytest.raises(DataError, match=r"one\.yaml, two\.yml all describe a data set\. Give the one that is meant"):
        read(root)
    assert read(root / "two.yml").order == ("c", "d")


def test_what_lacks_classes_labels_or_pictures_is_refused(make_yolo, tmp_path):
    with pytest.raises(DataError, match=r"there is neither data\.yaml nor classes\.txt.* into .*set/classes\.txt"):
        read(make_yolo())
    root = make_yolo(classes__txt="\n")
    with pytest.raises(DataError, match=r"classes\.txt: the list of classes is empty"):
        read(root)
    (root / "classes.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"classes\.txt: the list of classes can't be read"):
        read(root)
    make_yolo(classes__txt="cat\ndog\n")
    for folder in ("images", "labels"):
        (root / folder / "val").mkdir()
    with pytest.raises(DataError, match=r"images/val: no pictures; it holds nothing"):
        read(root)
    with pytest.raises(DataError, match=r"no label files of YOLO; it holds 1 folder.* Understood are: data\.yaml"):
        read(tmp_path)


def test_two_folders_of_one_split_are_refused(make_yolo):
    make_yolo("val/images/{}.jpg")
    with pytest.raises(DataError, match=r"val/images and .*valid/images both name the split 'val'\. Keep one"):
        read(make_yolo("valid/images/{}.jpg", classes__txt="cat\ndog\n"))


def test_a_split_without_any_label_file_is_no_split_of_negatives(make_yolo):
    root = make_yolo(labels=dict.fromkeys("abc"), data__yaml="train: images/train\nnames: [a]\n")
    with pytest.raises(
        DataError, match=r"none of the 3 pictures of 'train' has a label file, e\.g\. there is no .*a\.txt"
    ):
        read(root)


def test_other_folders_are_not_taken_for_it(pets, tmp_path):
    assert not holds_yolo(pets)
    for folder in ("images", "labels"):  # of masks
        (tmp_path / folder / "train").mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("seed: 0")
    assert not holds_yolo(tmp_path)
    (tmp_path / "data.yaml").write_text("seed: 0")
    assert not holds_yolo(tmp_path)
    assert not holds_yolo(tmp_path / "nowhere")
