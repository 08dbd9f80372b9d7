"""What a mask's file says, what is refused about it, and that a loader goes on."""

import numpy as np
import pytest
import torch
from onetrunk.datasets import (
    DataError,
    ResumableLoader,
    SampleDataset,
    TargetEncoder,
    check_dataset,
    eval_transform,
    find_bad_images,
    open_dataset,
)
from onetrunk.datasets.masks import ClassMaskFiles, DrawnMask, MaskCoding, MaskFile, Region
from PIL import Image

SIZE = (8, 10)
VALUES = np.tile(np.arange(10) % 3, (8, 1))
CODING = MaskCoding({0: "sky", 1: "road", 2: "car"})


def _read(path, coding=CODING, classes=("sky", "road", "car"), size=SIZE):
    return MaskFile(path, coding).read(classes, size)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "LA", "I"])
def test_every_lossless_mode_gives_its_values(tmp_path, write_mask, mode):
    mask = _read(write_mask(tmp_path / ("a.tif" if mode == "I" else "a.png"), VALUES, mode))
    assert (mask.dtype, mask.tolist()) == (torch.uint8, VALUES.tolist())


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "gif"])
def test_other_formats_without_loss_are_read(tmp_path, write_mask, ending):
    assert _read(write_mask(tmp_path / f"a.{ending}", VALUES)).tolist() == VALUES.tolist()


def test_a_black_and_white_mask_is_zero_and_one(tmp_path, write_mask):
    mask = _read(write_mask(tmp_path / "a.png", VALUES > 0))
    assert mask.tolist() == (VALUES > 0).astype(int).tolist()


def test_values_of_sixteen_bits_are_read_as_they_are(tmp_path, write_mask):
    path = write_mask(tmp_path / "a.png", (VALUES * 1000).astype(np.uint16))
    coding = MaskCoding({0: "sky", 1000: "road", 2000: "car"})
    assert _read(path, coding).tolist() == VALUES.tolist()
    with pytest.raises(DataError, match=r"a\.png: the mask has the values 1000, 2000, which no class has; known are 0"):
        _read(path)


def test_values_become_places_in_the_order_of_the_classes_that_are_asked_for(tmp_path, write_mask):
    path = write_mask(tmp_path / "a.png", np.where(VALUES == 2, 255, VALUES))
    mask = _read(path, classes=("road", "car", "sky"))
    assert mask.tolist() == np.array([2, 0, 255])[VALUES].tolist(), "255 is ignored whatever the order"


def test_colours_are_looked_up_in_the_list(tmp_path, write_mask):
    colors = np.array([[0, 0, 0], [128, 64, 128], [255, 255, 0]], dtype=np.uint8)
    coding = MaskCoding({0: "sky", 1: "road", 2: "car"}, colors={tuple(map(int, c)): v for v, c in enumerate(colors)})
    assert _read(write_mask(tmp_path / "a.png", colors[VALUES]), coding).tolist() == VALUES.tolist()
    assert _read(write_mask(tmp_path / "b.png", colors[VALUES], "RGBA"), coding).tolist() == VALUES.tolist()
    with pytest.raises(DataError, match=r"c\.png: the colour 0 0 1 isn't in the list of classes"):
        _read(write_mask(tmp_path / "c.png", colors[VALUES] + np.uint8([0, 0, 1])), coding)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path, write: write(path, VALUES, format="JPEG"), r"a mask can't be a JPEG, .*Save it as PNG"),
        (lambda path, write: path.write_bytes(write(path, VALUES).read_bytes()[:50]), "the mask can't be read, it is"),
        (lambda path, write: path.write_text("no picture"), "the mask can't be read, it is damaged or no picture"),
        (
            lambda path, write: path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n"),
            "the mask can't be read, it is damaged or",
        ),
        (lambda path, write: None, "the mask is missing; there is no such file"),
        (lambda path, write: write(path, VALUES.T), r"the mask has 8 x 10 pixels, its picture 10 x 8\. It fits .*EXIF"),
        (lambda path, write: write(path, VALUES[:4]), r"the mask has 10 x 4 pixels, its picture 10 x 8\. They have to"),
        (lambda path, write: write(path, VALUES + 2), "the mask has the values 3, 4, which no class has; known are 0 "),
        (lambda path, write: write(path, VALUES * 2), r"the mask has the value 4, .* 0 to 2 and 255 \(ignored\)"),
        (lambda path, write: write(path, np.arange(80).reshape(8, 10)), r"the values 3, 4, .*, 10, \.\.\., which"),
        (lambda path, write: write(path, np.eye(3)[VALUES] * 255), "in RGB colours, and nothing says .* classes.txt"),
        (lambda path, write: write(path, VALUES, "CMYK", format="TIFF"), "a mask of mode CMYK has no values"),
        (lambda path, write: write(path, VALUES, "F", format="TIFF"), "a mask of mode F has no values .* grey PNG"),
    ],
)
def test_what_is_no_mask_of_the_picture_is_refused_by_name(tmp_path, write_mask, write, words):
    write(tmp_path / "a.png", write_mask)
    with pytest.raises(DataError, match=rf"a\.png: .*{words}"):
        _read(tmp_path / "a.png")


@pytest.mark.parametrize("value", [-1, 70_000])
def test_values_beyond_sixteen_bits_are_refused(tmp_path, value):
    Image.fromarray(np.full(SIZE, value, dtype=np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=rf"values from {value} to {value}; they are numbers from 0 to 65535"):
        _read(tmp_path / "a.tif")


def test_a_file_a_class_makes_a_mask_of_several(tmp_path, write_mask):
    paths = {
        "road": write_mask(tmp_path / "road.png", (VALUES > 0) * 255),
        "car": write_mask(tmp_path / "c.png", VALUES),
    }
    mask = ClassMaskFiles(paths).read(("car", "sky", "road"), SIZE)
    assert mask.tolist() == [(VALUES > 0).tolist(), np.zeros(SIZE).tolist(), (VALUES > 0).tolist()]
    with pytest.raises(DataError, match=r"road\.png: the mask has 10 x 8 pixels, its picture 9 x 9"):
        ClassMaskFiles(paths).read(("car", "road"), (9, 9))
    with pytest.raises(DataError, match=r"the class 'car' isn't one of those known here\. Did you mean 'cars'"):
        ClassMaskFiles(paths).read(("cars", "road"), SIZE)
    with pytest.raises(DataError, match="broken"):
        ClassMaskFiles(paths, fault="broken").read(("car", "road"), SIZE)


def _region(name, rows, columns, **more):
    from pycocotools import mask as coco_mask

    inside = np.zeros(SIZE, dtype=np.uint8, order="F")
    inside[rows, columns] = 1
    code = coco_mask.encode(np.asfortranarray(inside))
    return Region(name, code["counts"].decode(), int(inside.sum()), **more)


def test_regions_are_drawn_with_matter_below_and_small_objects_on_top(tmp_path):
    regions = (
        _region("car", slice(2, 4), slice(2, 4)),
        _region("road", slice(0, 2), slice(0, 1), is_stuff=True),
        _region("bus", slice(0, 6), slice(0, 6)),
    )
    classes = ("background", "bus", "car", "road")
    expected = np.zeros(SIZE, dtype=int)
    expected[:6, :6] = 1
    expected[2:4, 2:4] = 2
    mask = DrawnMask(regions, SIZE, tmp_path / "a.json", 7)
    assert mask.read(classes, SIZE).tolist() == expected.tolist(), "the road is small, but below"
    assert mask.pixels == {"car": 4, "road": 2, "bus": 36, "background": 80 - 36}
    both = DrawnMask(regions, SIZE, tmp_path / "a.json", 7, is_multi_label=True)
    assert both.read(classes, SIZE).sum(dim=(1, 2)).tolist() == [0, 36, 4, 2]
    assert both.pixels == {"car": 4, "road": 2, "bus": 36}
    assert DrawnMask((), SIZE, tmp_path / "a.json", 7).pixels == {"background": 80}
    with pytest.raises(DataError, match=r"image 7 is annotated as 10 x 8 pixels, but its file has 8 x 10 \(upright\)"):
        mask.read(classes, (10, 8))
    with pytest.raises(DataError, match=r"a\.json: the class 'bus' isn't one of those known here"):
        mask.read(("background", "car", "road"), SIZE)


@pytest.fixture
def traps(tmp_path, make_pairs, write_mask, draw):
    """Sound pairs ``a`` and ``b``, and one of every trap."""
    root = make_pairs("images/{}.png", "masks/{}.png", ("a", "b"))
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    wrong = {"size": VALUES[:, :9], "value": VALUES + 1, "turned": VALUES, "text": VALUES, "cut": VALUES}
    wrong |= {"deep": (VALUES * 300).astype(np.uint16), "colours": np.eye(3)[VALUES] * 255}
    sound = {"ignored": np.where(VALUES == 1, 255, VALUES), "grey": np.stack([VALUES] * 3, axis=-1), "bit": VALUES > 0}
    for seed, (name, values) in enumerate({**wrong, **sound}.items()):
        draw(root / "images" / f"{name}.png", height=8, width=10, seed=10 + seed)
        write_mask(root / "masks" / f"{name}.png", values)
    for seed, name in enumerate(("lossy", "missing", "palette")):
        draw(root / "images" / f"{name}.png", height=8, width=10, seed=50 + seed)
    write_mask(root / "masks" / "lossy.jpg", VALUES)
    write_mask(root / "masks" / "palette.png", VALUES, "P")
    (root / "masks" / "text.png").write_text("404: Not Found")
    noise = write_mask(root / "masks" / "cut.png", np.random.default_rng(0).integers(0, 3, SIZE)).read_bytes()
    (root / "masks" / "cut.png").write_bytes(noise[:-24])
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(root / "images" / "turned.png").save(root / "images" / "turned.png", exif=exif)
    return root


TRAPS = {
    "size": r"masks/size\.png: the mask has 9 x 8 pixels, its picture 10 x 8",
    "value": r"masks/value\.png: the mask has the value 3, which no class has; known are 0 to 2 and 255",
    "turned": r"masks/turned\.png: the mask has 10 x 8 pixels, its picture 8 x 10\. It fits .* before its EXIF",
    "text": r"masks/text\.png: the mask can't be read",
    "cut": r"masks/cut\.png: the mask can't be read",
    "deep": r"masks/deep\.png: the mask has the values 300, 600",
    "colours": r"masks/colours\.png: this mask is in RGB colours",
    "lossy": r"masks/lossy\.jpg: a mask can't be a JPEG",
    "missing": r"masks/missing\.png: the mask is missing",
}


def _assert_named(reasons):
    assert reasons.keys() == {f"images/{name}.png" for name in TRAPS}
    for name, words in TRAPS.items():
        with pytest.raises(DataError, match=words):
            raise DataError(reasons[f"images/{name}.png"])


def test_every_trap_is_named_before_training_and_the_sound_masks_are_not(traps):
    data = open_dataset(traps, "all", kind="masks")
    assert data.classes == ("sky", "road", "car")
    _assert_named({bad.name: bad.reason for bad in find_bad_images(data.records)})
    labels = {record.path.stem: record.targets["labels"] for record in data.records}
    assert labels["a"] == labels["palette"] == labels["grey"] == ("sky", "road", "car")
    assert (labels["ignored"], labels["bit"], labels["size"]) == (("sky", "car"), ("sky", "road"), ())
    counts = {record.path.stem: record.targets["mask"].pixels for record in data.records}
    assert counts["ignored"] == {"sky": 32, "": 24, "car": 24}
    assert counts["value"] == {}, "nothing is counted of a mask that isn't used"


def test_the_doctor_names_every_trap(traps):
    report = check_dataset(traps)
    assert report.kind == "masks"
    _assert_named({finding.files[0]: finding.message for finding in report.errors if finding.kind == "mask"})
    assert len(report.errors) == len(TRAPS)


def test_the_loader_sets_bad_masks_aside_and_goes_on(traps):
    data = open_dataset(traps, "all", kind="masks")
    dataset = SampleDataset(data.records, eval_transform((8, 10), mode="stretch"), classes=data.classes)
    batches = list(ResumableLoader(dataset, batch_size=4))
    _assert_named({bad.name: bad.reason for batch in batches for bad in batch.skipped})
    masks: dict[str, torch.Tensor] = {}
    for batch in batches:
        masks |= dict(zip(batch.names, batch.targets.get("mask", ()), strict=True))
    assert masks.keys() == {f"images/{name}.png" for name in ("a", "b", "bit", "grey", "ignored", "palette")}
    assert masks["images/palette.png"].tolist() == VALUES.tolist()
    assert masks["images/ignored.png"].tolist() == np.where(VALUES == 1, 255, VALUES).tolist()


def test_a_mask_that_changes_after_it_was_looked_at_is_a_bad_sample(make_pairs, write_mask):
    root = make_pairs("images/{}.png", "masks/{}.png")
    data = open_dataset(root, "all", kind="masks")
    write_mask(root / "masks" / "a.png", VALUES + 100)
    dataset = SampleDataset(data.records, eval_transform((8, 10)), classes=data.classes)
    assert "masks/a.png: the mask has the values 100, 101, 102, which no class has" in dataset[(0, 0)].reason
    assert dataset[(0, 1)].targets["mask"].shape == (8, 10)


def test_a_fingerprint_follows_the_masks_and_their_meaning_and_not_their_place(make_pairs, write_mask, tmp_path):
    root = make_pairs("images/{}.png", "masks/{}.png")
    before = open_dataset(root, "all", kind="masks").fingerprint()
    moved = root.rename(tmp_path / "moved")
    assert open_dataset(moved, "all", kind="masks").fingerprint() == before
    kept = (moved / "masks" / "a.png").read_bytes()
    write_mask(moved / "masks" / "a.png", np.flip(VALUES, axis=1))
    assert open_dataset(moved, "all", kind="masks").fingerprint() != before
    (moved / "masks" / "a.png").write_bytes(kept)
    assert open_dataset(moved, "all", kind="masks").fingerprint() == before
    (moved / "classes.txt").write_text("1 2 3 0\n4 5 6 1\n7 8 9 2\n")
    listed = open_dataset(moved, "all", kind="masks").fingerprint()
    (moved / "classes.txt").write_text("4 5 6 0\n1 2 3 1\n7 8 9 2\n")
    assert len({before, listed, open_dataset(moved, "all", kind="masks").fingerprint()}) == 3
    (moved / "masks" / "a.png").unlink()
    assert open_dataset(moved, "all", kind="masks").fingerprint() != before


def test_masks_and_boxes_come_in_pixels_of_the_upright_picture(make_pairs):
    data = open_dataset(make_pairs("images/{}.png", "masks/{}.png"), "all", kind="masks")
    found = TargetEncoder(data.classes).spatial(data.records[0], SIZE)
    assert found["mask"].tolist() == VALUES.tolist()
