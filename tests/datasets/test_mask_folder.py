"""The folder layouts of segmentation, each with what can go wrong in it."""

import shutil

import numpy as np
import pytest
from onetrunk.datasets import DataError, check_image, find_bad_images, guess_kind, open_dataset

VALUES = np.tile(np.arange(10) % 3, (8, 1))


def _open(root, split="all"):
    return open_dataset(root, split, kind="masks")


def _masks(data):
    """Picture -> mask, both below the root; each mask is read."""
    found = {}
    for record in data.records:
        assert record.targets["mask"].fault is None and check_image(record.path) is None
        found[record.name] = record.targets["mask"].path.relative_to(data.root).as_posix()
    return found


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("images", "masks"),
        ("Images", "Labels"),
        ("imgs", "SegmentationClass"),
        ("JPEGImages", "gt"),
        ("img", "manual1"),
    ],
)
def test_parallel_folders(make_pairs, pictures, masks):
    root = make_pairs(pictures + "/{}.jpg", masks + "/{}.png")
    data = _open(root)
    assert _masks(data) == {f"{pictures}/{name}.jpg": f"{masks}/{name}.png" for name in "abc"}
    assert (data.format, data.classes, data.split_origin) == ("mask_folder", ("0", "1", "2"), "all")
    assert data.select("train").split_origin == "seeded 0.2 of everything, seed 0"
    assert guess_kind(root) == "masks"
    assert any("no list of classes" in note and "each of the 3 values" in note for note in data.notes)


@pytest.mark.parametrize(
    "layout", ["{split}/images/{{}}.jpg {split}/masks/{{}}.png", "images/{split}/{{}}.jpg masks/{split}/{{}}.png"]
)
def test_split_folders_above_and_below(make_pairs, layout):
    for number, split in enumerate(("train", "valid", "test")):
        picture, mask = layout.format(split=split).split()
        root = make_pairs(picture, mask, tuple("abc"[: 3 - number]))
    data = _open(root)
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 3, "val": 2, "test": 1}
    assert (len(_masks(data)), data.splits_origin) == (6, "folders")
    assert all("valid" in record.name for record in data.splits["val"])
    assert all("valid" in record.targets["mask"].path.as_posix() for record in data.splits["val"])


def test_two_folders_of_one_split_are_refused(make_pairs):
    make_pairs("val/images/{}.png", "val/masks/{}.png")
    with pytest.raises(DataError, match="two folders name the split 'val'"):
        _open(make_pairs("valid/images/{}.png", "valid/masks/{}.png"))


def test_the_camvid_layout_with_what_is_not_labelled_ignored(make_pairs, write_mask):
    root = make_pairs("train/{}.png", "trainannot/{}.png")
    make_pairs("val/{}.png", "valannot/{}.png", ("a", "b"))
    write_mask(root / "trainannot" / "a.png", np.where(VALUES == 2, 11, VALUES))
    data = _open(root)
    assert {split: len(records) for split, records in data.splits.items()} == {"train": 3, "val": 2}
    assert (len(data.classes), data.classes[:3]) == (11, ("sky", "building", "pole"))
    assert data.records[0].targets["mask"].read(data.classes, (8, 10)).unique().tolist() == [0, 1, 255]
    assert data.records[0].targets["labels"] == ("sky", "building")
    assert any("taken for those of the 11-class CamVid, of which 11 and 255 are ignored" in note for note in data.notes)
    (root / "classes.txt").write_text("a\nb\nc\n" + "".join(f"n{number}\n" for number in range(9)))
    assert _open(root).classes[:3] == ("a", "b", "c"), "a list of classes says more than the layout"


def test_split_folders_with_masks_in_folders_beside_them(make_pairs):
    make_pairs("train/{}.jpg", "train_masks/{}_mask.gif", values=2)
    data = _open(make_pairs("valid/{}.jpg", "valid_masks/{}_mask.gif", ("d", "e"), values=2))
    assert _masks(data.select("val")) == {f"valid/{name}.jpg": f"valid_masks/{name}_mask.gif" for name in "de"}
    assert (len(data.select("train")), data.classes) == (3, ("background", "foreground"))


@pytest.mark.parametrize("suffix", ["_mask", "_L", "_seg", "_gt"])
def test_side_by_side(make_pairs, suffix):
    root = make_pairs("{}.jpg", "{}" + suffix + ".png")
    assert _masks(_open(root)) == {f"{name}.jpg": f"{name}{suffix}.png" for name in "abc"}
    assert guess_kind(root) == "masks"


def test_side_by_side_in_split_folders_is_split(make_pairs):
    make_pairs("train/{}.jpg", "train/{}_mask.png")
    data = _open(make_pairs("test/{}.jpg", "test/{}_mask.png", ("d",)))
    assert _masks(data.select("test")) == {"test/d.jpg": "test/d_mask.png"}
    assert set(data.found) == {"train", "test"}


def test_side_by_side_with_missing_spare_and_double_masks(make_pairs, write_mask, draw):
    root = make_pairs("{}.jpg", "{}_mask.png")
    write_mask(root / "z_mask.png", VALUES)
    draw(root / "d.jpg", height=8, width=10)
    data = _open(root)
    assert any("1 masks have no picture, e.g. z_mask.png" in note for note in data.notes)
    assert len(data) == 4 and "d_mask.png: the mask is missing" in data.records[3].targets["mask"].fault
    write_mask(root / "a_mask.bmp", VALUES)
    with pytest.raises(DataError, match=r"a\.jpg: 2 masks have its name: a_mask\.bmp, a_mask\.png\. Keep one"):
        _open(root)
    (root / "a_mask.bmp").unlink()
    draw(root / "b.png", height=8, width=10)
    with pytest.raises(DataError, match=r"b: 2 pictures have this name: b\.jpg, b\.png\. Keep one"):
        _open(root)


def test_masks_with_a_common_ending(make_pairs):
    root = make_pairs("images/{}.jpg", "manual1/{}_1stHO.png", ("1", "1_2", "12"))
    data = _open(root)
    assert _masks(data) == {f"images/{name}.jpg": f"manual1/{name}_1stHO.png" for name in ("1", "1_2", "12")}
    make_pairs("images/{}.jpg", "manual2/{}_2ndHO.png", ("1", "1_2", "12"))
    assert any("read from 'manual1'; not used: manual2. To choose" in note for note in _open(root).notes)
    shutil.copy(root / "manual2" / "12_2ndHO.png", root / "manual1")
    with pytest.raises(DataError, match=r"12\.jpg: 2 masks have its name: 12_1stHO\.png, 12_2ndHO\.png\. Keep one"):
        _open(root)


def test_a_mask_of_the_very_name_wins_over_endings(make_pairs, write_mask):
    root = make_pairs("images/{}.jpg", "masks/{}.png")
    write_mask(root / "masks" / "a_old.png", VALUES)
    data = _open(root)
    assert _masks(data)["images/a.jpg"] == "masks/a.png"
    assert any("masks: 1 masks have no picture, e.g. a_old.png" in note for note in data.notes)


def test_pictures_in_folders_with_masks_in_the_same_folders(make_pairs):
    make_pairs("images/rome/{}.jpg", "masks/rome/{}.png")
    data = _open(make_pairs("images/oslo/{}.jpg", "masks/oslo/{}.png"))
    assert _masks(data)["images/oslo/a.jpg"] == "masks/oslo/a.png"
    assert len(data) == 6 and data.classes == ("0", "1", "2"), "rome and oslo are no classes"


@pytest.mark.parametrize(
    "line", ["images/{0}.jpg masks/{0}.png", "/images/{0}.jpg\tmasks/{0}.png", "{0}", "{0}.jpg", "images/{0}.jpg"]
)
@pytest.mark.parametrize("folder", [".", "splits", "ImageSets/Segmentation"])
def test_list_files(make_pairs, line, folder):
    root = make_pairs("images/{}.jpg", "masks/{}.png", ("a", "b", "c", "d.e"))
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "train.txt").write_text("\n".join(line.format(name) for name in "ba") + "\n\n")
    (root / folder / "val.txt").write_text(line.format("d.e"))
    data = _open(root)
    assert [record.name for record in data.splits["train"]] == ["images/a.jpg", "images/b.jpg"]
    assert _masks(data.select("val")) == {"images/d.e.jpg": "masks/d.e.png"}
    assert any(
        "1 pictures are in none of the lists and were left out, e.g. images/c.jpg" in note for note in data.notes
    )


def test_lists_of_pairs_need_no_known_folders(make_pairs):
    root = make_pairs("photos of roads/{}.jpg".replace(" ", "-"), "drawn/{}.png")
    (root / "train.txt").write_text("".join(f"photos-of-roads/{name}.jpg drawn/{name}.png\n" for name in "ab"))
    (root / "val.txt").write_text("photos-of-roads/c.jpg drawn/c.png\n")
    assert _masks(_open(root, "val")) == {"photos-of-roads/c.jpg": "drawn/c.png"}


@pytest.mark.parametrize(
    ("lists", "words"),
    [
        ({"train": "a\nzebra\n"}, r"train\.txt, line 2: 'zebra' is neither a picture and its mask, nor the name"),
        ({"train": "a\nb c d\n"}, r"train\.txt, line 2: 'b c d' is neither"),
        (
            {"train": "a\nb\n", "val": "c\na\n"},
            r"val\.txt, line 2: 'images/a\.jpg' is listed already in train\.txt, line 1",
        ),
        ({"train": "a\na\n"}, r"train\.txt, line 2: 'images/a\.jpg' is listed already"),
        ({"train": "a\n", "val": " \n"}, r"val\.txt: the list is empty\. Fill or remove it"),
        ({"val": "a\n", "valid": "b\n"}, r"'val\.txt' and 'valid\.txt' both list the split 'val'\. Keep one"),
    ],
)
def test_faulty_lists_are_refused(make_pairs, lists, words):
    root = make_pairs("images/{}.jpg", "masks/{}.png")
    for name, text in lists.items():
        (root / f"{name}.txt").write_text(text)
    with pytest.raises(DataError, match=words):
        _open(root)


def test_a_list_that_is_no_text_is_refused(make_pairs):
    root = make_pairs("images/{}.jpg", "masks/{}.png")
    (root / "train.txt").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match=r"train\.txt: the list can't be read"):
        _open(root)


@pytest.mark.parametrize("below", ["", "train/"])
def test_a_folder_of_masks_a_class_makes_pixels_of_several(make_pairs, below):
    root = make_pairs(below + "images/{}.jpg", below + "masks/road/{}.png", values=2)
    make_pairs(below + "images/{}.jpg", below + "masks/car/{}_mask.png", ("a",), values=2)
    data = _open(root)
    assert data.classes == ("car", "road")
    assert [record.targets["labels"] for record in data.records] == [("car", "road"), ("road",), ("road",)]
    mask = data.records[0].targets["mask"].read(data.classes, (8, 10))
    assert mask.shape == (2, 8, 10)
    assert mask[1].tolist() == [[0, 1] * 5] * 8
    assert data.records[1].targets["mask"].read(data.classes, (8, 10))[0].max() == 0
    assert data.records[0].targets["mask"].pixels == {"car": 40, "road": 40}
    assert set(data.found) == ({"train"} if below else {""})


def test_lists_split_a_folder_of_masks_a_class(make_pairs):
    root = make_pairs("images/{}.jpg", "masks/road/{}.png", values=2)
    (root / "train.txt").write_text("a\nb\n")
    (root / "test.txt").write_text("c\n")
    data = _open(root)
    assert [record.name for record in data.select("test").records] == ["images/c.jpg"]
    assert data.found["train"][0].targets["labels"] == ("road",)


def test_faulty_masks_of_a_class_are_named(make_pairs, draw, write_mask):
    root = make_pairs("images/{}.jpg", "masks/road/{}.png", values=2)
    draw(root / "images" / "bare.jpg", height=8, width=10)
    write_mask(root / "masks" / "road" / "a.png", VALUES[:5])
    (root / "masks" / "road" / "b.png").write_text("no mask")
    (root / "images" / "c.jpg").write_text("no picture, of a mask")
    data = _open(root)
    faults = {record.path.stem: record.targets["mask"].fault for record in data.records}
    assert "road/a.png: the mask has 10 x 5 pixels, its picture 10 x 8" in faults["a"]
    assert "road/b.png: the mask can't be read" in faults["b"]
    assert faults["c"] is None, "the picture is named for itself"
    assert any("1 pictures have no mask of any class, e.g. images/bare.jpg; nothing is taken" in n for n in data.notes)
    write_mask(root / "masks" / "road" / "c.bmp", VALUES)
    with pytest.raises(DataError, match=r"c\.jpg: 2 masks of 'road' have its name: c\.bmp, c\.png\. Keep one"):
        _open(root)


@pytest.mark.parametrize("mask", ["masks/x{}.png", "masks/road/x{}.png"])
def test_masks_of_other_names_are_refused(make_pairs, mask):
    with pytest.raises(DataError, match=r"masks: none of its masks has the name of a picture in .*images"):
        _open(make_pairs("images/{}.jpg", mask))


def test_a_folder_without_masks_says_what_is_understood(pets, tmp_path):
    with pytest.raises(DataError, match=r"no pictures with masks; it holds 2 folders .* Understood are: ROOT/images"):
        _open(pets)
    assert guess_kind(pets) == "labels"
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no pictures with masks; it holds 2 folders"):
        _open(tmp_path)


def test_two_values_are_background_and_foreground(make_pairs, write_mask):
    root = make_pairs("images/{}.jpg", "masks/{}.png", values=2)
    assert (_open(root).classes, _open(root).notes) == (("background", "foreground"), ())
    for name in "abc":
        write_mask(root / "masks" / f"{name}.png", (VALUES > 0) * 255)
    data = _open(root)
    assert data.classes == ("background", "foreground")
    assert data.records[0].targets["mask"].read(data.classes, (8, 10)).tolist() == (VALUES > 0).astype(int).tolist()
    write_mask(root / "masks" / "a.png", np.where(VALUES == 2, 255, VALUES))
    data = _open(root)
    assert data.classes == ("background", "foreground")
    assert any("1 for foreground; 255 is ignored (in 3 masks)" in note for note in data.notes)


def test_grey_pictures_in_place_of_masks_are_refused(make_pairs, write_mask):
    root = make_pairs("images/{}.jpg", "masks/{}.png", tuple("abcd"))
    for number, name in enumerate("abcd"):
        write_mask(root / "masks" / f"{name}.png", (np.arange(80) + 80 * number).astype(np.uint16).reshape(8, 10))
    with pytest.raises(DataError, match="the masks have 319 different values; a segmentation has at most 255 classes"):
        _open(root)


def test_masks_of_parts_of_a_data_set_are_no_classes(make_pairs):
    root = make_pairs("images/{}.jpg", "masks/paris/{}.png")
    reasons = [bad.reason for bad in find_bad_images(_open(root, "all").records)]
    assert len(reasons) == 3
    assert all("a mask in a folder of a class has 0 and one other value, this one also 2" in each for each in reasons)
