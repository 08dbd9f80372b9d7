"""The segmentation commands from end to end, as a person types them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps.cli import main
from onetrunk.datasets import open_dataset
from PIL import Image

from .conftest import QUICK, TINY


def card_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def words_of(command: str, **options: object) -> list[str]:
    pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in options.items()]
    return ["segmentation", command, *(word for pair in pairs for word in pair)]


def test_it_learns_and_the_card_says_so(trained_masks: Path, mask_folder: Path) -> None:
    card = card_of(trained_masks)
    assert card["metrics"]["mean_iou"]["value"] >= 0.7
    assert list(card["metrics"]) == ["mean_iou", "pixel_accuracy", "dice", "boundary_f1"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in card["metrics"].values())
    assert [row["class"] for row in card["per_class"]] == ["background", "blue", "green", "red"]
    assert (card["task"], card["split"], card["primary"]) == ("segmentation", "val", "mean_iou")
    matrix = np.array(card["details"]["confusion_matrix"]["rows_are_labels"])
    known = sum(np.count_nonzero(np.asarray(Image.open(path)) < 4) for path in mask_folder.glob("val/masks/*"))
    assert matrix.sum() == known
    assert card["metrics"]["pixel_accuracy"]["value"] == pytest.approx(matrix.trace() / known)


@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_evaluation_does_not_depend_on_the_batch(
    trained_masks: Path, mask_folder: Path, tmp_path: Path, batch_size: int
) -> None:
    words = words_of("evaluate", model=trained_masks, data=mask_folder, output=tmp_path, batch_size=batch_size)
    assert main([*words, "--workers", "0", "--device", "cpu"]) == 0
    found, expected = card_of(tmp_path)["metrics"], card_of(trained_masks)["metrics"]
    for name, row in expected.items():
        assert found[name]["value"] == pytest.approx(row["value"], abs=1e-6), name


def test_predictions_are_masks_in_the_pixels_of_the_files(
    trained_masks: Path, mask_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = tmp_path / "large.png"
    Image.open(mask_folder / "val" / "images" / "00.png").resize((130, 70)).save(large)
    out = tmp_path / "out"
    words = words_of("predict", model=trained_masks, output=out)
    assert main([*words, "--images", str(mask_folder / "val" / "images"), str(large), "--workers", "0"]) == 0
    rows = json.loads((out / "predictions.json").read_text())
    assert len(rows) == 8
    by_name = {row["image"]: row for row in rows}
    row = by_name[large.as_posix()]
    mask = Image.open(out / row["mask"])
    assert (mask.mode, mask.size) == ("P", (130, 70))
    assert Image.open(out / row["overlay"]).size == (130, 70)
    values = np.asarray(mask)
    legend = [line["name"] for line in csv.DictReader((out / "classes.csv").read_text().splitlines())]
    assert legend == ["background", "blue", "green", "red"]
    for found in row["classes"]:
        assert found["share"] == pytest.approx((values == legend.index(found["class"])).mean(), abs=1e-6)
    table = list(csv.DictReader((out / "predictions.csv").read_text().splitlines()))
    assert {line["mask"] for line in table} == {row["mask"] for row in rows}


def test_predicted_masks_can_be_read_as_a_data_set(trained_masks: Path, mask_folder: Path, tmp_path: Path) -> None:
    words = words_of("predict", model=trained_masks, output=tmp_path / "out")
    assert main([*words, "--images", str(mask_folder / "val" / "images"), "--workers", "0"]) == 0
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    lines = [f"{Path(row['image']).resolve()},{row['mask']}" for row in rows]
    (tmp_path / "out" / "table.csv").write_text("path,mask\n" + "\n".join(lines))
    images = open_dataset(tmp_path / "out" / "table.csv", "all", kind="masks")
    assert images.classes == ("background", "blue", "green", "red")
    assert all(record.targets["mask"].fault is None for record in images.records)


def test_each_class_stands_on_the_screen(
    trained_masks: Path, mask_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words_of("evaluate", model=trained_masks, data=mask_folder), "--workers", "0"]) == 0
    said = capsys.readouterr().out
    for row in card_of(trained_masks)["per_class"]:
        assert any(row["class"] in line and f"{row['iou']['value']:.4f}" in line for line in said.splitlines())


def test_without_a_folder_rows_are_printed_without_masks(
    trained_masks: Path, mask_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = mask_folder / "val" / "images" / "00.png"
    assert main([*words_of("predict", model=trained_masks, images=picture), "--workers", "0"]) == 0
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["image"] == picture.as_posix()
    assert "mask" not in row


def test_views_are_averaged_and_named(trained_masks: Path, mask_folder: Path, tmp_path: Path) -> None:
    words = words_of("evaluate", model=trained_masks, data=mask_folder, output=tmp_path)
    assert main([*words, "--flips", "--scales", "0.5", "1", "1.5", "--workers", "0"]) == 0
    card = card_of(tmp_path)
    assert len(card["details"]["views"]) == 6
    assert card["metrics"]["mean_iou"]["value"] != card_of(trained_masks)["metrics"]["mean_iou"]["value"]


def test_binary_masks_of_0_and_255(binary_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = words_of("train", data=binary_folder, output=run, epochs=8)
    assert main([*words, *QUICK, "--loss.dice", "1", "--head", "fpn"]) == 0
    card = card_of(run)
    assert card["primary"] == "dice"
    assert card["metrics"]["dice"]["value"] >= 0.8
    assert [row["class"] for row in card["per_class"]] == ["background", "foreground"]


def test_any_number_of_classes_a_pixel(class_masks: Path, mask_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = words_of("train", data=class_masks, output=run, epochs=6)
    assert main([*words, *QUICK, "--augment.flip", "0", "--augment.min-scale", "1", "--loss.lovasz", "0.5"]) == 0
    card = card_of(run)
    assert "pixel_accuracy" not in card["metrics"]
    assert [row["class"] for row in card["per_class"]] == ["disc", "left"]
    assert card["per_class"][1]["iou"]["value"] >= 0.8
    out = tmp_path / "out"
    words = words_of("predict", model=run, output=out, images=class_masks / "images" / "val-00.png")
    assert main([*words, "--workers", "0"]) == 0
    (row,) = json.loads((out / "predictions.json").read_text())
    assert {path.name for path in (out / row["mask"]).iterdir()} == {"disc.png", "left.png"}


def test_regions_of_coco_may_overlap(mask_folder: Path, tmp_path: Path) -> None:
    pictures = sorted((mask_folder / "train" / "images").iterdir())
    images = [{"id": k, "file_name": path.name, "width": 48, "height": 40} for k, path in enumerate(pictures)]
    shapes = {1: [0, 0, 20, 0, 20, 40, 0, 40], 2: [0, 0, 48, 0, 48, 20, 0, 20]}
    regions = [
        {"id": 2 * k + number, "image_id": k, "category_id": number, "segmentation": [shape], "bbox": [0, 0, 9, 9]}
        for k in range(len(pictures))
        for number, shape in shapes.items()
    ]
    plain = {
        "images": images,
        "annotations": regions,
        "categories": [{"id": 1, "name": "left"}, {"id": 2, "name": "top"}],
    }
    (tmp_path / "coco").mkdir()
    for path in pictures:
        (tmp_path / "coco" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "coco" / "instances.json").write_text(json.dumps(plain))
    for labels, classes in (("multi", ["left", "top"]), ("auto", ["background", "left", "top"])):
        run = tmp_path / labels
        words = words_of("train", data=tmp_path / "coco", output=run, epochs=1, labels=labels)
        assert main([*words, *TINY, "--loss.class-weights", "balanced", "--head", "fcn32s"]) == 0
        assert [row["class"] for row in card_of(run)["per_class"]] == classes


def test_large_pictures_are_read_in_windows(mask_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = words_of("train", data=mask_folder, output=run, epochs=8)
    assert main([*words, *QUICK, "--image-size", "32", "--resize", "window", "--augment.min-scale", "0.7"]) == 0
    card = card_of(run)
    assert card["metrics"]["mean_iou"]["value"] >= 0.5
    for batch_size in ("1", "5"):
        words = words_of("evaluate", model=run, data=mask_folder, output=tmp_path / batch_size, batch_size=batch_size)
        assert main([*words, "--workers", "0"]) == 0
        for name, row in card_of(tmp_path / batch_size)["metrics"].items():
            assert row["value"] == pytest.approx(card["metrics"][name]["value"], abs=1e-6)


def test_a_frozen_trunk_stays_as_it_is_and_everything_else_learns(mask_folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = words_of("train", data=mask_folder, output=run, epochs=1, freeze="all", head="deeplabv3plus")
    more = ["--head-options.auxiliary", "--loss.class-weights", "balanced", "--loss.focal", "1"]
    assert main([*words, *TINY, *more]) == 0
    trunk = card_of(run)["backbone"]
    assert trunk["fingerprint_before"] == trunk["fingerprint_after"] == trunk["frozen_fingerprint"]


def test_a_finished_run_is_not_trained_again(
    trained_masks: Path, mask_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of("train", data=mask_folder, output=trained_masks, epochs=12)
    assert main([*words, *QUICK, "--augment.min-scale", "0.6", "--resume"]) == 0
    assert "nothing was left to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--head", "unett"], "Did you mean 'unet'?"),
        (["--image-size", "50"], "needs a canvas whose sides are multiples of 32, not 50x50. Nearest: 32x32 or 64x64."),
        (["--loss.gamma", "1"], "--loss.gamma: has no effect without --loss.focal; leave it out, or add that."),
        (["--loss.cross-entropy", "0"], "All parts of the loss have the weight 0"),
        (["--loss.alpha", "0.3"], "--loss.alpha: has no effect without --loss.tversky"),
        (["--loss.auxiliary", "1"], "--loss.auxiliary: has no effect without --head-options.auxiliary"),
        (["--head-options.output-stride", "8"], "has no effect without --head deeplabv3, deeplabv3plus or pan"),
        (["--head-options.output-stride", "7"], "--head-options.output-stride takes 8, 16 or 32, not 7."),
        (["--sampling", "balanced"], "--sampling balanced draws images by their one class, and these have many."),
        (["--select", "top1"], "Unknown metric for --select 'top1'. Known: mean_iou, dice, pixel_accuracy."),
        (["--labels", "multi"], "the masks give each pixel one class, and any number is asked for."),
        (["--backbone", "timm/vit_tiny_patch16_224"], "need maps of several sizes"),
        (["--resize", "crop"], "crop"),
    ],
)
def test_what_cannot_be_done_is_said(
    more: list[str], message: str, mask_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of("train", data=mask_folder, output=tmp_path / "run")
    assert main([*words, *TINY, *more]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_masks_that_cannot_be_used_stop_a_training_or_are_skipped(
    mask_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for path in mask_folder.rglob("*.*"):
        (data / path.relative_to(mask_folder)).parent.mkdir(parents=True, exist_ok=True)
        (data / path.relative_to(mask_folder)).write_bytes(path.read_bytes())
    Image.new("L", (9, 9)).save(data / "train" / "masks" / "03.png")
    (data / "train" / "masks" / "05.png").unlink()
    (data / "val" / "masks" / "01.png").write_bytes(b"")
    words = [*words_of("train", data=data, output=tmp_path / "run", epochs=1), *TINY]
    assert main(words) == 2
    said = capsys.readouterr().err
    for text in ("03.png: the mask has 9 x 9 pixels, its picture 48 x 40", "05.png: the mask is missing", "01.png"):
        assert text in said
    assert main([*words, "--bad-data", "skip"]) == 0
    card = card_of(tmp_path / "run")
    assert (card["samples"]["skipped"], card["data"]["train"]["skipped"]) == (1, 2)
    assert {row["file"] for row in card["data"]["train"]["skipped_files"]} == {
        "train/images/03.png",
        "train/images/05.png",
    }


def test_a_model_of_another_app_is_refused(
    trained_run: Path, trained_masks: Path, pictures: Path, mask_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words_of("evaluate", model=trained_run, data=mask_folder)) == 2
    assert "holds a model of the app classification, not of segmentation. Use it with" in capsys.readouterr().err
    words = ["classification", "predict", "--model", str(trained_masks), "--images", str(pictures)]
    assert main(words) == 2
    assert "holds a model of the app segmentation, not of classification" in capsys.readouterr().err


def test_a_folder_of_several_runs_names_one(
    trained_masks: Path, mask_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "seed-1").symlink_to(trained_masks)
    assert main(words_of("evaluate", model=tmp_path / "runs", data=mask_folder)) == 2
    assert "It is a folder of several runs: name one of them, such as " in capsys.readouterr().err


def test_evaluating_without_a_model(mask_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words_of("evaluate", data=mask_folder)) == 2
    assert "Give the model to evaluate: --model RUN." in capsys.readouterr().err
