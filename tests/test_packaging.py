"""What an installed copy contains, and which room imports which."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("apps", "backbones", "datasets")


def test_every_package_is_listed() -> None:
    """An unlisted sub-package works in an editable install and is missing from the wheel."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {
        "onetrunk." + ".".join(file.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for file in (ROOT / room).rglob("__init__.py")
    }
    assert set(listed) == found


def test_every_package_says_that_it_is_typed() -> None:
    assert all((ROOT / room / "py.typed").is_file() for room in ROOMS)


def test_nothing_shadows_other_peoples_packages() -> None:
    """A root conftest.py or an onetrunk/ folder would put `datasets` on sys.path before Hugging Face's."""
    assert not (ROOT / "conftest.py").exists()
    assert not (ROOT / "onetrunk").exists()


def imported_rooms(file: Path) -> set[str]:
    """Return which rooms a file imports, relatively or by their full name."""
    package = file.relative_to(ROOT).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - (node.level - 1)]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found.update((*base, *name.split("."))[0] for name in names)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            found.update(name.split(".")[1] for name in names if name.startswith("onetrunk."))
    return found & set(ROOMS)


@pytest.mark.parametrize(("room", "forbidden"), [("backbones", {"apps", "datasets"}), ("datasets", {"apps"})])
def test_import_direction(room: str, forbidden: set[str]) -> None:
    guilty = {str(file): imported_rooms(file) & forbidden for file in (ROOT / room).rglob("*.py")}
    assert not {file: rooms for file, rooms in guilty.items() if rooms}


def test_no_room_for_leftovers() -> None:
    banned = {"utils.py", "common.py", "helpers.py", "misc.py"}
    assert not [file for room in ROOMS for file in (ROOT / room).rglob("*.py") if file.name in banned]


def test_the_engine_knows_no_app_but_by_name() -> None:
    """What stands in apps/ itself serves all tasks; cli.py and model_file.py import an app by its name only."""
    apps = {file.parent.name for file in (ROOT / "apps").glob("*/__init__.py")}
    for file in (ROOT / "apps").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 1:
                assert (node.module or "").split(".")[0] not in apps, file


@pytest.mark.slow
def test_the_wheel_holds_every_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if name.startswith("onetrunk/")}
    expected = {
        f"onetrunk/{file.relative_to(ROOT)}"
        for room in ROOMS
        for file in [*(ROOT / room).rglob("*.py"), *(ROOT / room).rglob("*.json"), ROOT / room / "py.typed"]
    }
    assert held == expected
