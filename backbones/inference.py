"""The inference form of a trunk: norms folded into the layers before them, activations in place, channels-last."""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .base import Backbone
from .chain import Chain
from .recompute import BufferGuard

# Exactly these classes of torch and timm: a subclass may do something to its weight or output, as a parametrized layer
# does. By name, because importing timm takes a second that most trunks needn't spend.
LAYERS = frozenset({"Conv1d", "Conv2d", "Conv2dSame", "Linear"})
NORMS = frozenset({"BatchNorm1d", "BatchNorm2d", "SyncBatchNorm", "BatchNormAct2d", "SyncBatchNormAct"})
HOMES = ("torch.nn.", "timm.layers.")
TOLERANCE = 1e-4
SMALL_SIDE = 64


def inference_copy(backbone: Backbone, *, folds: bool = True) -> Backbone:
    """Return a copy of a trunk that gives the same levels faster, and can't be trained.

    It is in evaluation mode and frozen, LoRA updates are merged, and weights lie in the channels-last memory format.
    Each batch norm that alone reads what a convolution or linear layer gives is folded into that layer, which is exact
    but for rounding; it leaves an ``nn.Identity`` in its place, or its activation. Activations overwrite what they
    read, which saves most of what memory costs a small network. Both are checked on a random picture: where a level
    differs by more than ``TOLERANCE`` of its largest value, activations stay as they were, or nothing is folded either.

    Levels, facts and preprocessing stay. The fingerprint is another: ask the original.

    Args:
        backbone: On any device but ``meta``; it stays as it is.
        folds: Whether norms are folded; without, only activations change.
    """
    with torch.no_grad():
        folded = _plain_copy(backbone)
        images = _random_picture(folded)
        watch = _Watch()
        with watch.watching(folded.network):
            levels = _run(folded, images)
        for norm, layer in watch.pairs(levels).items() if folds else ():
            _fold(folded.network, layer, norm)
        for is_in_place in (True, False):
            _overwrite(folded.network, is_in_place)
            if _keeps(folded, images, levels):
                return folded
        return _plain_copy(backbone)


def count_norms(network: nn.Module) -> int:
    """Return the number of batch norms that a pass still computes."""
    return sum(isinstance(module, _BatchNorm) for module in network.modules())


def narrow_weights(network: nn.Module) -> None:
    """Keep the weights of convolutions and linear layers in bfloat16, for passes under ``torch.autocast``.

    Autocast would round them in every pass, and the same way, but for filters that read one channel, as those of a
    depthwise convolution do: these are rounded so that they keep their sum. Neighbouring pixels are much alike, so that
    such a filter's answer is mostly its sum, and in so few weights rounding doesn't average out. EfficientNet-Lite0's
    embedding of a picture has a cosine of 0.9996 with that in float32 then, instead of 0.9990. What autocast leaves in
    float32, such as norms and position embeddings, stays float32.
    """
    for module in network.modules():
        if _is_one_of(module, LAYERS):
            weight = module.weight
            assert isinstance(weight, Tensor)
            if weight.dim() > 2 and weight.shape[1] == 1:
                weight.data.copy_(_rounded_filters(weight.detach()))
            module.to(torch.bfloat16)


def _rounded_filters(weight: Tensor) -> Tensor:
    """Return filters, ``[C_out, 1, ...]``, with values that bfloat16 has: each makes up for the rounding before it."""
    error, rounded = torch.zeros(len(weight), device=weight.device), []
    for values in weight.flatten(1).unbind(1):
        wanted = values + error
        rounded.append(wanted.bfloat16().float())
        error = wanted - rounded[-1]
    return torch.stack(rounded, 1).reshape(weight.shape)


def _plain_copy(backbone: Backbone) -> Backbone:
    """Return a copy in evaluation mode, channels-last and frozen, whose layers are the network's own."""
    plain = copy.deepcopy(backbone)
    plain.merge()
    plain.tune("full")
    plain.freeze("all")
    if plain._recomputes:
        plain._recomputes = False
        plain.flow = plain.flow.recomputing(plain.network, False)
    for parameter in plain.parameters():
        parameter.grad = None
    plain.to(memory_format=torch.channels_last)
    return plain.eval()


def _random_picture(backbone: Backbone) -> Tensor:
    """Return a picture for the check: small, where the network is known to take small ones."""
    height, width = backbone.facts.image_size
    if isinstance(backbone.flow, Chain) and not backbone.facts.is_fixed_size:
        side = max(SMALL_SIDE, backbone.facts.min_size)
        height, width = min(height, side), min(width, side)
    picture = torch.randn(1, backbone.in_channels, height, width, generator=torch.Generator().manual_seed(0))
    device = next(backbone.parameters(), picture).device
    return picture.to(device).contiguous(memory_format=torch.channels_last)


def _run(backbone: Backbone, images: Tensor) -> dict[str, Tensor]:
    with torch.autocast(images.device.type, enabled=False):
        return backbone(images)  # type: ignore[no-any-return]


def _keeps(backbone: Backbone, images: Tensor, levels: Mapping[str, Tensor]) -> bool:
    """Return whether the trunk still gives these levels, up to rounding."""
    try:
        found = _run(backbone, images)
    except (AttributeError, RuntimeError, TypeError, ValueError):  # the network asks for what was folded away
        return False
    return all(
        float((found[name] - level).abs().max()) <= TOLERANCE * float(level.abs().max())
        for name, level in levels.items()
    )


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Finds the batch norms that a pass feeds with the output of one layer, which nothing else reads.

    The modules' hooks tell which layer an output is of and which norm is given it, and the operations that run outside
    of norms tell what else reads it: a shortcut, a tap, a view.
    """

    def __init__(self) -> None:
        """Have seen nothing yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._outputs: dict[int, str] = {}
        self._kept: list[Tensor] = []  # while a tensor is kept, no other gets its identity
        self._calls: Counter[str] = Counter()
        self._read_elsewhere: set[str] = set()
        self._inputs: dict[str, str] = {}
        self._is_in_norm = False

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note the outputs that an operation outside of norms reads."""
        if not self._is_in_norm:
            read = (self._outputs.get(id(leaf)) for leaf in tree_leaves((args, kwargs)))
            self._read_elsewhere.update(layer for layer in read if layer is not None)
        return func(*args, **(kwargs or {}))

    @contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Watch the passes of a network meanwhile."""
        handles = []
        for path, module in network.named_modules():
            if not path or not _is_alone(module):
                continue
            if _is_one_of(module, LAYERS):
                handles.append(module.register_forward_hook(partial(self._leave_layer, path)))
            elif _is_one_of(module, NORMS) and module.running_mean is not None:
                handles.append(module.register_forward_pre_hook(partial(self._enter_norm, path)))
                handles.append(module.register_forward_hook(self._leave_norm))
        try:
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def pairs(self, levels: Mapping[str, Tensor]) -> dict[str, str]:
        """Return of each norm that can be folded the layer that takes it up, by their paths.

        Args:
            levels: What the pass returned: an output that is a level has another reader.
        """
        spoiled = self._read_elsewhere | {self._outputs.get(id(level), "") for level in levels.values()}
        norms = Counter(self._inputs.values())
        return {
            norm: layer
            for norm, layer in self._inputs.items()
            if layer not in spoiled and norms[layer] == self._calls[layer] == self._calls[norm] == 1
        }

    def _leave_layer(self, path: str, module: nn.Module, args: Any, output: Tensor) -> None:
        self._calls[path] += 1
        self._kept.append(output)
        if not isinstance(module, nn.Linear) or output.ndim == 2:  # else the norm's channels are other than the layer's
            self._outputs[id(output)] = path

    def _enter_norm(self, path: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._calls[path] += 1
        self._is_in_norm = True
        layer = self._outputs.get(id(args[0])) if args else None
        if layer is not None:
            self._inputs[path] = layer

    def _leave_norm(self, module: nn.Module, args: Any, output: Any) -> None:
        self._is_in_norm = False


def _is_one_of(module: nn.Module, names: frozenset[str]) -> bool:
    kind = type(module)
    return kind.__name__ in names and kind.__module__.startswith(HOMES)


def _is_alone(module: nn.Module) -> bool:
    """Return whether no hook is called with the module, such as a tap, but for guards of buffers."""
    hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
    return all(isinstance(getattr(hook, "__self__", None), BufferGuard) for hook in hooks)


def _fold(network: nn.Module, layer_path: str, norm_path: str) -> None:
    """Give a layer the weights that do what the norm behind it does, and take the norm out."""
    layer: Any = network.get_submodule(layer_path)
    norm: Any = network.get_submodule(norm_path)
    mean, variance = _wide(norm.running_mean), _wide(norm.running_var)
    gain = torch.ones_like(mean) if norm.weight is None else _wide(norm.weight)
    shift = torch.zeros_like(mean) if norm.bias is None else _wide(norm.bias)
    bias = torch.zeros_like(mean) if layer.bias is None else _wide(layer.bias)
    scale = gain / torch.sqrt(variance + norm.eps)
    weight = _wide(layer.weight) * scale.view(-1, *(1,) * (layer.weight.ndim - 1))
    layer.weight = nn.Parameter(torch.empty_like(layer.weight).copy_(weight), requires_grad=False)
    shifted = (bias - mean) * scale + shift
    layer.bias = nn.Parameter(torch.empty_like(norm.running_mean).copy_(shifted), requires_grad=False)
    parent, _, name = norm_path.rpartition(".")
    setattr(network.get_submodule(parent), name, _without_norm(norm))


def _overwrite(network: nn.Module, is_in_place: bool) -> None:
    """Let activations write into what they read, or not."""
    for module in network.modules():
        if type(module).__module__.startswith(HOMES) and isinstance(getattr(module, "inplace", None), bool):
            module.inplace = is_in_place  # type: ignore[assignment]


def _wide(values: Tensor) -> Tensor:
    return values.to("cpu", torch.float64)  # not every device has it


def _without_norm(norm: nn.Module) -> nn.Module:
    """Return what a norm does besides: nothing, or the dropout and activation of timm's norms under their names."""
    rest = nn.Sequential()
    for name, module in norm.named_children():
        rest.add_module(name, module)
    return rest if len(rest) else nn.Identity()
