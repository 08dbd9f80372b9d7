"""Masks and boxes follow their picture, pixel for pixel, through everything that moves it."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from onetrunk.backbones.errors import UserError
from onetrunk.datasets import eval_transform, seeded, train_transform
from PIL import Image
from torchvision.tv_tensors import BoundingBoxes, Mask

SIZE = (37, 51)


@pytest.fixture
def regions() -> np.ndarray:
    """A mask of 12 values in smooth shapes."""
    coarse = np.random.default_rng(0).integers(0, 12, (6, 8)).astype(np.uint8)
    return np.array(Image.fromarray(coarse).resize(SIZE[::-1], Image.Resampling.NEAREST))


def _picture(mask: np.ndarray) -> Image.Image:
    """A picture whose colours say what its mask does."""
    return Image.fromarray(np.stack([mask * 20, 255 - mask * 20, mask], axis=-1))


def _boxes(*boxes: tuple[float, ...]) -> BoundingBoxes:
    return BoundingBoxes(torch.tensor(boxes, dtype=torch.float32), format="XYXY", canvas_size=SIZE)


def _block(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=np.uint8)
    mask[top:bottom, left:right] = 12
    return mask


def _around(image: torch.Tensor) -> list[float]:
    rows, columns = (image[2] == 12).nonzero().unbind(1)
    return [float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)]


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad", "window"])
@pytest.mark.parametrize("min_scale", [0.2, 1.0])
# Powers of two: no pixel of a canvas then comes from the very border between two of the picture.
@pytest.mark.parametrize("canvas", [(32, 32), (16, 64)])
def test_a_random_view_moves_the_mask_as_its_picture(regions, fit, min_scale, canvas):
    transform = train_transform(canvas, "nearest", min_scale=min_scale, vertical_flip=0.5).fitting(fit)
    views = set()
    for seed in range(25):
        with seeded(seed):
            placed = transform.place(_picture(regions), {"mask": Mask(torch.from_numpy(regions))})
        mask = placed.targets["mask"]
        assert (mask.shape, mask.dtype, type(mask)) == (canvas, torch.uint8, torch.Tensor)
        assert torch.equal(mask, placed.image[2])
        views.add(mask.numpy().tobytes())
    assert len(views) > 3


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("canvas", [(16, 20), (32, 24), (80, 90)])
def test_evaluation_moves_the_mask_as_its_picture(regions, fit, canvas):
    mask = Mask(torch.from_numpy(regions))
    placed = eval_transform(canvas, "nearest", mode=fit, fill=(1.0,)).place(_picture(regions), {"mask": mask})
    height, width = placed.valid_size
    assert torch.equal(placed.targets["mask"][:height, :width], placed.image[2, :height, :width])
    outside = torch.ones(canvas, dtype=torch.bool)
    outside[:height, :width] = False
    assert (placed.targets["mask"][outside] == 255).all() and outside.any() == (fit == "pad")
    assert torch.equal(placed.targets["full_mask"], mask)
    assert (placed.image[:, outside] == 255).all()


def test_a_mask_of_several_classes_a_pixel_moves_alike(regions):
    several = torch.stack([torch.from_numpy(regions == value) for value in (3, 5)]).to(torch.uint8)
    placed = eval_transform((20, 40), "nearest", mode="pad").place(_picture(regions), {"mask": Mask(several)})
    height, width = placed.valid_size
    part, image = placed.targets["mask"][:, :height, :width], placed.image[2, :height, :width]
    assert torch.equal(part, torch.stack([image == 3, image == 5]).to(torch.uint8))
    assert (placed.targets["mask"][:, :, width:] == 255).all() and width < 40
    with seeded(1):
        placed = train_transform((20, 20), "nearest").place(_picture(regions), {"mask": Mask(several)})
    assert torch.equal(placed.targets["mask"][1], (placed.image[2] == 5).to(torch.uint8))


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("canvas", [(37, 51), (64, 64), (74, 102), (40, 100)])
def test_evaluation_moves_boxes_as_their_picture(fit, canvas):
    boxes = {"boxes": _boxes((20, 10, 31, 22))}
    placed = eval_transform(canvas, "nearest", 1.0, mode=fit).place(_picture(_block(10, 20, 22, 31)), boxes)
    assert placed.targets["boxes"][0].tolist() == pytest.approx(_around(placed.image), abs=1.01)
    assert placed.targets["full_boxes"].tolist() == [[20, 10, 31, 22]]
    assert type(placed.targets["boxes"]) is torch.Tensor


def test_stretching_by_whole_numbers_moves_boxes_exactly():
    placed = eval_transform((74, 153), mode="stretch").place(
        _picture(_block(1, 2, 3, 4)), {"boxes": _boxes((2, 1, 4, 3))}
    )
    assert placed.targets["boxes"].tolist() == [[6, 2, 12, 6]]


@pytest.mark.parametrize(("flip", "vertical_flip"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_mirror_images_move_boxes_exactly(flip, vertical_flip):
    transform = train_transform(SIZE, "nearest", min_scale=1, flip=flip, vertical_flip=vertical_flip)
    targets = {"boxes": _boxes((2, 1, 9, 4)), "mask": Mask(torch.from_numpy(_block(1, 2, 4, 9)))}
    placed = transform.place(_picture(_block(1, 2, 4, 9)), targets)
    left, right = (51 - 9, 51 - 2) if flip else (2, 9)
    top, bottom = (37 - 4, 37 - 1) if vertical_flip else (1, 4)
    assert placed.targets["boxes"].tolist() == [[left, top, right, bottom]] == [_around(placed.image)]
    assert torch.equal(placed.targets["mask"], placed.image[2])
    assert "full_mask" not in placed.targets, "in evaluation only"


@pytest.mark.parametrize("box", [(0, 0, 6, 5), (20, 10, 30, 20), (1, 1, 50, 36), (49, 35, 51, 37)])
def test_a_random_crop_keeps_half_of_the_box_and_its_box_fits_what_it_shows(box):
    left, top, right, bottom = box
    picture = _picture(_block(top, left, bottom, right))
    transform = train_transform((64, 64), "nearest", min_scale=0.1)
    sizes = set()
    for seed in range(60):
        with seeded(seed):
            placed = transform.place(
                picture, {"boxes": _boxes(box), "mask": Mask(torch.from_numpy(_block(*SIZE, 0, 0)))}
            )
        found = placed.targets["boxes"][0].tolist()
        assert found == pytest.approx(_around(placed.image), abs=2.01)
        assert found[2] > found[0] >= 0 and found[3] > found[1] >= 0 and max(found) <= 64
        sizes.add(tuple(found))
    assert len(sizes) > 5


def test_a_crop_shows_half_of_the_box_by_area():
    from onetrunk.datasets.crops import _share_inside

    assert _share_inside((0, 0, 10, 10), {"left": 5, "top": 0, "width": 20, "height": 20}) == 0.5
    assert _share_inside((0, 0, 10, 10), {"left": 5, "top": 5, "width": 2, "height": 2}) == 0.04
    assert _share_inside((0, 0, 10, 10), {"left": 11, "top": 0, "width": 2, "height": 2}) == 0


@pytest.mark.parametrize("size", [(37, 51), (16, 24), (10, 51), (5, 7), (64, 24)])
def test_windows_cover_the_picture_and_leave_the_mask_as_large_as_it(size):
    mask = np.random.default_rng(1).integers(0, 12, size).astype(np.uint8)
    placed = eval_transform((16, 24), mode="window", fill=(1.0,)).place(
        _picture(mask), {"mask": Mask(torch.from_numpy(mask))}
    )
    plane = torch.full((max(size[0], 16), max(size[1], 24)), -1)
    for window, (top, left) in zip(placed.image, placed.windows.tolist(), strict=True):
        assert window.shape == (3, 16, 24)
        plane[top : top + 16, left : left + 24] = window[2].long()
    assert plane[: size[0], : size[1]].tolist() == mask.tolist()
    assert (plane >= 0).all() and (plane[size[0] :] == 255).all() and (plane[:, size[1] :] == 255).all()
    assert placed.targets["mask"].tolist() == placed.targets["full_mask"].tolist() == mask.tolist()
    assert (placed.valid_size, placed.windows.dtype) == (size, torch.int64)
    for axis, side in enumerate((16, 24)):
        starts = sorted({corner[axis] for corner in placed.windows.tolist()})
        assert all(second - first <= side * 2 / 3 + 1 for first, second in pairwise(starts))


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_a_policy_that_would_move_the_picture_alone_is_refused(regions, policy):
    transform = train_transform((32, 32), policy=policy)
    with pytest.raises(UserError, match=rf"'{policy}' would move the picture off its mask\. Choose 'none'"):
        transform.place(_picture(regions), {"mask": Mask(torch.from_numpy(regions))})


def test_erasing_and_colours_leave_targets_alone(regions):
    transform = train_transform(SIZE, min_scale=1, flip=0, color_jitter=0.5, erasing=1)
    targets = {"mask": Mask(torch.from_numpy(regions)), "boxes": _boxes((2, 1, 9, 4))}
    placed = transform.place(_picture(regions), targets)
    assert torch.equal(placed.targets["mask"], torch.from_numpy(regions))
    assert placed.targets["boxes"].tolist() == [[2, 1, 9, 4]]
