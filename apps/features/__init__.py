"""Features: what a frozen trunk makes of images, as a file for other supervised models.

    image -> trunk -> layers -> pooling -> store -> (PCA) -> .parquet | .npz | .h5 | .safetensors
                                                        -> probe: logistic regression, kNN
                                                        -> search: the images nearest to another

``from onetrunk.apps import features`` gives the commands as functions, ``features.extract(ExtractOptions(...))``;
``features.load(path)`` for scikit-learn's ``X`` and ``y``; ``features.read_features(path)`` for all that a file holds;
and ``features.FeatureExtractor``, a scikit-learn transformer from pictures to vectors.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .main import extract, probe, search
from .options import ExtractOptions, ProbeOptions, SearchOptions

if TYPE_CHECKING:
    from .extractor import FeatureExtractor
    from .files import read_features
    from .table import FeatureTable, Loaded, load

# on first use: the command line needs none of them
_HOME_OF = {
    "FeatureExtractor": "extractor",
    "FeatureTable": "table",
    "Loaded": "table",
    "load": "table",
    "read_features": "files",
}

__all__ = [
    "ExtractOptions",
    "FeatureExtractor",
    "FeatureTable",
    "Loaded",
    "ProbeOptions",
    "SearchOptions",
    "extract",
    "load",
    "probe",
    "read_features",
    "search",
]


def __dir__() -> list[str]:
    """Return the public names, also those that are imported on first use."""
    return __all__


def __getattr__(name: str) -> Any:
    """Import a public name from its file."""
    if name not in _HOME_OF:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
