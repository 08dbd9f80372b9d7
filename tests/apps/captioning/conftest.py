"""Captions to judge, with everything that could go wrong in them; runs that learned captions."""

import random
from pathlib import Path

import pytest
from onetrunk.apps import captioning
from onetrunk.apps.captioning.options import HeadOptions
from onetrunk.apps.cli import main
from onetrunk.apps.config import OptimOptions

Corpus = tuple[list[list[str]], list[list[list[str]]]]

_WORDS = "a the dog cat man café straße 犬 red ball runs sits on in grass and two 's n't -lrb- 3-year-old".split()


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """The words of 600 captions, each with 1 to 5 references: equal ones, empty ones, repetitions, odd lengths."""
    chance = random.Random(0)

    def sentence(most: int = 14) -> list[str]:
        return chance.choices(_WORDS, weights=range(len(_WORDS), 0, -1), k=chance.randint(1, most))

    references = [[sentence() for _ in range(chance.randint(1, 5))] for _ in range(600)]
    captions = [chance.choice([sentence(), each[0], each[0][:-1], each[-1][1:] + each[0]]) for each in references]
    captions[0], captions[1], captions[2] = [], ["dog"] * 30, references[2][0]
    captions[3], references[3] = [], [[]]
    references[4] = [[], ["a", "dog"]]
    references[5] = [references[5][0]] * 5
    return captions, references


@pytest.fixture(scope="session")
def captioned_run(caption_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose small transformer learned the pictures, with an average of the weights; some of these are tied."""
    run = tmp_path_factory.mktemp("captioned") / "run"
    captioning.train(
        captioning.TrainOptions(
            data=str(caption_table),
            backbone="timm/test_resnet",
            weights="none",
            image_size=[32],
            epochs=12,
            batch_size=8,
            workers=0,
            learning_rate=0.01,
            beams=2,
            output=str(run),
            device="cpu",
            head_options=HeadOptions(width=32, layers=1, attention_heads=2, dropout=0.1, min_count=1, max_tokens=10),
            optim=OptimOptions(trunk_factor=1.0, ema=0.9),
        )
    )
    return run


@pytest.fixture(scope="session")
def frozen_run(caption_table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of lstm_attention over two levels of a frozen trunk, in pieces of words, of padded pictures."""
    run = tmp_path_factory.mktemp("frozen") / "run"
    words = (
        "--backbone timm/test_resnet --weights none --image-size 64 --resize pad --freeze all --epochs 2 --workers 0 "
    )
    words += "--head lstm_attention --head-options.levels c4 prepool --head-options.width 16 --head-options.hidden 16 "
    words += "--head-options.vocabulary pieces --head-options.vocabulary-size 300 --batch-size 8 --device cpu"
    assert main(["captioning", "train", "--data", str(caption_table), "--output", str(run), *words.split()]) == 0
    return run
