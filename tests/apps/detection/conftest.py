"""Runs that several tests of detection share."""

from pathlib import Path

import pytest
from onetrunk.apps.config import OptimOptions, ZoomOptions

TINY = {"backbone": "timm/test_resnet", "weights": "none", "batch_size": 4, "workers": 0, "device": "cpu"}


@pytest.fixture(scope="session")
def detected_run(object_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a Faster R-CNN run that learned coloured discs, with a trunk that is trained."""
    from onetrunk.apps import detection

    run = tmp_path_factory.mktemp("detected") / "run"
    detection.train(
        detection.TrainOptions(
            **TINY,
            data=str(object_folder),
            image_size=[96, 128],
            epochs=12,
            learning_rate=3e-3,
            output=str(run),
            head_options=detection.options.HeadOptions(
                levels=["c2", "c3", "c4"], width=32, hidden=64, anchors="data", drawn_proposals=32
            ),
            augment=ZoomOptions(min_zoom=0.9, max_zoom=1.1),
            optim=OptimOptions(trunk_factor=1.0),
        )
    )
    return run
