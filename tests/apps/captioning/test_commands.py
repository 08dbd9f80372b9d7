"""The commands of captioning from end to end, as a person types them."""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from onetrunk.apps import captioning, load_model
from onetrunk.apps.captioning.opening import require_captions
from onetrunk.apps.cli import main
from onetrunk.apps.evaluated_images import read_images
from onetrunk.datasets import DataError, open_dataset
from PIL import Image

WORDS = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()
SMALL = "--epochs 1 --head-options.width 16 --head-options.min-count 1".split()


def train(data: Path, run: Path, *more: str) -> int:
    return main(["captioning", "train", "--data", str(data), "--output", str(run), *WORDS, *more])


def use(command: str, model: Path, *more: str) -> int:
    return main(["captioning", command, "--model", str(model), "--workers", "0", "--device", "cpu", *more])


def read_json(path: Path):
    return json.loads(path.read_text())


def test_it_learns_and_the_card_says_what_looking_adds(captioned_run: Path) -> None:
    card = read_json(captioned_run / "results.json")
    assert (card["task"], card["primary"], card["selected_on"]) == ("captioning", "cider", "val")
    values = {name: row["value"] for name, row in card["metrics"].items()}
    assert list(values) == ["cider", "bleu4", "bleu1", "bleu2", "bleu3", "rouge_l"]
    assert values["bleu1"] > 0.9
    baselines = card["details"]["baselines"]
    assert values["cider"] > baselines["blind"]["cider"]["value"]
    assert values["cider"] > baselines["other_photo"]["cider"]["value"]
    rows = read_json(captioned_run / "predictions.json")
    said = {row["caption"] for row in rows}
    assert card["details"]["captions"]["distinct"] == len(said) >= 3  # one colour is told from another
    assert card["details"]["captions"]["seen_in_training"] > 0.9
    row = rows[0]
    assert row["references"] == ["A blue disc on grey noise.", "One round thing, blue"]


def test_training_says_what_it_has(caption_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "--head lstm --head-options.min-count 30 --head-options.max-tokens 5".split()
    assert train(caption_table, tmp_path / "run", *SMALL[:4], *more) == 0
    said = capsys.readouterr().out
    assert "66 training captions, 33 train, 15 val images" in said
    # all words but the colours, with four tokens that stand for none
    assert "vocabulary 12 tokens (words); 22.2% of the words are too rare to be learned; 33 captions are cut" in said


@pytest.mark.parametrize("name", ["captioned_run", "frozen_run"])
def test_evaluate_repeats_the_figures_whatever_the_batch(
    name: str, caption_table: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = request.getfixturevalue(name)
    expected = read_json(run / "results.json")["metrics"]
    for batch_size in ("1", "7"):
        out = tmp_path / batch_size
        assert use("evaluate", run, "--data", str(caption_table), "--output", str(out), "--batch-size", batch_size) == 0
        assert read_json(out / "results.json")["metrics"] == expected
        captions = read_json(out / "captions.json")
        assert [row["caption"] for row in captions] == [row["caption"] for row in read_json(out / "predictions.json")]
        assert captions[0]["image_id"].endswith("00.png")


def test_beams_are_those_of_training_unless_others_are_asked_for(captioned_run: Path, pictures: Path, capsys) -> None:
    image = str(pictures / "val" / "red" / "00.png")
    assert load_model(captioned_run).head.generation.beams == 2
    assert use("predict", captioned_run, "--images", image, "--beams", "5", "--length-penalty", "0.5") == 0
    assert "red" in json.loads(capsys.readouterr().out.splitlines()[-1])["caption"]
    assert use("predict", captioned_run, "--images", image, "--beams", "0") == 2
    assert "--beams takes 1 or more, not 0" in capsys.readouterr().err


def test_a_new_process_says_the_same_without_a_network(frozen_run: Path, pictures: Path) -> None:
    images = [str(pictures / "val" / colour / "01.png") for colour in ("blue", "red")]
    words = ["--model", str(frozen_run / "model"), "--images", *images, "--workers", "0", "--device", "cpu"]
    ended = subprocess.run(
        [sys.executable, "-m", "onetrunk.apps.cli", "captioning", "predict", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "ONETRUNK_OFFLINE": "1"},
    )
    there = [json.loads(line)["caption"] for line in ended.stdout.splitlines()]
    here = captioning.predict(captioning.PredictOptions(model=str(frozen_run), images=images, workers=0, device="cpu"))
    assert there == [row["caption"] for row in here]


@pytest.mark.parametrize("name", ["captioned_run", "frozen_run"])
def test_predict_draws_where_it_looked(
    name: str, pictures: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    images = [str(pictures / "val" / colour / "00.png") for colour in ("blue", "green", "red")]
    words = ["--images", *images, "--output", str(tmp_path)]
    run = request.getfixturevalue(name)
    assert use("predict", run, *words) == 0
    rows = read_json(tmp_path / "predictions.json")
    assert [set(row) for row in rows] == [{"image", "caption", "picture"}] * 3
    with Image.open(tmp_path / rows[0]["picture"]) as sheet:
        assert sheet.width > (3 if name == "captioned_run" else 1) * 240  # the picture and a panel a word
    with (tmp_path / "predictions.csv").open() as stream:
        assert [row["caption"] for row in csv.DictReader(stream)] == [row["caption"] for row in rows]
    if name == "captioned_run":
        assert all(colour in row["caption"] for colour, row in zip(("blue", "green", "red"), rows, strict=True))
    assert use("predict", run, *words) == 2
    assert use("predict", run, *words, "--overwrite") == 0


def test_a_head_that_does_not_look_around_draws_the_picture_alone(
    caption_table: Path, pictures: Path, tmp_path: Path
) -> None:
    assert train(caption_table, tmp_path / "run", *SMALL, "--head", "lstm", "--head-options.levels", "embedding") == 0
    image = str(pictures / "val" / "red" / "00.png")
    assert use("predict", tmp_path / "run", "--images", image, "--output", str(tmp_path / "out")) == 0
    with Image.open(tmp_path / "out" / "pictures" / "00.png") as sheet:
        assert sheet.width < 2 * 240


def test_a_frozen_trunk_is_proven_frozen(frozen_run: Path, captioned_run: Path) -> None:
    frozen, trained = (read_json(run / "results.json")["backbone"] for run in (frozen_run, captioned_run))
    assert frozen["fingerprint_before"] == frozen["fingerprint_after"]
    assert trained["fingerprint_before"] != trained["fingerprint_after"]


def test_the_model_and_the_images_say_who_judges_them(captioned_run: Path) -> None:
    task = load_model(captioned_run / "model")
    images, evaluator = read_images(captioned_run / "images.npz")
    assert task.evaluator.description() == evaluator.description()
    assert images.rows["caption"][0] == read_json(captioned_run / "predictions.json")[0]["caption"]


def test_two_runs_are_compared_on_the_same_pictures(captioned_run: Path, frozen_run: Path, capsys) -> None:
    assert main(["runs", "compare", str(frozen_run), str(captioned_run)]) == 0
    said = capsys.readouterr().out
    assert "cider" in said
    assert "15 images" in said


def test_folds_judge_each_picture_once(caption_table: Path, tmp_path: Path) -> None:
    assert train(caption_table, tmp_path / "run", *SMALL, "--head", "lstm", "--folds", "2") == 0
    card = read_json(tmp_path / "run" / "results.json")
    assert card["samples"]["used"] == 48
    assert card["metrics"]["cider"]["low"] <= card["metrics"]["cider"]["value"] <= card["metrics"]["cider"]["high"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--resize crop", "crop"),
        ("--head gru", "gru"),
        ("--sampling balanced", "--sampling balanced draws classes equally often, and text has none"),
        ("--loss.attention 2", "--loss.attention: has no effect without --head lstm_attention"),
        ("--head-options.hidden 64", "--head-options.hidden: has no effect without --head lstm or lstm_attention"),
        ("--head lstm --head-options.layers 3", "--head-options.layers: has no effect without --head transformer"),
        ("--head-options.levels embedding", "only lstm reads the embedding"),
        ("--head-options.levels c9", "'c9'"),
        ("--head-options.levels fc", "looks around in a map, and 'fc' of timm/test_resnet is a vector of"),
        ("--head-options.min-count 1000", "None of the 66 texts has a word that occurs 1000 times"),
        ("--select top1", "Unknown metric for --select 'top1'. Known: cider, bleu4"),
        ("--length-penalty 99", "--length-penalty takes -10 to 10, not 99"),
        ("--beams 1 --length-penalty 2", "--length-penalty has no effect with one beam"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    words: str, message: str, caption_table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(caption_table, tmp_path / "run", *words.split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_java_is_asked_for_before_anything_is_computed(
    captioned_run: Path, caption_table: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert use("evaluate", captioned_run, "--data", str(caption_table), "--also", "meteor") == 2
    assert "java" in capsys.readouterr().err


def test_an_image_without_a_caption_is_named(caption_table: Path) -> None:
    images = open_dataset(caption_table, "train", kind="captions")
    records = (*images.records[:3], replace(images.records[3], targets={"captions": ()}))
    with pytest.raises(DataError, match=r"the image has no caption; .*captions.csv gives it none"):
        require_captions(replace(images, splits={"train": records}))


def test_an_unreadable_picture_is_named(caption_table: Path, tmp_path: Path, capsys) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"")
    table = tmp_path / "t.csv"
    table.write_text(caption_table.read_text() + f"{broken},A broken picture,train\n")
    assert train(table, tmp_path / "run", *SMALL) == 2
    assert "broken.png" in capsys.readouterr().err
    assert train(table, tmp_path / "run", *SMALL, "--bad-data", "skip", "--head", "lstm") == 0
    assert read_json(tmp_path / "run" / "results.json")["data"]["train"]["skipped"] == 1
