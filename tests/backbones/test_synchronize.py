"""Synchronised batch norms: what can be seen of them without several GPUs."""

import pytest
import torch
from onetrunk.backbones import build_backbone
from onetrunk.backbones.synchronize import synchronize_norms
from torch import nn


@pytest.mark.parametrize(("name", "tap"), [("resnet18", "layer1.0.bn1"), ("timm/test_resnet", "c2")])
def test_only_the_kind_of_batch_norm_changes(name: str, tap: str) -> None:
    backbone = build_backbone(name, weights="none", levels=(tap, "embedding"))
    backbone.freeze("c2")
    state = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    trained = [key for key, parameter in backbone.named_parameters() if parameter.requires_grad]
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules())
    modes = {path: module.training for path, module in backbone.named_modules()}
    backbone.network = synchronize_norms(backbone.network)
    found = [module for module in backbone.modules() if isinstance(module, nn.SyncBatchNorm)]
    assert len(found) == norms > 0
    assert [key for key, parameter in backbone.named_parameters() if parameter.requires_grad] == trained
    assert {path: module.training for path, module in backbone.named_modules()} == modes
    assert list(backbone.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in backbone.state_dict().items())


def test_values_and_taps_stay_in_evaluation_mode() -> None:
    backbone = build_backbone("resnet18", weights="none", levels=("layer1.0.bn1", "c5")).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = backbone(images)
        backbone.network = synchronize_norms(backbone.network)
        after = backbone(images)
    for level, tensor in before.items():
        assert torch.equal(after[level], tensor), level
