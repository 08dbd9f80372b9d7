"""What `auto` stands for."""

import pytest
import torch
from onetrunk.apps.hardware import choose_device, choose_precision, is_depthwise
from onetrunk.backbones import build_backbone
from onetrunk.backbones.errors import UserError


def test_depthwise_networks_stay_in_fp32_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: True)
    with torch.device("meta"):
        dense, depthwise = torch.nn.Conv2d(8, 8, 3), torch.nn.Conv2d(8, 8, 3, groups=8)
    assert not is_depthwise(dense)
    assert is_depthwise(depthwise)
    assert is_depthwise(build_backbone("efficientnet_lite0", weights="none"))
    assert choose_precision("auto", torch.device("cpu"), dense) == "bf16"
    assert choose_precision("auto", torch.device("cpu"), depthwise) == "fp32"
    assert choose_precision("bf16", torch.device("cpu"), depthwise) == "bf16"


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda: this machine has none"):
        choose_device("cuda")
    assert choose_device("cpu").type == "cpu"
