"""A run of each app, all on one frozen trunk and one canvas, and the model that has the heads of all."""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from onetrunk.apps.classification.task import build_task as classify
from onetrunk.apps.cli import main
from onetrunk.apps.inputs import make_recipe
from onetrunk.apps.localization.metrics import make_evaluator
from onetrunk.apps.localization.options import HeadOptions
from onetrunk.apps.localization.task import build_task as localize
from onetrunk.apps.model_file import save_model
from onetrunk.backbones import build_backbone
from safetensors.torch import load_file
from torch import Tensor

COMMON = (
    "--backbone timm/test_resnet --weights none --freeze all --image-size 64 96 --resize pad --epochs 1 --batch-size 8 "
    "--workers 0 --device cpu --cache off"
).split()
#: Of each app the fixture with its data, and what makes its head small. They read different levels of the trunk.
APPS = {
    "classification": ("pictures", ""),
    "segmentation": ("mask_folder", "--head-options.width 32"),
    "detection": ("object_folder", "--head-options.levels c2 c3 c4 --head-options.width 32 --head-options.hidden 64"),
    "localization": ("box_table", "--head-options.level c3 --head-options.width 16 --head-options.hidden 64"),
    "captioning": (
        "caption_table",
        "--head-options.levels c4 --head-options.width 32 --head-options.layers 1 --head-options.attention-heads 2 "
        "--head-options.min-count 1 --head-options.max-tokens 8",
    ),
    "vqa": (
        "question_table",
        "--head stacked_attention --head-options.level c4 --head-options.width 32 --head-options.embedding 32",
    ),
}


class Family(NamedTuple):
    """Runs whose heads stand on one trunk."""

    runs: dict[str, Path]
    joined: Path


def train(app: str, data: Path, run: Path, *more: str) -> Path:
    """Train a head for an epoch; return its run's folder."""
    words = [*COMMON, *APPS[app][1].split(), *more]
    assert main([app, "train", "--data", str(data), "--output", str(run), *words]) == 0
    return run


@pytest.fixture(scope="session")
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    """The runs, and the model that they were joined to."""
    root = tmp_path_factory.mktemp("family")
    runs = {app: train(app, request.getfixturevalue(APPS[app][0]), root / app) for app in APPS}
    words = ["multitask", "join", "--models", *map(str, runs.values()), "--output", str(root / "joined")]
    assert main(words) == 0
    return Family(runs, root / "joined")


def write_model(
    folder: Path,
    app: str = "classification",
    *,
    seed: int = 0,
    size: tuple[int, int] = (64, 64),
    resize: Any = "pad",
    **trunk: Any,
) -> Path:
    """Write an untrained model of classification or localization, whose trunk has the values of a seed."""
    torch.manual_seed(seed)
    level = "embedding" if app == "classification" else "c3"
    recipe = {"name": "timm/test_resnet", "levels": (level,), "image_size": size, **trunk}
    backbone = build_backbone(**recipe, weights="none")
    inputs = make_recipe(backbone.preprocessing, size, resize)
    classes = ("blue", "red")
    if app == "classification":
        task = classify(backbone, classes, inputs=inputs)
    else:
        options = HeadOptions(level=level, width=8, hidden=8)
        evaluator = make_evaluator(classes, (0.1, 0.1, 0.9, 0.9))
        task = localize(backbone, evaluator, inputs=inputs, head="regression", head_options=options)
    facts = {"name": backbone.name, "weights": "none", "fingerprint_after": backbone.fingerprint()}
    card: Any = type("Card", (), {"backbone": facts, "data": {}, "metrics": {}})()
    save_model(folder, task, card)
    return folder


#: Of a training of several tasks on one canvas, and of each of them by itself.
SMALL = (
    "--backbone timm/test_resnet --weights none --image-size 64 --resize pad --batch-size 8 --workers 0 --device cpu "
    "--learning-rate 0.01"
)
#: Of a task whose pictures look the same in each epoch.
PLAIN = {"flip": 0.0, "min_scale": 1.0}


def train_together(run: Path, task_options: dict[str, Any], words: str = "", *, code: int = 0) -> Path:
    """Train heads together; return the run's folder."""
    given = ["--task-options", json.dumps(task_options), "--output", str(run)]
    assert main(["multitask", "train", *SMALL.split(), *given, *words.split()]) == code
    return run


def heads_of(run: Path) -> dict[str, dict[str, Tensor]]:
    """The tensors of each head of a model, by task."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in load_file(run / "model" / "model.safetensors").items():
        if name.startswith("heads."):
            _, task, own = name.split(".", 2)
            found.setdefault(task, {})[own] = tensor
    return found


def card_of(run: Path) -> dict[str, Any]:
    """What a run's results.json holds."""
    return json.loads((run / "results.json").read_text())


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A superset of 17 train, 4 val and 3 test pictures with every kind of annotation."""
    folder = tmp_path_factory.mktemp("scenes") / "shapes"
    assert main(["data", "shapes", "--output", str(folder), "--images", "24", "--size", "64"]) == 0
    return folder


@pytest.fixture(scope="session")
def partial_shapes(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but labels are known of five of the pictures to train on, one of each class."""
    folder = tmp_path_factory.mktemp("scenes") / "partial"
    shutil.copytree(shapes, folder)
    file = folder / "annotations" / "superset_train.json"
    content = json.loads(file.read_text())
    content["labels"] = list({row["label"]: row for row in content["labels"]}.values())
    labelled = {row["image_id"] for row in content["labels"]}
    for image in content["images"]:
        known = image.get("known", ["labels", "annotations", "captions", "qa"])
        image["known"] = [key for key in known if key != "labels" or image["id"] in labelled]
    file.write_text(json.dumps(content))
    return folder


#: Both drop values at random, each from chance of its own. 33 and 12 pictures in batches of 8: 5 and 2 steps an epoch.
HEADS: dict[str, dict[str, Any]] = {
    "classification": {"head": "mlp", "head_options": {"hidden": 16, "dropout": 0.3}, "augment": PLAIN},
    "segmentation": {"head": "fpn", "head_options": {"width": 64}, "learning_rate": 0.004, "augment": PLAIN},
}


def with_data(heads: dict[str, dict[str, Any]], **data: Path) -> dict[str, dict[str, Any]]:
    return {task: {**own, "data": str(data[task])} for task, own in heads.items()}


@pytest.fixture(scope="module")
def data(pictures: Path, mask_folder: Path) -> dict[str, Path]:
    return {"classification": pictures, "segmentation": mask_folder}


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Path]]:
    """Two heads that were trained together on a frozen trunk, and the same two by themselves."""
    cache = getattr(request, "param", "off")
    root = tmp_path_factory.mktemp(f"cache-{cache}")
    words = f"--freeze all --epochs 2 --cache {cache}"
    together = train_together(root / "together", with_data(HEADS, **data), words)
    alone = {}
    for task, own in HEADS.items():
        alone[task] = root / task
        options = root / f"{task}.yaml"
        options.write_text(json.dumps(own))
        given = ["--config", str(options), "--data", str(data[task]), "--output", str(alone[task])]
        # the rate of the file wins over that for all
        small = SMALL.replace("--learning-rate 0.01", "" if "learning_rate" in own else "--learning-rate 0.01")
        assert main([task, "train", *small.split(), *words.split(), *given]) == 0
    return together, alone
