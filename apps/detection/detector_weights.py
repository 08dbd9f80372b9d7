"""Weights of whole detectors in torchvision's layout: trunk and head are filled by name.

``--weights COCO_V1`` is what torchvision publishes for a head on a trunk; ``--weights detector.pth`` a file whose names
are those of torchvision's models. Of the layers with a row a class those rows are kept whose classes are there.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torchvision
from torch import Tensor

from ...backbones import Preprocessing
from ...backbones.errors import UserError
from ...backbones.strict_loading import fill_strict
from ...backbones.weight_sets import WeightSet, model_set
from ...backbones.weights import SUFFIXES, WeightSource, read_state, resolve_set, resolve_weights
from .class_rows import Labels, adapt_rows
from .head import DetectionHead
from .options import ANCHORED, TWO_STAGES, HeadName, HeadOptions, TrainOptions
from .requirements import USUAL_LEVELS

PUBLISHED = "COCO_V1"
"""The name of the weights that torchvision publishes for each of these detectors."""


class _Model(NamedTuple):
    name: str
    """Torchvision's."""
    has_epsilon: bool
    """Whether its frozen batch norm adds 1e-5 to the variance, as batch norm does; older weights are without."""


_MODELS: Mapping[tuple[HeadName, str], _Model] = {
    ("faster_rcnn", "resnet50"): _Model("fasterrcnn_resnet50_fpn", False),
    ("mask_rcnn", "resnet50"): _Model("maskrcnn_resnet50_fpn", False),
    ("retinanet", "resnet50"): _Model("retinanet_resnet50_fpn", False),
    ("fcos", "resnet50"): _Model("fcos_resnet50_fpn", True),
    ("ssd", "vgg16"): _Model("ssd300_vgg16", True),
}
_EPSILON = 1e-5
#: The sizes nearest to those of torchvision's evaluation that have sides of whole cells: 800 a side, and 300.
_PREPROCESSING = Preprocessing(image_size=(800, 800))
#: SSD's trunk is Simonyan's own, for values of 0 to 255.
_SSD_PREPROCESSING = Preprocessing(
    mean=(0.48235, 0.45882, 0.40784), std=(1 / 255, 1 / 255, 1 / 255), image_size=(320, 320)
)

#: Beginnings of names that only whole detectors have.
_DETECTOR = ("backbone.body.", "backbone.features.", "backbone.fpn.", "rpn.", "roi_heads.")
#: How names of files from before torchvision 0.14 became today's; FCOS is younger.
_OLDER = (
    (r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2"),
    (r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
)
_OLDER_RETINANET = r"^(head\.(?:classification|regression)_head\.conv)\.([0246])\.(weight|bias)$"
_OLDER_MASKS = r"^(roi_heads\.mask_head)\.mask_fcn(\d)\.(weight|bias)$"
#: The beginnings of our heads' names and of torchvision's models', the first that fits.
_PREFIXES = (("pyramid.extra.0.", "backbone.extra.0.7."), ("pyramid.", "backbone."), ("detector.", ""))
#: Torchvision's SSD has what follows VGG-16's pool4, its layer 23, in another place than what precedes it.
_SSD_DEEP, _SSD_POOL4 = r"^backbone\.extra\.0\.([1-6])\.", 23
_SSD_MAPS = 6


@dataclass(frozen=True)
class DetectorWeights:
    """A whole detector's values.

    Attributes:
        head: The kind of head they are of.
        origin: The set or file, for messages.
        trunk: The trunk's part.
        state: The head's part, by the names of torchvision's models.
    """

    head: HeadName
    origin: str
    trunk: WeightSource
    state: Mapping[str, Tensor]

    def settle(self, options: HeadOptions) -> HeadOptions:
        """Return the head's options with the widths of these weights.

        Raises:
            UserError: An option asks for what they don't have.
        """
        if options.levels not in (None, list(USUAL_LEVELS[self.head])):
            raise self._misfit("levels", " ".join(options.levels or ()), " ".join(USUAL_LEVELS[self.head]))
        if self.head in ANCHORED and options.anchors != "usual":
            raise self._misfit("anchors", options.anchors, "usual")
        if self.head == "ssd":
            return options
        width = self._width("width", options.width, "backbone.fpn.layer_blocks.0.0.weight")
        if self.head not in TWO_STAGES:
            return replace(options, width=width)
        return replace(
            options, width=width, hidden=self._width("hidden", options.hidden, "roi_heads.box_head.fc6.weight")
        )

    def _width(self, name: str, given: int | None, layer: str) -> int | None:
        """Return the width of a layer; if it is missing, which is said when a head is filled, what was given."""
        held = len(self.state[layer]) if layer in self.state else given
        if given not in (None, held):
            raise self._misfit(name, given, held)
        return held

    def _misfit(self, name: str, given: object, held: object) -> UserError:
        return UserError(
            f"--head-options.{name} {given} doesn't go with {self.origin}, which has {held}. Leave it out, or start "
            "from weights of the trunk alone."
        )

    def load(self, head: DetectionHead) -> str:
        """Fill a head, and return a sentence on the rows of its classes.

        Args:
            head: Built with what :meth:`settle` returned, of the same kind.

        Raises:
            UserError: Names or shapes differ, or the canvas is too small for SSD's maps. Nothing was changed then.
        """
        if self.head == "ssd" and len(head.pyramid.specs) < _SSD_MAPS:
            raise UserError(
                f"{self.origin} is of {_SSD_MAPS} maps, and on so small a canvas ssd has {len(head.pyramid.specs)}. "
                "Take an --image-size of at least 288."
            )
        own = {_their_name(name): tensor for name, tensor in head.state_dict().items()}
        adapted, rows = adapt_rows(own, self.state, Labels(head.classes, head.first_label), _coco_labels())
        fill_strict(own, adapted, origin=self.origin)
        return f"{self.origin} has {rows}."


def find_detector(options: TrainOptions) -> DetectorWeights | None:
    """Return the values of the whole detector that ``--weights`` names; None if it names those of a trunk.

    Raises:
        UserError: There is no such detector, its file can't be had, or it is of another kind.
    """
    source = _source(options)
    if source is None:
        return None
    path = source.fetch(progress=True)
    state = read_state(path)
    if not any(name.startswith(_DETECTOR) for name in state):
        return None
    return _take_apart(state, source, path, options)


def _source(options: TrainOptions) -> WeightSource | None:
    """Return the set or file, None where it is surely none of a detector."""
    text = options.weights
    if text.upper() == PUBLISHED:
        return resolve_set(text, _published(options.head, options.backbone))
    path = Path(text).expanduser()
    is_file = path.is_file() and path.suffix in SUFFIXES
    return resolve_weights(options.backbone, text) if is_file or text.startswith(("http://", "https://")) else None


def _published(head: HeadName, backbone: str) -> WeightSet:
    if (head, backbone) not in _MODELS:
        known = ", ".join(f"{head} on {trunk}" for head, trunk in _MODELS)
        raise UserError(
            f"There are no weights '{PUBLISHED}' of {head} on {backbone}. There are: {known}. For the trunk alone take "
            "--weights imagenet."
        )
    return model_set(_MODELS[head, backbone].name, PUBLISHED, _preprocessing(head))


def _preprocessing(head: HeadName) -> Preprocessing:
    return _SSD_PREPROCESSING if head == "ssd" else _PREPROCESSING


def _take_apart(
    state: Mapping[str, Tensor], source: WeightSource, path: Path, options: TrainOptions
) -> DetectorWeights:
    origin = source.text if source.published else str(path)
    held = _kind(state)
    if held != options.head:
        raise UserError(f"{origin} holds {held}, not {options.head}. Ask for --head {held}, or take other weights.")
    if held == "ssd" and options.backbone != "vgg16":
        raise UserError(f"{origin} holds ssd on vgg16, not on {options.backbone}. Ask for --backbone vgg16.")
    # the published file is known by its name, wherever it lies
    model = _MODELS.get((held, options.backbone))
    is_published = model is not None and model_set(model.name, PUBLISHED, _PREPROCESSING).file_name == path.name
    trunk, rest = _split(held, state)
    if model is not None and is_published and not model.has_epsilon:
        trunk = {name: each - _EPSILON if name.endswith("running_var") else each for name, each in trunk.items()}
    weights = WeightSource(source.text, path=path, preprocessing=_preprocessing(held), state=trunk)
    return DetectorWeights(held, origin, weights, rest)


def _kind(state: Mapping[str, Tensor]) -> HeadName:
    """Return which head a detector has, by the names that only one has."""
    marks: Mapping[HeadName, str] = {
        "mask_rcnn": "roi_heads.mask_",
        "faster_rcnn": "roi_heads.",
        "ssd": "backbone.scale_weight",
        "fcos": "head.regression_head.bbox_ctrness.",
    }
    return next((head for head, mark in marks.items() if any(name.startswith(mark) for name in state)), "retinanet")


def _split(head: HeadName, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the trunk's part by the trunk's names, and the head's by today's names of torchvision's models."""
    trunk, rest = {}, {}
    for name, tensor in state.items():
        if name.startswith("backbone.body."):
            trunk[name.removeprefix("backbone.body.")] = tensor
        elif head == "ssd" and name.startswith("backbone.features."):
            trunk[name.removeprefix("backbone.")] = tensor
        elif head == "ssd" and (deep := re.match(_SSD_DEEP, name)):
            trunk[f"features.{_SSD_POOL4 + int(deep[1])}.{name[deep.end() :]}"] = tensor
        else:
            rest[_modern(head, name)] = tensor
    return trunk, rest


def _modern(head: HeadName, name: str) -> str:
    for pattern, current in _OLDER:
        name = re.sub(pattern, current, name)
    if head == "retinanet":
        return re.sub(_OLDER_RETINANET, lambda found: f"{found[1]}.{int(found[2]) // 2}.0.{found[3]}", name)
    return re.sub(_OLDER_MASKS, lambda found: f"{found[1]}.{int(found[2]) - 1}.0.{found[3]}", name)


def _their_name(name: str) -> str:
    """Return what torchvision's models call a tensor of our heads."""
    for ours, theirs in _PREFIXES:
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _coco_labels() -> tuple[str, ...]:
    """Return COCO's 91 labels, the background among them and the numbers that no class has, ``N/A``."""
    return tuple(torchvision.models.get_model_weights("fcos_resnet50_fpn")[PUBLISHED].meta["categories"])
