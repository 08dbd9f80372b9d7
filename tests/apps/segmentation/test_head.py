"""The head: from maps to classes of pixels, in windows and views, on every kind of trunk."""

import pytest
import torch
from onetrunk.apps.inputs import InputRecipe, make_recipe
from onetrunk.apps.segmentation.losses import MaskLoss
from onetrunk.apps.segmentation.metrics import SegmentationEvaluator
from onetrunk.apps.segmentation.options import HeadOptions, LossOptions
from onetrunk.apps.segmentation.readout import Readout, decide, full_masks, logits_of, probabilities
from onetrunk.apps.segmentation.task import auxiliary_level, build_task, use_views
from onetrunk.apps.task import Task
from onetrunk.apps.views import ScaleOptions, make_views
from onetrunk.backbones import build_backbone
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import Batch, Context
from torch.nn.functional import interpolate


def task_of(
    backbone: str = "timm/test_resnet", head: str = "unet", canvas: tuple[int, int] = (64, 96), **options: object
) -> Task:
    trunk = build_backbone(backbone, weights="none")
    return build_task(
        trunk,
        inputs=make_recipe(trunk.preprocessing, canvas, "pad"),
        head=head,
        head_options=HeadOptions(**options),
        evaluator=SegmentationEvaluator("abc", readout="softmax"),
        criterion=MaskLoss("softmax", LossOptions(dice=1.0)),
    )


def batch_of(images: torch.Tensor, masks: torch.Tensor | None = None, windows: torch.Tensor | None = None) -> Batch:
    count = len(images) if windows is None else int(windows[:, 0].max()) + 1
    sizes = torch.tensor([images.shape[-2:]] * count)
    context = Context(tuple(images.shape[-2:]), sizes, sizes, windows)
    targets = {} if masks is None else {"mask": masks, "full_mask": list(masks)}
    return Batch(images, None, context, targets, torch.arange(count), [str(place) for place in range(count)])


def test_overfits_eight_samples() -> None:
    torch.manual_seed(0)
    task = task_of(canvas=(32, 32), width=128)
    masks = torch.zeros((8, 32, 32), dtype=torch.uint8)
    for place in range(8):
        masks[place, 3 * place : 3 * place + 10, 5:25] = 1 + place % 2
    images = (masks[:, None] * 90 + torch.randint(0, 40, (8, 3, 32, 32))).to(torch.uint8)
    optimizer, batch = torch.optim.Adam(task.parameters(), 0.01), batch_of(images, masks)
    task.train()
    for _ in range(30):
        loss = torch.stack(list(task.head.loss(task(batch), batch.context, batch.targets).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    task.eval()
    with torch.no_grad():
        found = torch.stack(full_masks(task(batch), batch.context, "softmax"))
    assert (found == masks).float().mean() >= 0.97


@pytest.mark.parametrize("backbone", ["alexnet", "vgg11", "googlenet"])
def test_loss_and_gradients_are_finite_on_trunks_of_every_kind(backbone: str) -> None:
    torch.manual_seed(0)
    task = task_of(backbone, canvas=(96, 64), auxiliary=True)
    batch = batch_of(
        torch.randint(0, 256, (2, 3, 96, 64), dtype=torch.uint8), torch.randint(0, 3, (2, 96, 64), dtype=torch.uint8)
    )
    parts = task.head.loss(task.train()(batch), batch.context, batch.targets)
    assert set(parts) == {"cross_entropy", "dice", "auxiliary"}
    torch.stack(list(parts.values())).sum().backward()
    gradients = [p.grad for p in task.head.parameters()]
    assert all(grad is not None and grad.isfinite().all() for grad in gradients)
    assert task.loss_weights == {"cross_entropy": 1.0, "dice": 1.0, "auxiliary": 0.4}
    assert not isinstance(task.eval()(batch), tuple)  # the auxiliary head is for training only


def test_classes_are_decided_in_the_pixels_of_the_file() -> None:
    canvas = torch.zeros((1, 2, 64, 64))
    canvas[0, 1, :, 16:] = 1.0
    context = Context((64, 64), torch.tensor([[64, 32]]), torch.tensor([[128, 64]]))
    (found,) = full_masks(canvas, context, "softmax")
    assert found.shape == (128, 64)
    assert found.dtype == torch.uint8
    assert (found[:, 33:] == 1).all()
    assert (found[:, :31] == 0).all()


@pytest.mark.parametrize("readout", ["softmax", "binary", "sigmoid"])
def test_probabilities_and_back(readout: Readout) -> None:
    logits = torch.randn((2, 1 if readout == "binary" else 3, 4, 5))
    found = probabilities(logits, readout)
    assert torch.allclose(probabilities(logits_of(found, readout), readout), found, atol=1e-6)
    for one, back in zip(logits, logits_of(found, readout), strict=True):
        assert torch.equal(decide(one, readout), decide(back, readout))


def test_windows_put_together_are_the_picture() -> None:
    task = task_of()
    plane = torch.randn((1, 3, 100, 150))
    corners = [(top, left) for top in (0, 20, 36) for left in (0, 30, 54)]
    windows = torch.tensor([[0, top, left] for top, left in corners])
    output = torch.cat([plane[..., top : top + 64, left : left + 96] for top, left in corners])
    context = Context((64, 96), torch.tensor([[100, 150]]), torch.tensor([[100, 150]]), windows)
    (joined,) = task.head.join_windows(output.split(4), context)
    assert joined.shape == (3, 100, 150)
    assert torch.allclose(torch.softmax(joined, 0), torch.softmax(plane[0], 0), atol=1e-5)


def test_windows_of_several_pictures_are_looked_at_a_few_at_a_time() -> None:
    torch.manual_seed(0)
    task = task_of().eval()
    images = torch.randint(0, 256, (5, 3, 64, 96), dtype=torch.uint8)
    windows = torch.tensor([[0, 0, 0], [0, 0, 50], [1, 0, 0], [1, 10, 0], [1, 10, 50]])
    batch = batch_of(images, windows=windows)
    batch.context.valid_sizes[:] = torch.tensor([[64, 146], [74, 146]])
    with torch.no_grad():
        found = task.look(batch)
        alone = task(batch_of(images[:1]))
    assert [tuple(one.shape) for one in found] == [(3, 64, 146), (3, 74, 146)]
    # where only the first window lies
    assert torch.allclose(torch.softmax(found[0][:, :, :50], 0), torch.softmax(alone[0, :, :, :50], 0), atol=1e-4)


def test_views_in_other_sizes_and_mirrored_come_back_to_the_canvas() -> None:
    torch.manual_seed(0)
    task = task_of().eval()
    task.views = make_views(ScaleOptions(flips=True, scales=[0.5, 1.0]))
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    batch = batch_of(images)
    with torch.no_grad():
        merged = task.look(batch)
        found = []
        pictures = task.backbone.preprocessing.normalize(images)
        for size in ((32, 64), (64, 96)):
            for mirrored in (False, True):
                shown = (
                    pictures
                    if size == (64, 96)
                    else interpolate(pictures, size, mode="bilinear", align_corners=False, antialias=True)
                )
                features = task.backbone(shown.flip(-1) if mirrored else shown)
                logits = task.head(features, Context(size, batch.context.valid_sizes, batch.context.original_sizes))
                chance = torch.softmax(logits.flip(-1) if mirrored else logits, 1)
                found.append(interpolate(chance, (64, 96), mode="bilinear", align_corners=False))
    assert torch.allclose(torch.softmax(merged, 1), torch.stack(found).mean(0), atol=1e-5)


@pytest.mark.parametrize("readout", ["softmax", "binary", "sigmoid"])
def test_certain_pixels_stay_finite(readout: Readout) -> None:
    certain = torch.full((1 if readout == "binary" else 3, 2, 2), 30.0)
    certain[0, 0, 0] = -30
    assert logits_of(probabilities(certain, readout), readout).isfinite().all()


def test_sizes_that_come_to_the_same_canvas_and_those_too_small_are_refused() -> None:
    task = task_of()
    with pytest.raises(UserError, match=r"--scales 0.9 and 1 of the canvas 64x96 are both 64x96, because sides are"):
        use_views(task, ScaleOptions(scales=[0.9, 1.0]))
    task = task_of(head="pan", canvas=(128, 128))
    with pytest.raises(UserError, match=r"--scales 0.5: pan needs a canvas of at least 128x128, not 64x64"):
        use_views(task, ScaleOptions(scales=[0.5, 1.0]))


def test_scales_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UserError, match=r"--scales takes different numbers from 0.25 to 4, not \[0.1\]"):
        ScaleOptions(scales=[0.1])
    assert make_views(ScaleOptions()) == ()
    assert make_views(ScaleOptions(scales=[1.0])) == ()
    assert [view.scale for view in make_views(ScaleOptions(scales=[2.0]))] == [2.0]


def test_a_trunk_without_a_level_for_the_auxiliary_head_is_refused() -> None:
    with pytest.raises(UserError, match=r"--head-options.auxiliary reads c4, c3, c2, and this trunk has none"):
        auxiliary_level(("c0", "c1"))


def test_the_recipe_of_windows_survives_the_model_file() -> None:
    recipe = InputRecipe((32, 32), "window", "bilinear", 0.875, (0.5, 0.5, 0.5), 3)
    assert InputRecipe.from_dict(recipe.to_dict()) == recipe
