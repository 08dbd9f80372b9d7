"""Faster R-CNN on a feature pyramid (Ren 2015; Lin 2017, Feature Pyramid Networks, section 4)."""

from collections.abc import Sequence

from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import initLevelMapper

from ...datasets import Context
from .anchors import Anchors
from .head import DetectionHead, Found, Maps, Output, Pyramid, image_list, valid_sizes
from .options import HeadOptions

_CELLS = 7
"""Of the grid a side into which a proposal is pooled (Girshick 2015, section 2.1)."""
_NAMES = {
    "loss_objectness": "objectness",
    "loss_rpn_box_reg": "proposal_box",
    "loss_classifier": "classification",
    "loss_box_reg": "box",
    "loss_mask": "mask",
}


class FasterRCNNHead(DetectionHead):
    """Proposals from every level of the pyramid, each judged by what it shows.

    Args:
        pyramid: With one level above those that proposals are pooled from.
        classes: The class names, in the order of their indices.
        anchors: As many sizes as the pyramid has levels.
        options: Widths, numbers and thresholds; set, not left to a default.
    """

    first_label = 1

    def __init__(self, pyramid: Pyramid, classes: Sequence[str], anchors: Anchors, options: HeadOptions) -> None:
        """See the class."""
        super().__init__(pyramid, classes)
        generator = anchors.generator()
        width = next(iter(pyramid.specs.values())).channels
        assert options.hidden is not None
        # thresholds and shares that aren't options are torchvision's
        self.rpn = RegionProposalNetwork(
            generator,
            RPNHead(width, generator.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            # of each level as many as of all levels together in the end, as torchvision has it
            pre_nms_top_n={"training": options.training_proposals, "testing": options.proposals},
            post_nms_top_n={"training": options.training_proposals, "testing": options.proposals},
            nms_thresh=0.7,
        )
        self.roi_heads = RoIHeads(
            region_pool(pyramid, _CELLS),
            TwoMLPHead(width * _CELLS**2, options.hidden),
            FastRCNNPredictor(options.hidden, len(self.classes) + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=options.drawn_proposals,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=options.score_threshold,
            nms_thresh=options.nms_threshold,
            detections_per_img=options.max_detections,
        )

    def examine(self, maps: Maps, context: Context) -> Output:
        """Return the maps: proposals are drawn from in training, and all judged in use."""
        return {"maps": maps}

    def detect(self, output: Output, context: Context) -> Found:
        """Return what the proposals show."""
        maps, sizes = output["maps"], valid_sizes(context)
        proposals, _ = self.rpn(image_list(maps, context), maps)
        pooled = self.roi_heads.box_roi_pool(maps, proposals, sizes)
        output["logits"], offsets = self.roi_heads.box_predictor(self.roi_heads.box_head(pooled))
        found = self.roi_heads.postprocess_detections(output["logits"], offsets, proposals, sizes)
        return [dict(zip(("boxes", "scores", "labels"), each, strict=True)) for each in zip(*found, strict=True)]

    def learn(self, output: Output, context: Context, truths: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return ``objectness`` and ``proposal_box`` of proposals, ``classification`` and ``box`` of those drawn."""
        maps, sizes = output["maps"], valid_sizes(context)
        proposals, of_proposals = self.rpn(image_list(maps, context), maps, truths)
        _, of_regions = self.roi_heads(maps, proposals, sizes, truths)
        return {_NAMES[name]: value for name, value in {**of_proposals, **of_regions}.items()}


def region_pool(pyramid: Pyramid, cells: int) -> MultiScaleRoIAlign:
    """Return what cuts regions out of all levels but the highest, each out of the one that suits its size.

    Torchvision guesses the strides from the first batch's pictures, and wrongly where they fill little of the canvas;
    ours are known.
    """
    levels = list(pyramid.specs)[: len(pyramid.levels)]
    pool = MultiScaleRoIAlign(levels, output_size=cells, sampling_ratio=2)
    strides = [pyramid.specs[level].stride for level in levels]
    pool.scales = [1 / stride for stride in strides]
    # Lin 2017, equation 1: a region of 224 pixels a side, ImageNet's, is cut out of the level of stride 16
    pool.map_levels = initLevelMapper(*(stride.bit_length() - 1 for stride in (strides[0], strides[-1])))
    return pool
