"""Runs that several tests of visual question answering share."""

from pathlib import Path

import pytest
from onetrunk.apps.config import OptimOptions

TINY = {"backbone": "timm/test_resnet", "weights": "none", "batch_size": 8, "workers": 0, "device": "cpu"}


@pytest.fixture(scope="session")
def answered_run(question_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that learned to answer by a product."""
    from onetrunk.apps import vqa

    run = tmp_path_factory.mktemp("answered") / "run"
    vqa.train(
        vqa.TrainOptions(
            **TINY,
            data=str(question_table),
            image_size=[32],
            epochs=8,
            learning_rate=0.005,
            output=str(run),
            head_options=vqa.options.HeadOptions(width=64, embedding=32, dropout=0.0),
            optim=OptimOptions(trunk_factor=1.0),
        )
    )
    return run


@pytest.fixture(scope="session")
def attentive_run(question_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that looks around in a padded map of a frozen trunk, with a small transformer."""
    from onetrunk.apps import vqa

    run = tmp_path_factory.mktemp("attentive") / "run"
    vqa.train(
        vqa.TrainOptions(
            **TINY,
            data=str(question_table),
            image_size=[64],
            resize="pad",
            head="stacked_attention",
            freeze="all",
            epochs=2,
            output=str(run),
            head_options=vqa.options.HeadOptions(level="c4", question_encoder="transformer", width=16, layers=1),
            loss=vqa.options.LossOptions(name="soft"),
        )
    )
    return run
