"""Faster R-CNN on a feature pyramid (Ren 2015; Lin 2017, Feature Pyramid Networks, section 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear, relu
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from ...datasets import Context
from .anchors import Anchors
from .head import (
    DetectionHead,
    Found,
    Maps,
    Output,
    Pyramid,
    full_precision,
    image_list,
    pyramid_precision,
    valid_sizes,
)
from .options import HeadOptions
from .region_pool import RegionPool

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
            ProposalHead(width, generator.num_anchors_per_location()[0]),
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
            RegionPool(pyramid, _CELLS),
            RegionHead(width * _CELLS**2, options.hidden),
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
        with pyramid_precision(output):
            proposals, _ = self.rpn(image_list(maps, context), maps)
            hidden = self.roi_heads.box_head(self.roi_heads.box_roi_pool(maps, proposals, sizes))
        output["logits"], offsets = self.roi_heads.box_predictor(hidden.float())
        found = self.roi_heads.postprocess_detections(output["logits"], offsets, proposals, sizes)
        return [dict(zip(("boxes", "scores", "labels"), each, strict=True)) for each in zip(*found, strict=True)]

    def learn(self, output: Output, context: Context, truths: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return ``objectness`` and ``proposal_box`` of proposals, ``classification`` and ``box`` of those drawn."""
        maps, sizes = output["maps"], valid_sizes(context)
        proposals, of_proposals = self.rpn(image_list(maps, context), maps, truths)
        _, of_regions = self.roi_heads(maps, proposals, sizes, truths)
        return {_NAMES[name]: value for name, value in {**of_proposals, **of_regions}.items()}


class ProposalHead(RPNHead):  # type: ignore[misc]  # torchvision has no types
    """Torchvision's, whose answers are in full precision; the convolution before them is in that of the caller."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return of each level's anchors whether they show something, and how the boxes differ from them."""
        hidden = [self.conv(each) for each in x]
        if hidden[0].dtype == torch.float32:
            return self._answers(hidden)
        with full_precision(hidden):
            return self._answers([each.float() for each in hidden])

    def _answers(self, hidden: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return [self.cls_logits(each) for each in hidden], [self.bbox_pred(each) for each in hidden]


class RegionHead(TwoMLPHead):  # type: ignore[misc]  # torchvision has no types
    """Torchvision's, which takes regions as :class:`RegionPool` leaves them: a cell's channels side by side.

    Putting them into the order of the weights takes longer than the first layer, and putting the weights into theirs
    next to nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return what is known of regions ``[K, C, cells, cells]``: ``[K, hidden]``."""
        if torch.is_grad_enabled() or not x.is_contiguous(memory_format=torch.channels_last):
            found: Tensor = super().forward(x)
            return found
        channels = x.shape[1]
        weight = self.fc6.weight.unflatten(1, (channels, -1)).transpose(1, 2).flatten(1)
        hidden = relu(linear(x.permute(0, 2, 3, 1).flatten(1), weight, self.fc6.bias))
        return relu(self.fc7(hidden))
