"""Command-line and YAML arguments from an option dataclass.

jsonargparse does the parsing, the types and ``--config``/``--print_config``. Made here: dashed flags from field names,
lists as several words, help from the docstrings under the fields, and the nearest flag for one that isn't known. A
field made by :func:`positional` is a word without a flag.
"""

import functools
import re
from argparse import Action
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from jsonargparse import ActionYesNo, ArgumentError, ArgumentParser

from ..backbones.errors import UserError, did_you_mean

Options = TypeVar("Options")


class _Parser(ArgumentParser):
    """jsonargparse's, with a word of its own for what isn't a list and should be one."""

    def _check_value_key(self, action: Action, value: Any, key: str, *given: Any, **named: Any) -> Any:
        if action.nargs == "+" and isinstance(value, (str, int, float, Mapping)):
            raise TypeError(f'Key "{key}" got no list: {value!r}')
        return super()._check_value_key(action, value, key, *given, **named)


def positional(shown: str, **settings: Any) -> Any:
    """Return a dataclass field that is given by its place: ``compare A B`` rather than ``--first A --second B``.

    Args:
        shown: What help and messages call it.
        settings: Of :func:`dataclasses.field`; with a default the word may be left out.
    """
    return field(metadata={"positional": shown}, **settings)


def parse_options(options_type: type[Options], arguments: list[str], *, prog: str, description: str) -> Options:
    """Parse ``arguments`` into an instance of ``options_type``.

    Args:
        options_type: A dataclass; nested dataclasses become groups (``--optim.weight-decay``).
        arguments: The words after the command.
        prog: The words before them, for the usage line.
        description: The first lines of the help.

    Raises:
        UserError: For an unknown flag or a value of another type, with the nearest flag or the allowed values.
    """
    parser = _Parser(prog=prog, description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="A YAML file with any of the options below.")
    _add_fields(parser, options_type, prefix="", tells=_shows_help(arguments))
    try:
        values = parser.parse_args(arguments).as_dict()
    except ArgumentError as error:
        raise UserError(_explain(parser, str(error), prog)) from error
    return _build(options_type, values)


def _shows_help(arguments: list[str]) -> bool:
    """Whether the fields' docstrings are shown; reading them costs a run three tenths of a second."""
    return any(word in ("-h", "--help") or word.startswith("--print_config") for word in arguments)


def _add_fields(parser: ArgumentParser, options_type: type, *, prefix: str, tells: bool) -> None:
    target = parser.add_argument_group(_first_line(options_type.__doc__)) if prefix else parser
    hints, helps = get_type_hints(options_type), field_help(options_type) if tells else {}
    for item in fields(options_type):
        flag = f"{prefix}{item.name.replace('_', '-')}"
        text, kind = helps.get(item.name, ""), _argument(hints[item.name], item)
        if is_dataclass(hints[item.name]):
            _add_fields(parser, hints[item.name], prefix=f"{flag}.", tells=tells)
        elif shown := item.metadata.get("positional"):
            # argparse takes a word that may be left out by nargs, and refuses to hear that one is required
            place = {**kind, "nargs": "?"} if "default" in kind else {"type": kind["type"]}
            target.add_argument(item.name, metavar=shown, help=text, **place)
        else:
            target.add_argument(f"--{flag}", help=text, **kind)


def _argument(hint: Any, item: Field[Any]) -> dict[str, Any]:
    """Return jsonargparse's keywords for one field."""
    required = item.default is MISSING and item.default_factory is MISSING
    default = {"required": True} if required else {"default": _default(item)}
    if hint is bool:
        return {"action": ActionYesNo(no_prefix="no-"), **default}
    inner = _without_none(hint)
    if get_origin(inner) is list:
        return {"type": get_args(inner)[0], "nargs": "+", **default}
    return {"type": hint, **default}


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default


def _without_none(hint: Any) -> Any:
    """Return ``X`` for ``X | None`` and anything else as it is."""
    kept = [part for part in get_args(hint) if part is not NoneType]
    return kept[0] if get_origin(hint) in (Union, UnionType) and len(kept) == 1 else hint


@functools.cache  # it reads and parses the source: a tenth of a second for a command of a process that runs several
def field_help(options_type: type) -> Mapping[str, str]:
    """Return the docstring under each field, inherited fields too."""
    import docstring_parser

    helps: dict[str, str] = {}
    for parent in reversed(options_type.__mro__[:-1]):
        for entry in docstring_parser.parse_from_object(parent).params:
            helps[entry.arg_name] = " ".join((entry.description or "").split()).replace("%", "%%")
    return helps


def _build(options_type: type[Options], values: Any, flag: str = "") -> Options:
    hints = get_type_hints(options_type)
    if not isinstance(values, Mapping):
        example = fields(options_type)[0].name  # type: ignore[arg-type]
        raise UserError(f"{flag} takes names with values, in a YAML file {{{example}: VALUE}}, not {values}.")
    known = {item.name: values[item.name] for item in fields(options_type) if item.name in values}  # type: ignore[arg-type]
    return options_type(
        **{
            name: _build(hints[name], value, _flag(name)) if is_dataclass(hints[name]) else value
            for name, value in known.items()
        }
    )


@dataclass(frozen=True)
class _Complaint:
    """One of jsonargparse's messages, and how we put it."""

    pattern: str
    wording: str


_COMPLAINTS = (
    _Complaint(r"Option '(?P<key>[^']+)' is not accepted", "Unknown option '{key}'."),
    _Complaint(r"[Kk]ey \"(?P<key>[^\"]+)\" is not expected", "Unknown option '{key}'."),
    _Complaint(r"unrecognized arguments: (?P<key>\S+)", "Unknown option '{key}'."),
    _Complaint(r"the following arguments are required: (?P<key>.+)", "Missing: {key}."),
)


def _explain(parser: ArgumentParser, message: str, prog: str) -> str:
    """Return jsonargparse's message in our words: what was given, what is allowed, what to do."""
    help_hint = f" See: {prog} --help"
    for complaint in _COMPLAINTS:
        if found := re.search(complaint.pattern, message):
            key = found["key"].strip()
            if complaint.wording.startswith("Missing"):
                key = ", ".join(_shown(parser, name) for name in key.split(", "))
                return complaint.wording.format(key=key) + help_hint
            return complaint.wording.format(key=key) + _nearest(parser, key) + help_hint
    if found := re.search(r"Key \"(?P<key>[^\"]+)\" got no list: (?P<given>.*)", message):
        flag, given = _shown(parser, found["key"]), found["given"].strip("'")
        form = "" if given.startswith("{") else f"; in a YAML file write [{given}]"
        return f"{flag} takes a list{form}, not {given}." + help_hint
    return _value_complaint(parser, message) + help_hint


def _nearest(parser: ArgumentParser, key: str) -> str:
    flags = [flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")]
    given = _flag(key.partition("=")[0])
    initials = {"--" + "".join(word[0] for word in flag[2:].split("-") if word): flag for flag in flags}
    if given in initials:  # --lr
        return f" Did you mean '{initials[given]}'?"
    return did_you_mean(given, [flag for flag in flags if flag != "--help"])


def _flag(name: str) -> str:
    return "--" + name.lstrip("-").replace("_", "-")


def _shown(parser: ArgumentParser, name: str) -> str:
    """Return how the command line writes an argument: a flag, or the word in its place."""
    words = {action.dest: action.metavar for action in parser._actions if not action.option_strings}
    return str(words[name]) if name in words else _flag(name)


def _value_complaint(parser: ArgumentParser, message: str) -> str:
    """Return ``--flag: what was expected and what was given`` from a type error of several lines."""
    found = re.search(r"[Kk]ey \"(?P<key>[^\"]+)\"(?: element \d+)?:\s*(?P<rest>.*)", message, flags=re.DOTALL)
    if not found:
        return message
    expected = re.findall(r"Expected an? (.+?)(?:\. Got value: .*)?$", found["rest"], flags=re.MULTILINE)
    given = re.search(r"(?:Got value|Given value): (.*)", found["rest"])
    if not expected or not given:
        return f"{_shown(parser, found['key'])}: {found['rest'].strip()}"
    allowed = [_plain_type(kind) for kind in expected if "NoneType" not in kind]
    choices = re.findall(r"'([^']+)'", allowed[0]) if "one of" in allowed[0] else []
    near = did_you_mean(given[1].strip(), choices)
    return f"{_shown(parser, found['key'])} takes {' or '.join(allowed)}, not '{given[1].strip()}'.{near}"


def _plain_type(kind: str) -> str:
    """Return a type as a person would say it: ``typing.Literal['a', 'b']`` -> ``one of 'a', 'b'``."""
    if literal := re.search(r"Literal\[(.*)\]", kind):
        return f"one of {literal[1]}"
    names = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
    names |= {"dict": "names with values, in a YAML file {name: {option: value}}"}
    found = re.search(r"<class '(\w+)'>", kind)
    return names.get(found[1], found[1]) if found else kind


def _first_line(text: str | None) -> str:
    return (text or "").strip().splitlines()[0].rstrip(".") if text else ""
