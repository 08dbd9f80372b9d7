"""``--freeze until:N``: the trunk stays as it is for N epochs and is trained from then on."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.strategies import DDPStrategy

from .on_trunk import OnTrunk


class Thaw(pl.Callback):
    """Thaws the trunk at the beginning of an epoch, once it has proven that nothing of it changed until then.

    Args:
        epochs: How many epochs the trunk stays frozen.
        fingerprint: Of the trunk when the run began.
    """

    def __init__(self, epochs: int, fingerprint: str) -> None:
        """See the class."""
        self.epochs = epochs
        self.fingerprint = fingerprint
        self.is_thawed = False

    def state_dict(self) -> dict[str, Any]:
        """Return whether the trunk is trained by now, and its fingerprint when the run began."""
        return {"is_thawed": self.is_thawed, "fingerprint": self.fingerprint}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of a checkpoint; the trunk is thawed when training goes on."""
        self.is_thawed = state_dict["is_thawed"]
        self.fingerprint = state_dict["fingerprint"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on thawed where the checkpoint was."""
        if self.is_thawed:
            self._thaw(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Thaw the trunk when its time has come.

        Raises:
            RuntimeError: If the trunk changed while it was frozen.
        """
        assert isinstance(pl_module, OnTrunk)
        if self.is_thawed or trainer.current_epoch < self.epochs:
            return
        found = pl_module.backbone.fingerprint()
        if found != self.fingerprint:
            raise RuntimeError(f"the frozen trunk changed: SHA-256 {self.fingerprint} before, {found} when thawed")
        self.is_thawed = True
        self._thaw(trainer, pl_module)

    def _thaw(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        assert isinstance(task, OnTrunk)
        task.backbone.freeze("none")
        # After a validation Lightning puts back each module's mode by itself, the frozen evaluation mode of the trunk's
        # too: nobody has asked the trunk to train since.
        task.backbone.train()
        if isinstance(trainer.strategy, DDPStrategy):
            # DDP exchanges the gradients of what was trainable when it was made. The old one goes first: its hooks are
            # on the parameters that the new one takes.
            trainer.strategy.model = None
            trainer.strategy.model = trainer.strategy._setup_model(task)
