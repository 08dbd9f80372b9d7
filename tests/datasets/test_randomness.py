import random

import numpy as np
import pytest
import torch
from onetrunk.datasets import seeded


def _draw() -> tuple[float, float, float]:
    return torch.rand(()).item(), random.random(), np.random.random()


def test_what_is_drawn_is_a_function_of_the_keys_alone():
    def draws(*keys: int | str) -> tuple[float, float, float]:
        with seeded(*keys):
            return _draw()

    assert draws(1, 2) == draws(1, 2)
    different = [draws(1, 2), draws(2, 1), draws(12), draws(1, 2, 0), draws("mixing", 1, 2)]
    assert len(set(different)) == len(different)
    assert draws(9, 4, 6)[1] == pytest.approx(0.11137111287, abs=1e-9), "as in earlier releases"


def test_generators_are_restored_after_an_error():
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    expected = _draw()
    torch.manual_seed(5), random.seed(5), np.random.seed(5)
    with pytest.raises(KeyError), seeded(1):
        _draw()
        raise KeyError
    assert _draw() == expected
