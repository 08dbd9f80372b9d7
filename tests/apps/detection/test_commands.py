"""The detection commands from end to end, as a person types them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps import detection, load_model
from onetrunk.apps.cli import main
from onetrunk.apps.detection import evaluation
from onetrunk.apps.detection.opening import open_for_model
from onetrunk.apps.evaluated_images import read_images
from onetrunk.apps.opening import Trained
from onetrunk.datasets import AnnotatedImages, Record, open_dataset
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

WORDS = "--backbone timm/test_resnet --weights none --image-size 64 --batch-size 4 --workers 0 --device cpu".split()
LIGHT = "--head-options.width 16 --head-options.hidden 32 --epochs 1".split()


def train(data: Path, run: Path, *more: str) -> int:
    return main(["detection", "train", "--data", str(data), "--output", str(run), *WORDS, *more])


def use(command: str, model: Path, *more: str) -> int:
    return main(["detection", command, "--model", str(model), "--workers", "0", "--device", "cpu", *more])


def read_json(path: Path):
    return json.loads(path.read_text())


def test_it_learns_where_discs_are_whatever_the_data_hold(detected_run: Path) -> None:
    card = read_json(detected_run / "results.json")
    assert (card["task"], card["primary"]) == ("detection", "ap")
    assert {"ap", "ap50", "ap75", "ar100", "voc07_ap50", "voc12_ap50"} <= set(card["metrics"])
    assert card["metrics"]["ap50"]["value"] > 0.5
    assert [row["class"] for row in card["per_class"]] == ["blue", "green", "red"]
    assert card["samples"] == {"used": 8, "skipped": 0, "skipped_files": []}


def test_evaluate_repeats_the_figures_whatever_the_batch(
    detected_run: Path, object_folder: Path, tmp_path: Path
) -> None:
    expected = read_json(detected_run / "results.json")["metrics"]
    for batch_size in ("1", "3", "7"):
        out = tmp_path / batch_size
        words = ["--data", str(object_folder), "--output", str(out), "--batch-size", batch_size]
        assert use("evaluate", detected_run, *words) == 0
        for metric, estimate in read_json(out / "results.json")["metrics"].items():
            assert estimate == pytest.approx(expected[metric], abs=1e-6), metric


def test_what_evaluate_writes_is_cocos_and_scores_the_same(
    detected_run: Path, object_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ids with gaps and of 0 come back as they were, so that COCO's own tool finds the same figure."""
    assert use("evaluate", detected_run, "--data", str(object_folder), "--output", str(tmp_path)) == 0
    capsys.readouterr()
    truth = COCO(str(object_folder / "annotations" / "instances_val.json"))
    # of a box without area pycocotools makes an object that can't be found; readers leave it out
    truth.dataset["annotations"] = [each for each in truth.dataset["annotations"] if min(each["bbox"][2:]) > 0]
    truth.createIndex()
    found = truth.loadRes(str(tmp_path / "detections.json"))
    assert {each["category_id"] for each in found.dataset["annotations"]} <= {0, 17, 90}
    judge = COCOeval(truth, found, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    metrics = read_json(tmp_path / "results.json")["metrics"]
    assert metrics["ap"]["value"] == pytest.approx(judge.stats[0], abs=2e-3)  # bounds are written in hundredths
    assert metrics["ar100"]["value"] == pytest.approx(judge.stats[8], abs=2e-3)


def test_predict_writes_rows_pictures_and_a_coco_data_set(
    detected_run: Path, object_folder: Path, tmp_path: Path
) -> None:
    images = sorted((object_folder / "val").iterdir())[:5]
    words = ["--output", str(tmp_path), "--images", *map(str, images)]
    assert use("predict", detected_run, *words) == 0
    rows = read_json(tmp_path / "predictions.json")
    assert len(rows) == 5
    for row in rows:
        for one in row["objects"]:
            assert one["score"] >= 0.5
            assert 0 <= one["box"]["xmin"] < one["box"]["xmax"] <= 64
            assert 0 <= one["box"]["ymin"] < one["box"]["ymax"] <= 48
    with (tmp_path / "predictions.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == sum(max(1, len(row["objects"])) for row in rows)
    assert list(table[0]) == ["image", "error", "class", "score", "box_xmin", "box_ymin", "box_xmax", "box_ymax"]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [f"{image.stem}.png" for image in images]
    written = read_json(tmp_path / "coco.json")
    assert [each["id"] for each in written["categories"]] == [0, 17, 90]
    assert len(written["annotations"]) == sum(len(row["objects"]) for row in rows)
    assert use("predict", detected_run, *words) == 2
    assert use("predict", detected_run, *words, "--overwrite", "--threshold", "1") == 0
    assert all(not row["objects"] for row in read_json(tmp_path / "predictions.json"))
    with (tmp_path / "predictions.csv").open() as stream:
        assert list(next(csv.DictReader(stream))) == list(table[0])


def test_every_trap_is_named(object_folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    assert main(["data", "check", "--data", str(object_folder), "--kind", "objects", "--output", str(report)]) == 0
    said = capsys.readouterr().out
    for words in ("has no area", "without objects", "category 0", "0 to 90", "ignored"):
        assert words in said, words


def test_a_box_of_the_picture_before_its_rotation_is_refused(
    object_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "data"
    for path in object_folder.rglob("*.*"):
        target = broken / path.relative_to(object_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    file = broken / "annotations" / "instances_train.json"
    content = read_json(file)
    content["images"][1] |= {"width": 48, "height": 64}
    file.write_text(json.dumps(content))
    assert train(broken, tmp_path / "run", *LIGHT) == 2
    said = capsys.readouterr().err
    assert "01.jpg" in said
    assert "before its EXIF rotation" in said


def test_classes_that_the_model_doesnt_know_are_named(
    detected_run: Path, object_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "instances.json"
    content = read_json(object_folder / "annotations" / "instances_val.json")
    content["categories"][1]["name"] = "Green"
    other.write_text(json.dumps(content))
    for path in (object_folder / "val").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert use("evaluate", detected_run, "--data", str(other), "--split", "all") == 2
    said = capsys.readouterr().err
    assert "has a class that the model doesn't know: 'Green'. It knows blue, green, red. Did you mean 'green'?" in said
    assert f"--weights {detected_run}" in said


def test_a_frozen_trunk_is_proven_frozen(object_folder: Path, tmp_path: Path) -> None:
    words = [*LIGHT[:2], *LIGHT[4:], "--freeze", "all", "--head", "retinanet"]
    assert train(object_folder, tmp_path, *words) == 0
    backbone = read_json(tmp_path / "results.json")["backbone"]
    assert backbone["fingerprint_before"] == backbone["fingerprint_after"]


def test_nothing_found_is_no_crash(object_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*LIGHT, "--head-options.score-threshold", "0.9999", "--learning-rate", "0"]
    assert train(object_folder, tmp_path, *words) == 0
    card = read_json(tmp_path / "results.json")
    assert card["metrics"]["ap"]["value"] == 0
    assert "No detections" in capsys.readouterr().out


def test_the_model_and_the_images_say_who_judges_them(detected_run: Path) -> None:
    task = load_model(detected_run / "model")
    images, evaluator = read_images(detected_run / "images.npz")
    assert task.evaluator.description() == evaluator.description()
    assert task.description["numbers"] == {"blue": 0, "green": 17, "red": 90}
    assert len(images) == 8


def test_random_changes_that_take_a_box_away_are_counted(object_folder: Path, tmp_path: Path) -> None:
    words = ["--augment.min-zoom", "2", "--augment.max-zoom", "2", "--augment.shown", "0.9"]
    assert train(object_folder, tmp_path, *LIGHT, *words) == 0
    with (tmp_path / "log.csv").open() as stream:
        assert float(next(csv.DictReader(stream))["dropped_boxes"]) > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--image-size", "100"], "multiples of 32, not 100x100. Nearest: 96x96"),
        (["--head-options.levels", "c2", "c4"], "takes levels one after the other"),
        (["--head-options.levels", "c2", "c9"], "Unknown level in --head-options.levels 'c9'"),
        (["--head", "fcos", "--head-options.anchors", "small"], "has no effect without --head faster_rcnn"),
        (["--head", "retinanet", "--head-options.proposals", "5"], "has no effect without --head faster_rcnn"),
        (["--augment.min-zoom", "2"], "is above 0 and at most --augment.max-zoom"),
        (["--select", "ap05"], "Unknown metric for --select 'ap05'"),
        (["--head", "faster_rccn"], "faster_rcnn"),
        (["--head-options.score-threshold", "2"], "--head-options.score-threshold takes 0 to 1"),
    ],
)
def test_what_cant_be_done_is_said(
    words: list[str], message: str, object_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = train(object_folder, tmp_path / "run", *words)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_trunk_of_one_map_is_refused(object_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data", str(object_folder), "--output", str(tmp_path / "run"), "--weights", "none"]
    assert main(["detection", "train", *words, "--backbone", "timm/vit_tiny_patch16_224"]) == 2
    assert "detectors need maps of several sizes" in capsys.readouterr().err


def test_a_split_without_any_object_is_refused(
    object_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        content = read_json(object_folder / "annotations" / f"instances_{split}.json")
        if split == "val":
            content["annotations"] = []
        (tmp_path / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
        (tmp_path / split).symlink_to(object_folder / split)
    assert train(tmp_path, tmp_path / "run", *LIGHT) == 2
    assert "no image of 'val' has an object" in capsys.readouterr().err


def test_functions_take_the_same_options(detected_run: Path, object_folder: Path) -> None:
    rows = detection.predict(
        detection.PredictOptions(
            model=str(detected_run), images=[str(object_folder / "val" / "00.png")], workers=0, device="cpu"
        )
    )
    assert set(rows[0]) == {"image", "objects"}


def test_a_wide_picture_that_fills_little_of_the_canvas_keeps_its_boxes(detected_run: Path, tmp_path: Path) -> None:
    """Torchvision's pooling would guess its strides from the pictures' heights."""
    Image.fromarray(np.full((16, 128, 3), 200, np.uint8)).save(tmp_path / "wide.png")
    Image.fromarray(np.full((128, 16, 3), 200, np.uint8)).save(tmp_path / "high.png")
    out = tmp_path / "out"
    assert use("predict", detected_run, "--images", str(tmp_path), "--output", str(out), "--threshold", "0") == 0
    for row, (width, height) in zip(read_json(out / "predictions.json"), ((16, 128), (128, 16)), strict=True):
        for one in row["objects"]:
            assert one["box"]["xmax"] <= width
            assert one["box"]["ymax"] <= height


def test_ids_with_gaps_round_trip(object_folder: Path) -> None:
    images = open_dataset(object_folder, "val", kind="objects")
    assert dict(images.numbers) == {"blue": 0, "green": 17, "red": 90}


def copy_unsplit(source: Path, target: Path) -> Path:
    """Copy the training pictures of a COCO folder, with regions, as a file without splits."""
    target.mkdir()
    content = read_json(source / "annotations" / "instances_train.json")
    for each in content["annotations"]:
        x, y, width, height = each["bbox"]
        each["segmentation"] = [[x, y, x + width, y, x + width, y + height]]
    (target / "instances.json").write_text(json.dumps(content))
    for path in (source / "train").iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_a_model_is_evaluated_on_the_split_that_was_cut_for_it(object_folder: Path, tmp_path: Path) -> None:
    """Regions that a head doesn't read must not make other data of the same."""
    data = copy_unsplit(object_folder, tmp_path / "data")
    assert train(data, tmp_path / "run", *LIGHT) == 0
    assert use("evaluate", tmp_path / "run", "--data", str(data), "--output", str(tmp_path / "out")) == 0
    one, other = (read_json(tmp_path / name / "results.json") for name in ("run", "out"))
    assert one["metrics"] == other["metrics"]


def test_no_two_classes_and_no_two_images_share_an_id(
    detected_run: Path, object_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A class that the data lack, and two files that both number their images from 1."""
    words = ["--data", str(object_folder), "--split", "all", "--output", str(tmp_path / "all")]
    assert use("evaluate", detected_run, *words) == 0
    assert "ids of the data set's images repeat" in capsys.readouterr().out
    written = read_json(tmp_path / "all" / "detections.json")
    rows = read_json(tmp_path / "all" / "predictions.json")
    assert len({each["image_id"] for each in written}) == sum(bool(row["objects"]) for row in rows)

    content = read_json(object_folder / "annotations" / "instances_val.json")
    content["categories"] = [{"id": 2, "name": "blue"}, {"id": 1, "name": "red"}]
    content["annotations"] = [each for each in content["annotations"] if each["category_id"] != 17]
    for each in content["annotations"]:
        each["category_id"] = {0: 2, 90: 1}[each["category_id"]]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    (tmp_path / "val").symlink_to(object_folder / "val")
    assert use("evaluate", detected_run, "--data", str(tmp_path), "--output", str(tmp_path / "few")) == 0
    found = {}
    detections = iter(read_json(tmp_path / "few" / "detections.json"))
    for row in read_json(tmp_path / "few" / "predictions.json"):
        for one in row["objects"]:
            found[one["class"]] = next(detections)["category_id"]
    assert found == {"blue": 2, "red": 1, "green": 3}


def test_what_cant_be_read_is_no_image_without_objects(detected_run: Path, object_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes((object_folder / "val" / "00.png").read_bytes())
    (tmp_path / "torn.png").write_bytes((object_folder / "val" / "02.png").read_bytes()[:2000])
    words = ["--images", str(tmp_path), "--bad-data", "skip", "--output", str(tmp_path / "out")]
    assert use("predict", detected_run, *words) == 0
    written = read_json(tmp_path / "out" / "coco.json")
    assert [Path(each["file_name"]).name for each in written["images"]] == ["good.png"]


def test_faces_in_sets_are_measured_whatever_the_model_was_trained_on(
    detected_run: Path, object_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WIDER FACE's lists may be put beside the data after the training."""

    def with_sets(record: Record) -> Record:
        objects = record.targets["objects"]
        return replace(record, targets={**record.targets, "objects": replace(objects, sets=(7,) * len(objects))})

    def open_with_sets(trained: Trained, options: detection.EvaluateOptions, **settings: bool) -> AnnotatedImages:
        images = open_for_model(trained, options, **settings)
        return replace(images, splits={"val": tuple(map(with_sets, images.records))})

    monkeypatch.setattr(evaluation, "open_for_model", open_with_sets)
    assert use("evaluate", detected_run, "--data", str(object_folder), "--output", str(tmp_path)) == 0
    metrics = read_json(tmp_path / "results.json")["metrics"]
    assert metrics["wider_easy"] == metrics["wider_hard"]
    assert metrics["wider_easy"]["value"] > 0.3
    known, (_, evaluator) = read_images(detected_run / "images.npz")[1], read_images(tmp_path / "images.npz")
    assert evaluator.judges_as(known)
