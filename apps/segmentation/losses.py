"""The training losses of segmentation: weighted sums of segmentation-models-pytorch's and torch's."""

from collections.abc import Callable

import torch
from segmentation_models_pytorch.losses import DiceLoss, FocalLoss, LovaszLoss, TverskyLoss
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from ...datasets import IGNORED
from .options import LOSS_PARTS, LossOptions
from .readout import Readout


class MaskLoss(nn.Module):
    """The parts of the loss of logits against masks, each a mean over what isn't ignored.

    Where a pixel may be of several classes each class is a question of its own, and the parts are means over classes.
    The library's own multi-label modes are not used: their focal loss can't leave out pixels.

    Args:
        readout: How the head's logits are read; it says what the masks are.
        options: Which parts count, smoothing, gamma, alpha.
        weights: ``[K]``: how much a pixel of each class counts in the cross-entropy; of ``binary`` only the ratio of
            the two matters, and of ``sigmoid`` it is how much more a pixel with the class counts than one without.
            Nothing: all alike.
    """

    weights: Tensor | None

    def __init__(self, readout: Readout, options: LossOptions | None = None, weights: Tensor | None = None) -> None:
        """See the class."""
        super().__init__()
        self.readout = readout
        self.options = options or LossOptions()
        self.names = tuple(name for name in LOSS_PARTS if getattr(self.options, name) > 0)
        mode = "multiclass" if readout == "softmax" else "binary"
        own: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "dice": DiceLoss(mode, ignore_index=IGNORED),
            "focal": FocalLoss(mode, gamma=self.options.gamma, ignore_index=IGNORED),
            "lovasz": LovaszLoss(mode, ignore_index=IGNORED),
            "tversky": TverskyLoss(mode, ignore_index=IGNORED, alpha=self.options.alpha, beta=1 - self.options.alpha),
        }
        self._own = {name: own[name] for name in self.names if name in own}
        # the loss is no part of the model file
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return each part, a scalar; 0, with a gradient of 0, where every pixel is ignored.

        Args:
            logits: float32 ``[B, K', H, W]``.
            mask: uint8 ``[B, H, W]``, or ``[B, K, H, W]`` for sigmoid.
        """
        if (mask == IGNORED).all():
            return dict.fromkeys(self.names, 0.0 * logits.sum())
        target = mask.long()
        return {name: self._part(name, logits, target) for name in self.names}

    def _part(self, name: str, logits: Tensor, target: Tensor) -> Tensor:
        if self.readout == "softmax":
            return self._cross_entropy(logits, target) if name == "cross_entropy" else self._own[name](logits, target)
        if self.readout == "binary":
            ratio = None if self.weights is None else self.weights[1:] / self.weights[:1]
            return self._question(name, logits, target[:, None], ratio)
        questions = [
            self._question(
                name, logits[:, [place]], target[:, [place]], None if self.weights is None else self.weights[[place]]
            )
            for place in range(logits.shape[1])
            if (target[:, place] != IGNORED).any()
        ]
        return torch.stack(questions).mean()

    def _cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the mean as ``cross_entropy`` has it, in which weights count pixels.

        Its own mean over pixels is added up in another order each time on a GPU, and refused under ``--deterministic``.
        """
        smoothing = self.options.label_smoothing
        parts = cross_entropy(
            logits, target, self.weights, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
        )
        known = target[target != IGNORED]
        return parts.sum() / (len(known) if self.weights is None else self.weights[known].sum())

    def _question(self, name: str, logits: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
        """Return a part for one class against the rest, of logits and 0, 1 or ``IGNORED``, both ``[B, 1, H, W]``."""
        if name != "cross_entropy":
            return self._own[name](logits, target)
        counts = target != IGNORED
        smoothing = self.options.label_smoothing
        shares = target[counts].float() * (1 - smoothing) + smoothing / 2
        return binary_cross_entropy_with_logits(logits[counts], shares, pos_weight=weight)
