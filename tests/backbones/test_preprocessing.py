"""Normalisation, other channels, JSON."""

import json

import torch
from onetrunk.backbones import Preprocessing
from torchvision.transforms.v2.functional import normalize


def test_bytes_and_floats_give_the_same():
    preprocessing = Preprocessing()
    pictures = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    expected = normalize(pictures / 255, mean=list(preprocessing.mean), std=list(preprocessing.std))
    assert torch.equal(preprocessing.normalize(pictures), expected)
    assert torch.equal(preprocessing.normalize(pictures / 255), expected)


def test_other_channels():
    preprocessing = Preprocessing(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))
    grey = preprocessing.for_channels(1)
    assert grey.channels == 1
    torch.testing.assert_close(torch.tensor([*grey.mean, *grey.std]), torch.tensor([0.4, 0.2]))
    assert preprocessing.for_channels(5).mean == (0.2, 0.4, 0.6, 0.2, 0.4)
    assert preprocessing.for_channels(3) is preprocessing


def test_json_and_back():
    preprocessing = Preprocessing(
        mean=(0.5,), std=(0.25,), image_size=(32, 48), interpolation="bicubic", crop_fraction=1
    )
    assert Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict()))) == preprocessing
