"""Mask R-CNN (He 2017): Faster R-CNN that also says which cells of a box belong to the object."""

from collections.abc import Sequence

from torch import Tensor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_inference

from ...datasets import Context
from .anchors import Anchors
from .faster_rcnn import FasterRCNNHead
from .head import Found, Output, Pyramid, pyramid_precision, valid_sizes
from .options import HeadOptions
from .region_pool import RegionPool

#: Of the grid a side into which a detection is pooled; its mask has twice as many (He 2017, figure 4).
_CELLS = 14
_CONVOLUTIONS = 4


class MaskRCNNHead(FasterRCNNHead):
    """Faster R-CNN's head with a branch that draws each detection's mask; as wide as the pyramid.

    Args:
        pyramid: With one level above those that proposals are pooled from.
        classes: The class names, in the order of their indices.
        anchors: As many sizes as the pyramid has levels.
        options: Widths, numbers and thresholds; set, not left to a default.
    """

    def __init__(self, pyramid: Pyramid, classes: Sequence[str], anchors: Anchors, options: HeadOptions) -> None:
        """See the class."""
        super().__init__(pyramid, classes, anchors, options)
        width = next(iter(pyramid.specs.values())).channels
        self.roi_heads.mask_roi_pool = RegionPool(pyramid, _CELLS)
        self.roi_heads.mask_head = MaskRCNNHeads(width, (width,) * _CONVOLUTIONS, 1)
        self.roi_heads.mask_predictor = MaskRCNNPredictor(width, width, len(self.classes) + 1)

    def detect(self, output: Output, context: Context) -> Found:
        """Return what the proposals show, with ``masks`` ``[N, 1, 28, 28]`` of each: probabilities inside its box."""
        found = super().detect(output, context)
        boxes, labels = ([each[key] for each in found] for key in ("boxes", "labels"))
        pooled = self.roi_heads.mask_roi_pool(output["maps"], boxes, valid_sizes(context))
        with pyramid_precision(output):
            hidden = self.roi_heads.mask_head(pooled)
        logits = self.roi_heads.mask_predictor(hidden.float())
        masks: list[Tensor] = maskrcnn_inference(logits, labels)
        return [{**each, "masks": mask} for each, mask in zip(found, masks, strict=True)]
