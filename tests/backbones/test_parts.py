"""Parts are found by what an output depends on, not by what is called."""

import torch
from onetrunk.backbones.parts import Part, measure_parts
from torch import nn
from torch.nn import functional


class Network(nn.Module):
    """Two levels; everything is used in an odd way."""

    def __init__(self):
        super().__init__()
        self.early = nn.Parameter(torch.zeros(4))
        self.late = nn.Parameter(torch.zeros(4), requires_grad=False)
        self.unused = nn.Parameter(torch.zeros(4))
        self.stages = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.by_hand = nn.Linear(4, 4)
        self.statistics = nn.BatchNorm1d(4, affine=False)
        self.dropout = nn.Dropout(0.5)
        self.block = nn.Sequential(nn.Linear(4, 4))

    def first(self, values):
        values = self.stages[0](values + self.early)
        values = functional.linear(values, self.by_hand.weight)
        self.stages[1](values)  # called, and yet the output does not depend on it
        return self.statistics(values)

    def second(self, values):
        values = self.dropout(self.stages[1](self.first(values))) + self.late
        return self.block(values) + functional.linear(values, self.by_hand.weight, self.by_hand.bias)


def test_parameters_and_modules_of_each_level():
    with torch.device("meta"):
        network, values = Network(), torch.empty(1, 4)
    parts = measure_parts(
        network,
        {"c1": lambda: network.first(values), "c2": lambda: network.second(values), "embedding": lambda: values * 1},
    )
    first = ["early", "unused", "stages.0.weight", "stages.0.bias", "by_hand.weight"]
    second = ["late", "stages.1.weight", "stages.1.bias", "by_hand.bias", "block.0.weight", "block.0.bias"]
    assert sorted(parts["c1"].parameters) == sorted(first)
    assert sorted(parts["c2"].parameters) == sorted(second)
    assert set(parts["c1"].modules) == {"stages", "stages.0", "by_hand", "statistics"}
    assert set(parts["c2"].modules) == {"stages.1", "dropout", "block", "block.0"}
    assert parts["embedding"] == Part(modules=("",), parameters=())


def test_measuring_leaves_the_network_as_it_was():
    with torch.device("meta"):
        network, values = Network(), torch.empty(1, 4)
    measure_parts(network, {"c1": lambda: network.second(values)})
    assert not network.late.requires_grad
    assert network.early.requires_grad
    assert network.training
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_a_part_owns_what_its_modules_own():
    part = Part.of(Network(), ["stages", "stages.1", "dropout"])
    assert part == Part(("stages", "stages.1", "dropout"), ("stages.1.weight", "stages.1.bias"))
