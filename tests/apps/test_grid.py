"""Maps as sequences of cells."""

import pytest
import torch
from onetrunk.apps.grid import Grid, cell_counts, mean_cell
from onetrunk.datasets import Context

SIZES = torch.tensor([[64, 96], [33, 32]])
CONTEXT = Context((64, 96), SIZES, SIZES)


def maps() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "c4": torch.randn(2, 8, 4, 6, generator=generator),
        "c5": torch.randn(2, 16, 2, 3, generator=generator) * 500,
        "embedding": torch.randn(2, 10, generator=generator),
    }


def make(*levels: str) -> Grid:
    torch.manual_seed(0)
    return Grid(levels, [maps()[level].shape[1] for level in levels], 12)


def test_cells_of_all_levels_stand_in_a_row() -> None:
    cells = make("c4", "c5")(maps(), CONTEXT)
    assert cells.values.shape == (2, 24 + 6, 12)
    assert cells.is_picture.shape == (2, 30)
    assert cell_counts(maps(), ["c4", "c5"]) == [(4, 6), (2, 3)]
    assert torch.equal(cells.values[:, 24:], make_second(cells.values.shape[2])(maps(), CONTEXT).values)


def make_second(width: int) -> Grid:
    """The grid of c5 alone, with the weights that it has beside c4."""
    both, alone = make("c4", "c5"), Grid(["c5"], [16], width)
    alone.norms[0], alone.projections[0] = both.norms[1], both.projections[1]
    return alone


def test_a_cell_is_picture_if_any_of_it_is() -> None:
    shown = make("c4")(maps(), CONTEXT).is_picture.reshape(2, 4, 6)
    assert shown[0].all()
    # 33 rows reach into the third of 16, 32 columns end with the second
    assert shown[1].int().tolist() == [[1, 1, 0, 0, 0, 0]] * 3 + [[0] * 6]


def test_padding_comes_out_as_zeros_whatever_lies_there() -> None:
    grid = make("c4", "c5").eval()
    before, after = maps(), maps()
    after["c4"][1, :, 3:] = float("nan")
    after["c5"][1, :, :, 1:] = float("inf")
    first, second = grid(before, CONTEXT), grid(after, CONTEXT)
    assert torch.equal(first.values, second.values)
    assert not first.values[~first.is_picture].any()
    assert torch.equal(mean_cell(first), mean_cell(second))


def test_the_mean_is_of_the_picture_alone() -> None:
    cells = make("c4")(maps(), CONTEXT)
    assert torch.allclose(mean_cell(cells)[1], cells.values[1][cells.is_picture[1]].mean(dim=0), atol=1e-6)


def test_equal_cells_differ_by_where_they_lie() -> None:
    same = {"c4": torch.ones(2, 8, 4, 6)}
    cells = make("c4")(same, Context((64, 96), SIZES[:1].repeat(2, 1), SIZES)).values[0]
    apart = torch.cdist(cells, cells) + torch.eye(24) * 9
    assert apart.min() > 0.1


def test_the_size_of_a_trunk_s_numbers_does_not_matter() -> None:
    grid = make("c5")
    small = grid({"c5": maps()["c5"]}, CONTEXT).values
    large = grid({"c5": maps()["c5"] * 1000}, CONTEXT).values
    assert torch.allclose(small, large, atol=1e-4)


def test_a_vector_is_one_cell() -> None:
    cells = make("embedding")(maps(), CONTEXT)
    assert cells.values.shape == (2, 1, 12)
    assert cells.is_picture.all()
    assert cell_counts(maps(), ["embedding"]) == [(1, 1)]


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_values_are_dropped_in_training_only(rate: float) -> None:
    grid = Grid(["c5"], [16], 12, dropout=rate)
    grid.train()
    dropped = (grid(maps(), CONTEXT).values[0] == 0).float().mean()
    assert (dropped > 0.2) == (rate > 0)
    grid.eval()
    assert torch.equal(grid(maps(), CONTEXT).values, grid(maps(), CONTEXT).values)
