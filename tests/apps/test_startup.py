"""What a command imports before it does anything: a person waits for each of these packages."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from onetrunk.apps.cli import APPS

#: Packages that take a tenth of a second or more, and that no command needs for its help.
HEAVY = {"torch", "numpy", "scipy", "pandas", "pyarrow", "transformers", "timm", "pytorch_lightning", "PIL", "rich"}

ALL_HELP = """
import sys
from importlib import import_module
from onetrunk.apps.cli import APPS, main
main(["--help"])
for app in APPS:
    main([app, "--help"])
    for command in import_module(f"onetrunk.apps.{app}.main").COMMANDS:
        try:
            main([app, command, "--help"])
        except SystemExit:
            pass
print(*sys.modules, file=sys.stderr)
"""

IMPORT_APPS = """
import sys
from importlib import import_module
for app in sys.argv[1:]:
    import_module(f"onetrunk.apps.{app}").TrainOptions
print(*sys.modules, file=sys.stderr)
"""

# every training starts from the same imports, in a process of its own
FIRST_STEPS = """
import json, os, sys
import pytorch_lightning, torch
before = {name.partition(".")[0] for name in sys.modules}

def until_first_step(words):
    from onetrunk.apps.cli import main
    from onetrunk.apps.task import Task

    def stop(*_):
        new = {name.partition(".")[0] for name in sys.modules} - before
        with open(sys.argv[1], "a") as stream:
            stream.write(json.dumps([words[0], sorted(new)]) + "\\n")
        os._exit(0)

    Task.training_step = stop
    sys.exit(main(words) or "there was no step")

for words in json.loads(sys.argv[2]):
    child = os.fork()
    if child == 0:
        until_first_step(words)
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"{words[0]}: {status}")
"""


def packages_of(script: str, *arguments: str) -> set[str]:
    """Return the packages that a script, in a process of its own, has imported at its end."""
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_no_help_imports_anything_heavy() -> None:
    assert not HEAVY & packages_of(ALL_HELP)


def test_importing_an_app_imports_nothing_heavy() -> None:
    """A notebook that only makes options needs no network."""
    trained = set(APPS) - {"backbones", "data", "features", "multitask", "runs"}
    assert not HEAVY & packages_of(IMPORT_APPS, *trained)


@pytest.fixture(scope="module")
def imported_by(
    pictures: Path,
    mask_folder: Path,
    object_folder: Path,
    box_table: Path,
    caption_table: Path,
    question_table: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, set[str]]:
    """What each app's training imports up to its first step, besides what torch and Lightning import themselves."""
    data = {
        "classification": pictures,
        "segmentation": mask_folder,
        "detection": object_folder,
        "localization": box_table,
        "captioning": caption_table,
        "vqa": question_table,
    }
    folder = tmp_path_factory.mktemp("startup")
    settings = "--backbone resnet18 --weights none --image-size 64 --epochs 1 --batch-size 8 --workers 0 --device cpu"
    commands = [
        [app, "train", "--data", str(path), "--output", str(folder / app), *settings.split()]
        for app, path in data.items()
    ]
    found = folder / "found.jsonl"
    words = [sys.executable, "-c", FIRST_STEPS, str(found), json.dumps(commands)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {app: set(packages) for app, packages in map(json.loads, found.read_text().splitlines())}


#: What only some commands need, and where it may be needed before the first step.
NEEDED_BY = {
    "segmentation_models_pytorch": {"segmentation"},
    "pycocotools": {"detection"},
    "timm": {"segmentation"},
    "sklearn": set(),
    "transformers": {"captioning", "vqa"},
    "pandas": set(),
    "pyarrow": set(),
    "h5py": set(),
    "peft": set(),
    "nltk": set(),
    "pycocoevalcap": set(),
    "matplotlib": set(),
}


@pytest.mark.parametrize("package", NEEDED_BY)
def test_a_training_imports_only_what_it_needs(package: str, imported_by: dict[str, set[str]]) -> None:
    assert {app for app, packages in imported_by.items() if package in packages} <= NEEDED_BY[package]


EXTRACT = """
import sys
from onetrunk.apps.cli import main
assert main(sys.argv[1:]) == 0
print(*sys.modules, file=sys.stderr)
"""


def test_extracting_features_waits_for_nothing_that_trains(pictures: Path, tmp_path: Path) -> None:
    words = "features extract --backbone timm/test_resnet --weights none --image-size 32 --workers 0 --device cpu"
    output = str(tmp_path / "features.npz")
    imported = packages_of(EXTRACT, *words.split(), "--data", str(pictures), "--output", output)
    assert not {"pytorch_lightning", "torchmetrics", "sklearn", "transformers", "pandas"} & imported


LAST_WORDS = """
import atexit, gc
atexit.register(lambda: print(gc.get_freeze_count()))  # registered first, it runs last
from onetrunk.apps.cli import main
main(["--help"])
"""


def test_a_command_that_has_ended_does_not_look_for_garbage() -> None:
    done = subprocess.run([sys.executable, "-c", LAST_WORDS], capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) > 1000
