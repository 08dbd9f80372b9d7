"""The rows of ``backbones list``."""

import socket
import subprocess
import sys

import pytest
from onetrunk.backbones import BACKBONES, UserError, backbone_names, describe, list_rows


def test_known_figures(monkeypatch):
    monkeypatch.setattr(socket, "socket", None)
    rows = {row.name: row for row in list_rows()}
    assert list(rows) == backbone_names() == list(BACKBONES)
    depths = {"lenet": 5, "alexnet": 8, "vgg16": 16, "vgg19_bn": 19, "googlenet": 22, "resnet18": 18, "resnet152": 152}
    assert {name: rows[name].depth for name in depths} == depths
    # torchvision's model pages state these GMACs, and these parameters
    gmacs = {"alexnet": 0.71, "vgg16": 15.47, "googlenet": 1.50, "resnet50": 4.09, "resnext50_32x4d": 4.23}
    assert {name: round(rows[name].gmacs, 2) for name in gmacs} == gmacs
    assert rows["resnet50"].parameters == 25_557_032
    assert rows["lenet"].parameters == 61_706
    assert "ReLU instead of scaled tanh" in rows["lenet"].about
    assert rows["efficientnet_lite0"].offline_weights == ("imagenet",)
    assert rows["resnet50"].offline_weights == ()
    assert rows["vgg16"].specs["c5"].stride == 32


def test_networks_of_timm_are_described_too():
    row = describe("timm/test_resnet")
    assert row.num_logits == 1000
    assert row.image_size == (160, 160)
    with pytest.raises(UserError, match="Unknown backbone"):
        describe("nothing")


def test_the_errors_need_no_pytorch():
    code = (
        "import sys, onetrunk.backbones.errors; from onetrunk.backbones import UserError; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_public_names_exist():
    import onetrunk.backbones

    for name in onetrunk.backbones.__all__:
        assert getattr(onetrunk.backbones, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        onetrunk.backbones.nothing  # noqa: B018
