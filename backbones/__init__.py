"""Trunks: networks that were trained on ImageNet, as shared feature extractors.

The names below are imported when they are first used: ``onetrunk --help`` needs the errors and not PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import UserError, did_you_mean, unknown

if TYPE_CHECKING:
    from .base import Backbone, require_pyramid
    from .catalog import BACKBONES, backbone_names, build_backbone, find_specs
    from .description import BackboneDescription, describe, list_rows
    from .imagenet import imagenet_classes, match_imagenet_classes
    from .preprocessing import Preprocessing
    from .resampling import resample
    from .spec import LEVELS, FeatureSpec
    from .strict_loading import LoadReport, load_strict
    from .weight_sets import WeightSet, available_weights
    from .weights import WeightSource, resolve_weights

_HOMES = {
    "base": ("Backbone", "require_pyramid"),
    "catalog": ("BACKBONES", "backbone_names", "build_backbone", "find_specs"),
    "description": ("BackboneDescription", "describe", "list_rows"),
    "imagenet": ("imagenet_classes", "match_imagenet_classes"),
    "preprocessing": ("Preprocessing",),
    "resampling": ("resample",),
    "spec": ("LEVELS", "FeatureSpec"),
    "strict_loading": ("LoadReport", "load_strict"),
    "weight_sets": ("WeightSet", "available_weights"),
    "weights": ("WeightSource", "resolve_weights"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BACKBONES",
    "LEVELS",
    "Backbone",
    "BackboneDescription",
    "FeatureSpec",
    "LoadReport",
    "Preprocessing",
    "UserError",
    "WeightSet",
    "WeightSource",
    "available_weights",
    "backbone_names",
    "build_backbone",
    "describe",
    "did_you_mean",
    "find_specs",
    "imagenet_classes",
    "list_rows",
    "load_strict",
    "match_imagenet_classes",
    "require_pyramid",
    "resample",
    "resolve_weights",
    "unknown",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its file."""
    if name not in _HOME_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
