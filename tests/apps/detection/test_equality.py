"""From a photo's file to boxes in its pixels: the same as torchvision's whole FasterRCNN with the same weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onetrunk.apps.config import ComputeOptions
from onetrunk.apps.detection.anchors import usual_anchors
from onetrunk.apps.detection.metrics import make_evaluator
from onetrunk.apps.detection.options import HeadOptions
from onetrunk.apps.detection.task import build_task
from onetrunk.apps.inputs import make_loader, make_recipe
from onetrunk.apps.task import Task
from onetrunk.backbones import build_backbone
from onetrunk.datasets import list_pictures
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, fasterrcnn_resnet50_fpn
from torchvision.transforms.v2 import functional

CANVAS = (256, 320)
CLASSES = ("ant", "bee", "cat")
LEVELS = ["c2", "c3", "c4", "c5"]


@pytest.fixture(scope="module")
def detector() -> FasterRCNN:
    """Torchvision's, of random weights that give many sure boxes."""
    torch.manual_seed(0)
    model = fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=1 + len(CLASSES),
        min_size=CANVAS[0],
        max_size=CANVAS[1],
        box_score_thresh=0.05,
    )
    for name, module in model.named_modules():
        if name.endswith("bn3"):
            nn.init.constant_(module.weight, 0.2)  # or values would double from block to block
    nn.init.normal_(model.rpn.head.cls_logits.weight, std=0.3)
    nn.init.normal_(model.rpn.head.bbox_pred.weight, std=0.1)
    with torch.no_grad():
        calibrate(model)
    return model.eval()


def calibrate(model: FasterRCNN) -> None:
    """Spread the scores of the classes evenly, whatever the layers before make of a picture."""
    seen: list[Tensor] = []
    hook = model.roi_heads.box_predictor.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model.eval()([torch.rand(3, *CANVAS)])
    hook.remove()
    predictor = model.roi_heads.box_predictor
    spread = (seen[0] - seen[0].mean(dim=0)).norm(dim=1).mean()
    for layer, scale in ((predictor.cls_score, 3.0), (predictor.bbox_pred, 1.0)):
        nn.init.normal_(layer.weight, std=float(scale / spread))
        layer.bias.copy_(-(layer.weight @ seen[0].mean(dim=0)))


@pytest.fixture(scope="module")
def task(detector: FasterRCNN) -> Task:
    """Ours, with the same weights."""
    backbone = build_backbone("resnet50", weights="none", levels=LEVELS)
    options = HeadOptions(levels=LEVELS, width=256, hidden=1024, proposals=1000)
    ours = build_task(
        backbone,
        make_evaluator(CLASSES),
        inputs=make_recipe(backbone.preprocessing, CANVAS, "pad"),
        head="faster_rcnn",
        head_options=options,
        anchors=usual_anchors("usual", (4, 8, 16, 32, 64)),
    )
    state = detector.state_dict()
    body = {key.removeprefix("backbone.body."): value for key, value in state.items() if "backbone.body." in key}
    assert not backbone.network.load_state_dict(body, strict=False).unexpected_keys
    head = {key.replace("backbone.fpn.", "pyramid.fpn."): value for key, value in state.items() if "body." not in key}
    ours.head.load_state_dict(head)
    return ours.eval()


def photo(path: Path, size: tuple[int, int]) -> Image.Image:
    """Write a picture of soft colours, height and width given, and return it."""
    coarse = np.random.default_rng(3).integers(0, 255, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    picture.save(path)
    return picture


def found_by_us(task: Task, path: Path) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes in pixels of the file, scores and labels, by the path that `predict` goes."""
    options = ComputeOptions(batch_size=1, workers=0, device="cpu")
    recipe = make_recipe(task.backbone.preprocessing, CANVAS, "pad")
    (batch,) = make_loader(list_pictures([str(path)]), recipe.transform(), options, channels=3)
    with torch.no_grad():
        (found,) = task.look(batch)["detections"]
    return found.boxes, found.scores, found.labels


def test_of_a_photo_as_large_as_the_canvas(detector: FasterRCNN, task: Task, tmp_path: Path) -> None:
    picture = photo(tmp_path / "a.png", CANVAS)
    with torch.no_grad():
        (theirs,) = detector([functional.to_dtype(functional.pil_to_tensor(picture), scale=True)])
    boxes, scores, labels = found_by_us(task, tmp_path / "a.png")
    assert len(boxes) == len(theirs["boxes"]) > 20
    assert torch.equal(labels + 1, theirs["labels"])
    assert (boxes - theirs["boxes"]).abs().max() < 0.01
    assert (scores - theirs["scores"]).abs().max() < 1e-5


def test_of_a_larger_photo_of_other_proportions(detector: FasterRCNN, task: Task, tmp_path: Path) -> None:
    """Torchvision resizes without a filter against aliasing, so it is given the picture as it is on the canvas."""
    picture = photo(tmp_path / "a.png", (640, 640))
    small = functional.pil_to_tensor(functional.resize(picture, [256, 256]))
    with torch.no_grad():
        # the features at the border of what is picture depend on what is beside it: grey, on a canvas of ours
        grey = [round(255 * value) / 255 for value in task.backbone.preprocessing.mean]
        padded = torch.tensor(grey)[:, None, None].expand(3, *CANVAS).clone()
        padded[:, :, :256] = functional.to_dtype(small, scale=True)
        images, _ = detector.transform([padded])
        images.image_sizes = [(256, 256)]
        maps = detector.backbone(images.tensors)
        proposals, _ = detector.rpn(images, maps)
        (on_canvas,), _ = detector.roi_heads(maps, proposals, images.image_sizes)
    boxes, scores, _ = found_by_us(task, tmp_path / "a.png")
    assert len(boxes) == len(on_canvas["boxes"]) > 20
    assert (boxes - on_canvas["boxes"] * 640 / 256).abs().max() < 0.01 * 640 / 256
    assert (scores - on_canvas["scores"]).abs().max() < 1e-4
