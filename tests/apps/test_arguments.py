"""The command line is the config is the Python call."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from onetrunk.apps.arguments import field_help, parse_options, positional
from onetrunk.backbones.errors import UserError


@dataclass(kw_only=True)
class Inner:
    """A group."""

    weight_decay: float = 0.1
    """How much weights shrink."""


@dataclass(kw_only=True)
class Shared:
    """What all share."""

    data: str
    """Where the data are."""
    learning_rate: float = 1e-3
    """The rate."""


@dataclass(kw_only=True)
class Options(Shared):
    """A command."""

    image_size: list[int] | None = None
    """Height and width."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """The precision."""
    workers: int | None = None
    """Processes."""
    resume: bool = False
    """Go on."""
    names: list[str] = field(default_factory=list)
    """Some."""
    named: dict[str, dict[str, int]] = field(default_factory=dict)
    """Others."""
    inner: Inner = field(default_factory=Inner)


def parse(*words: str) -> Options:
    return parse_options(Options, list(words), prog="onetrunk app command", description="")


def test_flags_lists_switches_and_groups() -> None:
    options = parse(
        "--data", "d", "--learning-rate", "1e-2", "--image-size", "96", "128", "--resume", "--inner.weight-decay", "0"
    )
    assert options == Options(
        data="d", learning_rate=0.01, image_size=[96, 128], resume=True, inner=Inner(weight_decay=0.0)
    )


def test_defaults_are_the_dataclass_defaults() -> None:
    assert parse("--data", "d") == Options(data="d")


def test_yaml_gives_the_same_and_flags_win(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    # PyYAML alone reads 1e-3 as text
    config.write_text(
        "data: d\nlearning_rate: 1e-3\nimage_size: [96, 128]\nresume: true\ninner:\n  weight_decay: 5e-2\n"
    )
    options = parse("--config", str(config), "--learning-rate", "2e-3")
    assert options == Options(
        data="d", learning_rate=0.002, image_size=[96, 128], resume=True, inner=Inner(weight_decay=0.05)
    )


def test_help_comes_from_the_docstrings_inherited_ones_too() -> None:
    assert field_help(Options)["data"] == "Where the data are."
    assert field_help(Options)["image_size"] == "Height and width."


def test_help_shows_dashes_groups_and_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--help")
    text = capsys.readouterr().out
    for expected in ("--learning-rate", "--inner.weight-decay", "{auto,fp32,bf16}", "Where the data are."):
        assert expected in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "d", "--learning-rat", "1"], r"Unknown option '--learning-rat'\. Did you mean '--learning-rate'\?"),
        (["--data", "d", "--learning_rate", "1"], r"Did you mean '--learning-rate'\?"),
        (["--data", "d", "--weight-decay", "1"], r"Did you mean '--inner.weight-decay'\?"),
        (["--data", "d", "--lr", "1"], r"Did you mean '--learning-rate'\?"),
        (["--data", "d", "stray"], "Unknown option 'stray'"),
        ([], "Missing: --data"),
        (["--data", "d", "--precision", "bf1"], r"--precision takes one of .*, not 'bf1'\. Did you mean 'bf16'\?"),
        (["--data", "d", "--workers", "two"], r"--workers takes a whole number, not 'two'"),
        (["--data", "d", "--learning-rate", "fast"], r"--learning-rate takes a number, not 'fast'"),
        (["--data", "d", "--image-size", "big"], r"--image-size .*'big'"),
        (["--config", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_messages_say_what_was_given_what_is_allowed_and_what_is_near(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse(*words)


def test_an_unknown_key_in_yaml_is_named(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("data: d\nlearning_rte: 1\n")
    with pytest.raises(UserError, match=r"Unknown option 'learning_rte'\. Did you mean '--learning-rate'"):
        parse("--config", str(config))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("image_size: 64", r"--image-size takes a list; in a YAML file write \[64\], not 64\. See: onetrunk app"),
        ("names: some", r"--names takes a list; in a YAML file write \[some\], not some\. See: onetrunk app"),
        ("names: {some: 1}", r"--names takes a list, not \{'some': 1\}\."),
        ("inner: 3", r"--inner takes names with values, in a YAML file \{weight_decay: VALUE\}, not 3\."),
        ("inner:", r"--inner takes names with values, .*, not None\."),
        (
            "named: [some]",
            r"--named takes names with values, in a YAML file \{name: \{option: value\}\}, not '\['some'",
        ),
    ],
)
def test_a_value_of_another_shape_in_yaml_is_explained(given: str, message: str, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"data: d\n{given}\n")
    with pytest.raises(UserError, match=message):
        parse("--config", str(config))


@dataclass(kw_only=True)
class Placed:
    """A command with words in places."""

    first: str = positional("A")
    """The one run."""
    count: int = positional("COUNT", default=3)
    """How many."""
    show_all: bool = False
    """Show all."""


def place(*words: str) -> Placed:
    return parse_options(Placed, list(words), prog="onetrunk app command", description="")


def test_words_in_places_need_no_flag_and_may_have_a_default() -> None:
    assert place("x") == Placed(first="x", count=3)
    assert place("x", "5", "--show-all") == place("--show-all", "x", "5") == Placed(first="x", count=5, show_all=True)


def test_help_shows_words_in_places_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        place("--help")
    text = capsys.readouterr().out
    assert "A [COUNT]" in text
    assert "The one run." in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], r"Missing: A\. See: onetrunk app command --help"),
        (["x", "many"], r"COUNT takes a whole number, not 'many'"),
        (["x", "3", "more"], r"Unknown option 'more'"),
        (["x", "--show-al"], r"Did you mean '--show-all'\?"),
    ],
)
def test_messages_name_words_in_places_as_help_does(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        place(*words)


def test_yaml_gives_words_in_places_by_their_fields(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("count: 7\n")
    assert place("x", "--config", str(config)).count == 7
