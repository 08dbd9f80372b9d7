"""SSD (Liu 2016): default boxes on smaller and smaller maps, each judged at once."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from ...backbones.resampling import resample
from ...backbones.spec import FeatureSpec
from ...datasets import Context
from .head import DetectionHead, Found, Maps, Output, image_list, valid_sizes
from .options import HeadOptions

_LEVELS = ("c3", "c4")
#: Of the convolutions in place of VGG's two large layers (Liu 2016, section 3, from Chen 2015's DeepLab).
_FC_WIDTH, _FC_DILATION = 1024, 6
#: What the norm of c3's cells, which is larger than the other maps', is brought to at first (section 3.1).
_SCALE = 20.0
#: Of the maps behind: channels of the 1x1 convolution and of the 3x3 one, and the latter's stride (figure 2).
_EXTRA = ((256, 512, 2), (128, 256, 2), (128, 256, 1), (128, 256, 1))
#: Proportions beside squares, wide and high, of each map (section 3.1), as torchvision has them.
_RATIOS = ([2], [2, 3], [2, 3], [2, 3], [2], [2])
#: Sizes of default boxes as shares of the canvas: c3's, the second map's and the deepest's.
_FINEST, _SMALLEST, _LARGEST = 0.07, 0.15, 0.87
_NAMES = {"classification": "classification", "bbox_regression": "box"}


class SSDLayers(nn.Module):
    """The maps that SSD reads: ``c3``, scaled; the trunk's ``c4`` behind two more layers; and smaller and smaller ones.

    Six of them, as SSD300 has, where the canvas is large enough: the two last ones lose two cells a side each, and are
    left out where none would be left, below 288 and below 160 pixels. More aren't needed: a cell of the sixth sees 772
    pixels a side on VGG.

    Args:
        specs: Of the trunk, with ``c3`` and ``c4``: VGG-16's conv4_3 and conv5_3.
        canvas: Height and width of the pictures, in pixels.
    """

    levels: tuple[str, ...] = _LEVELS

    def __init__(self, specs: Mapping[str, FeatureSpec], canvas: tuple[int, int]) -> None:
        """See the class."""
        super().__init__()
        self._read = {level: specs[level] for level in _LEVELS}
        self.scale_weight = nn.Parameter(torch.full((specs["c3"].channels,), _SCALE))
        self.extra = nn.ModuleList([_widen(specs["c4"].channels)])
        found = {"c3": FeatureSpec(specs["c3"].channels, 8), "fc7": FeatureSpec(_FC_WIDTH, 16)}
        stride, channels = 16, _FC_WIDTH
        for place, (narrow, wide, step) in enumerate(_EXTRA[: _count_extra(canvas)], start=8):
            self.extra.append(_shrink(channels, narrow, wide, step))
            stride, channels = stride * step, wide
            found[f"conv{place}"] = FeatureSpec(channels, stride)
        self.specs: Mapping[str, FeatureSpec] = found
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, features: Mapping[str, Tensor], canvas: tuple[int, int]) -> "OrderedDict[str, Tensor]":
        """Return the maps, ``[B, C, h, w]``, shallow to deep.

        Args:
            features: Maps of the trunk.
            canvas: Height and width of the pictures, in pixels: the constructor's.
        """
        shallow, deep = resample(features, self._read, _LEVELS, canvas).values()
        maps = [self.scale_weight.view(1, -1, 1, 1) * F.normalize(shallow)]
        for layers in self.extra:
            deep = layers(deep)
            maps.append(deep)
        return OrderedDict(zip(self.specs, maps, strict=True))


def _widen(channels: int) -> nn.Sequential:
    """Return VGG's pool5, whose stride is 1 here, with fc6 and fc7 as convolutions."""
    return nn.Sequential(
        nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
        nn.Conv2d(channels, _FC_WIDTH, kernel_size=3, padding=_FC_DILATION, dilation=_FC_DILATION),
        nn.ReLU(inplace=True),
        nn.Conv2d(_FC_WIDTH, _FC_WIDTH, kernel_size=1),
        nn.ReLU(inplace=True),
    )


def _shrink(channels: int, narrow: int, wide: int, stride: int) -> nn.Sequential:
    """Return layers that halve a map, or take its outermost cells off."""
    return nn.Sequential(
        nn.Conv2d(channels, narrow, kernel_size=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(narrow, wide, kernel_size=3, stride=stride, padding=stride - 1),
        nn.ReLU(inplace=True),
    )


def _count_extra(canvas: tuple[int, int]) -> int:
    """Return how many of the maps behind fc7 have a cell at least."""
    cells = -(-min(canvas) // 16)
    for place, (_, _, stride) in enumerate(_EXTRA):
        cells = -(-cells // 2) if stride == 2 else cells - 2
        if cells < 1:
            return place
    return len(_EXTRA)


def default_boxes(maps: int) -> DefaultBoxGenerator:
    """Return the default boxes of so many maps: of SSD300's sizes and proportions where there are six.

    The boxes of a map are spread evenly over the canvas. That is where torchvision puts them by its fixed steps, which
    are for 300 pixels.

    Args:
        maps: At least 4.
    """
    step = (_LARGEST - _SMALLEST) / (maps - 2)
    # the paper's equation 4; one more than there are maps, for the squares between two sizes
    scales = [_FINEST, *(round(_SMALLEST + step * place, 6) for place in range(maps))]
    return DefaultBoxGenerator([list(each) for each in _RATIOS[:maps]], scales=scales)


class SSDHead(DetectionHead):
    """The head of SSD, whose loss and post-processing stand on torchvision's class of the whole model.

    Args:
        layers: The maps that it reads.
        classes: The class names, in the order of their indices.
        options: Thresholds and numbers.
        canvas: Height and width of the pictures, in pixels.
    """

    first_label = 1

    def __init__(
        self, layers: SSDLayers, classes: Sequence[str], options: HeadOptions, canvas: tuple[int, int]
    ) -> None:
        """See the class."""
        super().__init__(layers, classes)
        self.detector = SSD(
            _Outlets(layers),
            default_boxes(len(layers.specs)),
            canvas,
            len(self.classes) + 1,
            score_thresh=options.score_threshold,
            nms_thresh=options.nms_threshold,
            detections_per_img=options.max_detections,
        )

    def examine(self, maps: Maps, context: Context) -> Output:
        """Return for every default box of an image the logits of the classes and its offsets."""
        return {"maps": maps, "answers": self.detector.head(list(maps.values()))}

    def detect(self, output: Output, context: Context) -> Found:
        """Return the surest answers."""
        output["logits"] = output["answers"]["cls_logits"]
        anchors = self._anchors(output["maps"], context)
        found: Found = self.detector.postprocess_detections(output["answers"], anchors, valid_sizes(context))
        return found

    def learn(self, output: Output, context: Context, truths: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return ``classification``, of three times as much background as objects, and ``box``."""
        anchors = self._anchors(output["maps"], context)
        matched = [self._match(truth["boxes"], each) for truth, each in zip(truths, anchors, strict=True)]
        parts: Mapping[str, Tensor] = self.detector.compute_loss(truths, output["answers"], anchors, matched)
        return {_NAMES[name]: value for name, value in parts.items()}

    def _anchors(self, maps: Maps, context: Context) -> list[Tensor]:
        anchors: list[Tensor] = self.detector.anchor_generator(image_list(maps, context), list(maps.values()))
        return anchors

    def _match(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        """Return the place of each default box's object, ``[A]``, or -1."""
        if not len(boxes):
            return torch.full((len(anchors),), -1, dtype=torch.int64, device=anchors.device)
        matched: Tensor = self.detector.proposal_matcher(box_iou(boxes, anchors))
        return matched


class _Outlets(nn.Module):
    """Stands where torchvision's SSD wants a backbone, and says how wide its maps are."""

    def __init__(self, layers: SSDLayers) -> None:
        super().__init__()
        self.out_channels = [spec.channels for spec in layers.specs.values()]
