"""Levels of the classics in one pass, against hooks on the complete networks of torchvision."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from onetrunk.apps import features
from onetrunk.backbones import build_backbone
from onetrunk.datasets import eval_transform, read_image
from PIL import Image

SIZE = 224
#: Backbone -> layer -> the module whose output it is.
CLASSICS = {
    "vgg16": {"fc6": "classifier.0", "fc7": "classifier.3", "c3": "features.22"},
    "alexnet": {"fc7": "classifier.4"},
    "googlenet": {"embedding": "avgpool"},
    "resnet152": {"c4": "layer3", "c5": "layer4", "embedding": "avgpool"},
}
HEAVY = ("vgg16", "resnet152")


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one picture of 300 x 260 pixels."""
    folder = tmp_path_factory.mktemp("photo")
    Image.effect_noise((300, 260), 80).convert("RGB").save(folder / "photo.png")
    return folder


def hooked(network: torch.nn.Module, images: torch.Tensor, modules: dict[str, str]) -> dict[str, torch.Tensor]:
    """The outputs of modules, copied before anything in place reaches them."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, given, output: found.__setitem__(name, output.clone())

    for name, path in modules.items():
        network.get_submodule(path).register_forward_hook(keep(name))
    with torch.no_grad():
        network.eval()(images)
    return found


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in CLASSICS]
)
def test_levels_equal_hooks(name: str, photo: Path, tmp_path: Path) -> None:
    modules = CLASSICS[name]
    settings: dict[str, Any] = {"backbone": name, "weights": "none", "seed": 3, "image_size": [SIZE], "device": "cpu"}
    options = features.ExtractOptions(
        data=str(photo), output=str(tmp_path / "f.npz"), layers=list(modules), pooling="none", workers=0, **settings
    )
    table = features.read_features(features.extract(options))
    torch.manual_seed(3)
    trunk = build_backbone(name, weights="none", levels=list(modules), image_size=(SIZE, SIZE))
    inner = {"googlenet": {"aux_logits": False, "init_weights": False, "transform_input": True}}.get(name, {})
    complete = getattr(torchvision.models, name)(weights=None, **inner)
    _, unexpected = complete.load_state_dict(trunk.network.state_dict(), strict=False)
    assert not unexpected
    picture = eval_transform((SIZE, SIZE), trunk.preprocessing.interpolation)(read_image(photo / "photo.png"))[0]
    found = hooked(complete, trunk.preprocessing.normalize(picture[None]), modules)
    for layer in modules:
        expected = found[layer].flatten(1) if layer == "embedding" else found[layer]
        largest = float(expected.abs().max())
        np.testing.assert_allclose(table.features[layer] / largest, expected.numpy() / largest, rtol=0, atol=1e-5)
        assert largest > 0


def test_lenet(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    Image.effect_noise((28, 28), 90).save(tmp_path / "digits" / "0.png")
    options = features.ExtractOptions(
        data=str(tmp_path / "digits"),
        output=str(tmp_path / "f.npz"),
        backbone="lenet",
        weights="none",
        channels=1,
        layers=["c1"],
        pooling="none",
        workers=0,
        seed=3,
        device="cpu",
    )
    table = features.read_features(features.extract(options))
    torch.manual_seed(3)
    trunk = build_backbone("lenet", weights="none", levels=["logits"], in_channels=1)
    preprocessing = trunk.preprocessing
    transform = eval_transform(preprocessing.image_size, preprocessing.interpolation, preprocessing.crop_fraction)
    picture = transform(read_image(tmp_path / "digits" / "0.png", channels=1))[0]
    found: list[torch.Tensor] = []
    trunk.network.get_submodule("relu2").register_forward_hook(
        lambda module, given, output: found.append(output.clone())
    )
    with torch.no_grad():
        trunk.eval()(preprocessing.normalize(picture[None]))
    np.testing.assert_allclose(table.features["c1"], found[0].numpy(), rtol=0, atol=1e-5)
