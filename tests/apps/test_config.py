"""Options made in Python are checked as those of the command line."""

import pytest
from onetrunk.apps import classification
from onetrunk.apps.config import FitOptions, OptimOptions, TrainingOptions
from onetrunk.backbones.errors import UserError


def test_a_choice_that_is_none_is_refused() -> None:
    with pytest.raises(UserError, match=r"Unknown value of --name 'adam'\. Known: adamw, sgd\. Did you mean 'adamw'"):
        OptimOptions(name="adam")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--precision 'fp16'"):
        TrainingOptions(data="d", precision="fp16")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"--head 'resnet'\. Known: linear, mlp"):
        classification.TrainOptions(data="d", head="resnet")  # type: ignore[arg-type]


def test_a_number_outside_its_range_is_refused() -> None:
    with pytest.raises(UserError, match=r"--optim\.warmup-fraction takes 0 to 1, not 2"):
        OptimOptions(warmup_fraction=2)
    with pytest.raises(UserError, match=r"--fit\.accumulate takes 1 or more, not 0"):
        FitOptions(accumulate=0)
    with pytest.raises(UserError, match="--image-size takes one number, or a height and a width"):
        TrainingOptions(data="d", image_size=[1, 2, 3])
