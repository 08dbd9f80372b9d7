"""The tasks: each app puts a head, a loss and an evaluator on a shared trunk.

Apps are imported only when they are named (``from onetrunk.apps import classification``), so that importing this
package, and ``onetrunk --help``, cost nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model_file import load_model as load_model

__all__ = ["load_model"]


def __getattr__(name: str) -> Any:
    if name == "load_model":
        return import_module(".model_file", __name__).load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
