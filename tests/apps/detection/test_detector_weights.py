"""Whole detectors in torchvision's layout: what they find and what they learn, and files that don't fit."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torchvision
from onetrunk.apps.app_training import build_trunk_of
from onetrunk.apps.cli import main
from onetrunk.apps.detection.detector_weights import find_detector
from onetrunk.apps.detection.masks import decode_masks
from onetrunk.apps.detection.metrics import make_evaluator
from onetrunk.apps.detection.options import HeadOptions, TrainOptions
from onetrunk.apps.detection.task import build_task
from onetrunk.apps.detection.training import TRAINING, choose_anchors, settle_options
from onetrunk.apps.inputs import make_recipe
from onetrunk.backbones import UserError
from onetrunk.datasets import Context

MODELS = {
    "faster_rcnn": "fasterrcnn_resnet50_fpn",
    "mask_rcnn": "maskrcnn_resnet50_fpn",
    "retinanet": "retinanet_resnet50_fpn",
    "fcos": "fcos_resnet50_fpn",
    "ssd": "ssd300_vgg16",
}
CLASSES = ("ant", "bee", "cat", "dog", "elk")
NUMBERS = {"proposals": 200, "training_proposals": 300, "drawn_proposals": 64}
THEIR_NUMBERS = {
    **{f"rpn_{when}_nms_top_n_test": NUMBERS["proposals"] for when in ("pre", "post")},
    **{f"rpn_{when}_nms_top_n_train": NUMBERS["training_proposals"] for when in ("pre", "post")},
    "box_batch_size_per_image": NUMBERS["drawn_proposals"],
}
TRUTHS = [
    {"boxes": torch.tensor([[10.0, 10, 60, 80], [70, 50, 150, 120]]), "labels": torch.tensor([1, 3])},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
]


def canvas_for(head):
    return (288, 288) if head == "ssd" else (128, 192)


def reference(head, labels=5):
    """Return torchvision's model of random values that find something, for pictures of the canvas's size."""
    torch.manual_seed(0)
    height, width = canvas_for(head)
    prefix = "box_" if head.endswith("rcnn") else ""
    others = {f"{prefix}score_thresh": 0.0, f"{prefix}nms_thresh": 0.5, f"{prefix}detections_per_img": 20}
    others |= THEIR_NUMBERS if prefix else {}
    labels += head in ("faster_rcnn", "mask_rcnn", "ssd")
    sizes = {} if head == "ssd" else {"min_size": height, "max_size": width}
    make = getattr(torchvision.models.detection, MODELS[head])
    model = make(weights=None, weights_backbone=None, num_classes=labels, **others, **sizes)
    if head == "ssd":
        model.transform.min_size, model.transform.max_size = (height,), width
        model.transform.fixed_size = (width, height)
        model.anchor_generator.steps = None  # of 300 pixels; ours spread the boxes over the canvas
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) * 0.1 + (-0.05 if "mean" in name else 0.95))
    model.transform.torch_choice = lambda sizes: sizes[0]  # draws no random number where there is one
    return model.eval()


def save(model, path):
    torch.save(model.state_dict(), path)
    return path


def options_for(head, path, **head_options):
    chosen = HeadOptions(
        score_threshold=0.0, max_detections=20, **(NUMBERS if head.endswith("rcnn") else {}), **head_options
    )
    return TrainOptions(
        data="nowhere",
        backbone="vgg16" if head == "ssd" else "resnet50",
        weights=str(path),
        head=head,
        head_options=chosen,
        image_size=list(canvas_for(head)),
        output="nowhere",
    )


def load(options, classes=CLASSES):
    """Return the task as training builds it, and what is said of the rows."""
    backbone = build_trunk_of(options, TRAINING.needs(options))
    detector = find_detector(options)
    head_options = settle_options(backbone, options, detector)
    inputs = make_recipe(backbone.preprocessing, tuple(options.image_size), "pad")
    task = build_task(
        backbone,
        make_evaluator(classes),
        inputs=inputs,
        head=options.head,
        head_options=head_options,
        anchors=choose_anchors(SimpleNamespace(), inputs, head_options, options),
    )
    return task, detector.load(task.head)


def look(task, pictures, context):
    return task.head(task.backbone(normalized(task, pictures)), context)


def normalized(task, pictures):
    own = task.backbone.preprocessing
    mean, std = (torch.tensor(each)[:, None, None] for each in (own.mean, own.std))
    return (pictures - mean) / std


def context_of(canvas, number=2):
    sizes = torch.tensor([canvas] * number)
    return Context(canvas=canvas, valid_sizes=sizes, original_sizes=sizes)


@pytest.mark.parametrize("head", MODELS)
def test_equal_to_torchvision(head, tmp_path):
    model = reference(head)
    task, said = load(options_for(head, save(model, tmp_path / "detector.pth")))
    assert "as many classes as here, and no names: its rows are taken for ant, bee, cat, dog, elk" in said
    canvas = canvas_for(head)
    pictures, context = torch.rand(2, 3, *canvas), context_of(canvas)
    task.eval()
    with torch.no_grad():
        found, expected = look(task, pictures, context)["detections"], model(list(pictures))
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours.boxes) == len(theirs["boxes"]) > 10
        assert (ours.boxes - theirs["boxes"]).abs().max() < 0.01
        assert (ours.scores - theirs["scores"]).abs().max() < 1e-4
        assert torch.equal(ours.labels + task.head.first_label, theirs["labels"])
    if head == "mask_rcnn":
        drawn = torch.from_numpy(decode_masks(found[0].regions()))
        assert drawn.shape == (20, *canvas)
        assert (drawn != (expected[0]["masks"][:, 0] > 0.5)).float().mean() < 1e-3
    assert_same_losses(task, model, pictures, context, head)


def assert_same_losses(task, model, pictures, context, head):
    truths = [dict(each) for each in TRUTHS]
    if head == "mask_rcnn":
        for each in truths:
            each["masks"] = torch.randint(0, 2, (len(each["boxes"]), *context.canvas), dtype=torch.uint8)
    task.head.train()
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    torch.manual_seed(1)
    expected = model(list(pictures), truths)
    torch.manual_seed(1)
    targets = {
        "boxes": [each["boxes"] for each in truths],
        "classes": [each["labels"] - task.head.first_label for each in truths],
        **({"masks": [each["masks"] for each in truths]} if head == "mask_rcnn" else {}),
    }
    parts = task.head.loss(look(task, pictures, context), context, targets)
    assert losses(parts) == pytest.approx(losses(expected), abs=1e-4)


def losses(parts):
    return sorted(part.item() for part in parts.values())


@pytest.mark.parametrize(
    "head",
    [
        "mask_rcnn",
        "retinanet",
        *(pytest.param(head, marks=pytest.mark.slow) for head in ("faster_rcnn", "fcos", "ssd")),
    ],
)
def test_rows_of_classes_with_cocos_names(head, tmp_path):
    """A file with 91 labels is taken for COCO's; bears and zebras keep their rows, unicorns get new ones."""
    model = reference(head, 91 - (head in ("faster_rcnn", "mask_rcnn", "ssd")))
    bear, zebra = 23, 24
    state = model.state_dict()
    task, said = load(options_for(head, save(model, tmp_path / "detector.pth")), ("unicorn", "Zebra", "bear"))
    assert "COCO's classes: the rows of 2 are kept by name; 1 start anew (unicorn)." in said
    own = task.head.state_dict()
    if head in ("faster_rcnn", "mask_rcnn"):
        name = "roi_heads.box_predictor.cls_score.weight"
        assert torch.equal(own[name][[0, 2, 3]], state[name][[0, zebra, bear]])
        assert own[name].shape == (4, 1024)
        name = "roi_heads.box_predictor.bbox_pred.weight"
        assert torch.equal(own[name].view(4, 4, -1)[[0, 2, 3]], state[name].view(91, 4, -1)[[0, zebra, bear]])
    elif head == "ssd":
        name = "head.classification_head.module_list.1.bias"
        assert torch.equal(
            own[f"detector.{name}"].view(6, 4)[:, [0, 2, 3]], state[name].view(6, 91)[:, [0, zebra, bear]]
        )
    else:
        name, anchors = "head.classification_head.cls_logits.weight", 9 if head == "retinanet" else 1
        kept, theirs = own[f"detector.{name}"].view(anchors, 3, -1), state[name].view(anchors, 91, -1)
        assert torch.equal(kept[:, [1, 2]], theirs[:, [zebra, bear]])
    if head == "mask_rcnn":
        name = "roi_heads.mask_predictor.mask_fcn_logits.weight"
        assert torch.equal(own[name][[0, 2, 3]], state[name][[0, zebra, bear]])


OLDER = {
    "mask_rcnn": {
        "rpn.head.conv.0.0.": "rpn.head.conv.",
        **{
            f"backbone.fpn.{kind}_blocks.{k}.0.": f"backbone.fpn.{kind}_blocks.{k}."
            for kind in ("inner", "layer")
            for k in range(4)
        },
        **{f"roi_heads.mask_head.{k}.0.": f"roi_heads.mask_head.mask_fcn{k + 1}." for k in range(4)},
    },
    "retinanet": {
        f"head.{kind}_head.conv.{k}.0.": f"head.{kind}_head.conv.{2 * k}."
        for kind in ("classification", "regression")
        for k in range(4)
    },
}


@pytest.mark.parametrize("head", OLDER)
def test_names_of_older_files(head, tmp_path):
    """What torchvision published in 2019 has other names, and no counters of batches."""
    model = reference(head, 2)
    state = {name: each for name, each in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    renamed = dict(state)
    for current, older in OLDER[head].items():
        renamed |= {
            name.replace(current, older): renamed.pop(name) for name in list(renamed) if name.startswith(current)
        }
    assert len(renamed.keys() - state.keys()) >= 16
    torch.save(renamed, tmp_path / "older.pth")
    task, said = load(options_for(head, tmp_path / "older.pth"))
    assert "2 classes without names: the rows of all 5 start anew." in said
    prefix = "detector." if head == "retinanet" else ""
    for current in OLDER[head]:
        name = f"{current}bias"
        ours = name.replace("backbone.", "pyramid.") if name.startswith("backbone.") else prefix + name
        assert torch.equal(task.head.state_dict()[ours], state[name])


@pytest.fixture(scope="module")
def fcos_state():
    return reference("fcos").state_dict()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"head.extra.weight": torch.zeros(1)}, {}, "1 not part of the network: head.extra.weight"),
        ({"backbone.body.conv9.weight": torch.zeros(1)}, {}, "1 not part of the network: conv9.weight"),
        ({"head.regression_head.conv.0.weight": None}, {}, "1 missing: head.regression_head.conv.0.weight"),
        (
            {"head.regression_head.bbox_reg.weight": torch.zeros(8, 256, 3, 3)},
            {},
            r"1 of another shape: head.regression_head.bbox_reg.weight \[8, 256, 3, 3\] instead of \[4, 256, 3, 3\]",
        ),
        ({}, {"head": "retinanet"}, "holds fcos, not retinanet. Ask for --head fcos, or take other weights"),
        ({}, {"width": 128}, "width 128 doesn't go with .*, which has 256. Leave it out"),
        ({}, {"levels": ["c4", "c5"]}, "levels c4 c5 doesn't go with .*, which has c3 c4 c5. Leave it out"),
        ({}, {"backbone": "resnet18"}, "of another shape: .*layer1.0.conv1.weight"),
    ],
)
def test_files_that_do_not_fit(fcos_state, change, options, message, tmp_path):
    state = {name: each for name, each in (fcos_state | change).items() if each is not None}
    torch.save(state, tmp_path / "detector.pth")
    options = dict(options)
    head, backbone = options.pop("head", "fcos"), options.pop("backbone", "resnet50")
    chosen = replace(options_for(head, tmp_path / "detector.pth", **options), backbone=backbone)
    with pytest.raises(UserError, match=message):
        load(chosen)


def test_anchors_and_canvases_that_do_not_go_with_weights(tmp_path):
    retinanet = save(reference("retinanet"), tmp_path / "retinanet.pth")
    with pytest.raises(UserError, match=r"anchors small doesn't go with .*, which has usual"):
        load(options_for("retinanet", retinanet, anchors="small"))
    ssd = save(reference("ssd"), tmp_path / "ssd.pth")
    with pytest.raises(UserError, match=r"is of 6 maps, and on so small a canvas ssd has 5. .* at least 288"):
        load(replace(options_for("ssd", ssd), image_size=[256, 320]))
    with pytest.raises(UserError, match=r"holds ssd on vgg16, not on vgg19. Ask for --backbone vgg16"):
        load(replace(options_for("ssd", ssd), backbone="vgg19"))


def test_published_detectors_are_asked_for_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("ONETRUNK_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    files = {
        "faster_rcnn": "fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        "mask_rcnn": "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        "retinanet": "retinanet_resnet50_fpn_coco-eeacb38b.pth",
        "fcos": "fcos_resnet50_fpn_coco-99b0c9b7.pth",
        "ssd": "ssd300_vgg16_coco-b556d3b4.pth",
    }
    for head, file in files.items():
        digest = file.rpartition("-")[2].removesuffix(".pth")
        with pytest.raises(UserError, match=rf"'COCO_V1' are not on this machine .*{file} .*begins with {digest}"):
            find_detector(options_for(head, "coco_v1"))
    with pytest.raises(
        UserError, match=r"no weights 'COCO_V1' of ssd on resnet50. There are: faster_rcnn on resnet50, "
    ):
        find_detector(replace(options_for("ssd", "COCO_V1"), backbone="resnet50"))


def test_published_files_have_batch_norm_without_epsilon(tmp_path):
    """Torchvision's oldest weights divide by the deviation alone; a file of them is known by its name."""
    model = reference("retinanet")
    plain = find_detector(options_for("retinanet", save(model, tmp_path / "mine.pth")))
    published = find_detector(
        options_for("retinanet", save(model, tmp_path / "retinanet_resnet50_fpn_coco-eeacb38b.pth"))
    )
    name = "layer1.0.bn1.running_var"
    assert torch.allclose(plain.trunk.state[name] - published.trunk.state[name], torch.tensor(1e-5), atol=1e-7)
    assert torch.equal(plain.trunk.state["layer1.0.bn1.weight"], published.trunk.state["layer1.0.bn1.weight"])


def test_weights_of_a_trunk_are_none_of_a_detector(tmp_path):
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "trunk.pth")
    for weights in (tmp_path / "trunk.pth", "none", "imagenet", tmp_path):
        assert find_detector(options_for("fcos", weights)) is None


def test_ssd_takes_pictures_as_its_trunk_was_trained(tmp_path):
    detector = find_detector(options_for("ssd", save(reference("ssd"), tmp_path / "ssd.pth")))
    assert detector.trunk.preprocessing.std == (1 / 255,) * 3
    assert detector.settle(HeadOptions()) == HeadOptions()


def test_training_starts_from_a_detector(object_folder, tmp_path, capsys):
    path = save(reference("fcos", 91), tmp_path / "fcos.pth")
    words = f"detection train --data {object_folder} --backbone resnet50 --weights {path} --head fcos --image-size 64"
    rest = f"--epochs 1 --batch-size 2 --workers 0 --device cpu --freeze all --output {tmp_path / 'run'}"
    assert main([*words.split(), *rest.split()]) == 0
    assert "fcos.pth has COCO's classes: the rows of 0 are kept by name" in capsys.readouterr().out
