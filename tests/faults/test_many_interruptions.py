"""A hundred interruptions over all recipes, half of them kills from outside at random moments."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

CASES = 100
PLACES = {"step": 12, "validation": 8, "epoch end": 3, "saving": 8}
SIGNALS = (["SIGTERM"], ["SIGTERM", "SIGTERM"], ["SIGINT"], ["SIGKILL"])


@pytest.fixture(autouse=True)
def with_workers(harness) -> Iterator[None]:
    """Every recipe reads in worker processes, which is slower and has more that can go wrong."""
    harness.always = ("--workers", "2")
    yield
    harness.always = ()


@pytest.mark.slow
@pytest.mark.parametrize("case", range(CASES))
def test_it_ends_the_same(harness, recipes: list[str], tmp_path: Path, case: int) -> None:
    generator = random.Random(case)
    name, run = recipes[case % len(recipes)], tmp_path / "run"
    if case // len(recipes) % 2 == 0:
        harness.survives_at_random(name, run, ["SIGKILL"], generator)
    elif generator.random() < 0.3:
        harness.survives_at_random(name, run, generator.choice(SIGNALS), generator)
    else:
        place = generator.choice(list(PLACES))
        count = generator.randint(1, PLACES[place])
        harness.survives(name, run, place, count, generator.choice(SIGNALS))
