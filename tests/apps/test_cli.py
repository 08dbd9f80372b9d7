"""The command line as a stranger meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from onetrunk.apps.cli import APPS, main

SCRIPT = Path(sys.executable).with_name("onetrunk")


def test_help_lists_the_apps_and_imports_nothing_heavy() -> None:
    """Importing torch alone takes seconds, so `--help` must do without it."""
    code = (
        "import sys; from onetrunk.apps.cli import main; main(['--help']); "
        "heavy = {'torch', 'numpy', 'jsonargparse', 'rich', 'yaml'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert all(name in found.stdout for name in APPS)


def test_a_commands_help_needs_no_torch() -> None:
    code = (
        "import sys; from onetrunk.apps.cli import main\n"
        "try: main(['classification', 'train', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0
    assert "--learning-rate" in found.stdout


def test_the_console_script_is_installed() -> None:
    found = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("onetrunk ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["clasification"],
            "Unknown app 'clasification'. Known: backbones, captioning, classification, data, detection, features, "
            "localization, multitask, runs, segmentation, vqa. Did",
        ),
        (["classification", "trian"], "Unknown command of classification 'trian'. Known: train, evaluate, predict."),
        (["classification", "train", "--bakbone", "x"], "Unknown option '--bakbone'. Did you mean '--backbone'?"),
        (["classification", "train"], "Missing: --data"),
        (["classification", "train", "--data", "x", "--head", "lienar"], "Did you mean 'linear'?"),
    ],
)
def test_near_misses_are_answered(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="Unknown option"):
        main(["classification", "train", "--bakbone", "x", "--debug"])


def test_backbones_list_prints_the_published_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "list"]) == 0
    table = capsys.readouterr().out
    for published in ("56.52/79.07", "72.38/90.88", "69.78/89.53", "76.13/92.86", "80.86/95.43", "78.31/94.05"):
        assert published in table


def test_backbones_list_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backbones", "list", "--json", "--names", "lenet", "resnet18"]) == 0
    lenet, resnet = json.loads(capsys.readouterr().out)
    assert lenet["parameters"] == 61706
    assert resnet["levels"]["c5"] == {"channels": 512, "stride": 32, "is_exact": True}


def test_digits_are_written_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data", "digits", "--output", str(tmp_path / "digits"), "--size", "8"]
    assert main(words) == 0
    assert "1,438 train, 359 val" in capsys.readouterr().out
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


def test_overwriting_digits_spares_other_folders(tmp_path: Path) -> None:
    """A data set of one's own has the same layout."""
    mine = tmp_path / "train" / "cats" / "a.png"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    (tmp_path / "val").mkdir()
    assert main(["data", "digits", "--output", str(tmp_path), "--overwrite"]) == 2
    assert mine.exists()
