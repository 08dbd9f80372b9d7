"""A ``model.json`` that isn't what was saved is one sentence, whichever command reads it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onetrunk.apps import load_model, multitask
from onetrunk.apps.classification.task import keep_matching_rows
from onetrunk.apps.cli import main
from onetrunk.apps.multitask.stored import read_stored
from onetrunk.backbones import UserError

from .conftest import write_model

CPU = ["--workers", "0", "--device", "cpu", "--batch-size", "8"]
GONE = object()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """An untrained classifier of blue and red."""
    return write_model(tmp_path / "labels")


@pytest.fixture
def joined(labels: Path, tmp_path: Path) -> Path:
    """That and a head of localization."""
    box = write_model(tmp_path / "box", "localization")
    return multitask.join(multitask.JoinOptions(models=[str(labels), str(box)], output=str(tmp_path / "joined")))


def put(folder: Path, place: str, value: Any) -> None:
    """Change a model file; a place is keys with dots between them, or nothing for the whole."""
    file = folder / "model.json"
    plain = json.loads(file.read_text())
    *above, last = place.split(".")
    holder = plain
    for key in above:
        holder = holder[key]
    if value is GONE:
        del holder[last]
    elif place:
        holder[last] = value
    file.write_text(json.dumps(plain if place else value))


#: Place, value, and what is said of it, for a model of one app.
DAMAGES = [
    ("", [], "it isn't an object with the number of a 'format'"),
    ("", "text", "it isn't an object with the number of a 'format'"),
    ("format", "1", "it isn't an object with the number of a 'format'"),
    ("task", GONE, "'task' is missing"),
    ("task", ["classification"], "'task' is a list in place of text"),
    ("backbone", GONE, "'backbone' is missing"),
    ("backbone", None, "'backbone' is null in place of an object"),
    ("backbone.weights", 5, "'backbone.weights' is a whole number in place of text"),
    ("backbone.fingerprint_after", GONE, "'backbone.fingerprint_after' is missing"),
    ("backbone.recipe", [], "'backbone.recipe' is a list in place of an object"),
    ("backbone.recipe.levels", "c5", "'backbone.recipe.levels' is text in place of a list"),
    ("backbone.recipe.levels", [5], "'backbone.recipe.levels' is no list of names"),
    ("backbone.recipe.image_size", [64], r"'backbone.recipe.image_size' is \[64\] in place of a height and a width"),
    ("backbone.preprocessing.mean", "dark", "'backbone.preprocessing' can't be used .mean is 'dark' in place of a num"),
    ("backbone.preprocessing.std", [1.0], "'backbone.preprocessing' can't be used .mean has 3 channels and std 1"),
    ("backbone.preprocessing.image_size", [64, 0], "can't be used .image_size is .* in place of a height and a width"),
    ("backbone.preprocessing.crop_fraction", None, "can't be used .interpolation takes a name and crop_fraction a n"),
    ("backbone.preprocessing.zoom", 2, "'backbone.preprocessing' can't be used .*'zoom'"),
    ("inputs", GONE, "'inputs' is missing"),
    ("inputs.canvas", [64, "64"], "'inputs' can't be used .canvas is .* in place of a height and a width"),
    ("inputs.fill", [0.5], "'inputs' can't be used .fill is .0.5. in place of a number for each channel"),
    ("inputs.mode", "sideways", "'inputs' can't be used .*sideways"),
    ("head", "linear", "'head' is text in place of an object"),
    ("head.options", None, "'head.options' is null in place of an object"),
    ("data", [], "'data' is a list in place of an object"),
    ("classes", "blue", "'classes' is no list of names"),
    ("classes", ["blue", 5], "'classes' is no list of names"),
    ("tied", ["a"], "'tied' is no object of names"),
]
#: As these, for what is found once trunk and head are built.
UNBUILDABLE = [
    ("head.name", GONE, r"is damaged: 'name' is missing or unknown\."),
    ("head.options.level", 5, r"is damaged: what it describes can't be built"),
    ("head.options.zoom", 5, r"is damaged: what it describes can't be built \(TypeError: .*'zoom'"),
    ("temperature", "warm", r"can't be built \(ValueError: temperature is 'warm' in place of a number above 0\)"),
    ("positive", "green", r"can't be built \(ValueError: positive is 'green', which is none of the classes\)"),
    ("backbone.recipe.name", "resnet5", r"describes a model that can't be built here: Unknown backbone 'resnet5'"),
]


@pytest.mark.parametrize(("place", "value", "reason"), DAMAGES)
@pytest.mark.parametrize("read", [load_model, read_stored])
def test_what_is_missing_or_of_another_type_is_named(
    read: Callable[[Path], object], place: str, value: Any, reason: str, labels: Path
) -> None:
    put(labels, place, value)
    message = rf"^'.*labels.model\.json' is damaged: .*{reason}.*\. Restore it as it was saved, or train the model aga"
    with pytest.raises(UserError, match=message):
        read(labels)


@pytest.mark.parametrize(("place", "value", "reason"), UNBUILDABLE)
def test_what_cannot_be_built_is_named(place: str, value: Any, reason: str, labels: Path) -> None:
    put(labels, place, value)
    with pytest.raises(UserError, match=rf"^'.*labels.model\.json' .*{reason}"):
        load_model(labels)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("tasks", ["localization"], "'tasks' is a list in place of an object"),
        ("tasks", {}, "'tasks' is empty"),
        ("tasks.localization", [], "'tasks.localization' is a list in place of an object"),
        ("tasks.localization.task", "vqa", "'tasks.localization.task' is 'vqa'"),
        ("tasks.localization.backbone", GONE, "'tasks.localization.backbone' is missing"),
        ("tasks.localization.inputs.fill", {}, "'tasks.localization.inputs.fill' is an object in place of a list"),
        ("tasks.classification.head", 5, "'tasks.classification.head' is a whole number in place of an object"),
        ("tasks.localization.head.options.zoom", 5, r"what it describes can't be built \(TypeError: .*'zoom'"),
    ],
)
def test_a_model_of_several_apps_is_looked_at_app_by_app(place: str, value: Any, reason: str, joined: Path) -> None:
    put(joined, place, value)
    words = multitask.PredictOptions(model=str(joined), images=["nowhere"])
    with pytest.raises(UserError, match=rf"^'.*joined.model\.json' is damaged: {reason}"):
        multitask.predict(words)


def test_what_is_no_json_is_named(labels: Path) -> None:
    for content in ("{", "", "[" * 100_000):
        (labels / "model.json").write_text(content)
        with pytest.raises(UserError, match=r"labels.model\.json' is damaged: it can't be read as JSON \(.*\)\. Rest"):
            load_model(labels)


def test_an_app_that_is_not_there_is_named(labels: Path) -> None:
    put(labels, "task", "clasification")
    with pytest.raises(UserError, match=r"Unknown task in .*model\.json: 'clasification'\. .* Did you mean 'classific"):
        load_model(labels)


def test_the_data_of_a_split_are_known(labels: Path) -> None:
    (labels / "split.csv").write_text("path,split\na.png,train\n")
    with pytest.raises(UserError, match=r"'data\.fingerprint' is missing, by which the data of its split are known"):
        load_model(labels)


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("classification evaluate --model {0} --data {1}", "backbone"),
        ("multitask predict --model {0} --images {1}", "backbone"),
        ("multitask join --models {0} {2} --output {3}", "backbone"),
        ("classification train --backbone timm/test_resnet --weights {0} --data {1} --output {3}", "backbone"),
        ("classification train --backbone timm/test_resnet --weights {0} --data {1} --output {3}", "inputs"),
    ],
)
def test_commands_say_it_in_one_line(
    command: str, place: str, labels: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(labels, place, [])
    other = write_model(tmp_path / "box", "localization")
    paths = [str(path) for path in (labels, pictures, other, tmp_path / "out")]
    words = [word.format(*paths) for word in command.split()]
    assert main([*words, *([] if "join" in words else CPU)]) == 2
    said = capsys.readouterr().err
    assert str(labels / "model.json") in said
    assert "Restore it as it was saved" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"backbone": "timm/test_resnet"}, "its backbone has no name"),
        ([], "TypeError"),
        ({"backbone": {"name": "timm/test_resnet", "preprocessing": [1]}}, "its preprocessing can't be used"),
    ],
)
def test_weights_of_a_folder_that_describes_no_model(
    content: Any, reason: str, labels: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (labels / "model.json").write_text(json.dumps(content))
    words = ["--backbone", "timm/test_resnet", "--weights", str(labels), "--data", str(pictures), *CPU]
    assert main(["classification", "train", *words, "--output", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f"{labels / 'model.json'} doesn't describe a model of onetrunk ({reason}" in said
    assert "Restore it as it was saved, or give other --weights" in said


def test_a_head_starts_anew_on_the_trunk_of_another_app(
    labels: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = write_model(tmp_path / "box", "localization")
    sentence = "the head starts anew: the model is of another app, localization"
    assert keep_matching_rows(load_model(labels), str(box)) == sentence
    words = "--backbone timm/test_resnet --freeze all --epochs 1 --image-size 64 --head-options.level c3".split()
    words += ["--weights", str(box), "--data", str(pictures), "--output", str(tmp_path / "run"), *CPU]
    assert main(["classification", "train", *words]) == 0
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(("place", "value"), [("readout", GONE), ("classes", ["blue", "red", "more"])])
def test_rows_of_a_damaged_head_are_not_kept(place: str, value: Any, labels: Path, tmp_path: Path) -> None:
    task = load_model(write_model(tmp_path / "task"))
    task.head.classes = ("more", "red")
    put(labels, place, value)
    with pytest.raises(UserError, match=r"labels.model\.json' is damaged: "):
        keep_matching_rows(task, str(labels))


def test_printed_commands_can_be_pasted_whatever_the_folder_is_called(
    labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    box = write_model(tmp_path / "box", "localization")
    both = tmp_path / "my joined model"
    assert main(["multitask", "join", "--models", str(labels), str(box), "--output", str(both)]) == 0
    assert f"onetrunk multitask predict --model '{both}' --images DIR" in capsys.readouterr().out
    with pytest.raises(UserError, match=rf"take-out --model '{both}' --task localization --output DIR"):
        load_model(both, task="localization")
    alone = tmp_path / "it's alone"
    words = ["--model", str(both), "--task", "localization", "--output", str(alone)]
    assert main(["multitask", "take-out", *words]) == 0
    assert f"""onetrunk localization predict --model '{str(alone).replace("'", "'" + '"' + "'" + '"' + "'")}' """ in (
        capsys.readouterr().out
    )
