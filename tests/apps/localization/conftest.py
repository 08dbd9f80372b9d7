"""Runs that several tests of localization share."""

from pathlib import Path

import pytest
from onetrunk.apps.config import OptimOptions, PlacingOptions

TINY = {"backbone": "timm/test_resnet", "weights": "none", "batch_size": 8, "workers": 0, "device": "cpu"}


@pytest.fixture(scope="session")
def located_run(box_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that learned boxes and colours; its pictures are padded."""
    from onetrunk.apps import localization

    run = tmp_path_factory.mktemp("located") / "run"
    localization.train(
        localization.TrainOptions(
            **TINY,
            data=str(box_table),
            image_size=[64],
            resize="pad",
            epochs=8,
            learning_rate=0.005,
            output=str(run),
            head_options=localization.options.HeadOptions(level="c3", width=16, hidden=64),
            augment=PlacingOptions(min_scale=0.7),
            optim=OptimOptions(trunk_factor=1.0),
        )
    )
    return run


@pytest.fixture(scope="session")
def cam_run(box_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that learned colours, with a frozen trunk."""
    from onetrunk.apps import localization

    run = tmp_path_factory.mktemp("cam") / "run"
    localization.train(
        localization.TrainOptions(
            **TINY,
            data=str(box_table),
            image_size=[64],
            head="cam",
            freeze="all",
            epochs=2,
            output=str(run),
            head_options=localization.options.HeadOptions(level="c3"),
        )
    )
    return run
