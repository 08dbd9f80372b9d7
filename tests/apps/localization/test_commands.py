"""The localization commands from end to end, as a person types them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from onetrunk.apps import load_model, localization
from onetrunk.apps.cli import main
from onetrunk.apps.drawing import Mark, draw
from onetrunk.apps.evaluated_images import read_images
from onetrunk.backbones import UserError
from PIL import Image

WORDS = "--backbone timm/test_resnet --weights none --image-size 64 --batch-size 8 --workers 0 --device cpu".split()


def train(data: Path, run: Path, *more: str) -> int:
    words = ["--data", str(data), "--output", str(run), *WORDS, "--head-options.level", "c3", *more]
    return main(["localization", "train", *words])


def use(command: str, model: Path, *more: str) -> int:
    return main(["localization", command, "--model", str(model), "--workers", "0", "--device", "cpu", *more])


def read_json(path: Path):
    return json.loads(path.read_text())


def test_it_learns_and_the_card_says_what_the_network_adds(located_run: Path, box_table: Path) -> None:
    card = read_json(located_run / "results.json")
    assert (card["task"], card["primary"]) == ("localization", "localization_top1")
    assert set(card["metrics"]) == {"localization_top1", "known_label_accuracy", "mean_box_iou", "top1"}
    baseline = card["details"]["baselines"]["mean_box"]
    assert card["metrics"]["mean_box_iou"]["value"] > baseline["mean_box_iou"]["value"]
    assert [row["class"] for row in card["per_class"]] == ["blue", "green", "red"]
    row = read_json(located_run / "predictions.json")[0]
    assert row["true_box"] == first_box(box_table, row["image"])
    with (located_run / "predictions.csv").open() as stream:
        assert float(next(csv.DictReader(stream))["box_xmin"]) == row["box"]["xmin"]


def first_box(table: Path, image: str) -> dict[str, float]:
    with table.open() as stream:
        row = next(row for row in csv.DictReader(stream) if row["path"] == image)
    return {side: float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")}


@pytest.mark.parametrize("name", ["located_run", "cam_run"])
def test_evaluate_repeats_the_figures_whatever_the_batch(
    name: str, box_table: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(name)
    expected = read_json(run / "results.json")
    for batch_size in ("1", "4", "7"):
        out = tmp_path / batch_size
        assert use("evaluate", run, "--data", str(box_table), "--output", str(out), "--batch-size", batch_size) == 0
        card = read_json(out / "results.json")
        for metric, estimate in expected["metrics"].items():
            assert card["metrics"][metric] == pytest.approx(estimate, abs=1e-5), metric
        for guess in ("mean_box", "centre_box"):
            found, known = (each["details"]["baselines"][guess]["mean_box_iou"] for each in (card, expected))
            assert found == known, guess


def test_predict_gives_a_row_and_a_picture_an_image(located_run: Path, box_table: Path, tmp_path: Path) -> None:
    images = sorted(box_table.parent.glob("val-*.png"))[:3]
    assert use("predict", located_run, "--output", str(tmp_path), "--images", *map(str, images)) == 0
    rows = read_json(tmp_path / "predictions.json")
    assert len(rows) == 3
    for image, row in zip(images, rows, strict=True):
        assert set(row) == {"image", "predicted", "probability", "box", "top"}
        assert 0 <= row["box"]["xmin"] < row["box"]["xmax"] <= 48
        assert 0 <= row["box"]["ymin"] < row["box"]["ymax"] <= 40
        with Image.open(tmp_path / "pictures" / image.name) as drawn:
            assert drawn.size == (48 * 6, 40 * 6)
    words = ["--output", str(tmp_path), "--images", str(images[0])]
    assert use("predict", located_run, *words) == 2
    assert use("predict", located_run, *words, "--overwrite") == 0


def test_every_class_has_a_box_where_maps_give_them(cam_run: Path, box_table: Path, tmp_path: Path) -> None:
    image = str(box_table.parent / "val-red-0.png")
    assert use("predict", cam_run, "--flips", "--output", str(tmp_path), "--images", image) == 0
    row = read_json(tmp_path / "predictions.json")[0]
    assert row["box"] == row["top"][0]["box"]
    with (tmp_path / "predictions.csv").open() as stream:
        assert float(next(csv.DictReader(stream))["top3_box_ymax"]) == row["top"][2]["box"]["ymax"]


def test_a_frozen_trunk_is_proven_frozen(cam_run: Path) -> None:
    backbone = read_json(cam_run / "results.json")["backbone"]
    assert backbone["fingerprint_before"] == backbone["fingerprint_after"]


def test_the_model_and_the_images_say_who_judges_them(located_run: Path) -> None:
    task = load_model(located_run / "model")
    images, evaluator = read_images(located_run / "images.npz")
    assert task.evaluator.description() == evaluator.description()
    assert len(images) == 12


def test_it_overfits_eight_samples(box_table: Path, tmp_path: Path) -> None:
    lines = [line for line in box_table.read_text().splitlines() if line.startswith(("path", "train-red"))]
    rows = [line.replace("train-red", str(box_table.parent / "train-red")) for line in lines[1:]]
    table, copies = tmp_path / "eight.csv", []
    for row in rows:  # the same eight pictures, by other names, are the validation split
        path, rest = row.split(",", 1)
        copy = tmp_path / Path(path).name
        copy.write_bytes(Path(path).read_bytes())
        copies.append(f"{copy.name},{rest.replace(',train,', ',val,')}")
    table.write_text("\n".join([lines[0], *rows, *copies]) + "\n")
    more = "--epochs 20 --learning-rate 2e-3 --freeze all --batch-size 2 --select mean_box_iou"
    augment = "--augment.min-scale 1 --augment.flip 0 --head-options.width 32"
    assert train(table, tmp_path / "run", *more.split(), *augment.split()) == 0
    card = read_json(tmp_path / "run" / "results.json")
    assert card["metrics"]["mean_box_iou"]["value"] > 0.85
    assert card["metrics"]["localization_top1"]["value"] == 1  # of one class: the box is right
    assert "top1" not in card["metrics"]


def test_a_run_is_resumed_only_when_it_was_asked_for(
    cam_run: Path, box_table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--head", "cam", "--freeze", "all", "--epochs", "2"]
    assert train(box_table, cam_run, *words) == 2
    assert "already holds a finished run" in capsys.readouterr().err
    assert train(box_table, cam_run, *words, "--resume") == 0
    assert "nothing was left to do" in capsys.readouterr().out


def test_flips_are_refused_where_pictures_are_padded(
    located_run: Path, box_table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert use("evaluate", located_run, "--data", str(box_table), "--flips") == 2
    assert "--flips is for models that were trained with --resize stretch" in capsys.readouterr().err


def test_an_image_without_a_box_is_named(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(pictures, tmp_path / "run") == 2
    assert "no boxes found" in capsys.readouterr().err


def test_one_class_has_nothing_for_cam_to_learn(
    box_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = box_table.with_name("red.csv")
    lines = box_table.read_text().splitlines()
    table.write_text("\n".join(line for line in lines if line.startswith("path") or "red" in line) + "\n")
    assert train(table, tmp_path / "run", "--head", "cam") == 2
    assert "one class only, 'red', and --head cam learns from telling classes apart" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resize crop", "crop"),
        ("--augment.policy randaugment", "augment.policy"),
        ("--loss.smooth-l1 0 --loss.giou 0", "nothing would teach the head its box"),
        ("--head cam --loss.classification 0", "--head cam learns nothing else"),
        ("--head cam --loss.giou 2", "--loss.giou: has no effect without --head regression"),
        ("--head cam --head-options.grid 3", "--head-options.grid: has no effect without --head regression"),
        ("--head-options.threshold 0.3", "--head-options.threshold: has no effect without --head cam"),
        ("--head cam --head-options.threshold 1", "takes a number below 1"),
        ("--head-options.grid 0", "--head-options.grid takes 1 or more, not 0"),
        ("--head-options.level embedding --head-options.width 8", "--head-options.width: has no effect without a map"),
        ("--head-options.level c9", "'c9'"),
        ("--loss.giou -1", "--loss.giou takes 0 or more"),
        ("--select top5", "Unknown metric for --select 'top5'"),
        ("--sampling balanced --loss.class-weights balanced", "use one of them"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    words: str, message: str, box_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(box_table, tmp_path / "run", *words.split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_evaluation_needs_a_model() -> None:
    with pytest.raises(UserError, match="Give the model to evaluate: --model RUN"):
        localization.EvaluateOptions(data="d")


def test_small_pictures_are_enlarged_and_the_box_is_drawn_where_it_is() -> None:
    drawn = np.asarray(_draw(Image.new("RGB", (64, 32)), {"xmin": 16, "ymin": 12, "xmax": 48, "ymax": 28}, "red 0.90"))
    assert drawn.shape == (128, 256, 3)
    bright = (drawn == (255, 210, 0)).all(axis=2)
    rows, columns = np.flatnonzero(bright[:, 100]), np.flatnonzero(bright[100])
    assert (columns.min(), columns.max()) == (64, 191)
    assert rows.max() == 111


def test_a_box_at_the_border_keeps_its_text_inside() -> None:
    box = {"xmin": 250, "ymin": 0, "xmax": 300, "ymax": 300}
    drawn = np.asarray(_draw(Image.new("RGB", (300, 300)), box, "a long name 0.50"))
    bright = (drawn == (255, 210, 0)).all(axis=2)
    assert bright[4].sum() > 60  # the background of the text


def _draw(picture: Image.Image, box: dict[str, float], text: str) -> Image.Image:
    return draw(picture, [Mark(box, text)])
