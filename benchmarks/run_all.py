"""Runs the benchmarks and writes what they print into `benchmarks/RESULTS.md`; `make bench` runs it.

    python benchmarks/run_all.py
    python benchmarks/run_all.py --only features_timm trunk_rate --output /tmp/results.md

Sizes are chosen so that all take about two and a half hours on two cores. Each is a process of its own; one that fails
is reported, the rest go on, and the exit code is 1. The file is written after each, so that what was measured stays.
"""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch
from turns import HERE, cores, has_bf16

#: Script -> its arguments here, once for each run of it: a line of its docstring tells how to run it at length.
SCRIPTS = {
    "startup": ("",),
    "memory": ("",),
    "trunk_rate": ("--rounds 5",),
    "multi_head": ("--rounds 5",),
    "detection_evaluation": ("",),
    # as many pictures as make start-up small beside them
    "features_timm": (
        "--rounds 3 --images 600 --backbones vgg16",
        "--rounds 3 --images 1800 --backbones resnet50",
        "--rounds 3 --images 4000 --backbones efficientnet_lite0",
    ),
    "evaluate_peers": (
        "--rounds 3",
        "--rounds 1 --apps classification --images 1200",
        "--rounds 1 --apps segmentation --images 800",
    ),
    "finetune_torchvision": ("--rounds 5 --train 96 --val 16 --epochs 2",),
    # the ideal is to be about two minutes long: start-up and end take nearly the same for any number
    "head_training": tuple(
        f"--rounds 1 --uncached-epochs 2 {each}"
        for each in (
            "--apps classification --train 9600 --val 2400",
            "--apps vqa --train 6000 --val 1500",
            "--apps captioning --train 640 --val 160",
            "--apps segmentation --train 96 --val 24",
            "--apps detection --train 64 --val 16",
        )
    ),
}
PACKAGES = (
    "onetrunk",
    "torch",
    "torchvision",
    "timm",
    "segmentation-models-pytorch",
    "pytorch-lightning",
    "scikit-learn",
)
#: So many lines of what a failing script said.
_LAST_LINES = 20


def machine() -> list[str]:
    """Return lines on what the figures were measured on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    bf16 = "yes" if has_bf16(torch.device("cpu")) else "no"
    versions = ", ".join(f"{name} {version_of(name)}" for name in PACKAGES)
    return [
        f"- CPU: {cpu_model()}, {cores()} cores, bf16 instructions: {bf16}",
        f"- GPU: {gpu}",
        f"- Python {platform.python_version()}, {versions}",
    ]


def cpu_model() -> str:
    """Return what the processor calls itself."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def run_script(name: str, arguments: Sequence[str]) -> tuple[str, bool]:
    """Run a benchmark; return its section, and whether it went well."""
    command = [sys.executable, str(HERE / f"{name}.py"), *arguments]
    shown = " ".join(["python", f"benchmarks/{name}.py", *arguments])
    print(f"{shown} ...", flush=True)
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    minutes = (time.monotonic() - started) / 60
    print(f"  {minutes:.1f} minutes, exit code {done.returncode}", flush=True)
    said = done.stdout.strip()
    if done.returncode:
        said = "\n".join([said, f"FAILED with exit code {done.returncode}:", *done.stderr.splitlines()[-_LAST_LINES:]])
    return f"## {name}\n\n`{shown}` ({minutes:.1f} minutes)\n\n```\n{said.strip()}\n```\n", done.returncode == 0


def write(path: Path, sections: Sequence[str]) -> None:
    """Write the file: the machine, the date, the sections so far."""
    head = [
        "# Benchmarks",
        "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} by `make bench`. Ratios are medians of the rounds, with the lowest "
        "and the highest; above 1 is in our favour unless the script says otherwise.",
        "",
        *machine(),
        "",
    ]
    path.write_text("\n".join([*head, *sections]), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=list(SCRIPTS), help="run these alone")
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md", help="the file to write")
    arguments = parser.parse_args()
    sections, failed = [], []
    for name, given in ((script, line) for script in arguments.only for line in SCRIPTS[script]):
        section, is_well = run_script(name, given.split())
        sections.append(section)
        failed += [] if is_well else [name]
        write(arguments.output, sections)
    print(f"{len(sections)} sections in {arguments.output}")
    if failed:
        print(f"failed: {', '.join(failed)}; the file says why", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
