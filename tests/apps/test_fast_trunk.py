"""The trunk's form on a device: what it computes, and how it is chosen."""

import json
import shutil

import pytest
import torch
from onetrunk.apps import calibration, fast_trunk
from onetrunk.apps.calibration import agree
from onetrunk.apps.cli import main
from onetrunk.apps.fast_trunk import FastTrunk, Form, choose_trunk, pass_size
from onetrunk.apps.measured_rates import cache_folder
from onetrunk.backbones import build_backbone
from onetrunk.backbones.base import Backbone
from onetrunk.backbones.chain import Chain
from onetrunk.backbones.flow import Facts
from torch import nn

CPU = torch.device("cpu")
CANVAS = (64, 64)
BATCH = 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ONETRUNK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def backbone():
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["c3", "embedding"]).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2.0)
    return backbone


@pytest.fixture
def has_bf16(monkeypatch):
    monkeypatch.setattr(fast_trunk, "choose_precision", lambda *_: "bf16")


@pytest.fixture
def rates(monkeypatch):
    """Have passes take made-up times: images a second by form; keeps what was measured."""
    known, asked = {Form("fp32"): 10.0, Form("bf16"): 30.0}, []

    def measure(trunk, images):
        asked.append(trunk.form)
        return known[trunk.form]

    monkeypatch.setattr(calibration, "measure", measure)
    known["asked"] = asked
    return known


@pytest.fixture
def fake_compile(monkeypatch):
    """Have ``torch.compile`` return what it is given; keeps the shapes of the pictures that go through it."""
    seen = []

    def compile(network, **_):
        def run(images):
            seen.append(tuple(images.shape))
            return network(images)

        return run

    monkeypatch.setattr(torch, "compile", compile)
    return seen


def sample(count=8):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, *CANVAS), dtype=torch.uint8, generator=generator)


def choose(backbone, *, precision="auto", compiling="auto", images=500, canvas=CANVAS, pictures=None):
    return choose_trunk(
        backbone,
        precision=precision,
        compiling=compiling,
        device=CPU,
        canvas=canvas,
        batch_size=BATCH,
        images=images,
        sample=sample() if pictures is None else pictures,
    ).form


def make(backbone, form):
    return FastTrunk(backbone, form, device=CPU, canvas=CANVAS, batch_size=BATCH)


def assert_same_levels(found, expected):
    assert list(found) == list(expected)
    for level, values in expected.items():
        assert found[level].dtype == torch.float32
        assert (found[level] - values).abs().max() <= 1e-4 * values.abs().max(), level


def normalized(backbone, count=BATCH, canvas=CANVAS):
    return backbone.preprocessing.normalize(sample(count))[..., : canvas[0], : canvas[1]]


def plain_levels(backbone, images):
    with torch.no_grad():
        return backbone(images)


def test_a_form_is_kept_as_plain_values():
    form = Form("bf16", is_compiled=True)
    assert Form.from_dict(json.loads(json.dumps(form.to_dict()))) == form
    assert Form() == Form("fp32", is_compiled=False)


def test_the_folded_form_gives_the_trunks_levels(backbone):
    trunk = make(backbone, Form())
    assert trunk.folded == 15
    images = normalized(backbone)
    assert_same_levels(trunk(images), plain_levels(backbone, images))
    with torch.inference_mode():
        assert_same_levels(trunk(images.clone()), plain_levels(backbone, images))


def test_the_form_in_bf16_is_close_and_gives_float32(backbone):
    images = normalized(backbone)
    found, expected = make(backbone, Form("bf16"))(images), plain_levels(backbone, images)
    assert all(level.dtype == torch.float32 for level in found.values())
    assert not torch.equal(found["c3"], expected["c3"])
    assert agree(expected, found)


def test_fp32_is_kept_under_somebody_elses_autocast(backbone):
    images = normalized(backbone)
    with torch.autocast("cpu", torch.bfloat16):
        found = make(backbone, Form())(images)
    assert_same_levels(found, plain_levels(backbone, images))


def test_what_is_trained_later_does_not_reach_the_form():
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["c3"]).eval()
    images = normalized(backbone)
    trunk = make(backbone, Form())
    before = trunk(images)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(1.0)
    assert torch.equal(trunk(images)["c3"], before["c3"])


def test_heads_can_be_trained_on_its_levels(backbone):
    head = nn.Linear(backbone.embedding_dim, 2)
    head(make(backbone, Form())(normalized(backbone))["embedding"]).sum().backward()
    assert head.weight.grad is not None


def test_all_pictures_of_the_canvas_go_through_what_was_compiled(backbone, fake_compile):
    trunk = make(backbone, Form(is_compiled=True))
    for count, canvas in ((BATCH, CANVAS), (BATCH - 1, CANVAS), (BATCH, (32, 64)), (2 * BATCH + 1, CANVAS)):
        images = normalized(backbone, count, canvas)
        assert_same_levels(trunk(images), plain_levels(backbone, images))
    assert fake_compile == [(BATCH, 3, *CANVAS)] * 5


def test_a_batch_goes_through_in_passes_of_so_many_pixels(backbone):
    assert [pass_size(CPU, canvas, 32) for canvas in ((224, 224), (320, 416), (1024, 1024), (64, 64))] == [8, 3, 1, 32]
    assert pass_size(torch.device("cuda"), (224, 224), 32) == 32
    trunk = FastTrunk(backbone, Form(), device=CPU, canvas=(224, 224), batch_size=32)
    images = torch.randn(11, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = trunk(images)
    assert_same_levels(found, plain_levels(backbone, images))
    for part in (slice(0, 8), slice(8, 11)):
        assert torch.equal(found["c3"][part], trunk(images[part])["c3"])
    assert {name: tuple(level.shape) for name, level in trunk(images[:0]).items()} == {
        "c3": (0, *found["c3"].shape[1:]),
        "embedding": (0, *found["embedding"].shape[1:]),
    }


def test_heads_that_compute_in_bf16_get_bf16(backbone):
    images = normalized(backbone)
    trunk = make(backbone, Form("bf16"))
    wide = trunk(images)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = trunk(images)
    for name, level in narrow.items():
        assert level.dtype == torch.bfloat16
        assert torch.equal(level.float(), wide[name])


def test_a_compiler_that_fails_is_named_once_and_done_without(backbone, monkeypatch, capsys):
    def fail(images):
        raise RuntimeError("\nFailed to find a C++ compiler.\nSet CXX.")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    trunk = make(backbone, Form(is_compiled=True))
    images = normalized(backbone)
    for _ in range(2):
        assert_same_levels(trunk(images), plain_levels(backbone, images))
    assert trunk.form == Form()
    told = "onetrunk: the trunk runs without torch.compile, which failed: Failed to find a C++ compiler.\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_trunk_that_is_made_in_inference_mode_serves_outside_of_it(backbone, precision):
    with torch.inference_mode():
        trunk = make(backbone, Form(precision))
    assert not any(parameter.is_inference() for parameter in trunk.backbone.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels", [3, 1])
def test_what_was_compiled_runs_as_lightning_evaluates(channels, precision):
    """A command measures outside of inference mode and autocast, and Lightning is in both."""
    backbone = build_backbone("timm/test_resnet", weights="none", levels=["c3"], in_channels=channels).eval()
    trunk = make(backbone, Form(precision, is_compiled=True))
    images = torch.randn(BATCH, channels, *CANVAS, generator=torch.Generator().manual_seed(0))
    expected = trunk(images)["c3"]
    with (
        torch.compiler.set_stance("fail_on_recompile"),
        torch.inference_mode(),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        for given in (images.clone(), images.clone().contiguous(memory_format=torch.channels_last), images[:3].clone()):
            assert given.is_inference()
            assert torch.equal(trunk(given)["c3"].float(), expected[: len(given)])
    assert trunk.form.is_compiled


@pytest.mark.slow
def test_the_compiled_form_gives_the_trunks_levels(backbone, capsys):
    trunk = make(backbone, Form(is_compiled=True))
    for count in (BATCH, BATCH, BATCH - 1):
        images = normalized(backbone, count)
        assert_same_levels(trunk(images), plain_levels(backbone, images))
    assert trunk.form.is_compiled
    assert "runs without torch.compile" not in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_is_asked_for_is_obeyed(backbone, rates, precision):
    assert choose(backbone, precision=precision) == Form(precision)
    assert rates["asked"] == []


@pytest.mark.usefixtures("fake_compile", "has_bf16")
@pytest.mark.parametrize(("compiling", "is_compiled"), [("on", True), ("off", False)])
def test_compilation_that_is_asked_for_or_refused_is_not_measured(backbone, rates, compiling, is_compiled):
    assert choose(backbone, compiling=compiling, images=10_000) == Form("bf16", is_compiled)
    assert not any(form.is_compiled for form in rates["asked"])
    assert choose(backbone, precision="bf16", compiling=compiling, images=10_000) == Form("bf16", is_compiled)
    assert choose(backbone, compiling=compiling, images=3) == Form("bf16", is_compiled)


def test_without_bf16_instructions_there_is_nothing_to_measure(backbone, rates, monkeypatch):
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert choose(backbone) == Form("fp32")
    assert rates["asked"] == []


@pytest.mark.usefixtures("has_bf16")
def test_the_faster_precision_is_taken_and_known_from_then_on(backbone, rates, own_cache):
    assert cache_folder() == own_cache
    assert choose(backbone) == Form("bf16")
    assert sorted(form.precision for form in rates["asked"]) == ["bf16", "fp32"]
    assert choose(backbone, images=500) == Form("bf16")
    assert choose(backbone, images=3) == Form("bf16")
    assert len(rates["asked"]) == 2
    (file,) = own_cache.rglob("*.json")
    assert json.loads(file.read_text())["conditions"]["canvas"] == list(CANVAS)
    choose(backbone, canvas=(32, 32))
    assert len(rates["asked"]) == 4


@pytest.mark.usefixtures("has_bf16")
def test_bf16_has_to_be_clearly_faster(backbone, rates):
    rates[Form("bf16")] = 10.5
    assert choose(backbone) == Form("fp32")
    assert choose(backbone, images=3) == Form("bf16")  # as if nothing were known


@pytest.mark.usefixtures("has_bf16")
def test_few_pictures_are_not_worth_measuring(backbone, rates):
    assert choose(backbone, images=20) == Form("bf16")  # what training takes, and several processes
    assert rates["asked"] == []


@pytest.mark.usefixtures("has_bf16", "rates")
def test_bf16_that_changes_the_features_is_refused():
    """What a convolution adds to a large number is lost in bf16, and the large number is taken away again."""
    conv = nn.Conv2d(3, 3, 1)
    nn.init.constant_(conv.bias, 1000.0)
    network = nn.Sequential()
    network.add_module("conv", conv)
    functions = {"subtract": lambda _network, values: values - 1000.0}
    flow = Chain.of(network, ("conv", "subtract"), levels={"c0": "subtract"}, functions=functions)
    fragile = Backbone(name="fragile", network=network, flow=flow, levels=["c0"], facts=Facts(image_size=CANVAS))
    assert choose(fragile.eval()) == Form("fp32")


@pytest.mark.usefixtures("has_bf16", "rates")
def test_what_is_known_of_some_pictures_decides_nothing_for_others(backbone, monkeypatch):
    """bf16 may do for photographs and not for smooth pictures, whichever of them a trunk sees first."""
    answers = iter([True, False])
    monkeypatch.setattr(calibration, "agree", lambda *_: next(answers))
    for _ in range(2):
        assert choose(backbone) == Form("bf16")
        assert choose(backbone, pictures=255 - sample()) == Form("fp32")


def test_the_bounds_of_agreement():
    exact = torch.zeros(8, 2)
    exact[:, 0] = 1.0
    near, far = exact.clone(), exact.clone()
    near[:, 1] = 0.04  # cosine 0.9992
    far[0, 1] = 0.11  # 0.994 of one picture
    assert agree({"c5": exact}, {"c5": near})
    assert not agree({"c5": exact}, {"c5": far})
    assert not agree({"c4": exact, "c5": exact}, {"c4": exact, "c5": far})
    far[:, 1] = 0.08  # 0.9968 of all
    assert not agree({"c5": exact}, {"c5": far})
    assert not agree({"c5": exact}, {"c5": exact * torch.nan})


@pytest.mark.usefixtures("has_bf16")
@pytest.mark.parametrize("content", ["", "{", "[]", '{"rates": {"eager": {"fp32": -1}}}', '{"rates": null}'])
def test_a_damaged_cache_is_measured_again(backbone, rates, own_cache, content):
    choose(backbone)
    (file,) = own_cache.rglob("*.json")
    file.write_text(content)
    assert choose(backbone) == Form("bf16")
    assert len(rates["asked"]) == 4
    assert choose(backbone) == Form("bf16")
    assert len(rates["asked"]) == 4


@pytest.mark.usefixtures("has_bf16", "rates")
def test_a_cache_that_cannot_be_written_is_done_without(backbone, own_cache, capsys):
    own_cache.write_text("a file where the folder should be")
    assert choose(backbone) == Form("bf16")
    assert capsys.readouterr() == ("", "")


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.delenv("ONETRUNK_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "onetrunk"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "onetrunk"


@pytest.mark.usefixtures("fake_compile")
@pytest.mark.parametrize(("compiled", "is_better"), [(20.0, True), (10.001, False), (9.0, False)])
def test_long_runs_are_compiled_where_it_pays(backbone, rates, monkeypatch, compiled, is_better):
    rates[Form(is_compiled=True)] = compiled
    monkeypatch.setattr(calibration, "_time", lambda *_: 30.0)
    for _ in range(2):
        assert choose(backbone, precision="fp32", images=10_000) == Form("fp32", is_compiled=is_better)
    assert rates["asked"] == [Form(), Form(), Form(is_compiled=True)]  # a few pictures, then full batches


@pytest.mark.usefixtures("fake_compile")
@pytest.mark.parametrize(("precision", "images"), [("fp32", 1_200), ("bf16", 600)])
def test_short_runs_are_not_compiled(backbone, rates, precision, images):
    rates[Form(precision, is_compiled=True)] = 1_000.0
    assert choose(backbone, precision=precision, images=images) == Form(precision)
    assert rates["asked"] == [Form(precision)]
    assert choose(backbone, precision=precision, images=images + 1) == Form(precision, is_compiled=True)


def test_a_command_compiles_a_trunk_once(rates, monkeypatch, pictures, tmp_path):
    """What was compiled to see whether it pays runs over the pictures too."""
    rates[Form(is_compiled=True)] = 1_000.0
    monkeypatch.setattr(calibration, "LONG_RUN", {("cpu", "fp32"): 0.0})
    for module in (calibration, fast_trunk):
        monkeypatch.setattr(module, "FEW_TO_COMPILE", 1)
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network, **_: compiled.append(network) or network)
    common = ["--device", "cpu", "--workers", "0", "--batch-size", "8"]
    network = ["--backbone", "timm/test_resnet", "--weights", "none", "--precision", "fp32", "--image-size", "32"]
    run, data = tmp_path / "run", ["--data", str(pictures)]
    head = ["--freeze", "all", "--cache", "on", "--epochs", "1", "--augment.flip", "0", "--augment.min-scale", "1"]
    head += ["--cache-precision", "fp32"]
    for words in (
        ["features", "extract", *data, *network, "--output", str(tmp_path / "features.npz")],
        ["classification", "train", *data, *network, *head, "--output", str(run)],
        [
            "classification",
            "evaluate",
            *data,
            "--model",
            str(run / "model"),
            "--precision",
            "fp32",
            "--output",
            str(tmp_path / "card"),
        ],
    ):
        compiled.clear()
        shutil.rmtree(cache_folder(), ignore_errors=True)
        assert main([*words, *common]) == 0
        assert len(compiled) == 1, words


@pytest.mark.usefixtures("rates")
def test_a_compiler_that_is_missing_is_not_chosen(backbone, monkeypatch, capsys):
    def fail(images):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    assert choose(backbone, precision="fp32", images=10_000) == Form("fp32")
    assert "failed: no compiler" in capsys.readouterr().err


def test_real_passes_are_measured_in_about_a_second(backbone, own_cache):
    """Of a real trunk: figures that are rates, and the forms are tried without any trace in the trunk."""
    before = backbone.fingerprint()
    assert choose(backbone, precision="fp32", images=700) == Form("fp32")
    (file,) = own_cache.rglob("*.json")
    assert json.loads(file.read_text())["rates"]["eager"]["fp32"] > 0
    assert backbone.fingerprint() == before
