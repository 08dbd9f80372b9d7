"""From what heads give to boxes in the pixels of files."""

import numpy as np
import pytest
import torch
from onetrunk.apps.localization.baselines import CENTRE_BOX, in_pixels, mean_box
from onetrunk.apps.localization.boxes import best_overlap, class_boxes, map_box
from onetrunk.apps.pooling import pool_valid
from onetrunk.datasets import Context, eval_transform, open_dataset
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d
from torchvision.ops import box_iou


def context(valid: list[list[int]], original: list[list[int]], canvas: tuple[int, int] = (64, 64)) -> Context:
    return Context(canvas, torch.tensor(valid), torch.tensor(original))


def test_the_box_of_a_map_is_around_its_largest_bright_region() -> None:
    activation = np.zeros((20, 30))
    activation[4:9, 10:22] = 0.21
    activation[5, 11] = 1.0
    activation[15:17, 0:3] = 0.9  # brighter, but smaller
    assert map_box(activation, 0.2) == (10, 4, 22, 9)
    assert map_box(activation, 0.5) == (0, 15, 3, 17)
    assert map_box(-activation, 0.2) == (0, 0, 30, 20)


def test_a_map_on_the_canvas_becomes_a_box_in_the_file() -> None:
    maps = torch.zeros(1, 2, 64, 64)
    maps[0, 1, 8:16, 16:48] = 1
    output = {"logits": torch.zeros(1, 2), "maps": maps, "threshold": torch.tensor(0.2)}
    stretched = class_boxes(output, torch.tensor([[1, 0]]), context([[64, 64]], [[32, 128]]))
    assert stretched.tolist() == [[[32, 4, 96, 8], [0, 0, 128, 32]]]
    # of the padded canvas only the upper part is picture
    padded = class_boxes(output, torch.tensor([[1, 0]]), context([[16, 64]], [[32, 128]]))
    assert padded.tolist() == [[[32, 16, 96, 32], [0, 0, 128, 32]]]


@pytest.mark.parametrize(("mode", "valid"), [("stretch", (64, 64)), ("pad", (32, 64))])
def test_boxes_come_back_to_the_pixels_of_the_file(mode: str, valid: tuple[int, int]) -> None:
    size, box = (50, 100), (20.0, 10.0, 60.0, 40.0)
    assert eval_transform((64, 64), mode=mode)(Image.new("RGB", (100, 50)))[1] == valid  # type: ignore[arg-type]
    scale = torch.tensor([valid[1] / size[1], valid[0] / size[0]] * 2)
    output = {"logits": torch.zeros(1, 1), "boxes": torch.tensor([box]) * scale}
    found = class_boxes(output, torch.zeros(1, 1, dtype=torch.long), context([list(valid)], [list(size)]))
    assert found[0, 0].tolist() == pytest.approx(box, abs=1e-4)


def test_boxes_are_clipped_to_the_picture() -> None:
    output = {"logits": torch.zeros(1, 1), "boxes": torch.tensor([[-5.0, 2.0, 70.0, 65.0]])}
    found = class_boxes(output, torch.zeros(1, 2, dtype=torch.long), context([[64, 64]], [[32, 32]]))
    assert found.tolist() == [[[0, 1, 32, 32]] * 2]


def test_the_overlap_is_that_with_the_best_true_box() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(7, 2, 2, generator=generator).sort(dim=1).values.flatten(1) * 50
    boxes, truths = corners[:4], corners[4:]
    assert torch.allclose(best_overlap(boxes, truths).float(), box_iou(boxes, truths).amax(dim=1))
    half = best_overlap(torch.tensor([[0.0, 0.0, 10.0, 10.0]]), torch.tensor([[0.0, 0.0, 10.0, 5.0]]))
    assert half.tolist() == [0.5]


def test_pooling_the_whole_canvas_is_adaptive_pooling() -> None:
    maps = torch.rand(2, 3, 14, 21)
    pooled = pool_valid(maps, context([[64, 64]] * 2, [[9, 9]] * 2), 7)
    assert torch.allclose(pooled, adaptive_avg_pool2d(maps, 7), atol=1e-6)


def test_pooling_leaves_out_what_is_padded() -> None:
    maps = torch.rand(2, 3, 8, 8)
    cut = context([[64, 32], [32, 64]], [[9, 9]] * 2)
    pooled = pool_valid(maps, cut, 2)
    assert torch.allclose(pooled[0], adaptive_avg_pool2d(maps[0, :, :, :4], 2), atol=1e-6)
    assert torch.allclose(pooled[1], adaptive_avg_pool2d(maps[1, :, :4], 2), atol=1e-6)
    # half a cell counts by half
    half = pool_valid(torch.tensor([[[[1.0, 3.0]]]]), context([[64, 48]], [[9, 9]]), 1)
    assert float(half) == pytest.approx((1 + 0.5 * 3) / 1.5)


def test_the_mean_box_is_in_shares_of_each_picture(box_table) -> None:
    images = open_dataset(box_table, "train", kind="boxes")
    boxes = np.array([record.targets["boxes"][0] for record in images.records])
    assert mean_box(images) == pytest.approx(boxes.mean(axis=0) / (48, 40, 48, 40), abs=1e-6)


def test_the_centre_box_is_half_as_wide_and_half_as_high_as_the_picture() -> None:
    found = in_pixels([CENTRE_BOX], context([[64, 64]], [[10, 20]]))
    assert found.tolist() == [[pytest.approx([5, 2.5, 15, 7.5])]]
