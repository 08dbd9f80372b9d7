"""What a run never changes, written once beside its checkpoints instead of into each of them."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones import Backbone
from ..backbones.errors import UserError
from .run_folder import replacing

_PREFIX = "backbone."


class FixedState:
    """The frozen part of a trunk, in a file of its own.

    Of a frozen ResNet-50 with a linear head that is all but a thousandth of the state, and half a second for each
    checkpoint. It lies beside them, and not in the weights' own file, which may be another by the time a run goes on.
    """

    def __init__(self, path: Path, backbone: Backbone, *, is_left_out: bool = True) -> None:
        """Take the file and the trunk.

        Args:
            path: The file.
            backbone: What is frozen of it when a checkpoint is written is left out of that.
            is_left_out: Not so of checkpoints that hold more than one state.
        """
        self._path, self._backbone, self._is_left_out = path, backbone, is_left_out
        self._fingerprint = ""

    def write(self, task: nn.Module) -> None:
        """Write what is frozen of a task, if anything is.

        Raises:
            UserError: The disk is full or the folder can't be written to.
        """
        names, self._fingerprint = self._names(), self._backbone.frozen_fingerprint()
        self._path.unlink(missing_ok=True)
        if names:
            state = {name: tensor for name, tensor in task.state_dict().items() if name in names}
            with replacing(self._path, "wb") as stream:
                torch.save(state, stream)

    def restore(self, task: nn.Module) -> bool:
        """Give a task what was frozen when the run began, if that was written; return whether it was.

        Raises:
            UserError: The file is damaged.
        """
        if not self._path.is_file():
            return False
        task.load_state_dict({**task.state_dict(), **self.put_back({})})
        self._fingerprint = self._backbone.frozen_fingerprint()
        return True

    def leave_out(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return a task's state without what is frozen now, as far as that was written.

        Raises:
            RuntimeError: It isn't what was written: something frozen was trained, and would go unnoticed.
        """
        names = self._names() if self._is_left_out and self._path.is_file() else frozenset()
        found = self._backbone.frozen_fingerprint() if names and self._fingerprint else self._fingerprint
        if found != self._fingerprint:
            raise RuntimeError(
                f"what is frozen of the trunk changed: SHA-256 {self._fingerprint} before, {found} after"
            )
        return {name: tensor for name, tensor in state.items() if name not in names}

    def put_back(self, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the whole state that :meth:`leave_out` was given.

        Raises:
            UserError: The file is damaged.
        """
        if not self._path.is_file():
            return dict(state)
        if not zipfile.is_zipfile(self._path):
            raise UserError(f"'{self._path}' is damaged. Start the run anew: --overwrite.")
        fixed: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        return {**fixed, **state}

    def _names(self) -> frozenset[str]:
        return frozenset(f"{_PREFIX}{name}" for name in self._backbone.frozen_names())
