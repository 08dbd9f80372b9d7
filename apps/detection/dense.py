"""Detectors that judge every cell of a pyramid at once: RetinaNet and FCOS.

Torchvision keeps their losses and post-processing on the class of the whole model, so that is what stands here, with
nothing for a backbone: the maps are given to it.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS
from torchvision.models.detection.retinanet import RetinaNet

from ...backbones.errors import UserError
from ...backbones.pyramid import FeaturePyramid
from ...datasets import Context
from .anchors import Anchors
from .head import DetectionHead, Found, Maps, Output, image_list, valid_sizes
from .options import HeadOptions

#: Of channels, each of which is normalised (group norm: Wu 2018).
_GROUPS = 32
_NAMES = {"classification": "classification", "bbox_regression": "box", "bbox_ctrness": "centerness"}


class DenseHead(DetectionHead):
    """What RetinaNet and FCOS share.

    Args:
        pyramid: With two levels above those of the trunk.
        classes: The class names, in the order of their indices.
        detector: Torchvision's, on an :class:`Outlet`.
    """

    first_label = 0

    def __init__(self, pyramid: FeaturePyramid, classes: Sequence[str], detector: RetinaNet | FCOS) -> None:
        """See the class."""
        super().__init__(pyramid, classes)
        self.detector = detector

    def examine(self, maps: Maps, context: Context) -> Output:
        """Return what torchvision's head says of every anchor: classes, sides, and of FCOS how central it is."""
        return {"maps": maps, "answers": self.detector.head(list(maps.values()))}

    def detect(self, output: Output, context: Context) -> Found:
        """Return the surest answers."""
        maps = list(output["maps"].values())
        anchors = self.detector.anchor_generator(image_list(output["maps"], context), maps)
        cells = [each.shape[-2] * each.shape[-1] for each in maps]
        number = len(anchors[0]) // sum(cells)
        parts = [each * number for each in cells]
        answers = {name: list(answer.split(parts, dim=1)) for name, answer in output["answers"].items()}
        by_level = [list(each.split(parts)) for each in anchors]
        found: Found = self.detector.postprocess_detections(answers, by_level, valid_sizes(context))
        return found

    def learn(self, output: Output, context: Context, truths: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return ``classification`` and ``box``; of FCOS also ``centerness``."""
        maps = output["maps"]
        anchors = self.detector.anchor_generator(image_list(maps, context), list(maps.values()))
        parts: Mapping[str, Tensor] = self._parts(output["answers"], anchors, maps, truths)
        return {_NAMES[name]: value for name, value in parts.items()}

    def _parts(
        self, answers: dict[str, Tensor], anchors: list[Tensor], maps: Maps, truths: list[dict[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        parts: Mapping[str, Tensor] = self.detector.compute_loss(truths, answers, anchors)
        return parts


class FCOSHead(DenseHead):
    """FCOS (Tian 2019): each cell inside an object says how far its sides are."""

    def _parts(
        self, answers: dict[str, Tensor], anchors: list[Tensor], maps: Maps, truths: list[dict[str, Tensor]]
    ) -> Mapping[str, Tensor]:
        # a cell belongs to objects of the sizes of its level only, so the levels have to be told apart
        cells = [each.shape[-2] * each.shape[-1] for each in maps.values()]
        parts: Mapping[str, Tensor] = self.detector.compute_loss(truths, answers, anchors, cells)
        return parts


class Outlet(nn.Module):
    """Stands where torchvision's models want a backbone, and says how wide the maps are.

    Args:
        pyramid: The one that the maps come from.
    """

    def __init__(self, pyramid: FeaturePyramid) -> None:
        """See the class."""
        super().__init__()
        self.out_channels = next(iter(pyramid.specs.values())).channels


def retinanet_head(
    pyramid: FeaturePyramid, classes: Sequence[str], anchors: Anchors, options: HeadOptions
) -> DenseHead:
    """Return RetinaNet's head (Lin 2017, Focal loss for dense object detection)."""
    detector = RetinaNet(
        Outlet(pyramid),
        len(classes),
        anchor_generator=anchors.generator(),
        score_thresh=options.score_threshold,
        nms_thresh=options.nms_threshold,
        detections_per_img=options.max_detections,
    )
    return DenseHead(pyramid, classes, detector)


def fcos_head(pyramid: FeaturePyramid, classes: Sequence[str], options: HeadOptions) -> FCOSHead:
    """Return FCOS's head; its anchors are single points, one a cell, as large as the stride.

    Raises:
        UserError: The pyramid's width can't be divided among the groups of its normalisation.
    """
    width = next(iter(pyramid.specs.values())).channels
    if width % _GROUPS or width < 2 * _GROUPS:
        raise UserError(
            f"--head-options.width {width} doesn't go with fcos, which normalises {_GROUPS} groups of at least two "
            f"channels: take a multiple of {_GROUPS} from {2 * _GROUPS} on, e.g. 128."
        )
    detector = FCOS(
        Outlet(pyramid),
        len(classes),
        anchor_generator=Anchors([(spec.stride,) for spec in pyramid.specs.values()], (1.0,)).generator(),
        score_thresh=options.score_threshold,
        nms_thresh=options.nms_threshold,
        detections_per_img=options.max_detections,
    )
    return FCOSHead(pyramid, classes, detector)
