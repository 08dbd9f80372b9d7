"""How long a person waits: for ``onetrunk --help``, and from ``onetrunk APP train`` to the first training step.

Run: python benchmarks/startup.py
     python benchmarks/startup.py --apps classification --backbone resnet50 --weights none --image-size 224

Each figure is of a process of its own, from its start. A training ends where its first step would begin, after options,
data, network, run folder and trainer; it reads 40 small generated pictures, in its own process. The yardstick is
``import torch, pytorch_lightning``, which no training can do without. They take turns, so that other work on the
machine slows all of them; figures are medians over the rounds, with the lowest and the highest.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw

APPS = ("classification", "segmentation", "detection", "localization", "captioning", "vqa")
COLOURS = {"blue": (40, 60, 220), "red": (220, 50, 40)}
#: What a child process is called with before the words of a command.
CHILD = "--until-first-step"
#: How a child says that the command ended without a step.
NO_STEP = 3
HELP, YARDSTICK = "onetrunk --help", "import torch, pytorch_lightning"


def write_data(folder: Path) -> dict[str, Path]:
    """Write 40 pictures of a disc, with a label, a box, a mask, a caption and a question; return each app's data."""
    columns = {"boxes": "label,xmin,ymin,xmax,ymax", "captions": "caption", "questions": "question,answer"}
    tables = {name: [f"path,split,{header}"] for name, header in columns.items()}
    (folder / "masks").mkdir(parents=True)
    (folder / "masks" / "classes.txt").write_text("\n".join(["background", *COLOURS]) + "\n")
    for index in range(40):
        split = "train" if index < 32 else "val"
        name = list(COLOURS)[index % 2]
        left, top = 2 + index % 20, 2 + index % 12
        box = (left, top, left + 24, top + 24)
        image, mask = Image.effect_noise((48, 40), 60).convert("RGB"), Image.new("L", (48, 40))
        ImageDraw.Draw(image).ellipse((*box[:2], box[2] - 1, box[3] - 1), fill=COLOURS[name])
        ImageDraw.Draw(mask).ellipse((*box[:2], box[2] - 1, box[3] - 1), fill=1 + index % 2)
        path = folder / "pictures" / split / name / f"{index:02}.jpg"
        for file, picture in (
            (path, image),
            (folder / "masks" / split / "images" / path.name, image),
            (folder / "masks" / split / "masks" / f"{path.stem}.png", mask),
        ):
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file)
        tables["boxes"].append(f"{path},{split},{name},{','.join(map(str, box))}")
        tables["captions"].append(f"{path},{split},A {name} disc on grey noise.")
        tables["questions"].append(f"{path},{split},What colour is the disc?,{name}")
    for table, lines in tables.items():
        (folder / f"{table}.csv").write_text("\n".join(lines) + "\n")
    return {
        "classification": folder / "pictures",
        "segmentation": folder / "masks",
        "detection": folder / "boxes.csv",
        "localization": folder / "boxes.csv",
        "captioning": folder / "captions.csv",
        "vqa": folder / "questions.csv",
    }


def run_until_first_step(words: list[str]) -> int:
    """Run a command in this process, which ends at once when the first training step begins."""
    from onetrunk.apps import cli

    commands = import_module(f"onetrunk.apps.{words[0]}.main").COMMANDS
    command = commands[words[1]]

    def run(options: object) -> object:
        # no earlier than the command itself imports it: the command line first says how threads wait
        from onetrunk.apps.task import Task

        Task.training_step = lambda *_: os._exit(0)  # type: ignore[method-assign, assignment]
        return command.run(options)

    commands[words[1]] = replace(command, run=run)
    return cli.main(words) or NO_STEP


def seconds_of(words: list[str]) -> float:
    """Return how long a process takes.

    Raises:
        SystemExit: It failed; with what it said.
    """
    started = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds


def commands_of(folder: Path, arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Return what is timed, by what the table calls it."""
    commands = {
        HELP: [str(Path(sys.executable).with_name("onetrunk")), "--help"],
        YARDSTICK: [sys.executable, "-c", YARDSTICK],
    }
    data = write_data(folder)
    common = ["--backbone", arguments.backbone, "--weights", arguments.weights, "--image-size", arguments.image_size]
    common += ["--epochs", "1", "--batch-size", "8", "--workers", "0", "--device", "cpu", "--overwrite"]
    for app in arguments.apps:
        places = ["--data", str(data[app]), "--output", str(folder / "runs" / app)]
        commands[f"{app} train"] = [sys.executable, __file__, CHILD, app, "train", *places, *common]
    return commands


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--apps", nargs="+", default=list(APPS), choices=APPS)
    parser.add_argument("--backbone", default="timm/test_resnet")
    parser.add_argument("--weights", default="none")
    parser.add_argument("--image-size", default="64")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = commands_of(Path(folder), arguments)
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for words in commands.values():  # files come into the system's cache, and bytecode is compiled
            seconds_of(words)
        for _ in range(arguments.rounds):
            for name, words in commands.items():
                seconds[name].append(seconds_of(words))
    print(f"{arguments.backbone}, {arguments.image_size} px, {arguments.rounds} rounds: seconds, beyond the imports")
    for name, found in seconds.items():
        beyond = [one - yardstick for one, yardstick in zip(found, seconds[YARDSTICK], strict=True)]
        more = f"{median(beyond):+7.2f}" if name.endswith(" train") else ""
        print(f"  {name:<34}{median(found):7.2f} (from {min(found):.2f} to {max(found):.2f}){more}")


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        sys.exit(run_until_first_step(sys.argv[2:]))
    main()
