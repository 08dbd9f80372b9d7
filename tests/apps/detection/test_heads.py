"""Every detection head on every trunk that can carry it, and what holds for all of them."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from onetrunk.apps.detection.anchors import usual_anchors
from onetrunk.apps.detection.dense import fcos_head
from onetrunk.apps.detection.metrics import make_evaluator
from onetrunk.apps.detection.options import ANCHORED, HEADS, HeadOptions
from onetrunk.apps.detection.requirements import levels_read, refusal
from onetrunk.apps.detection.task import build_task, pyramid_strides
from onetrunk.apps.inputs import InputRecipe
from onetrunk.backbones import BACKBONES, UserError, build_backbone
from onetrunk.backbones.architecture import Options
from onetrunk.backbones.assembly import assemble, measure_specs, on_meta, run_on_meta
from onetrunk.backbones.catalog import find_builder
from onetrunk.backbones.pyramid import FeaturePyramid
from onetrunk.datasets import Context

TIMM = ("timm/convnext_tiny", "timm/inception_v3", "timm/rexnet_100")
SMALL = HeadOptions(
    width=64, hidden=48, proposals=40, training_proposals=40, drawn_proposals=16, score_threshold=0.0, max_detections=20
)
CLASSES = ("ant", "bee", "cat")
PARTS = {
    "faster_rcnn": {"objectness", "proposal_box", "classification", "box"},
    "mask_rcnn": {"objectness", "proposal_box", "classification", "box", "mask"},
    "retinanet": {"classification", "box"},
    "fcos": {"classification", "box", "centerness"},
    "ssd": {"classification", "box"},
}


def specs_of(name):
    return measure_specs(name, find_builder(name), Options())[0]


def build(backbone, head, canvas):
    levels = levels_read(head, backbone.specs)
    options = replace(SMALL, levels=levels)
    octaves = 3 if head == "retinanet" else 1
    anchors = usual_anchors("usual", pyramid_strides(head, levels), octaves=octaves) if head in ANCHORED else None
    inputs = InputRecipe(canvas, "pad", "bilinear", 1.0, (0.0,), 3)
    evaluator = make_evaluator(CLASSES, measures_masks=head == "mask_rcnn")
    return build_task(backbone, evaluator, inputs=inputs, head=head, head_options=options, anchors=anchors)


@functools.cache
def shapes_of(name, canvas):
    options = Options()
    levels = list(specs_of(name))
    backbone = assemble(name, on_meta(find_builder(name), options), levels, options)
    return {level: tuple(each.shape[1:]) for level, each in run_on_meta(backbone, canvas).items()}


#: One of each family; the others are slow together.
QUICK = ("lenet", "alexnet", "vgg16", "googlenet", "resnet50", "efficientnet_lite0", "timm/convnext_tiny")


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in (*BACKBONES, *TIMM)],
)
def test_every_trunk_carries_every_head_or_says_why_not(name):
    """Without values: the maps have the sizes that their strides promise, and every parameter a place to learn from."""
    canvas, refused = (32, 32) if name == "lenet" else (160, 288), {}
    for head in HEADS:
        if reason := refusal(head, specs_of(name), canvas):
            refused[head] = reason
            continue
        shapes = shapes_of(name, canvas)
        with torch.device("meta"):
            module = build(SimpleNamespace(specs=specs_of(name)), head, canvas).head
            features = {level: torch.empty(2, *shapes[level]) for level in module.levels}
            maps = module.pyramid(features, canvas)
            answers = module.rpn.head(list(maps.values())) if hasattr(module, "rpn") else None
            answers = module.detector.head(list(maps.values())) if answers is None else dict(enumerate(answers[0]))
        assert [each.shape[1] for each in maps.values()] == [spec.channels for spec in module.pyramid.specs.values()]
        if head != "ssd":
            cells = [tuple(-(-side // spec.stride) for side in canvas) for spec in module.pyramid.specs.values()]
            assert [tuple(each.shape[-2:]) for each in maps.values()] == cells
        sum(each.sum() for each in answers.values()).backward()
        learned = module.pyramid.named_parameters()
        assert all(parameter.grad is not None for _, parameter in learned), head
    assert set(refused) == (set(HEADS) if name == "lenet" else set())


def context_of(canvas, valid=None, original=None, number=2):
    sizes = [torch.tensor([each] * number) for each in (valid or canvas, original or valid or canvas)]
    return Context(canvas, *sizes)


def targets_for(canvas, *, empty=()):
    """Return two pictures' objects, with masks; of ``empty`` ones none."""
    height, width = canvas
    boxes = torch.tensor([[4.0, 6.0, width / 2, height / 2], [width / 3, height / 4, width - 9.0, height - 5.0]])
    masks = torch.zeros(2, *canvas, dtype=torch.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = 1
    keep = [slice(0, 0) if place in empty else slice(None) for place in range(2)]
    return {
        "boxes": [boxes[each] for each in keep],
        "classes": [torch.tensor([0, 2])[each] for each in keep],
        "masks": [masks[each] for each in keep],
    }


def parts_for(task, images, context, targets):
    if "mask" not in PARTS[task.description["head"]["name"]]:
        targets = {key: value for key, value in targets.items() if key != "masks"}
    task.head.train()
    return task.head.loss(task.head(task.backbone(images), context), context, targets)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(
    "name",
    [
        "timm/test_resnet",
        "alexnet",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet18", "efficientnet_lite0")),
    ],
)
def test_training_reaches_every_parameter_of_the_head(name, head):
    torch.manual_seed(0)
    canvas = (96, 128)
    specs = specs_of(name)
    backbone = build_backbone(name, weights="none", levels=levels_read(head, specs))
    task = build(backbone, head, canvas)
    parts = parts_for(task, torch.randn(2, 3, *canvas), context_of(canvas), targets_for(canvas, empty=(1,)))
    assert set(parts) == PARTS[head]
    assert all(part.isfinite() for part in parts.values())
    sum(parts.values()).backward()
    for path, parameter in task.head.named_parameters():
        assert parameter.grad is not None, path
        assert parameter.grad.isfinite().all(), path


@pytest.fixture(scope="module")
def tasks():
    """A task of each head on a tiny trunk, by the head's name."""
    torch.manual_seed(0)
    specs = specs_of("timm/test_resnet")
    built = {
        head: build(
            build_backbone("timm/test_resnet", weights="none", levels=levels_read(head, specs)), head, (96, 128)
        )
        for head in HEADS
    }
    for head in ("retinanet", "fcos"):  # at first all of their scores are nearly the same
        torch.nn.init.normal_(built[head].head.detector.head.classification_head.cls_logits.weight, std=0.3)
    return built


@pytest.mark.parametrize("width", [32, 48, 100])
def test_widths_that_group_norm_cannot_divide(tasks, width):
    backbone = tasks["fcos"].backbone
    pyramid = FeaturePyramid(backbone.specs, levels=["c3", "c4"], width=width, extra="convolutions")
    with pytest.raises(UserError, match=rf"width {width} doesn't go with fcos.* multiple of 32 from 64 on, e.g. 128"):
        fcos_head(pyramid, CLASSES, SMALL)


@pytest.mark.parametrize("head", HEADS)
def test_a_batch_without_any_object_has_a_finite_loss(tasks, head):
    canvas = (96, 128)
    parts = parts_for(tasks[head], torch.randn(2, 3, *canvas), context_of(canvas), targets_for(canvas, empty=(0, 1)))
    assert set(parts) == PARTS[head]
    assert all(part.isfinite() for part in parts.values()), parts
    sum(parts.values()).backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in tasks[head].head.parameters())


@pytest.mark.parametrize("head", HEADS)
def test_boxes_lie_inside_a_picture_that_fills_little_of_the_canvas(tasks, head):
    """The picture is 30 x 50 pixels of the canvas and 90 x 150 in its file."""
    task = tasks[head].eval()
    with torch.no_grad():
        output = task.head(task.backbone(torch.randn(2, 3, 96, 128)), context_of((96, 128), (30, 50), (90, 150)))
    for found in output["detections"]:
        assert len(found.boxes) > 0
        assert found.boxes.min() >= 0
        assert found.boxes[:, 2].max() <= 150
        assert found.boxes[:, 3].max() <= 90
        assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
        assert 0 <= found.labels.min() <= found.labels.max() < len(CLASSES)
        assert (found.scores.diff() <= 0).all()
        assert (found.masks is not None) == (head == "mask_rcnn")
    rows = task.head.predict(output, context_of((96, 128), (30, 50), (90, 150)))
    assert len(rows[0]["objects"]) == len(output["detections"][0].boxes)
    assert all(("segmentation" in one) == (head == "mask_rcnn") for one in rows[0]["objects"])


@pytest.mark.parametrize("head", HEADS)
def test_nothing_found_is_an_empty_list(tasks, head):
    task = tasks[head].eval()
    module = task.head.roi_heads if head in ("faster_rcnn", "mask_rcnn") else task.head.detector
    before, module.score_thresh = module.score_thresh, 1.0
    with torch.no_grad():
        output = task.head(task.backbone(torch.randn(2, 3, 96, 128)), context_of((96, 128)))
    module.score_thresh = before
    assert task.head.predict(output, context_of((96, 128))) == [{"objects": []}] * 2


@pytest.mark.parametrize("head", HEADS)
def test_half_precision_of_the_trunk_gives_finite_losses_in_full(tasks, head):
    canvas = (96, 128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = parts_for(tasks[head], torch.randn(2, 3, *canvas), context_of(canvas), targets_for(canvas))
    assert all(part.isfinite() and part.dtype == torch.float32 for part in parts.values()), parts


@pytest.mark.parametrize("head", HEADS)
def test_detections_do_not_depend_on_the_rest_of_the_batch(tasks, head):
    task = tasks[head].eval()
    images = torch.randn(2, 3, 96, 128)
    with torch.no_grad():
        both = task.head(task.backbone(images), context_of((96, 128)))["detections"]
        alone = task.head(task.backbone(images[1:]), context_of((96, 128), number=1))["detections"][0]
    assert torch.allclose(both[1].boxes, alone.boxes, atol=1e-2)
    assert torch.equal(both[1].labels, alone.labels)
