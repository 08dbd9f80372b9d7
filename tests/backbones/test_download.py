"""Downloads from local servers in torchvision's and the Hugging Face hub's layouts; no other network is touched."""

import hashlib
from dataclasses import replace

import huggingface_hub
import pytest
import timm
import torch
import torchvision
from onetrunk.backbones import UserError, build_backbone, resolve_weights
from onetrunk.backbones import weight_sets as weight_sets_module
from safetensors.torch import save_file


def publish(folder, name, state):
    """Save a state dict under torch hub's convention and return the file's name."""
    path = folder / f"{name}.pth"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(folder / f"{name}-{digest[:8]}.pth").name


def test_torchvision_layout_downloads_once_and_checks_the_hash(serve, tmp_path, capfd):
    network = torchvision.models.resnet18(weights=None).eval()
    file_name = publish(serve.folder, "resnet18", network.state_dict())
    url = f"{serve()}/{file_name}"
    backbone = build_backbone("resnet18", weights=url, levels=["logits"]).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(images)["logits"], network(images))
    assert "100%" in capfd.readouterr().err
    cached = tmp_path / "torch" / "hub" / "checkpoints" / file_name
    assert cached.is_file()
    (serve.folder / file_name).unlink()
    assert build_backbone("resnet18", weights=url, progress=False).weights == url
    cached.write_bytes(cached.read_bytes()[:-10])
    with pytest.raises(UserError, match=f"{cached} is damaged or another file"):
        build_backbone("resnet18", weights=url)
    assert cached.is_file()


def test_a_named_set_comes_from_its_server(serve, monkeypatch):
    network = torchvision.models.alexnet(weights=None)
    url = f"{serve()}/{publish(serve.folder, 'alexnet', network.state_dict())}"
    original = weight_sets_module.available_weights

    def moved(name):
        file_name = url.rpartition("/")[2]
        digest, locate = weight_sets_module.hash_in_name(file_name), weight_sets_module._cached(file_name)
        return [replace(original(name)[0], url=url, file_name=file_name, sha256_prefix=digest, locate=locate)]

    monkeypatch.setattr(weight_sets_module, "available_weights", moved)
    backbone = build_backbone("alexnet", levels=["c3"], progress=False)
    assert torch.equal(backbone.network.features[0].weight, network.features[0].weight)
    assert backbone.weights == "imagenet"


def test_a_wrong_hash_is_refused_and_not_kept(serve, tmp_path):
    file_name = "lenet-0123456789.pth"
    torch.save({}, serve.folder / file_name)
    with pytest.raises(UserError, match=r"delivers another file than it should.*0123456789.*Nothing was kept"):
        build_backbone("lenet", weights=f"{serve()}/{file_name}", progress=False)
    assert not list((tmp_path / "torch" / "hub" / "checkpoints").iterdir())


def test_a_missing_file_and_a_dead_server_say_what_to_do(serve):
    url = serve()
    message = r"downloading failed \(.*\)\. On a machine with a network download .*What works offline: --weights none"
    with pytest.raises(UserError, match=message) as caught:
        build_backbone("resnet18", weights=f"{url}/resnet18-01234567.pth", progress=False)
    assert "404" in str(caught.value)
    with pytest.raises(UserError, match=message):
        build_backbone("resnet18", weights="http://127.0.0.1:9/resnet18-01234567.pth", progress=False)


@pytest.fixture
def hub(serve, monkeypatch):
    """A hub with random weights of timm's test network, and the network."""
    network = timm.create_model("test_resnet").eval()
    folder = serve.folder / "timm" / "test_resnet.r160_in1k"
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "model.safetensors")

    def start(**arguments):
        monkeypatch.setenv("HF_ENDPOINT", serve.hub(**arguments))
        return network

    return start


@pytest.mark.parametrize(
    ("name", "weights"),
    [("timm/test_resnet", "imagenet"), ("timm/test_resnet.r160_in1k", "timm/test_resnet.r160_in1k")],
)
def test_hugging_face_layout(hub, name, weights, monkeypatch):
    network = hub()
    backbone = build_backbone(name, weights=weights, levels=["c5", "logits"], progress=False).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)["logits"], network(images))
    assert backbone.preprocessing.image_size == (160, 160)
    monkeypatch.setenv("ONETRUNK_OFFLINE", "1")
    assert resolve_weights(name, weights).published.is_local
    grey = build_backbone(name, weights=weights, in_channels=1, levels=["c2"])
    torch.testing.assert_close(grey.network.conv1[0].weight, network.conv1[0].weight.sum(1, keepdim=True))


def test_hugging_face_files_are_hash_checked(hub):
    hub(etag="0" * 64)
    with pytest.raises(UserError, match="its SHA-256 should begin with 0000"):
        build_backbone("timm/test_resnet", progress=False)


def test_a_hub_without_the_file_or_without_a_server(serve, monkeypatch):
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda seconds: None)  # the pauses between retries
    monkeypatch.setenv("HF_ENDPOINT", serve.hub())
    with pytest.raises(
        UserError, match=r"has none of the files model.safetensors, pytorch_model.bin|downloading failed"
    ):
        build_backbone("timm/test_resnet", progress=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"downloading failed.*huggingface.co/timm/test_resnet.r160_in1k/resolve/main"):
        build_backbone("timm/test_resnet", progress=False)


@pytest.mark.parametrize("variable", ["ONETRUNK_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_address_file_hash_and_what_works(variable, monkeypatch, tmp_path):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(UserError) as caught:
        resolve_weights("resnet50", "imagenet")
    text = str(caught.value)
    assert variable in text
    assert "https://download.pytorch.org/models/resnet50-0676ba61.pth (SHA-256 begins with 0676ba61)" in text
    assert str(tmp_path / "torch" / "hub" / "checkpoints" / "resnet50-0676ba61.pth") in text
    assert "--weights none" in text
    assert "efficientnet_lite0" in text
    assert resolve_weights("efficientnet_lite0", "imagenet").published.is_local
    assert resolve_weights("resnet50", "none").is_none
    with pytest.raises(UserError, match="anywhere and give it as --weights FILE"):
        resolve_weights("timm/resnet50", "timm/resnet50.a1_in1k")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "vgg16"])
def test_large_networks_come_from_a_server(serve, name):
    network = torchvision.models.get_model(name, weights=None).eval()
    url = f"{serve()}/{publish(serve.folder, name, network.state_dict())}"
    backbone = build_backbone(name, weights=url, levels=["c5", "embedding", "logits"], progress=False).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(backbone(images)["logits"], network(images))
