"""Mixing the pictures of a batch with one another: mixup and cutmix, reproducible batch by batch."""

import math
from dataclasses import replace

from torch import Tensor
from torch.nn.functional import one_hot
from torchvision.transforms import v2

from ..backbones.errors import UserError
from .randomness import seeded
from .sample import Batch


class Mixing:
    """Blends each picture of a training batch, and its classes, with the one before it.

    Mixup adds the two (Zhang et al. 2018, mixup: Beyond Empirical Risk Minimization, section 2); cutmix pastes a
    rectangle (Yun et al. 2019, CutMix, section 3.1). The share of either picture is drawn once a batch from a beta
    distribution with both parameters alpha; cutmix then takes the share from the rectangle that lies on the canvas.

    What happens to a batch is a function of (seed, epoch, index, rank) alone, the same on every device: the numbers are
    drawn on the CPU, and the process's generators are left as they were, so that dropout stays what it is.
    """

    def __init__(self, mixup: float, cutmix: float, *, num_classes: int, seed: int = 0) -> None:
        """Choose what to mix with.

        Args:
            mixup: The alpha of mixup, 0 for none; 0.2 is usual.
            cutmix: The alpha of cutmix, 0 for none; 1 is usual. Where both are above 0, each batch gets one of them
                with a probability of 1/2.
            num_classes: The number of classes.
            seed: Seeds the draws, together with the epoch, the batch's index and the rank.

        Raises:
            UserError: A negative alpha, or none above 0.
        """
        for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
            if not (alpha >= 0 and math.isfinite(alpha)):
                raise UserError(f"The alpha of {name} is a finite number, 0 or more, not {alpha}.")
        methods = [method(alpha=alpha) for method, alpha in ((v2.MixUp, mixup), (v2.CutMix, cutmix)) if alpha > 0]
        if not methods:
            raise UserError("With mixup 0 and cutmix 0 nothing is mixed: give one of them an alpha above 0.")
        self.num_classes = num_classes
        self.seed = seed
        self._mix = v2.RandomChoice(methods) if len(methods) > 1 else methods[0]

    def __call__(self, batch: Batch, *, epoch: int, index: int, rank: int = 0) -> Batch:
        """Return the batch with mixed pictures and classes; a single picture stays as it is.

        Args:
            batch: Pictures with ``label``, int64 ``[B]``, or ``labels``, float32 ``[B, K]``; on any device.
            epoch: The epoch.
            index: The batch's place in the epoch, of this process's batches.
            rank: The process's rank.

        Returns:
            A batch whose images are float32 ``[B, C, H, W]`` in [0, 1], and whose ``label`` or ``labels`` are float32
            ``[B, num_classes]`` in [0, 1]. Images of a single picture stay uint8.

        Raises:
            UserError: The batch carries stored features, or other targets than classes.
        """
        if batch.features is not None:
            raise UserError(
                "Mixup and cutmix blend pictures, but these batches carry stored features. Set both to 0, or train "
                "from the pictures."
            )
        if batch.images is None:  # every sample is bad
            return batch
        key, shares = self._shares(batch)
        images = batch.images
        if batch.size > 1:
            # divided as the trunk's preprocessing does, so that a picture that nothing was mixed into stays the same
            with seeded("mixing", self.seed, epoch, index, rank):
                images, shares = self._mix(images.float() / 255, shares)
        return replace(batch, images=images, targets={key: shares})

    def _shares(self, batch: Batch) -> tuple[str, Tensor]:
        """Return the key of the classes, and how much of each is in each picture, float32 ``[B, num_classes]``."""
        match batch.targets:
            case {"label": Tensor() as label, **rest} if not rest:
                return "label", one_hot(label, self.num_classes).float()
            case {"labels": Tensor() as labels, **rest} if not rest:
                return "labels", labels.float()
        raise UserError(
            "Mixup and cutmix need 'label' or 'labels' as the only target, so that it can be mixed like the pictures; "
            f"these batches carry {', '.join(batch.targets) or 'none'}. Set both to 0."
        )
