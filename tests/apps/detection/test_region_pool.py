"""Regions out of a pyramid are torchvision's, whichever way they are computed."""

from types import SimpleNamespace

import pytest
import torch
from onetrunk.apps.detection.faster_rcnn import ProposalHead, RegionHead
from onetrunk.apps.detection.region_pool import RegionPool
from onetrunk.backbones.spec import FeatureSpec
from torch import Tensor
from torchvision.models.detection.faster_rcnn import TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

CANVAS = (96, 160)
CHANNELS = 8


def pyramid_of(*depths: int) -> SimpleNamespace:
    levels = tuple(f"c{depth}" for depth in depths)
    specs = {f"c{depth}": FeatureSpec(CHANNELS, 2**depth) for depth in (*depths, depths[-1] + 1)}
    return SimpleNamespace(levels=levels, specs=specs)


def maps_of(depths: tuple[int, ...], pictures: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {f"c{depth}": (-(-CANVAS[0] // 2**depth), -(-CANVAS[1] // 2**depth)) for depth in depths}
    return {name: torch.randn(pictures, CHANNELS, *shape, generator=generator) for name, shape in shapes.items()}


def boxes_of(count: int, seed: int) -> Tensor:
    """Return boxes of all sizes; some reach over the canvas, some are thinner than a cell."""
    generator = torch.Generator().manual_seed(seed)
    middles = torch.rand(count, 2, generator=generator) * torch.tensor([CANVAS[1], CANVAS[0]])
    sizes = torch.rand(count, 2, generator=generator) ** 3 * 150
    return torch.cat([middles - sizes / 2, middles + sizes / 2], dim=1)


@pytest.mark.parametrize("depths", [(2, 3, 4, 5), (3,)])
@pytest.mark.parametrize("cells", [7, 14])
def test_cells_are_torchvisions(depths: tuple[int, ...], cells: int) -> None:
    maps, boxes = maps_of(depths, 3), [boxes_of(200, 1), boxes_of(0, 2), boxes_of(57, 3)]
    pool = RegionPool(pyramid_of(*depths), cells)
    usual = MultiScaleRoIAlign(list(maps), cells, 2)
    usual.scales, usual.map_levels = pool.scales, pool.map_levels
    expected = usual(maps, boxes, [CANVAS] * 3)
    with torch.no_grad():
        found = pool.eval()(maps, boxes, [CANVAS] * 3)
        assert pool(maps, [boxes_of(0, 1)] * 3, [CANVAS] * 3).shape == (0, CHANNELS, cells, cells)
    assert found.shape == (257, CHANNELS, cells, cells)
    # where a point falls on the edge of a cell, rounding may put it on either side, which changes next to nothing
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_training_has_torchvisions_own_gradients() -> None:
    maps = {name: each.requires_grad_() for name, each in maps_of((2, 3), 1).items()}
    pool = RegionPool(pyramid_of(2, 3), 7).eval()
    pool(maps, [boxes_of(20, 1)], [CANVAS]).sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in maps.values())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_known_of_regions_is_torchvisions(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    head, regions = RegionHead(CHANNELS * 49, 32), torch.randn(40, CHANNELS, 7, 7).to(memory_format=layout)
    usual = TwoMLPHead(CHANNELS * 49, 32)
    usual.load_state_dict(head.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(head(regions), usual(regions))
    head(regions).sum().backward()
    assert head.fc6.weight.grad is not None


def test_what_proposals_come_from_is_float32() -> None:
    head = ProposalHead(CHANNELS, 3)
    maps = list(maps_of((3, 4), 2).values())
    with torch.no_grad():
        exact = head(maps)
        with torch.autocast("cpu", torch.bfloat16):
            rounded = head(maps)
    for wanted, found in zip([*exact[0], *exact[1]], [*rounded[0], *rounded[1]], strict=True):
        assert found.dtype == torch.float32
        assert not torch.equal(found, wanted)
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=0.05 * float(wanted.abs().max()))
