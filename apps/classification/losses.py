"""The training losses of classification."""

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot
from torchvision.ops import sigmoid_focal_loss

from ...backbones.errors import UserError
from .options import LossName, LossOptions
from .readout import Readout


class ClassLoss(nn.Module):
    """The loss of logits against one class an image, shares of classes, or any number of classes.

    Cross-entropy is a softmax over the classes. The others take each class for a question of its own, yes or no, and
    average over images and classes: ``bce`` with one label an image as in ResNet strikes back (Wightman 2021, section
    4.1), but with the shares of mixed pictures as they are; ``focal`` as Lin 2017, equation 5.

    Args:
        readout: How the head's logits are read; it says what the targets are.
        options: Name, smoothing, gamma, alpha.
        weights: ``[C]``. With one label an image: how much an image of each class counts, the loss being the weighted
            mean. With any number: how much each class counts where it holds. Nothing: all alike.
    """

    weights: Tensor | None

    def __init__(self, readout: Readout, options: LossOptions | None = None, weights: Tensor | None = None) -> None:
        """See the class."""
        super().__init__()
        self.options = options or LossOptions()
        self.name = loss_name(self.options, is_multi_label=readout == "sigmoid")
        self.is_multi_label = readout == "sigmoid"
        # the loss is no part of the model file
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: float32 ``[B, C]``.
            targets: int64 ``[B]`` classes, float32 ``[B, C]`` shares of them that add up to 1, or, where any number
                may hold, float32 ``[B, C]`` between 0 and 1.
        """
        if self.name == "cross_entropy":
            return self._cross_entropy(logits, targets)
        shares = targets if targets.is_floating_point() else one_hot(targets, logits.shape[1]).to(logits.dtype)
        if self.is_multi_label:
            return self._questions(logits, shares).mean()
        each = self._questions(logits, shares).mean(dim=1)
        if self.weights is None:
            return each.mean()
        counts = shares @ self.weights
        return (counts * each).sum() / counts.sum()

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.options.label_smoothing
        if self.weights is None or not targets.is_floating_point():
            return cross_entropy(logits, targets, weight=self.weights, label_smoothing=smoothing)
        # torch's mean for shares is over images, for labels over their weights; ours is the latter for both
        total = cross_entropy(logits, targets, weight=self.weights, label_smoothing=smoothing, reduction="sum")
        return total / (targets @ self.weights).sum()

    def _questions(self, logits: Tensor, shares: Tensor) -> Tensor:
        """Return the loss of each image's each class, ``[B, C]``."""
        weights = self.weights if self.is_multi_label else None
        if self.name == "focal":
            settings = {"alpha": self.options.alpha, "gamma": self.options.gamma}
            found: Tensor = sigmoid_focal_loss(logits, shares, **settings)
            return found if weights is None else found * torch.lerp(torch.ones_like(shares), weights, shares)
        # spread over the classes that exclude each other, or over yes and no
        outcomes = 2 if self.is_multi_label else logits.shape[1]
        smoothing = self.options.label_smoothing
        smooth = shares * (1 - smoothing) + smoothing / outcomes
        return binary_cross_entropy_with_logits(logits, smooth, pos_weight=weights, reduction="none")


def loss_name(options: LossOptions, *, is_multi_label: bool) -> LossName:
    """Return the loss that the options stand for.

    Raises:
        UserError: For a cross-entropy over classes that don't exclude each other.
    """
    if options.name == "auto":
        return "bce" if is_multi_label else "cross_entropy"
    if is_multi_label and options.name == "cross_entropy":
        raise UserError(
            "--loss.name cross_entropy is for one label an image, and these have any number. Use bce or focal."
        )
    return options.name


def readout_of(options: LossOptions, *, is_multi_label: bool) -> Readout:
    """Return how the logits are to be read that were trained with a loss."""
    if is_multi_label:
        return "sigmoid"
    return "softmax" if loss_name(options, is_multi_label=False) == "cross_entropy" else "one_vs_rest"
