"""What a network is shown at test time, and how a task merges what it says."""

from pathlib import Path

import pytest
import torch
from onetrunk.apps.classification.task import build_task
from onetrunk.apps.inputs import make_recipe
from onetrunk.apps.task import Head, Task
from onetrunk.apps.views import ViewOptions, make_views
from onetrunk.backbones import UserError, build_backbone
from onetrunk.datasets import Batch, Context, SampleDataset, collate, open_dataset

IMAGES = torch.arange(2 * 3 * 16 * 32, dtype=torch.float32).reshape(2, 3, 16, 32)


def test_without_options_there_is_nothing_to_merge() -> None:
    assert make_views(ViewOptions()) == ()


def test_flips_are_the_image_and_its_mirror_image() -> None:
    whole, mirrored = make_views(ViewOptions(flips=True))
    assert torch.equal(whole(IMAGES), IMAGES)
    assert torch.equal(mirrored(IMAGES), IMAGES.flip(-1))


def test_five_crops_are_the_corners_and_the_centre_on_the_same_canvas() -> None:
    views = make_views(ViewOptions(crops=5))
    assert [view.name for view in views] == ["top left", "top right", "bottom left", "bottom right", "centre"]
    shown = [view(IMAGES) for view in views]
    assert all(one.shape == IMAGES.shape for one in shown)
    # 14 of 16 rows and 28 of 32 columns, enlarged: the outermost pixels are the crop's own
    corners = [one[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]] for one in shown]
    for corner, (top, left) in zip(corners, [(0, 0), (0, 4), (2, 0), (2, 4), (1, 2)], strict=True):
        part = IMAGES[0, 0, top : top + 14, left : left + 28]
        assert torch.allclose(corner, part[[0, 0, -1, -1], [0, -1, 0, -1]])


def test_flips_and_crops_make_ten_views() -> None:
    views = make_views(ViewOptions(flips=True, crops=5))
    assert len({view.name for view in views}) == 10
    for plain, mirrored in zip(views[:5], views[5:], strict=True):
        assert torch.equal(mirrored(IMAGES), plain(IMAGES).flip(-1))


def test_another_number_of_crops_is_refused() -> None:
    with pytest.raises(UserError, match=r"--crops takes 1 for the whole picture, or 5 .* not 3"):
        ViewOptions(crops=3)


@pytest.fixture
def task() -> Task:
    backbone = build_backbone("timm/test_resnet", weights="none", levels=("embedding",))
    task = build_task(backbone, ["blue", "green", "red"], inputs=make_recipe(backbone.preprocessing, (32, 32)))
    task.views = make_views(ViewOptions(flips=True))
    return task.eval()


@pytest.fixture
def batch(pictures: Path, task: Task) -> Batch:
    data = open_dataset(pictures, "train")
    transform = make_recipe(task.backbone.preprocessing, (32, 32)).transform()
    samples = SampleDataset(data.records, transform, classes=data.classes)
    return collate([samples[(0, index)] for index in range(6)])


@torch.no_grad()
def test_a_task_gives_the_mean_of_the_views_probabilities(task: Task, batch: Batch) -> None:
    mirrored = collate([])
    mirrored.images, mirrored.context = batch.images.flip(-1), batch.context
    expected = (torch.softmax(task(batch), dim=1) + torch.softmax(task(mirrored), dim=1)) / 2
    assert torch.allclose(torch.softmax(task.look(batch), dim=1), expected, atol=1e-6)
    assert not torch.allclose(expected, torch.softmax(task(batch), dim=1), atol=1e-4)


def test_stored_features_have_no_views(task: Task, batch: Batch) -> None:
    batch.features = {name: tensor.detach() for name, tensor in task.features(batch).items()}
    with pytest.raises(UserError, match="Stored features are of one view of each image"):
        task.look(batch)


def test_a_head_that_cant_merge_says_so(task: Task, batch: Batch) -> None:
    class Lone(Head):
        levels = ("embedding",)

        def forward(self, features: dict[str, torch.Tensor], context: Context) -> torch.Tensor:
            return features["embedding"]

        loss = predict = None  # type: ignore[assignment]

    task.head = Lone()
    with pytest.raises(UserError, match="can't merge what it says about several views"):
        task.look(batch)
