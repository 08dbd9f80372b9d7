"""The heads, and the losses they give."""

import pytest
import torch
from onetrunk.apps.inputs import make_recipe
from onetrunk.apps.localization.head import CamHead, RegressionHead
from onetrunk.apps.localization.metrics import LocalizationEvaluator
from onetrunk.apps.localization.options import HeadOptions, TrainOptions
from onetrunk.apps.localization.task import build_task, deepest_level
from onetrunk.apps.views import FlipOptions, make_views
from onetrunk.backbones import UserError, build_backbone
from onetrunk.datasets import Context

CONTEXT = Context((64, 64), torch.tensor([[64, 64], [32, 64]]), torch.tensor([[40, 48], [24, 48]]))
TARGETS = {
    "label": torch.tensor([0, 2]),
    "boxes": [torch.tensor([[8.0, 16.0, 40.0, 64.0], [0.0, 0.0, 4.0, 4.0]]), torch.tensor([[0.0, 0.0, 32.0, 16.0]])],
}
CLASSES = ("a", "b", "c")


def regression(**options: int) -> RegressionHead:
    return RegressionHead("c3", 16, CLASSES, HeadOptions(level="c3", **options), start=(0.2, 0.1, 0.8, 0.7))


def maps() -> dict[str, torch.Tensor]:
    return {"c3": torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0)) * 100}


def test_it_starts_from_the_box_that_it_is_told_whatever_it_sees() -> None:
    boxes = regression()(maps(), CONTEXT)["boxes"]
    share = torch.tensor([0.2, 0.1, 0.8, 0.7])
    expected = torch.stack([share * 64, share * torch.tensor([64, 32, 64, 32])])
    assert torch.allclose(boxes, expected, atol=1e-3)


def test_losses_compare_the_largest_box_in_shares_of_the_picture() -> None:
    head = regression()
    # twice the canvas with twice the boxes is the same
    double = Context((128, 128), CONTEXT.valid_sizes * 2, CONTEXT.original_sizes)
    output = {"logits": torch.zeros(2, 3), "boxes": torch.stack([boxes[0] for boxes in TARGETS["boxes"]])}
    exact = head.loss(output, CONTEXT, TARGETS)
    assert set(exact) == {"classification", "smooth_l1", "giou"}
    assert float(exact["smooth_l1"]) == pytest.approx(0)
    assert float(exact["giou"]) == pytest.approx(0, abs=1e-6)
    shifted = output | {"boxes": output["boxes"] + torch.tensor([0.0, 0.0, 0.0, -8.0])}
    larger = {**TARGETS, "boxes": [boxes * 2 for boxes in TARGETS["boxes"]]}
    one = head.loss(shifted, CONTEXT, TARGETS)
    other = head.loss(shifted | {"boxes": shifted["boxes"] * 2}, double, larger)
    for name, value in one.items():
        assert float(other[name]) == pytest.approx(float(value)), name
    # 1/8 and 1/4 of the height, beyond the 0.1 where the line begins
    assert float(one["smooth_l1"]) == pytest.approx(((0.125 / 0.1 - 0.5) + (0.25 / 0.1 - 0.5)) / 2)
    # one box within the other: what is missing of the larger one, 8 of 48 and 8 of 16 rows
    assert float(one["giou"]) == pytest.approx((8 / 48 + 8 / 16) / 2, abs=1e-5)


@pytest.mark.parametrize("head", [regression(), CamHead("c3", 16, CLASSES)], ids=["regression", "cam"])
def test_loss_and_gradients_are_finite(head) -> None:
    parts = head.loss(head.train()(maps(), CONTEXT), CONTEXT, TARGETS)
    sum(parts.values()).backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_the_class_map_and_the_bias_add_up_to_the_logit() -> None:
    head = CamHead("c3", 16, CLASSES).eval()
    output = head(maps(), CONTEXT)
    whole = output["maps"][0].mean(dim=(1, 2)) + head.classifier.bias
    upper = output["maps"][1, :, :4].mean(dim=(1, 2)) + head.classifier.bias
    assert torch.allclose(output["logits"], torch.stack([whole, upper]), atol=1e-3)


def test_a_bright_corner_is_the_box_of_its_class() -> None:
    head = CamHead("c3", 1, ("a", "b")).eval()
    with torch.no_grad():
        head.classifier.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        head.classifier.bias.zero_()
    level = torch.zeros(1, 1, 8, 8)
    level[..., :4, :4] = 1
    sizes = torch.tensor([[64, 64]])
    context = Context((64, 64), sizes, sizes)
    row = head.predict(head({"c3": level}, context), context)[0]
    assert row["predicted"] == "a"
    # bilinear: a cell fades out over the next one, to 0.2 at 0.8 cells from its middle, which is 4 pixels inside
    assert row["box"] == {"xmin": 0, "ymin": 0, "xmax": 34, "ymax": 34}
    assert [entry["class"] for entry in row["top"]] == ["a", "b"]
    assert row["top"][1]["box"] == {"xmin": 0, "ymin": 0, "xmax": 64, "ymax": 64}


def test_a_row_has_one_box_where_classes_share_it() -> None:
    head = regression().eval()
    row = head.predict(head(maps(), CONTEXT), CONTEXT)[1]
    assert row["box"] == {"xmin": 9.6, "ymin": 2.4, "xmax": 38.4, "ymax": 16.8}
    assert row["probability"] == row["top"][0]["probability"]
    assert "box" not in row["top"][0]


@pytest.mark.parametrize("key", ["boxes", "maps"])
def test_mirrored_views_are_mirrored_back(key: str) -> None:
    head = (regression() if key == "boxes" else CamHead("c3", 16, CLASSES)).eval()
    sizes = torch.tensor([[64, 64]])
    context = Context((64, 64), sizes, sizes)
    plain = {"logits": torch.tensor([[0.0, 1.0, 2.0]]), "threshold": torch.tensor(0.2)}
    if key == "boxes":
        seen, mirrored = torch.tensor([[8.0, 4.0, 24.0, 20.0]]), torch.tensor([[40.0, 4.0, 56.0, 20.0]])
    else:
        seen = torch.rand(1, 3, 8, 8)
        mirrored = seen.flip(-1)
    merged = head.merge_views(
        [plain | {key: seen}, plain | {key: mirrored}], make_views(FlipOptions(flips=True)), context
    )
    assert torch.allclose(merged[key], seen)
    assert torch.allclose(merged["logits"].softmax(1), plain["logits"].softmax(1))


def make(name: str, head: str = "regression", level: str | None = None, size: int = 64):
    training = TrainOptions(data="d", backbone=name, image_size=[size])
    read = level or deepest_level(training)
    backbone = build_backbone(name, weights="none", levels=(read,), image_size=(size, size))
    inputs = make_recipe(backbone.preprocessing, (size, size), "stretch")
    evaluator = LocalizationEvaluator(CLASSES, (0.2, 0.2, 0.8, 0.8))
    task = build_task(
        backbone, evaluator, inputs=inputs, head=head, head_options=HeadOptions(level=read, width=8, hidden=8)
    )
    return task.eval(), torch.zeros(1, 3, size, size)


@pytest.mark.parametrize(
    ("name", "size", "level"),
    [
        ("lenet", 32, "c2"),
        ("alexnet", 96, "c5"),
        ("googlenet", 64, "c5"),
        ("timm/test_resnet", 32, "c5"),
        ("timm/test_vit", 160, "c4"),
    ],
)
@pytest.mark.parametrize("head", ["regression", "cam"])
def test_heads_go_with_trunks_of_every_kind(name: str, size: int, level: str, head: str) -> None:
    task, images = make(name, head, size=size)
    assert task.head.levels == (level,)
    sizes = torch.tensor([[size, size]])
    context = Context((size, size), sizes, sizes)
    with torch.no_grad():
        rows = task.head.predict(task.head(task.backbone(images), context), context)
    assert 0 <= rows[0]["box"]["xmin"] < rows[0]["box"]["xmax"] <= size


def test_an_embedding_is_read_by_regression_only() -> None:
    task, images = make("alexnet", level="embedding", size=96)
    sizes = torch.tensor([[96, 96]])
    assert task.head(task.backbone(images), Context((96, 96), sizes, sizes))["boxes"].shape == (1, 4)
    with pytest.raises(UserError, match=r"--head cam reads a map, and the embedding is a vector. Maps of alexnet: c2"):
        make("alexnet", "cam", level="embedding", size=96)
