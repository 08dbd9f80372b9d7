"""Every shipped configuration goes through the real command line."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from onetrunk.apps.cli import main

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
#: What pip delivers; other weights are downloads.
OFFLINE = ("efficientnet_lite0",)
#: The fixture of the data that an app's configurations are for, where it isn't the pictures in class folders.
USUAL_DATA = {
    "captioning": "caption_table",
    "detection": "object_folder",
    "localization": "box_table",
    "segmentation": "mask_folder",
    "vqa": "question_table",
}
#: The fixture with the data of a task of several, where each has its own.
TASK_DATA = {**USUAL_DATA, "classification": "pictures"}
#: The command of an app's configurations, where it isn't `train`.
COMMANDS = {"features": "extract"}


@pytest.fixture(scope="session")
def two_classes(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of two of the three classes."""
    root = tmp_path_factory.mktemp("two_classes")
    for folder in (*pictures.glob("*/blue"), *pictures.glob("*/red")):
        shutil.copytree(folder, root / folder.relative_to(pictures))
    return root


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the demo's pictures, which have every kind of annotation."""
    root = tmp_path_factory.mktemp("scenes") / "shapes"
    assert main(["data", "shapes", "--output", str(root), "--images", "40", "--size", "64"]) == 0
    return root


def data_of(config: Path, request: pytest.FixtureRequest) -> Path:
    """Return generated data of the kind that the configuration is for, told by what it asks for or its name."""
    kinds = {
        "voc_multilabel": "label_voc",
        "mammography": "two_classes",
        "phenotype": "subject_table",
        "shapes": "scenes",
    }
    usual = USUAL_DATA.get(config.parent.name, "pictures")
    fixture = next((name for start, name in kinds.items() if config.stem.startswith(start)), usual)
    data: Path = request.getfixturevalue(fixture)
    return data


def command_of(config: Path) -> str:
    return COMMANDS.get(config.parent.name, "train")


def with_data(config: Path, request: pytest.FixtureRequest, folder: Path) -> list[str]:
    """Return the flags for a configuration and generated data: its own, or of each of its tasks."""
    options = yaml.safe_load(config.read_text())
    tasks = options.get("task_options", {})
    if not any("data" in own for own in tasks.values()):
        return ["--config", str(config), "--data", str(data_of(config, request))]
    for task, own in tasks.items():
        own["data"] = str(request.getfixturevalue(TASK_DATA[task]))
    changed = folder / config.name
    changed.write_text(yaml.safe_dump(options, sort_keys=False))
    return ["--config", str(changed)]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_it_runs(config: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    options, command = yaml.safe_load(config.read_text()), command_of(config)
    words = [config.parent.name, command, *with_data(config, request, tmp_path)]
    more = ["--output", str(tmp_path / options.get("output", "run")), "--workers", "0", "--device", "cpu"]
    more += ["--epochs", "1"] if command == "train" else ["--split", "val"]
    # on large canvases, and anchors want some room on small ones
    is_dense = config.parent.name in ("detection", "multitask")
    if options["weights"] != "none" and options["backbone"] not in OFFLINE:
        more += ["--weights", "none", "--image-size", "256" if is_dense else "32"]
    elif is_dense:
        more += ["--image-size", "96", "128"]
    assert main([*words, *more]) == 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_it_opens_with_its_command_and_the_result_to_expect(config: Path) -> None:
    comment = [line for line in config.read_text().splitlines() if line.startswith("#")]
    assert any(f"onetrunk {config.parent.name} {command_of(config)} --config configs/" in line for line in comment)
    assert any(re.match(r"# Expect .*0\.\d", line) for line in comment)
