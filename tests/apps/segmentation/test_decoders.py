"""Every dense head on every trunk that can carry it."""

import functools

import pytest
import segmentation_models_pytorch as library
import torch
import torch.nn.functional as F
from onetrunk.apps.segmentation.decoders import build_decoder
from onetrunk.apps.segmentation.fcn import FCN, Doubling
from onetrunk.apps.segmentation.names import DECODERS
from onetrunk.apps.segmentation.requirements import (
    choose_output_stride,
    levels_read,
    refusal,
    smallest_side,
    uses_dilation,
)
from onetrunk.backbones import BACKBONES, FeatureSpec, UserError, build_backbone
from onetrunk.backbones.architecture import Options
from onetrunk.backbones.assembly import assemble, measure_specs, on_meta, run_on_meta
from onetrunk.backbones.catalog import find_builder

TIMM = ("timm/convnext_tiny", "timm/inception_v3", "timm/rexnet_100")
LENET = ("unet", "unetplusplus", "pspnet", "linknet", "manet")
LIBRARY = {
    "unet": library.Unet,
    "unetplusplus": library.UnetPlusPlus,
    "fpn": library.FPN,
    "pspnet": library.PSPNet,
    "deeplabv3": library.DeepLabV3,
    "deeplabv3plus": library.DeepLabV3Plus,
    "upernet": library.UPerNet,
    "linknet": library.Linknet,
    "manet": library.MAnet,
    "pan": library.PAN,
}
RESNET18 = {f"c{power}": FeatureSpec(channels, 2**power) for power, channels in enumerate((64, 64, 128, 256, 512), 1)}
SMALL = {f"c{power}": FeatureSpec(8 * power, 2**power) for power in range(6)}


def specs_of(name, output_stride=32):
    return measure_specs(name, find_builder(name), Options(output_stride=output_stride))[0]


@functools.cache
def shapes_of(name, output_stride, canvas):
    options = Options(output_stride=output_stride)
    levels = list(specs_of(name, output_stride))
    backbone = assemble(name, on_meta(find_builder(name), options), levels, options)
    return {level: tuple(each.shape[1:]) for level, each in run_on_meta(backbone, canvas).items()}


@functools.cache
def logits_shape(head, read, canvas):
    """Train a head a step on maps of these shapes, without values; trunks with the same maps share it."""
    with torch.device("meta"):
        specs = {level: FeatureSpec(shape[0], 2 ** int(level[1])) for level, shape in read}
        decoder = build_decoder(head, specs, 7)
        features = {level: torch.empty(2, *dict(read)[level]) for level in decoder.levels}
        logits = decoder(features, canvas)
        F.cross_entropy(logits, torch.zeros((2, *canvas), dtype=torch.int64)).backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())
    return logits.shape


def maps_for(specs, canvas, batch=2):
    return {
        level: torch.randn(batch, spec.channels, *(side // spec.stride for side in canvas))
        for level, spec in specs.items()
    }


@pytest.mark.parametrize("name", [*BACKBONES, *TIMM])
def test_every_trunk_carries_every_head_or_says_why_not(name):
    refused = {}
    for head in DECODERS:
        specs = specs_of(name)
        canvas = (32, 32) if name == "lenet" else (160, 288)  # 5x9 cells of c5
        if reason := refusal(head, specs, canvas):
            refused[head] = reason
            continue
        shapes = shapes_of(name, choose_output_stride(head, name, 16), canvas)
        assert set(levels_read(head, specs)) <= set(shapes)
        assert logits_shape(head, tuple(shapes.items()), canvas) == (2, 7, *canvas)
    allowed = {"lenet": set(DECODERS) - set(LENET), "timm/rexnet_100": {"pspnet"}}
    assert set(refused) == allowed.get(name, set())


def values(name, canvas):
    """Return a trunk's specs and its maps of noise."""
    torch.manual_seed(0)
    trunk = build_backbone(name, weights="none", levels=list(specs_of(name)))
    with torch.no_grad():
        return trunk.specs, trunk.train()(torch.randn(2, 3, *canvas))


@pytest.mark.parametrize(
    ("name", "canvas", "heads"),
    [
        ("lenet", (32, 32), LENET),
        ("timm/test_resnet", (128, 160), DECODERS),
        ("alexnet", (64, 96), [head for head in DECODERS if head != "pan"]),
        ("vgg11", (32, 64), ["fcn8s", "unet", "pspnet", "deeplabv3"]),
        ("googlenet", (32, 64), ["fcn8s", "fpn", "deeplabv3plus", "linknet"]),
    ],
)
def test_training_reaches_every_parameter(name, canvas, heads):
    specs, features = values(name, canvas)
    before = {level: each.clone() for level, each in features.items()}
    target = torch.randint(0, 3, (2, *canvas))
    for head in heads:
        width = None if head.startswith("fcn") else 64
        decoder = build_decoder(head, specs, 3, width=width)
        logits = decoder({level: features[level] for level in decoder.levels}, canvas)
        assert logits.shape == (2, 3, *canvas)
        F.cross_entropy(logits, target).backward()
        for path, parameter in decoder.named_parameters():
            assert parameter.grad is not None, (head, path)
            assert parameter.grad.isfinite().all(), (head, path)
        assert all(torch.equal(each, before[level]) for level, each in features.items()), head


@pytest.mark.parametrize("head", LIBRARY)
def test_layers_are_those_of_the_library(head):
    with torch.device("meta"):
        theirs = LIBRARY[head]("resnet18", encoder_weights=None, classes=5)
        ours = build_decoder(head, RESNET18, 5)
    assert_same_shapes(ours.decoder, theirs.decoder)
    assert_same_shapes(ours.classifier, theirs.segmentation_head[0])


def assert_same_shapes(ours, theirs):
    shapes = [{key: each.shape for key, each in module.state_dict().items()} for module in (ours, theirs)]
    assert shapes[0] == shapes[1]
    rates = [[each.p for each in module.modules() if hasattr(each, "p")] for module in (ours, theirs)]
    assert rates[0] == rates[1]


def test_unet_equals_the_library():
    theirs = library.Unet("resnet18", encoder_weights=None, classes=5, decoder_channels=(64, 32, 16, 8, 4)).eval()
    ours = build_decoder("unet", RESNET18, 5, width=64).eval()
    ours.decoder.load_state_dict(theirs.decoder.state_dict())
    ours.classifier.load_state_dict(theirs.segmentation_head[0].state_dict())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        features = theirs.encoder(images)
        expected = theirs.segmentation_head(theirs.decoder(features))
        logits = ours({f"c{index}": each for index, each in enumerate(features) if index}, (64, 96))
    assert torch.allclose(logits, expected, atol=1e-6)


def test_only_what_is_read_is_asked_of_the_trunk():
    vgg, convnext = SMALL, {level: spec for level, spec in SMALL.items() if level > "c1"}
    assert build_decoder("unet", vgg, 2).levels == ("c1", "c2", "c3", "c4", "c5")
    assert build_decoder("unet", convnext, 2).levels == ("c2", "c3", "c4", "c5")
    assert build_decoder("fcn16s", vgg, 2).levels == ("c4", "c5")
    assert build_decoder("pspnet", vgg, 2).levels == ("c3",)
    assert build_decoder("pspnet", {"c1": vgg["c1"], "c2": vgg["c2"]}, 2).levels == ("c2",)
    assert build_decoder("deeplabv3plus", vgg, 2).levels == ("c2", "c5")


@pytest.mark.parametrize(
    ("head", "levels"),
    [
        *((head, levels) for head in ("unet", "linknet", "manet") for levels in (("c4", "c5"), ("c1", "c2", "c4"))),
        *((head, ("c0", "c2")) for head in ("unet", "unetplusplus", "linknet", "manet")),
    ],
)
def test_levels_may_be_missing_between(head, levels):
    specs = {level: SMALL[level] for level in levels}
    decoder = build_decoder(head, specs, 2, width=16).eval()
    assert decoder.levels == tuple(level for level in levels if level != "c0")
    assert decoder(maps_for(specs, (64, 96)), (64, 96)).shape == (2, 2, 64, 96)


@pytest.mark.parametrize("stride", [8, 16])
def test_deeplab_reads_c5_at_its_stride(stride):
    decoder = build_decoder("deeplabv3plus", SMALL, 2, output_stride=stride).eval()
    seen = []
    decoder.decoder.aspp.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[2:]))
    features = maps_for(SMALL, (64, 96))
    resampled = decoder(features, (64, 96))
    features["c5"] = F.interpolate(features["c5"], size=(64 // stride, 96 // stride), mode="bilinear")
    assert torch.equal(decoder(features, (64, 96)), resampled)
    assert seen == [(64 // stride, 96 // stride)] * 2


def test_doubling_starts_as_bilinear_interpolation():
    scores = torch.randn(2, 3, 4, 5)
    expected = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
    assert torch.allclose(Doubling(3)(scores), expected, atol=1e-6)


def test_fcn_starts_from_the_predictions_of_the_coarser_net():
    features = maps_for(SMALL, (64, 96))
    coarse, fine = (build_decoder(name, SMALL, 3).eval() for name in ("fcn32s", "fcn8s"))
    assert not fine(features, (64, 96)).any()
    torch.nn.init.normal_(coarse.decoder.scores[0].weight)
    fine.decoder.scores[0].load_state_dict(coarse.decoder.scores[0].state_dict())
    expected = FCN([SMALL["c5"].channels], 3, dropout=0.0)
    expected.load_state_dict(coarse.decoder.state_dict())
    doubled = F.interpolate(expected([features["c5"]]), scale_factor=2, mode="bilinear")
    doubled = F.interpolate(doubled, scale_factor=2, mode="bilinear")
    logits = F.interpolate(doubled, size=(64, 96), mode="bilinear")
    assert torch.allclose(fine(features, (64, 96)), logits, atol=1e-5)


def test_width_and_dropout():
    assert build_decoder("unet", SMALL, 2, width=32).classifier.in_channels == 2
    assert build_decoder("fpn", SMALL, 2, width=64).classifier.in_channels == 32
    assert build_decoder("linknet", SMALL, 2, width=12).classifier.in_channels == 12
    rates = [module.p for module in build_decoder("pspnet", SMALL, 2, dropout=0.4).modules() if hasattr(module, "p")]
    assert rates == [0.4]


@pytest.mark.parametrize(
    ("head", "arguments", "message"),
    [
        ("unte", {}, "Unknown head 'unte'. Known: fcn32s, .* Did you mean 'unet'?"),
        ("fcn8s", {"width": 64}, "width of fcn8s can't be chosen: leave it unset, or take one of unet, .*pan"),
        ("unet", {"width": 100}, "width of unet is a multiple of 16, not 100. Take e.g. 96"),
        ("pan", {"width": 0}, "width of pan is at least 1, not 0. Take e.g. 1"),
        ("unet", {"dropout": 0.1}, "unet has no dropout: leave it unset, or take one of fcn32s, .*deeplabv3plus"),
        ("fpn", {"dropout": 1.5}, "probability from 0 to 1, not 1.5"),
        ("deeplabv3", {"output_stride": 32}, "deeplabv3 takes c5 at an output stride of 8 or 16, not 32"),
        ("pan", {"output_stride": 8}, "16 or 32, not 8"),
    ],
)
def test_values_that_mean_nothing(head, arguments, message):
    with pytest.raises(UserError, match=message):
        build_decoder(head, SMALL, 2, **arguments)


SHALLOW = {level: SMALL[level] for level in ("c0", "c1", "c2")}


@pytest.mark.parametrize(
    ("head", "specs", "message"),
    [
        ("unet", {"c4": FeatureSpec(384, 16)}, r"several sizes, and this trunk has one size only \(c4, stride 16\)"),
        ("unet", {}, r"none with a stride of 2\*\*K. It still classifies .* resnet50"),
        ("fcn8s", SHALLOW, "reads c3, c4 and c5, and this trunk has no c3, c4 and c5, only c0, c1 and c2.*head unet"),
        ("unetplusplus", {"c1": SMALL["c1"], "c4": SMALL["c4"]}, "reads c1, c2, c3 and c4, and .* no c2 and c3, only"),
        ("manet", {"c0": SMALL["c0"], "c1": SMALL["c1"]}, "reads down to c2 at least, .* only c0 and c1. Take"),
        ("pspnet", {"c4": SMALL["c4"], "c5": SMALL["c5"]}, "reads c3 or a shallower map, .* only c4 and c5"),
        ("pspnet", SMALL | {"c3": FeatureSpec(61, 8)}, "channels of c3 out among 4 grids, .* 61 can't be divided"),
    ],
)
def test_trunks_that_cannot_carry_a_head(head, specs, message):
    with pytest.raises(UserError, match=message):
        build_decoder(head, specs, 2)


@pytest.mark.parametrize(
    ("head", "canvas", "message"),
    [
        ("unet", (100, 160), "multiples of 32, not 100x160. Nearest: 96x160 or 128x160."),
        ("unet", (20, 64), "not 20x64. Nearest: 32x64."),
        ("pan", (100, 100), "not 100x100. Nearest: 128x128."),
        ("pan", (50, 40), "not 50x40. Nearest: 128x128."),
        ("pan", (96, 160), "at least 128x128, not 96x160: it halves c5 three times. Take 128x160, or .* fpn"),
        ("pan", (0, 64), "at least 128x128, not 0x64"),
        ("fpn", (0, 64), "at least 32x32, not 0x64"),
    ],
)
def test_canvases_that_a_head_refuses(head, canvas, message):
    assert message.split(" or .*")[0] in refusal(head, SMALL, canvas)


@pytest.mark.parametrize("head", DECODERS)
def test_smallest_canvas(head):
    side = smallest_side(head)
    assert refusal(head, SMALL, (side, side)) is None
    decoder = build_decoder(head, SMALL, 2)
    assert decoder(maps_for(SMALL, (side, side)), (side, side)).shape == (2, 2, side, side)
    if head == "pan":
        with pytest.raises(RuntimeError):
            decoder(maps_for(SMALL, (side - 32, side)), (side - 32, side))


@pytest.mark.parametrize("head", DECODERS)
def test_a_batch_of_one_trains_or_is_refused(head):
    decoder = build_decoder(head, SMALL, 2)
    for canvas in ((32, 32), (128, 128)) if head != "pan" else ((128, 128),):
        features = maps_for(SMALL, canvas, batch=1)
        try:
            decoder.train()(features, canvas)
        except UserError as error:
            assert "can't be trained on a batch of 1" in str(error)
            assert head in ("deeplabv3", "deeplabv3plus", "upernet", "pan") or canvas == (32, 32)
        decoder.eval()(features, canvas)


def test_a_batch_of_one_is_refused_by_name():
    with pytest.raises(UserError, match=r"upernet can't be trained on a batch of 1: .* at least 2 .* such as fpn"):
        build_decoder("upernet", SMALL, 2)(maps_for(SMALL, (64, 64), batch=1), (64, 64))


def test_output_strides():
    assert [head for head in DECODERS if uses_dilation(head)] == ["deeplabv3", "deeplabv3plus", "pan"]
    assert choose_output_stride("unet", "resnet50", 16) == 32
    assert choose_output_stride("deeplabv3", "resnet50", 8) == 8
    assert choose_output_stride("pan", "vgg11", 16) == 16
    for name in ("alexnet", "googlenet", "efficientnet_lite0", "timm/convnext_tiny"):
        assert choose_output_stride("deeplabv3plus", name, 16) == 32
    with pytest.raises(UserError, match="8 or 16, not 32"):
        choose_output_stride("deeplabv3", "resnet50", 32)
    with pytest.raises(UserError, match="Did you mean 'resnet50'"):
        choose_output_stride("deeplabv3", "resnet5", 16)
