"""A head is trained on the trunk of a model and put into it, in one command."""

import json
import re
import shlex
from pathlib import Path

import pytest
from onetrunk.apps import multitask
from onetrunk.apps.cli import main
from onetrunk.apps.multitask.model import load_multitask
from onetrunk.apps.multitask.stored import read_stored
from onetrunk.backbones import UserError

from .conftest import write_model

QUICK = "epochs: 1\nbatch_size: 8\nworkers: 0\ndevice: cpu\n"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """An untrained head that labels; its trunk and canvas are what matters."""
    return write_model(tmp_path / "labels")


def add(model: Path, *more: str) -> int:
    return main(["multitask", "add", "--model", str(model), *more])


def training_file(folder: Path, content: str) -> str:
    path = folder / "training.yaml"
    path.write_text(content)
    return str(path)


def test_a_head_is_trained_on_the_trunk_of_the_model(model: Path, box_table: Path, tmp_path: Path) -> None:
    out = tmp_path / "two"
    words = ["--task", "localization", "--data", str(box_table), "--output", str(out)]
    words += ["--training", training_file(tmp_path, QUICK)]
    assert add(model, *words) == 0
    assert set(load_multitask(out).tasks) == {"classification", "localization"}
    before, after = read_stored(model), read_stored(out)
    assert after.fingerprints(before.trunk).trunk == before.fingerprints().trunk
    assert after.fingerprints().heads["classification"] == before.fingerprints().heads["classification"]
    card = json.loads((out / "localization" / "results.json").read_text())
    assert card["backbone"]["frozen"] == "all"
    assert len(set({**before.recipes(), **after.recipes()}.values())) == 1
    assert add(model, *words) == 2
    assert add(model, *words, "--overwrite") == 0


def test_its_labels_can_come_last(tmp_path: Path, pictures: Path) -> None:
    """The classification app looks into the model that its weights are from for rows to keep."""
    models = write_model(tmp_path / "labels"), write_model(tmp_path / "box", "localization")
    both = multitask.join(multitask.JoinOptions(models=[str(path) for path in models], output=str(tmp_path / "both")))
    description = json.loads((both / "model.json").read_text())
    del description["tasks"]["classification"]
    (both / "model.json").write_text(json.dumps(description))
    words = ["--task", "classification", "--data", str(pictures), "--output", str(tmp_path / "again")]
    assert add(both, *words, "--training", training_file(tmp_path, QUICK)) == 0
    assert set(load_multitask(tmp_path / "again").tasks) == {"classification", "localization"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "Give the head to put in: --head RUN. Or train one on the model's trunk: --task captioning --data DIR"),
        ("--task vqa", "Give the head to put in"),
        ("--head a --task vqa --data b", "--head brings a trained head, and --task trains one: give one of them"),
        ("--head a --data b", "--data: has no effect without --task"),
        ("--task vqa --data b --resume --overwrite", "--resume and --overwrite exclude each other"),
        ("--task vqu --data b", "Unknown task 'vqu'."),
        ("--task classification --data b", "has a head of classification already, and a model has one head of an app"),
        ("--task vqa --data b --training nowhere.yaml", "--training nowhere.yaml can't be read"),
    ],
)
def test_what_cannot_be_added_is_refused(
    words: str, message: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(model, "--output", str(tmp_path / "out"), *words.split()) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("freeze: none\nimage-size: [32]\nepochs: 2\n", "sets freeze, image-size, which the model and this command"),
        ("- epochs\n", "holds no options: write a line for each"),
        ("a: [", "can't be read"),
        ("epoch: 3\n", r"--training .*training\.yaml: Unknown option 'epoch'\. Did you mean '--epochs'\?"),
        ("epochs: few\n", r"--training .*training\.yaml: --epochs takes a whole number, not 'few'"),
        ("epochs: 0\n", r"--training .*training\.yaml: --epochs takes 1 or more, not 0"),
        (
            "config: other.yaml\n",
            r"--training .*training\.yaml names another file by 'config', .* Write the options",
        ),
    ],
)
def test_the_file_leaves_alone_what_is_given(content: str, message: str, model: Path, tmp_path: Path) -> None:
    options = multitask.AddOptions(
        model=str(model),
        task="vqa",
        data="nowhere",
        training=training_file(tmp_path, content),
        output=str(tmp_path / "out"),
    )
    with pytest.raises(UserError, match=message):
        multitask.add(options)


def test_a_head_that_reads_deeper_than_the_trunk_goes_is_answered_with_what_to_do(
    pictures: Path, tmp_path: Path
) -> None:
    shallow = write_model(tmp_path / "my box", "localization")

    def refused() -> str:
        options = multitask.AddOptions(
            model=str(shallow), task="classification", data=str(pictures), output=str(tmp_path / "the out")
        )
        with pytest.raises(UserError) as caught:
            multitask.add(options)
        assert not (tmp_path / "the out").exists()
        return str(caught.value)

    assert re.search(
        r"^The trunk of '.*my box' was kept only as far as its heads read it, to c3, and the head of classification "
        r"reads deeper levels\. Its values aren't those of published weights, .* train all heads anew on one trunk",
        refused(),
    )
    description = json.loads((shallow / "model.json").read_text())
    before = description["backbone"]["fingerprint_after"]
    description["backbone"] |= {"weights": "imagenet", "fingerprint_before": before}
    (shallow / "model.json").write_text(json.dumps(description))
    found = re.search(
        r"Train the head on the weights that the trunk is from: onetrunk (?P<train>.*)\. Then put it in: onetrunk "
        r"(?P<add>.*)$",
        refused(),
    )
    assert found is not None
    assert shlex.split(found["train"]) == [
        *("classification", "train", "--backbone", "timm/test_resnet", "--weights", "imagenet", "--freeze", "all"),
        *("--image-size", "64", "64", "--resize", "pad", "--channels", "3", "--data", str(pictures), "--output", "RUN"),
    ]
    assert shlex.split(found["add"]) == [
        *("multitask", "add", "--model", str(shallow), "--head", "RUN", "--output", str(tmp_path / "the out"))
    ]


def test_a_canvas_that_the_app_does_not_know_is_refused(tmp_path: Path) -> None:
    cropped = write_model(tmp_path / "labels", resize="crop")
    options = multitask.AddOptions(model=str(cropped), task="vqa", data="nowhere", output=str(tmp_path / "out"))
    with pytest.raises(UserError, match=r"onto the canvas by --resize crop, and vqa knows stretch and pad\. One pass"):
        multitask.add(options)
