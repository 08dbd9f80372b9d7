"""Real runs in processes of their own, what is done to them, and what must not depend on it.

A new app takes part with one line in ``RECIPES``, and one in ``DATA`` if it needs more than class folders.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

Run = Callable[..., int]
EXIT_CODES = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}

#: 28 training images: with 8 a batch 4 steps an epoch, 3 epochs. Augmentation, dropout, batch norm in a trunk that is
#: trained, and every step saved. Two recipes read in worker processes; the others say something else, and are faster.
CLASSIFICATION = (
    "classification train --backbone timm/test_resnet --weights none --image-size 32 --epochs 3 --batch-size 8 "
    "--workers 0 --learning-rate 0.01 --head mlp --head-options.dropout 0.3 --augment.color-jitter 0.4 "
    "--fit.save-every 0 --optim.trunk-factor 1 --device cpu"
)

LOCALIZATION = (
    "localization train --backbone timm/test_resnet --weights none --image-size 32 --epochs 3 --batch-size 8 "
    "--workers 0 --learning-rate 0.01 --head-options.level c3 --head-options.width 8 --head-options.hidden 16 "
    "--head-options.dropout 0.3 --augment.color-jitter 0.4 --fit.save-every 0 --optim.trunk-factor 1 --device cpu"
)

SEGMENTATION = (
    "segmentation train --backbone timm/test_resnet --weights none --image-size 32 --epochs 3 --batch-size 8 "
    "--workers 0 --learning-rate 0.01 --head-options.width 32 --loss.dice 1 --augment.color-jitter 0.4 "
    "--fit.save-every 0 --optim.trunk-factor 1 --device cpu"
)

#: Proposals to train on are drawn at random; boxes are lost in random crops.
DETECTION = (
    "detection train --backbone timm/test_resnet --weights none --image-size 64 --epochs 3 --batch-size 8 "
    "--workers 0 --learning-rate 0.003 --head-options.width 16 --head-options.hidden 16 --augment.max-zoom 2 "
    "--augment.color-jitter 0.4 --head-options.drawn-proposals 16 --fit.save-every 0 --optim.trunk-factor 1 "
    "--device cpu"
)

#: Dropout in the decoder; the vocabulary is learned anew by a run that goes on.
CAPTIONING = (
    "captioning train --backbone timm/test_resnet --weights none --image-size 32 --epochs 3 --batch-size 8 "
    "--workers 0 --learning-rate 0.01 --head-options.width 16 --head-options.attention-heads 2 "
    "--head-options.min-count 1 --head-options.dropout 0.3 --head-options.max-tokens 8 --beams 2 "
    "--augment.color-jitter 0.4 --fit.save-every 0 --optim.trunk-factor 1 --device cpu"
)

VQA = (
    "vqa train --backbone timm/test_resnet --weights none --image-size 32 --epochs 3 --batch-size 8 --workers 0 "
    "--learning-rate 0.01 --head stacked_attention --head-options.width 16 --head-options.embedding 16 "
    "--head-options.dropout 0.3 --augment.color-jitter 0.4 --fit.save-every 0 --optim.trunk-factor 1 --device cpu"
)

#: Two data sets: labels of all 28 pictures, and masks of 12, so 4 and 2 steps an epoch. The classifier has dropout.
TOGETHER = (
    "multitask train --backbone timm/test_resnet --weights none --image-size 32 --epochs 3 --batch-size 8 --workers 0 "
    "--learning-rate 0.01 --fit.save-every 0 --optim.trunk-factor 1 --device cpu"
)

#: Name -> the words behind ``onetrunk``, but for ``--data`` and ``--output``.
RECIPES = {
    "unfrozen": f"{CLASSIFICATION} --workers 2",
    "frozen": f"{CLASSIFICATION} --freeze all",
    "partly_frozen": f"{CLASSIFICATION} --freeze c3 --fit.accumulate 2 --fit.clip-norm 0.5 --optim.name sgd",
    "ema": f"{CLASSIFICATION} --optim.ema 0.9 --optim.schedule one_cycle --fit.patience 1",
    "accumulation": f"{CLASSIFICATION} --fit.accumulate 3 --optim.layer-decay 0.7 --fit.checkpoint-activations",
    "until": f"{CLASSIFICATION} --freeze until:1 --sampling balanced",
    "mixing": f"{CLASSIFICATION} --augment.mixup 0.2 --augment.cutmix 1 --augment.policy trivialaugment "
    "--augment.erasing 0.3",
    "stored": f"{CLASSIFICATION} --freeze all --cache-views 2",
    "stored_partly": f"{SEGMENTATION} --freeze c2 --cache-views 2",
    "norms": f"{CLASSIFICATION} --tune norm",
    "bf16": f"{CLASSIFICATION} --precision bf16 --fit.clip-norm 0.5",
    "lora": f"{CLASSIFICATION} --tune lora --lora.rank 2",
    "two_processes": f"{CLASSIFICATION} --devices 2 --workers 2 --batch-size 4 --freeze until:1 --optim.ema 0.9",
    "captioning": CAPTIONING,
    "detection": DETECTION,
    "localization": LOCALIZATION,
    "segmentation": SEGMENTATION,
    "together": f"{TOGETHER} --balance.method uncertainty --optim.schedule one_cycle",
    "together_aggregated": f"{TOGETHER} --balance.aggregation pcgrad --fit.clip-norm 0.5",
    "together_averaged": f"{TOGETHER} --freeze c2 --balance.method dwa --mix sqrt --fit.patience 3",
    "together_frozen": f"{TOGETHER} --freeze all --cache off --optim.ema 0.9",
    "together_thawed": f"{TOGETHER} --freeze until:1 --balance.method uncertainty --optim.schedule one_cycle",
    "together_stored": f"{TOGETHER} --freeze all --cache-views 2",
    "vqa": VQA,
}
#: Recipe -> the fixture that gives its data, where they aren't the pictures in class folders.
DATA = {
    "captioning": "noisy_captions",
    "detection": "noisy_objects",
    "localization": "noisy_boxes",
    "segmentation": "noisy_masks",
    "stored_partly": "noisy_masks",
    **{name: "noisy_sets" for name in RECIPES if name.startswith("together")},
    "vqa": "noisy_questions",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put these tests first: they share a server and the runs that were left alone, and so stay with one worker.

    Workers begin with a part of the list each, and take from the end of another's when theirs is done.
    """
    items.sort(key=lambda item: Path(__file__).parent not in item.path.parents)


@pytest.fixture(scope="session")
def run_command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run `onetrunk WORDS` in a process of its own; returns its exit code. `fault`: see server.py."""
    script = Path(__file__).with_name("server.py")
    server = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},  # see warm_up in server.py
    )
    logs = tmp_path_factory.mktemp("logs")

    def run(*words: str, log: Path | None = None, fault: dict[str, Any] | None = None) -> int:
        assert server.stdin is not None
        assert server.stdout is not None
        job = {"words": [str(word) for word in words], "log": str(log or logs / "log.txt"), "fault": fault}
        server.stdin.write(json.dumps(job) + "\n")
        return int(server.stdout.readline())

    yield run
    assert server.stdin is not None
    server.stdin.close()
    server.wait(timeout=60)


@pytest.fixture(scope="session")
def noisy_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ (2 x 14) and val/ (2 x 6) pictures."""
    root = tmp_path_factory.mktemp("noisy")
    for split, count in (("train", 14), ("val", 6)):
        for place, name in enumerate(("dark", "light")):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                noise = Image.effect_noise((40, 40), 80).point(lambda v, add=60 * place: min(255, v + add))
                noise.convert("RGB").save(root / split / name / f"{index:02}.png")
    return root


@pytest.fixture(scope="session")
def noisy_boxes(noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the pictures, each with a box."""
    table = tmp_path_factory.mktemp("boxes") / "table.csv"
    lines = ["path,label,split,xmin,ymin,xmax,ymax"]
    for place, picture in enumerate(sorted(noisy_pictures.rglob("*.png"))):
        split, label = picture.parts[-3:-1]
        left, top = 3 * place % 17, 5 * place % 13
        lines.append(f"{picture},{label},{split},{left},{top},{left + 20},{top + 25}")
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="session")
def noisy_objects(noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the pictures with none to two objects in each."""
    table = tmp_path_factory.mktemp("objects") / "table.csv"
    lines = ["path,label,split,xmin,ymin,xmax,ymax"]
    for place, picture in enumerate(sorted(noisy_pictures.rglob("*.png"))):
        split, label = picture.parts[-3:-1]
        left, top = 3 * place % 17, 5 * place % 13
        boxes = [(left, top, left + 20, top + 25), (30 - left, 25 - top, 39 - left, 36 - top)][: place % 3]
        lines += [f"{picture},{label},{split},{','.join(map(str, box))}" for box in boxes]
        lines += [f"{picture},,{split},,,,"] if not boxes else []
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="session")
def noisy_captions(noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the pictures with one to three captions each."""
    table = tmp_path_factory.mktemp("captions") / "table.csv"
    lines = ["path,caption,split"]
    for place, picture in enumerate(sorted(noisy_pictures.rglob("*.png"))):
        split, label = picture.parts[-3:-1]
        said = [f"A {label} picture.", f"noise {label} number {place % 5}", "grey all over"]
        lines += [f"{picture},{caption},{split}" for caption in said[: 1 + place % 3]]
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="session")
def noisy_questions(noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the pictures with one to three questions each."""
    table = tmp_path_factory.mktemp("questions") / "table.csv"
    lines = ["path,question,answer,split"]
    for place, picture in enumerate(sorted(noisy_pictures.rglob("*.png"))):
        split, label = picture.parts[-3:-1]
        is_light = "yes" if label == "light" else "no"
        asked = [f"Is it light?,{is_light}", f"What is it?,{label}", f"Which one?,{place % 4}"]
        lines += [f"{picture},{question},{split}" for question in asked[: 1 + place % 3]]
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.fixture(scope="session")
def noisy_masks(noisy_pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of the pictures, each with a mask of three classes and ignored pixels."""
    root = tmp_path_factory.mktemp("masks")
    lines, generator = ["path,mask,split"], np.random.default_rng(0)
    for place, picture in enumerate(sorted(noisy_pictures.rglob("*.png"))):
        values = generator.choice([0, 1, 2, 255], (5, 5)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(values).save(root / f"{place}.png")
        lines.append(f"{picture},{place}.png,{picture.parts[-3]}")
    (root / "table.csv").write_text("\n".join(lines) + "\n")
    return root / "table.csv"


@pytest.fixture(scope="session")
def noisy_sets(noisy_pictures: Path, noisy_masks: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that says which heads learn from which data set."""
    root = tmp_path_factory.mktemp("sets")
    head, *rows = noisy_masks.read_text().splitlines()
    trained = [row for row in rows if row.endswith(",train")]
    few = noisy_masks.with_name("few.csv")
    few.write_text("\n".join([head, *trained[:12], *(row for row in rows if row not in trained)]) + "\n")
    changes = {"color_jitter": 0.4}
    labels = {"data": str(noisy_pictures), "head": "mlp", "head_options": {"dropout": 0.3}, "augment": changes}
    masks = {"data": str(few), "head_options": {"width": 32}, "learning_rate": 0.004, "augment": changes}
    own = {"classification": labels, "segmentation": {**masks, "fit": {"patience": 1}}}
    (root / "sets.yaml").write_text(json.dumps({"task_options": own}))
    return root / "sets.yaml"


def comparable_card(run: Path) -> dict[str, Any]:
    """A run's card but for what may differ: how long it took, on how much memory, and how it was called."""
    card = json.loads((run / "results.json").read_text())
    for each in (card, *card.get("tasks", {}).values()):
        del each["command"]
        for name in ("seconds", "storing_seconds", "images_per_second", "peak_memory_mib"):
            del each["cost"][name]
    return card


@dataclass
class Harness:
    """Runs recipes, disturbs them, lets them go on, and compares with the run that was left alone."""

    run_command: Run
    folder: Path
    data: Path
    own_data: dict[str, Path] = field(default_factory=dict)  # of recipes that need others
    outcomes: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    always: tuple[str, ...] = ()  # words that are added to every recipe

    @staticmethod
    def outcome_of(run: Path) -> dict[str, Any]:
        """What a run leaves that must not depend on interruptions."""
        last = torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
        # of several tasks each has a folder of its own
        parts = [run / task for task in comparable_card(run).get("tasks", {})] or [run]
        log = [line.rsplit(",", 1)[0] for line in (run / "log.csv").read_text().splitlines()]  # all but the seconds
        return {
            "model": (run / "model" / "model.safetensors").read_bytes(),
            "weights": {name: tensor.numpy().tobytes() for name, tensor in last["state_dict"].items()},
            "momenta": [
                {name: torch.as_tensor(value).numpy().tobytes() for name, value in state.items()}
                for state in last["optimizer_states"][0]["state"].values()
            ],
            **comparable_card(run),
            "images": [
                {name: array.tobytes() for name, array in np.load(part / "images.npz").items()} for part in parts
            ],
            "predictions": [(part / "predictions.json").read_bytes() for part in parts],
            "log": log,
        }

    def words(self, recipe: str, run: Path, *more: str) -> list[str]:
        """The words of a recipe."""
        data = self.own_data.get(recipe, self.data)
        flag = "--config" if data.suffix == ".yaml" else "--data"
        return [*RECIPES[recipe].split(), *self.always, flag, str(data), "--output", str(run), *more]

    def run(self, recipe: str, run: Path, *more: str, fault: dict[str, Any] | None = None) -> tuple[int, str]:
        """Run a recipe; returns the exit code and what it said."""
        log = run.with_suffix(".log")
        code = self.run_command(*self.words(recipe, run, *more), log=log, fault=fault)
        return code, log.read_text()

    def undisturbed(self, recipe: str) -> dict[str, Any]:
        """The outcome of a recipe that is left alone, computed once."""
        if recipe not in self.outcomes:
            run, started = self.folder / recipe, time.monotonic()
            code, said = self.run(recipe, run)
            assert code == 0, said
            self.seconds[recipe] = time.monotonic() - started
            self.outcomes[recipe] = self.outcome_of(run)
        return self.outcomes[recipe]

    def finish(self, recipe: str, run: Path) -> None:
        """Go on with a disturbed run; it must end like one that was left alone."""
        code, said = self.run(recipe, run, "--resume")
        assert code == 0, said
        found = self.outcome_of(run)
        for part, value in self.undisturbed(recipe).items():
            assert found[part] == value, part

    def survives(self, recipe: str, run: Path, place: str, count: int, signals: list[str]) -> None:
        """Disturb a run at a place of its own, and let it go on."""
        self.undisturbed(recipe)
        code, said = self.run(recipe, run, fault={"place": place, "count": count, "signals": signals})
        assert code == EXIT_CODES[signals[0]], said
        if code > 0 and (run / "config.yaml").exists():
            assert "Go on with the same command and --resume" in said
        self.finish(recipe, run)

    def survives_at_random(self, recipe: str, run: Path, signals: list[str], generator: random.Random) -> float:
        """Disturb a run from outside at a random moment, and let it go on; returns the moment in seconds."""
        self.undisturbed(recipe)
        moment = generator.uniform(0.05, 0.95) * self.seconds[recipe]
        code = 0
        while code == 0:  # the run may be faster this time and end before
            code, said = self.run(recipe, run, "--overwrite", fault={"seconds": moment, "signals": signals})
            moment *= 0.8
        # a process that has only just begun ends by a signal as any other does
        assert code in {EXIT_CODES[signals[0]], -15, -2}, said
        self.finish(recipe, run)
        return moment / 0.8


@pytest.fixture(scope="session")
def harness(
    run_command: Run,
    noisy_pictures: Path,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Harness:
    """See the class."""
    own = {recipe: request.getfixturevalue(fixture) for recipe, fixture in DATA.items()}
    return Harness(run_command, tmp_path_factory.mktemp("undisturbed"), noisy_pictures, own)


@pytest.fixture(scope="session")
def recipes() -> list[str]:
    """The names of all recipes."""
    return sorted(RECIPES)
