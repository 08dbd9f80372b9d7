"""Heads trained together against each of them trained alone, with the same options: what together costs or brings.

    python benchmarks/together.py --config configs/multitask/mixed.yaml --output build/together
    python benchmarks/together.py --config FILE --output DIR --data segmentation=camvid detection=bccd -- --epochs 5

Trains every task alone with its own app's command, then all of them together, and prints the card, whose rows say what
each task reaches alone, together, and the difference with its 95% interval on the same pictures. What stands behind
``--`` goes to the training of all of them and overrides the file.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from onetrunk.apps.arguments import parse_options
from onetrunk.apps.cli import main as onetrunk
from onetrunk.apps.multitask.options import TrainOptions
from onetrunk.apps.multitask.task_options import plan_tasks


def main(words: list[str]) -> None:
    """Train alone, then together."""
    own, _, more = _split(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="options of onetrunk multitask train")
    parser.add_argument("--output", required=True, help="a folder for all runs")
    parser.add_argument("--data", nargs="*", default=[], metavar="TASK=DIR", help="in place of the file's data sets")
    arguments = parser.parse_args(own)
    options = parse_options(TrainOptions, ["--config", _written(arguments), *more], prog="together", description="")
    folder = Path(arguments.output)
    alone = [_train_alone(task, asdict(plan.options), folder) for task, plan in plan_tasks(options).items()]
    together = ["--config", _written(arguments), *more, "--output", str(folder / "together"), "--overwrite"]
    _run(["multitask", "train", *together, "--alone", *alone])


def _split(words: list[str]) -> tuple[list[str], str, list[str]]:
    return (words[: words.index("--")], "--", words[words.index("--") + 1 :]) if "--" in words else (words, "", [])


def _written(arguments: argparse.Namespace) -> str:
    """Return the file of options, with the data sets that were named in place of its own."""
    content: dict[str, Any] = yaml.safe_load(Path(arguments.config).read_text(encoding="utf-8"))
    for pair in arguments.data:
        task, _, path = pair.partition("=")
        content.setdefault("task_options", {}).setdefault(task, {})["data"] = path
    file = Path(arguments.output) / "options.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return str(file)


def _train_alone(task: str, plain: dict[str, Any], folder: Path) -> str:
    """Train a task by its app's command, with the options that it has among others; return the run's folder."""
    run = folder / task
    given = {name: value for name, value in plain.items() if value is not None and name not in ("output", "sweep")}
    file = folder / f"{task}.yaml"
    file.write_text(yaml.safe_dump(_without_none(given), sort_keys=False), encoding="utf-8")
    _run([task, "train", "--config", str(file), "--output", str(run), "--overwrite"])
    return str(run)


def _without_none(plain: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in plain.items()
        if value is not None
    }


def _run(words: list[str]) -> None:
    print(f"$ onetrunk {' '.join(words)}", flush=True)
    if code := onetrunk(words):
        raise SystemExit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
