"""Features of the shared pictures by a tiny trunk, extracted once."""

from pathlib import Path
from typing import Any

import pytest
from onetrunk.apps import features

TINY: dict[str, Any] = {
    "backbone": "timm/test_resnet",
    "weights": "none",
    "image_size": [32],
    "batch_size": 8,
    "workers": 0,
    "device": "cpu",
}


def extract(data: Path, output: Path, **more: Any) -> Path:
    """Extract with a tiny trunk of random weights."""
    return features.extract(features.ExtractOptions(data=str(data), output=str(output), **{**TINY, **more}))


@pytest.fixture(scope="session")
def feature_file(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parquet with the embedding of the shared pictures, in the splits train and val."""
    return extract(pictures, tmp_path_factory.mktemp("features") / "pictures.parquet")
