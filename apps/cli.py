"""``onetrunk APP COMMAND``: finds the command, and imports only the chosen app."""

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from io import TextIOWrapper

from .interruption import Interrupted, stop_on_signals
from .process_settings import settle_process
from .processes import end_with_parent, is_first

USAGE_EXIT_CODE = 2


@dataclass(frozen=True)
class Command:
    """One command of an app.

    Attributes:
        run: Takes an instance of ``options`` and does the work.
        options: The dataclass that is its command line.
        help: One line for ``--help``.
    """

    run: Callable[..., object]
    options: type
    help: str


#: App name -> one line for ``onetrunk --help``. The app's module ``main`` holds its ``COMMANDS``.
APPS = {
    "backbones": "list the trunks: sizes, levels, weight sets, what is at hand offline",
    "captioning": "train, evaluate and predict sentences about images",
    "classification": "train, evaluate and predict image labels",
    "data": "write and look at data sets",
    "detection": "train, evaluate and predict boxes around objects, faces too",
    "features": "export what a trunk sees, for other supervised models; probe and search it",
    "localization": "train, evaluate and predict a label and the box around what it names",
    "multitask": "put heads of several apps on one trunk, and run them all in one pass",
    "runs": "list runs, compare two on the same images, weigh what pretraining brought",
    "segmentation": "train, evaluate and predict the class of every pixel",
    "vqa": "train, evaluate and predict answers to questions about images",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 2 for what the caller can mend."""
    # or the interpreter's last look for cycles walks all that torch has made: seconds, for memory that ends anyway
    atexit.register(gc.freeze)
    words = list(sys.argv[1:] if arguments is None else arguments)
    show_traceback = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not is_first():  # it computes together with the first process, which says everything
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        end_with_parent()
    elif isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be of another encoding
    try:
        with stop_on_signals():  # a command that has something to save handles them itself meanwhile
            return _dispatch(words)
    except ValueError as error:
        from ..backbones.errors import UserError

        if show_traceback or not isinstance(error, UserError):
            raise
        print(f"onetrunk: {error}", file=sys.stderr)
        return USAGE_EXIT_CODE
    except Interrupted as stop:
        if not is_first():  # Lightning would take another exit code for a crash, and kill the first process
            return 0
        if show_traceback:
            traceback.print_exc()
        notes = getattr(stop, "__notes__", [f"stopped by {stop}"])
        print("\n".join(f"onetrunk: {note}" for note in notes), file=sys.stderr)
        return stop.exit_code
    except BrokenPipeError:  # `onetrunk backbones list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] in ("-V", "--version"):
        print(f"onetrunk {metadata.version('onetrunk')}")
        return 0
    app, *rest = words
    if app not in APPS:
        return _refuse("app", app, list(APPS), "onetrunk --help")
    commands: dict[str, Command] = import_module(f".{app}.main", __package__).COMMANDS
    if not rest or rest[0] in ("-h", "--help", "help"):
        print(_app_overview(app, commands))
        return 0
    if rest[0] not in commands:
        return _refuse(f"command of {app}", rest[0], list(commands), f"onetrunk {app} --help")
    command = commands[rest[0]]
    settle_process()

    from .arguments import parse_options

    prog = f"onetrunk {app} {rest[0]}"
    options: object = parse_options(command.options, rest[1:], prog=prog, description=command.help)
    command.run(options)
    return 0


def _refuse(kind: str, given: str, allowed: list[str], see: str) -> int:
    from ..backbones.errors import unknown

    print(f"onetrunk: {unknown(kind, given, allowed)} See: {see}", file=sys.stderr)
    return USAGE_EXIT_CODE


def _overview() -> str:
    rows = "\n".join(f"  {name:<16}{text}" for name, text in APPS.items())
    return (
        "usage: onetrunk APP COMMAND [--flag value ...]\n\n"
        "One pretrained trunk, every vision task.\n\n"
        f"apps:\n{rows}\n\n"
        "onetrunk APP --help            the app's commands\n"
        "onetrunk APP COMMAND --help    the command's flags\n"
        "--debug                        show the traceback of an error\n"
        "--version                      print the version"
    )


def _app_overview(app: str, commands: dict[str, Command]) -> str:
    rows = "\n".join(f"  {name:<16}{command.help}" for name, command in commands.items())
    return f"usage: onetrunk {app} COMMAND [--flag value ...]\n\n{APPS[app]}\n\ncommands:\n{rows}"


if __name__ == "__main__":
    sys.exit(main())
