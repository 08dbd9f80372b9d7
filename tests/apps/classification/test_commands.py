"""The classification commands from end to end, as a person types them."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from onetrunk.apps import load_model
from onetrunk.apps.cli import main
from onetrunk.backbones import Backbone
from PIL import Image
from safetensors.torch import load_file

TINY = "--backbone timm/test_resnet --weights none --image-size 32 --batch-size 8 --workers 0 --device cpu".split()


def train(data: Path, run: Path, *more: str) -> int:
    return main(["classification", "train", "--data", str(data), "--output", str(run), *TINY, *more])


def card_of(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


def test_a_run_folder_holds_what_it_promises(trained_run: Path) -> None:
    for name in ("config.yaml", "log.csv", "environment.txt", "results.json", "predictions.csv", "predictions.json"):
        assert (trained_run / name).is_file(), name
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "model/model.json", "model/model.safetensors"):
        assert (trained_run / name).is_file(), name
    assert list((trained_run / "tensorboard").glob("events*"))
    assert not list(trained_run.rglob("*.part"))
    config = yaml.safe_load((trained_run / "config.yaml").read_text())
    assert config["precision"] in ("fp32", "bf16")  # what auto stood for was chosen once
    with (trained_run / "log.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["1", "2", "3", "4", "5", "6"]


def test_it_learns_and_the_card_says_so(trained_run: Path, pictures: Path) -> None:
    card = card_of(trained_run)
    assert card["metrics"]["top1"]["value"] >= 0.8
    assert card["metrics"]["top1"]["low"] < card["metrics"]["top1"]["value"]
    assert (card["task"], card["split"], card["selected_on"]) == ("classification", "val", "val")
    assert card["samples"] == {"used": 15, "skipped": 0, "skipped_files": []}
    assert card["backbone"]["fingerprint_before"] != card["backbone"]["fingerprint_after"]
    assert card["data"]["path"] == str(pictures)
    assert [row["class"] for row in card["per_class"]] == ["blue", "green", "red"]
    assert card["cost"]["trained_parameters"] == card["cost"]["parameters"]


def figures_of(folder: Path) -> dict[str, float]:
    """Every metric of a card with its interval; other batch sizes may round the network's outputs otherwise."""
    metrics = card_of(folder)["metrics"]
    return {f"{name} {key}": value for name, row in metrics.items() for key, value in row.items()}


def test_evaluate_repeats_the_cards_figures_whatever_the_batch(
    trained_run: Path, pictures: Path, tmp_path: Path
) -> None:
    words = ["classification", "evaluate", "--model", str(trained_run), "--data", str(pictures), "--device", "cpu"]
    for batch_size in ("4", "15"):
        out = tmp_path / batch_size
        assert main([*words, "--output", str(out), "--batch-size", batch_size, "--workers", "0"]) == 0
        assert figures_of(out) == pytest.approx(figures_of(trained_run), abs=1e-6)
        assert card_of(out)["selected_on"] is None
        assert card_of(out)["cost"]["trained_parameters"] == 0


def test_predict_gives_a_row_an_image(trained_run: Path, pictures: Path, tmp_path: Path) -> None:
    words = [
        "classification",
        "predict",
        "--model",
        str(trained_run),
        "--workers",
        "0",
        "--output",
        str(tmp_path / "o"),
    ]
    one = pictures / "val" / "red" / "00.png"
    assert main([*words, "--images", str(one), str(pictures / "val" / "blue")]) == 0
    rows = json.loads((tmp_path / "o" / "predictions.json").read_text())
    assert len(rows) == 6
    assert sum(entry["probability"] for entry in rows[0]["top"]) == pytest.approx(1, abs=1e-4)
    with (tmp_path / "o" / "predictions.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [row["predicted"] for row in table] == [row["predicted"] for row in rows]
    assert float(table[0]["top1_probability"]) == rows[0]["top"][0]["probability"]


def test_results_are_not_written_over(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classification", "evaluate", "--model", str(trained_run), "--data", str(pictures), "--workers", "0"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    assert main([*words, "--output", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--output", str(tmp_path), "--overwrite"]) == 0
    words[1] = "predict"
    words[words.index("--data")] = "--images"
    assert main([*words, "--output", str(tmp_path)]) == 2
    assert "predictions.json" in capsys.readouterr().err


def test_the_model_file_rebuilds_the_task_alone(trained_run: Path, pictures: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained_run / "model", moved)
    first, second = load_model(trained_run), load_model(moved)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])
    assert first.head.classes == ("blue", "green", "red")
    assert not first.training


def test_frozen_is_proven_frozen(pictures: Path, tmp_path: Path) -> None:
    assert train(pictures, tmp_path / "run", "--freeze", "all", "--epochs", "2") == 0
    backbone = card_of(tmp_path / "run")["backbone"]
    assert backbone["fingerprint_before"] == backbone["fingerprint_after"]
    assert card_of(tmp_path / "run")["cost"]["trained_parameters"] < 2000


def test_a_partly_frozen_trunk_is_proven_too(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(pictures, tmp_path / "run", "--freeze", "c3", "--epochs", "1") == 0
    backbone = card_of(tmp_path / "run")["backbone"]
    assert backbone["fingerprint_before"] != backbone["fingerprint_after"]
    assert backbone["frozen_fingerprint"]
    assert "proven: the SHA-256 of the trunk up to c3" in capsys.readouterr().out

    def thaw(self: Backbone, mode: bool = True) -> Backbone:  # what happens where only gradients are stopped
        return torch.nn.Module.train(self, mode)

    monkeypatch.setattr(Backbone, "train", thaw)
    with pytest.raises(RuntimeError, match="what is frozen of the trunk changed"):
        train(pictures, tmp_path / "other", "--freeze", "c3", "--epochs", "1")


def test_a_trunk_trained_here_is_weights_for_the_next_task(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "data"
    for split in ("train", "val"):
        shutil.copytree(pictures / split / "red", other / split / "red")
        shutil.copytree(pictures / split / "blue", other / split / "violet")
    words = [*TINY]
    words[words.index("none")] = str(trained_run)
    run = tmp_path / "run"
    assert main(
        ["classification", "train", "--data", str(other), "--output", str(run), *words, "--freeze", "all",
         "--epochs", "1", "--learning-rate", "0"]
    ) == 0  # fmt: skip
    assert "keeps the rows of 1 classes by name; 1 start anew" in capsys.readouterr().out
    before = load_file(trained_run / "model" / "model.safetensors")
    after = load_file(run / "model" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("backbone."))
    assert torch.equal(before["head.classifier.weight"][2], after["head.classifier.weight"][0])  # red
    assert card_of(trained_run)["backbone"]["fingerprint_after"] == card_of(run)["backbone"]["fingerprint_before"]


def test_an_unsplit_folder_is_split_once_and_the_split_stays_with_the_model(pictures: Path, tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(pictures / "train", data)
    assert train(data, run, "--epochs", "1", "--val-fraction", "0.3") == 0
    split = (run / "model" / "split.csv").read_text()
    assert "seeded 0.3" in card_of(run)["data"]["split_origin"]
    shutil.copy(pictures / "val" / "red" / "00.png", data / "red" / "later.png")
    words = ["classification", "evaluate", "--model", str(run), "--data", str(data), "--workers", "0"]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    names = {row["image"] for row in json.loads((tmp_path / "out" / "predictions.json").read_text())}
    assert names == {line.split(",")[0] for line in split.splitlines() if line.endswith(",val")}
    assert card_of(tmp_path / "out")["metrics"] == card_of(run)["metrics"]


def test_an_evaluation_never_cuts_data_without_splits(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["classification", "evaluate", "--model", str(trained_run), "--data", str(pictures / "val")]
    assert main([*words, "--workers", "0", "--output", str(tmp_path / "out")]) == 2
    assert "To evaluate everything: --split all" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--workers", "0", "--split", "all", "--output", str(tmp_path)]) == 0
    assert card_of(tmp_path)["samples"]["used"] == 15
    assert figures_of(tmp_path) == pytest.approx(figures_of(trained_run), abs=1e-6)


def test_a_models_split_is_not_taken_for_other_data_of_the_same_names(pictures: Path, tmp_path: Path) -> None:
    own, other, run = tmp_path / "own", tmp_path / "other", tmp_path / "run"
    shutil.copytree(pictures / "train", own)
    shutil.copytree(pictures / "train", other)
    for file in other.rglob("*.png"):
        Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file)
    assert train(own, run, "--epochs", "1") == 0
    words = ["classification", "evaluate", "--model", str(run), "--workers", "0"]
    assert main([*words, "--data", str(own)]) == 0
    assert main([*words, "--data", str(other)]) == 2


def test_several_labels_an_image_are_refused_where_one_is_asked_for(
    trained_run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pictures / "val" / "red", tmp_path / "images")
    rows = [f"images/{index:02}.png,red;blue,{'val' if index > 2 else 'train'}" for index in range(5)]
    (tmp_path / "table.csv").write_text("\n".join(["path,labels,split", *rows]) + "\n")
    assert train(tmp_path / "table.csv", tmp_path / "run", "--labels", "single") == 2
    assert "the image has no single label" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    words = ["classification", "evaluate", "--model", str(trained_run), "--data", str(tmp_path / "table.csv")]
    assert main([*words, "--workers", "0"]) == 2
    assert "the image has no single label" in capsys.readouterr().err


def test_a_table_trains_like_a_folder(trained_run: Path, pictures: Path, tmp_path: Path) -> None:
    rows = [f"{file},{file.parent.name},{file.parent.parent.name}" for file in sorted(pictures.rglob("*.png"))]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    assert train(tmp_path / "table.csv", tmp_path / "run", "--epochs", "1") == 0
    assert card_of(tmp_path / "run")["samples"]["used"] == 15
    assert card_of(tmp_path / "run")["data"]["split_origin"] == "column"


def test_one_class_is_refused(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        shutil.copytree(pictures / split / "red", tmp_path / "data" / split / "red")
    assert train(tmp_path / "data", tmp_path / "run") == 2
    assert "one class only, 'red'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_image_a_batch_with_batch_norm_is_explained(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*TINY]
    words[words.index("8")] = "1"
    run = str(tmp_path / "run")
    assert main(["classification", "train", "--data", str(pictures), "--output", run, *words]) == 2
    assert "Use a larger --batch-size" in capsys.readouterr().err


def test_someone_elses_config_is_no_run(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("mine: true\n")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious.bin").write_text("mine")
    assert train(pictures, tmp_path, "--overwrite") == 2
    assert train(pictures, tmp_path, "--resume") == 2
    assert (tmp_path / "model" / "precious.bin").exists()


def test_a_run_may_go_on_under_another_spelling_of_its_data(
    trained_run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pictures.parent)
    options = ["--epochs", "6", "--learning-rate", "0.01", "--optim.trunk-factor", "1", "--resume"]
    assert train(Path(pictures.name), trained_run, *options) == 0


def test_resuming_a_finished_run_gives_its_card(
    trained_run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (trained_run / "results.json").read_bytes()
    options = ["--epochs", "6", "--learning-rate", "0.01", "--optim.trunk-factor", "1", "--resume"]
    assert train(pictures, trained_run, *options) == 0
    shown = capsys.readouterr().out
    assert "is finished; nothing was left to do" in shown
    assert "top1" in shown
    assert (trained_run / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], r"already holds a finished run\. Train on from its trunk: --weights .* Replace it: --overwrite"),
        (["--resume", "--epochs", "7"], r"can't go on with other options: .*--epochs was 6 and is now 7"),
        (["--resume", "--overwrite"], "exclude each other"),
    ],
)
def test_a_run_is_never_replaced_in_silence(
    trained_run: Path, pictures: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(trained_run.rglob("*"))
    options = ["--learning-rate", "0.01", "--optim.trunk-factor", "1", "--epochs", "6"]
    assert train(pictures, trained_run, *options, *more) == 2
    import re

    assert re.search(message, capsys.readouterr().err)
    assert sorted(trained_run.rglob("*")) == before


def test_overwrite_deletes_nothing_before_the_new_run_is_known_to_start(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(trained_run.rglob("*"))
    assert train(tmp_path / "nowhere", trained_run, "--overwrite") == 2
    assert sorted(trained_run.rglob("*")) == before


def test_a_folder_with_other_things_is_left_alone(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    assert train(pictures, tmp_path, "--overwrite") == 2
    assert (tmp_path / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--freeze", "c9"], "c9"),
        (["--head-options.level", "c9"], "c9"),
        (["--image-size", "1", "2", "3"], "--image-size takes one number, or a height and a width"),
        (["--batch-size", "0"], "--batch-size takes 1 or more"),
        (["--workers", "-1"], "--workers takes 0 or more"),
        (["--backbone", "resnet5"], "Did you mean 'resnet50'"),
        (["--weights", "imagenot"], "imagenot"),
        (["--channels", "4"], "--channels takes 3 for colour or 1 for grey, not 4"),
        (["--seed", "5000000000"], "--seed takes 0 to 4294967295"),
        (["--fit.clip-norm", "0"], "--fit.clip-norm takes a number above 0"),
        (["--learning-rate", "-1"], "--learning-rate takes 0 or more, not -1"),
        (["--head-options.dropout", "2"], "takes 0 to 1, not 2"),
        (["--augment.min-scale", "0"], "share of the picture's area"),
        (["--epochs", "0"], "--epochs takes 1 or more"),
        (["--val-fraction", "2"], "2"),
    ],
)
def test_what_a_person_can_mend_is_one_line_and_exit_code_2(
    pictures: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pictures
    if words[0] == "--val-fraction":
        data = tmp_path / "unsplit"
        shutil.copytree(pictures / "train", data)
    assert train(data, tmp_path / "run", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("onetrunk: ")
    assert "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_missing_weights_are_said_before_any_data_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ONETRUNK_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert main(["classification", "train", "--data", str(tmp_path / "nowhere"), "--backbone", "resnet50"]) == 2
    error = capsys.readouterr().err
    for expected in ("https://download.pytorch.org/models/resnet50-0676ba61.pth", str(tmp_path), "0676ba61", "none"):
        assert expected in error
    assert "nowhere" not in error


def test_training_without_weights_opens_no_socket(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    assert train(pictures, tmp_path / "run", "--epochs", "1") == 0


def test_evaluate_needs_a_model_or_a_backbone(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["classification", "evaluate", "--data", str(pictures)]) == 2
    assert "Give either --model RUN, or --backbone NAME" in capsys.readouterr().err
    more = ["--model", "somewhere", "--image-size", "99"]
    assert main(["classification", "evaluate", "--data", str(pictures), *more]) == 2
    assert "--weights and --image-size go with --backbone" in capsys.readouterr().err
    assert main(["classification", "predict", "--model", "nowhere", "--images", str(pictures)]) == 2
    assert "No model in 'nowhere'" in capsys.readouterr().err


def test_imagenet_classifier_on_a_part_of_the_thousand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """WordNet ids and names alike; flat colours are no photographs, so only the plumbing is asserted here."""
    for name in ("n01440764", "golden retriever"):
        (tmp_path / "data" / "val" / name).mkdir(parents=True)
        for index in range(2):
            pixels = np.full((64, 64, 3), 40 * index, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / "val" / name / f"{index}.png")
    words = ["classification", "evaluate", "--backbone", "efficientnet_lite0", "--data", str(tmp_path / "data")]
    assert main([*words, "--workers", "0", "--image-size", "64", "--output", str(tmp_path / "out")]) == 0
    card = card_of(tmp_path / "out")
    assert card["samples"]["used"] == 4
    labelled = {row["class"] for row in card["per_class"] if row["images"]}
    assert labelled == {"n01440764 tench", "n02099601 golden retriever"}
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [row["label"] for row in rows] == [*2 * ["n02099601 golden retriever"], *2 * ["n01440764 tench"]]


def test_overfits_eight_samples(pictures: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for split in ("train", "val"):
        for name, count in (("red", 4), ("blue", 4)):
            (data / split / name).mkdir(parents=True)
            for index in range(count):
                shutil.copy(pictures / "train" / name / f"{index:02}.png", data / split / name)
    assert train(
        data, tmp_path / "run", "--epochs", "25", "--learning-rate", "0.02", "--optim.trunk-factor", "1",
        "--augment.min-scale", "1", "--augment.flip", "0",
    ) == 0  # fmt: skip
    assert card_of(tmp_path / "run")["metrics"]["top1"]["value"] == 1.0
