"""Boxes from one format into another, as a person sees it: what is kept, what is said to be lost, what is refused."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from globox import AnnotationSet
from onetrunk.apps.cli import main
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import AnnotatedImages, Objects, open_dataset
from onetrunk.datasets.coco_writer import write_coco
from onetrunk.datasets.conversion import convert_objects
from onetrunk.datasets.object_export import Export, Picture
from onetrunk.datasets.voc_writer import write_voc
from onetrunk.datasets.yolo_writer import write_yolo
from PIL import Image

Captured = pytest.CaptureFixture[str]

CATEGORIES = {3: "dog", 17: "cat", 90: "eel"}
SIZES = {"a": (40, 60), "b": (33, 77), "c": (24, 24), "d": (50, 41)}
SPLITS = {"train": "abc", "val": "d"}
Box = tuple[float, float, float, float]

#: Class, box, crowd, of each picture; ``c`` is a negative.
OBJECTS: dict[str, list[tuple[int, Box, int]]] = {
    "a": [(3, (1, 2, 31, 22.5), 0), (90, (0.25, 7.125, 60, 40), 0), (3, (5, 5, 15, 15), 1)],
    "b": [(17, (10.123456, 3.3, 70.7, 32.654321), 0)],
    "c": [],
    "d": [(17, (0, 0, 41, 50), 0), (3, (20, 10, 22, 30), 0)],
}
REGION = [[1, 2, 31, 2, 31, 22.5]]


def _draw(path: Path, size: tuple[int, int], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(len(path.name)).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    return path


@pytest.fixture
def make_coco(tmp_path: Path) -> Callable[..., Path]:
    """Writes a COCO folder; each annotation's change may be given by the picture's name."""

    def make(name: str = "coco", splits: dict[str, str] = SPLITS, folder: str = "{}2017", **more: Any) -> Path:
        root = tmp_path / name
        for split, names in splits.items():
            annotations = []
            for one in names:
                _draw(root / folder.format(split) / f"{one}.jpg", SIZES[one])
                objects = [*OBJECTS[one], *more.get(one, [])]
                annotations += [_annotation(one, *each) for each in objects]
            content = {
                "images": [
                    {"id": 100 + ord(one), "file_name": f"{one}.jpg", "height": SIZES[one][0], "width": SIZES[one][1]}
                    for one in names
                ],
                "annotations": [{**each, "id": number} for number, each in enumerate(annotations)],
                "categories": [{"id": number, "name": category} for number, category in CATEGORIES.items()],
            }
            path = root / "annotations" / (f"instances_{split}2017.json" if split else "instances.json")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        return root

    return make


def _annotation(picture: str, category: int, box: Box, crowd: int) -> dict[str, Any]:
    left, top, right, bottom = box
    return {
        "image_id": 100 + ord(picture),
        "category_id": category,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top) / 2,
        "iscrowd": crowd,
        "segmentation": REGION if category == 3 and not crowd else [],
    }


@pytest.fixture
def coco(make_coco: Callable[..., Path]) -> Path:
    return make_coco()


def convert(data: Path, to: str, output: Path, *words: str) -> int:
    return main(["data", "convert", "--data", str(data), "--to", to, "--output", str(output), *words])


def objects_of(data: Path, *, keep_ignored: bool = True) -> dict[str, dict[str, list[tuple[str, bool, Box]]]]:
    """For each split and picture the class, whether it is ignored, and the box of its objects."""
    opened = open_dataset(data, "all", kind="objects")
    found: dict[str, dict[str, list[tuple[str, bool, Box]]]] = {}
    for split, records in opened.found.items():
        for record in records:
            one = record.targets["objects"]
            rows = [(one.names[k], bool(one.ignored) and one.ignored[k], one.boxes[k]) for k in one.sound]
            rows = [row for row in rows if keep_ignored or not row[1]]
            found.setdefault(split, {})[record.path.name] = rows
    return found


def assert_same(one: dict[str, Any], two: dict[str, Any], *, tolerance: float) -> None:
    assert {split: sorted(found) for split, found in one.items()} == {split: sorted(two[split]) for split in two}
    for split, found in one.items():
        for name, rows in found.items():
            assert [row[:2] for row in rows] == [row[:2] for row in two[split][name]], name
            for mine, theirs in zip(rows, two[split][name], strict=True):
                assert mine[2] == pytest.approx(theirs[2], abs=tolerance)


def images_of(opened: AnnotatedImages) -> dict[str, Any]:
    return {record.path.name: record.targets["objects"] for record in opened.records}


def state_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_coco_to_coco_keeps_ids_with_gaps_areas_and_regions(coco: Path, tmp_path: Path, capsys: Captured) -> None:
    before = state_of(coco)
    assert convert(coco, "coco", tmp_path / "out") == 0
    assert state_of(coco) == before
    assert_same(objects_of(coco), objects_of(tmp_path / "out"), tolerance=1e-6)
    written = json.loads((tmp_path / "out" / "annotations" / "instances_train.json").read_text())
    assert {each["id"]: each["name"] for each in written["categories"]} == CATEGORIES
    assert {each["id"]: each["file_name"] for each in written["images"]} == {197: "a.jpg", 198: "b.jpg", 199: "c.jpg"}
    first = written["annotations"][0]
    assert (first["bbox"], first["area"], first["segmentation"]) == ([1, 2, 30, 20.5], 307.5, REGION)
    assert state_of(tmp_path / "out")["train/a.jpg"] == before["train2017/a.jpg"]
    one, two = (images_of(open_dataset(data, "all", kind="objects")) for data in (coco, tmp_path / "out"))
    assert all(one[name].size == two[name].size for name in one)
    printed = capsys.readouterr().out
    assert printed.endswith(f"{tmp_path / 'out'}: 3 train, 1 val images, 6 objects of 3 classes (coco)\n")
    assert "licences, supercategories and the like aren't" in printed


def test_coco_to_voc_and_back(coco: Path, tmp_path: Path, capsys: Captured) -> None:
    assert convert(coco, "voc", tmp_path / "voc") == 0
    printed = capsys.readouterr().out
    assert "VOC: 2 objects with a region have their boxes only; the format has no place for it." in printed
    assert "VOC: the layout has no list of classes" in printed
    assert convert(tmp_path / "voc", "coco", tmp_path / "back") == 0
    assert_same(objects_of(coco), objects_of(tmp_path / "voc"), tolerance=1e-6)
    assert_same(objects_of(coco), objects_of(tmp_path / "back"), tolerance=1e-6)
    xml = (tmp_path / "voc" / "Annotations" / "a.xml").read_text()
    assert "<xmin>2</xmin>" in xml
    assert "<ymin>3</ymin>" in xml
    assert "<xmax>31</xmax>" in xml
    assert "<ymax>22.5</ymax>" in xml
    written = json.loads((tmp_path / "back" / "annotations" / "instances_val.json").read_text())
    assert [(each["id"], each["name"]) for each in written["categories"]] == [(1, "cat"), (2, "dog"), (3, "eel")]
    assert [each["id"] for each in written["images"]] == [4], "counted over all splits"


def test_coco_to_yolo_and_back(coco: Path, tmp_path: Path, capsys: Captured) -> None:
    assert convert(coco, "yolo", tmp_path / "yolo") == 0
    printed = capsys.readouterr().out
    assert "YOLO: 1 object to be ignored, such as a crowd was left out; the format has no place for it." in printed
    assert "YOLO: 2 objects with a region have their boxes only" in printed
    assert convert(tmp_path / "yolo", "coco", tmp_path / "back") == 0
    expected = objects_of(coco, keep_ignored=False)
    assert_same(expected, objects_of(tmp_path / "yolo"), tolerance=1e-3)
    assert_same(expected, objects_of(tmp_path / "back"), tolerance=1e-3)
    assert open_dataset(tmp_path / "yolo", "train", kind="objects").classes == ("dog", "cat", "eel"), "in COCO's order"
    assert (tmp_path / "yolo" / "labels" / "train" / "c.txt").read_text() == "", "a negative"


def test_voc_to_yolo_and_back(coco: Path, tmp_path: Path) -> None:
    assert convert(coco, "voc", tmp_path / "voc") == 0
    assert convert(tmp_path / "voc", "yolo", tmp_path / "yolo") == 0
    assert convert(tmp_path / "yolo", "voc", tmp_path / "back") == 0
    expected = objects_of(tmp_path / "voc", keep_ignored=False)
    assert_same(expected, objects_of(tmp_path / "back"), tolerance=1e-3)
    assert (tmp_path / "back" / "ImageSets" / "Main" / "train.txt").read_text() == "a\nb\nc\n"


def test_boxes_come_back_from_shares_to_a_thousandth_of_a_pixel(tmp_path: Path) -> None:
    draw = random.Random(0)
    sizes = [(draw.randint(20, 90), draw.randint(1000, 9000)) for _ in range(4)]
    rows = ["path,label,xmin,ymin,xmax,ymax"]
    for number, size in enumerate(sizes):
        _draw(tmp_path / "set" / f"{number}.png", size)
        for _ in range(5):
            left, top = draw.uniform(0, size[1] - 2), draw.uniform(0, size[0] - 2)
            right, bottom = draw.uniform(left + 1, size[1]), draw.uniform(top + 1, size[0])
            rows.append(f"{number}.png,{draw.choice('xy')},{left},{top},{right},{bottom}")
    table = tmp_path / "set" / "boxes.csv"
    table.write_text("\n".join(rows))
    assert convert(table, "yolo", tmp_path / "yolo") == 0
    assert_same({"train": objects_of(table)[""]}, objects_of(tmp_path / "yolo"), tolerance=1e-3)


def test_without_splits_none_are_made_but_where_the_format_needs_one(
    make_coco: Callable[..., Path], tmp_path: Path, capsys: Captured
) -> None:
    data = make_coco(splits={"": "abcd"}, folder="pictures")
    assert convert(data / "annotations" / "instances.json", "coco", tmp_path / "coco2") == 2
    assert "d.jpg" in capsys.readouterr().err, "the pictures of another folder aren't found"
    data = make_coco("plain", splits={"": "abcd"}, folder="images")
    for to in ("coco", "voc"):
        assert convert(data, to, tmp_path / "out" / to) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(f"{tmp_path / 'out' / to}: 4 images, 6 objects")
        assert_same(objects_of(data), objects_of(tmp_path / "out" / to), tolerance=1e-6)
    assert (tmp_path / "out" / "coco" / "annotations" / "instances.json").is_file()
    assert not (tmp_path / "out" / "voc" / "ImageSets").exists()
    assert convert(data, "yolo", tmp_path / "yolo") == 0
    assert "has no splits and data.yaml needs one, so all pictures are in 'train'" in capsys.readouterr().out
    assert list(objects_of(tmp_path / "yolo")) == ["train"]


def test_a_missing_split_of_yolo_is_said(make_coco: Callable[..., Path], tmp_path: Path, capsys: Captured) -> None:
    assert convert(make_coco(splits={"test": "abcd"}), "yolo", tmp_path / "yolo") == 0
    assert "YOLO: there is no 'train' and no 'val' in data.yaml" in capsys.readouterr().out
    assert list(objects_of(tmp_path / "yolo")) == ["test"]


def test_what_has_no_area_or_is_over_the_edge_is_counted(
    make_coco: Callable[..., Path], tmp_path: Path, capsys: Captured
) -> None:
    data = make_coco(c=[(3, (4, 4, 4, 9), 0), (3, (-2, 4, 26, 9), 0), (17, (3, 3, 4, 8), 0)])
    assert convert(data, "voc", tmp_path / "voc") == 0
    printed = capsys.readouterr().out
    assert "1 box without an area was left out" in printed
    assert "VOC: 1 box of a pixel or less in width or height left out" in printed
    assert [row[2] for row in objects_of(tmp_path / "voc")["train"]["c.jpg"]] == [(-2, 4, 26, 9)]
    assert convert(data, "yolo", tmp_path / "yolo") == 0
    assert "YOLO: 1 box over the edge of a picture cut off there." in capsys.readouterr().out
    found = [row[2] for row in objects_of(tmp_path / "yolo")["train"]["c.jpg"]]
    assert found == [pytest.approx((0, 4, 24, 9), abs=1e-3), pytest.approx((3, 3, 4, 8), abs=1e-3)]
    assert convert(data, "coco", tmp_path / "again") == 0
    assert len(objects_of(tmp_path / "again")["train"]["c.jpg"]) == 2


def test_a_class_of_ignored_objects_only_gets_a_number(
    make_coco: Callable[..., Path], tmp_path: Path, capsys: Captured
) -> None:
    data = make_coco(splits={"train": "ad"})
    path = data / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["categories"].append({"id": 2, "name": "ant"})
    content["annotations"][2]["category_id"] = 2  # the crowd
    path.write_text(json.dumps(content))
    assert convert(data, "voc", tmp_path / "voc") == 0
    assert convert(tmp_path / "voc", "coco", tmp_path / "back") == 0
    written = json.loads((tmp_path / "back" / "annotations" / "instances_train.json").read_text())
    assert [each["name"] for each in written["categories"]] == ["cat", "dog", "eel", "ant"]
    assert [each["iscrowd"] for each in written["annotations"]] == [0, 0, 1, 0, 0]


def test_a_turned_picture_keeps_its_upright_size_and_boxes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    _draw(tmp_path / "set" / "a.jpg", (20, 50), exif=exif)
    (tmp_path / "set" / "boxes.csv").write_text("path,label,xmin,ymin,xmax,ymax\na.jpg,cat,2,20,18,48\n")
    for to in ("coco", "voc", "yolo"):
        assert convert(tmp_path / "set" / "boxes.csv", to, tmp_path / to) == 0
        opened = open_dataset(tmp_path / to, "all", kind="objects")
        assert opened.records[0].targets["objects"].boxes[0] == pytest.approx((2, 20, 18, 48), abs=1e-3)
    written = json.loads((tmp_path / "coco" / "annotations" / "instances.json").read_text())
    assert (written["images"][0]["height"], written["images"][0]["width"]) == (50, 20)


@pytest.mark.parametrize("to", ["coco", "yolo", "voc"])
def test_subfolders_stay_or_become_part_of_the_name(tmp_path: Path, to: str) -> None:
    rows = ["path,label,xmin,ymin,xmax,ymax"]
    for name in ("x/images/1.jpg", "y/1.jpg"):
        _draw(tmp_path / "set" / "raw" / name, (20, 30))
        rows.append(f"raw/{name},cat,1,2,{len(name)},10")
    (tmp_path / "set" / "boxes.csv").write_text("\n".join(rows))
    assert convert(tmp_path / "set" / "boxes.csv", to, tmp_path / "out") == 0
    opened = open_dataset(tmp_path / "out", "all", kind="objects")
    above = {"coco": "images", "yolo": "images/train", "voc": "JPEGImages"}[to]
    names = ["x_images_1.jpg", "y_1.jpg"] if to == "voc" else ["x/images/1.jpg", "y/1.jpg"]
    assert [record.name for record in opened.records] == [f"{above}/{name}" for name in names]
    widths = [record.targets["objects"].boxes[0][2] for record in opened.records]
    assert widths == pytest.approx([14, 7], abs=1e-3)


@pytest.mark.parametrize("to", ["yolo", "voc"])
def test_pictures_that_would_share_an_annotation_are_named(tmp_path: Path, to: str, capsys: Captured) -> None:
    rows = ["path,label,xmin,ymin,xmax,ymax"]
    for name in ("1.jpg", "1.png"):
        _draw(tmp_path / "set" / name, (20, 30))
        rows.append(f"{name},cat,1,2,9,10")
    (tmp_path / "set" / "boxes.csv").write_text("\n".join(rows))
    assert convert(tmp_path / "set" / "boxes.csv", to, tmp_path / "out") == 2
    first, second = tmp_path / "set" / "1.jpg", tmp_path / "set" / "1.png"
    assert f"{second}: {first} has the same name but for folder or ending" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"], "nothing is written half"
    assert convert(tmp_path / "set" / "boxes.csv", "coco", tmp_path / "out") == 0


def test_pictures_may_be_linked_or_left_out(coco: Path, tmp_path: Path, capsys: Captured) -> None:
    assert convert(coco, "yolo", tmp_path / "linked", "--copy", "symlink") == 0
    picture = tmp_path / "linked" / "images" / "train" / "a.jpg"
    assert picture.is_symlink()
    assert picture.resolve() == (coco / "train2017" / "a.jpg").resolve()
    assert_same(objects_of(coco, keep_ignored=False), objects_of(tmp_path / "linked"), tolerance=1e-3)
    capsys.readouterr()
    for to, place in (("coco", "train"), ("yolo", "images/train"), ("voc", "JPEGImages")):
        assert convert(coco, to, tmp_path / "bare" / to, "--copy", "none") == 0
        assert f"No pictures were written; they belong into {tmp_path / 'bare' / to / place}" in capsys.readouterr().out
        assert not list((tmp_path / "bare" / to).rglob("*.jpg"))


def test_bad_pictures_are_named_and_nothing_is_written(coco: Path, tmp_path: Path, capsys: Captured) -> None:
    (coco / "train2017" / "a.jpg").write_text("404: Not Found")
    (coco / "val2017" / "d.jpg").unlink()
    _draw(coco / "train2017" / "b.jpg", (10, 10))
    assert convert(coco, "voc", tmp_path / "new" / "voc") == 2
    printed = capsys.readouterr().err
    assert "3 faults" in printed
    assert "a.jpg: this is no picture, it looks like text" in printed
    assert "d.jpg: there is no such file" in printed
    assert "it is for a picture of 77 x 33 pixels, and this one has 10 x 10" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["coco"]


def test_faults_of_the_data_end_with_one_message(coco: Path, tmp_path: Path, capsys: Captured) -> None:
    assert convert(tmp_path / "nowhere", "voc", tmp_path / "voc") == 2
    assert "nowhere: there is no such file or folder" in capsys.readouterr().err
    assert convert(coco, "pascal", tmp_path / "voc") == 2
    assert "pascal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("coco", "is the data set itself, which stays as it is"),
        ("coco/voc", "lies in the data set"),
        (".", "holds the data set"),
    ],
)
def test_the_data_set_is_never_written_over(
    coco: Path, tmp_path: Path, output: str, message: str, capsys: Captured
) -> None:
    before = state_of(tmp_path)
    assert convert(coco, "voc", tmp_path / output, "--overwrite") == 2
    assert message in capsys.readouterr().err
    assert state_of(tmp_path) == before


def test_only_what_the_command_wrote_is_replaced(coco: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert convert(coco, "voc", out) == 0, "an empty folder is as good as none"
    assert convert(coco, "yolo", out) == 2
    assert "already exists. Replace it: --overwrite. Or choose another folder" in capsys.readouterr().err
    assert convert(coco, "yolo", out, "--overwrite") == 0
    assert not (out / "JPEGImages").exists()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").touch()
    capsys.readouterr()
    assert convert(coco, "yolo", tmp_path / "notes", "--overwrite") == 2
    assert "It doesn't hold what this command wrote, so it stays." in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert convert(coco, "yolo", tmp_path / "file", "--overwrite") == 2
    assert "already exists" in capsys.readouterr().err


def test_pictures_that_the_output_holds_stay(coco: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "out"
    assert convert(coco, "voc", out) == 0
    table = tmp_path / "boxes.csv"
    table.write_text("path,label,xmin,ymin,xmax,ymax\nout/JPEGImages/a.jpg,cat,1,1,9,9\n")
    before = state_of(tmp_path)
    capsys.readouterr()
    assert convert(table, "yolo", out, "--overwrite") == 2
    assert f"'{out}' holds pictures of the data set, e.g. {out}/JPEGImages/a.jpg" in capsys.readouterr().err
    assert state_of(tmp_path) == before


def test_a_disk_that_fails_leaves_what_was_there(
    coco: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    assert convert(coco, "voc", tmp_path / "out") == 0
    before = state_of(tmp_path)
    capsys.readouterr()
    monkeypatch.setattr("onetrunk.datasets.object_export.shutil.copy2", fail)
    assert convert(coco, "yolo", tmp_path / "out", "--overwrite") == 2
    assert f"'{tmp_path / 'out'}' can't be written: No space left on device." in capsys.readouterr().err
    assert state_of(tmp_path) == before


def test_as_a_function_it_refuses_the_same(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Unknown format 'voce'\. Known: coco, voc, yolo\. Did you mean 'voc'\?"):
        convert_objects(coco, tmp_path / "out", "voce")  # type: ignore[arg-type]
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file' isn't empty"):
        convert_objects(coco, tmp_path / "file", "voc")
    conversion = convert_objects(coco, tmp_path / "out", "voc")
    assert (conversion.images, conversion.objects) == ({"train": 3, "val": 1}, 6)
    assert conversion.classes == ("dog", "cat", "eel")


def test_what_no_format_holds_is_said(tmp_path: Path, capsys: Captured) -> None:
    objects = Objects(boxes=((0, 0, 5, 5), (1, 1, 6, 6)), names=("face", "face"), sets=(7, 0))
    export = Export({"": (Picture(tmp_path / "1.jpg", "1.jpg", (9, 9), objects),)}, ("face",), {}, ())
    for write in (write_coco, write_voc, write_yolo):
        (tmp_path / write.__name__).mkdir()
        notes = write(tmp_path / write.__name__, export, "none")
        assert "1 object in WIDER FACE's sets isn't told as such; the format has no place for it." in notes[0]
    _draw(tmp_path / "set" / "a.jpg", (20, 50))
    (tmp_path / "set" / "boxes.csv").write_text("path,label,xmin,ymin,xmax,ymax,subject\na.jpg,cat,2,2,18,8,tom\n")
    assert convert(tmp_path / "set" / "boxes.csv", "coco", tmp_path / "out") == 0
    assert "which subject each image shows isn't kept" in capsys.readouterr().out


def test_wider_faces_in_other_formats(tmp_path: Path, capsys: Captured) -> None:
    _draw(tmp_path / "wider" / "WIDER_train" / "images" / "0--Parade" / "1.jpg", (20, 30))
    _draw(tmp_path / "wider" / "WIDER_train" / "images" / "1--Show" / "2.jpg", (20, 30))
    lines = "0--Parade/1.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n5 5 5 5 0 0 0 0 0 1\n1--Show/2.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n"
    (tmp_path / "wider" / "wider_face_train_bbx_gt.txt").write_text(lines)
    assert convert(tmp_path / "wider", "yolo", tmp_path / "yolo") == 0
    assert "YOLO: 1 object to be ignored" in capsys.readouterr().out
    assert (tmp_path / "yolo" / "labels" / "train" / "0--Parade" / "1.txt").read_text().startswith("0 0.08333")
    assert convert(tmp_path / "wider", "voc", tmp_path / "voc") == 0
    assert (tmp_path / "voc" / "ImageSets" / "Main" / "train.txt").read_text() == "0--Parade_1\n1--Show_2\n"


def _others(found: AnnotationSet) -> dict[str, list[tuple[str, Box]]]:
    """What globox read: for each picture the class and the box of its objects."""
    return {
        Path(one.image_id).name: sorted((box.label, tuple(map(float, box.ltrb))) for box in one.boxes) for one in found
    }


def test_another_library_reads_the_same_boxes(coco: Path, tmp_path: Path) -> None:
    for to in ("coco", "voc", "yolo"):
        assert convert(coco, to, tmp_path / "out" / to) == 0
    ours = {
        name: sorted((row[0], row[2]) for row in rows)
        for name, rows in objects_of(coco, keep_ignored=True)["train"].items()
    }
    theirs = _others(AnnotationSet.from_coco(tmp_path / "out" / "coco" / "annotations" / "instances_train.json"))
    assert_like(ours, theirs)
    theirs = _others(AnnotationSet.from_pascal_voc(tmp_path / "out" / "voc" / "Annotations"))
    counted_from_one = {
        name: sorted((label, (box[0] + 1, box[1] + 1, box[2], box[3])) for label, box in rows)
        for name, rows in ours.items()
    }
    assert_like(counted_from_one, {name: theirs[name] for name in ours})
    labels = tmp_path / "out" / "yolo" / "labels" / "train"
    found = AnnotationSet.from_yolo_v5(labels, image_folder=tmp_path / "out" / "yolo" / "images" / "train")
    numbers = {name: str(number) for number, name in enumerate(CATEGORIES.values())}
    learned = {
        name: sorted((numbers[row[0]], row[2]) for row in rows)
        for name, rows in objects_of(coco, keep_ignored=False)["train"].items()
    }
    assert_like(learned, _others(found))


def assert_like(one: dict[str, list[tuple[str, Box]]], two: dict[str, list[tuple[str, Box]]]) -> None:
    assert sorted(one) == sorted(two)
    for name, rows in one.items():
        assert [row[0] for row in rows] == [row[0] for row in two[name]]
        assert [row[1] for row in rows] == [pytest.approx(row[1], abs=1e-3) for row in two[name]]
