"""LoRA (Hu et al., 2021) by ``peft`` on convolutions and linear layers: putting it in, folding it in, taking it out.

peft replaces a layer with a wrapper that holds it as ``base_layer``. Two things are mended here: the wrapper has none
of the layer's hooks, and peft builds the low-rank convolution without the layer's dilation (seen in 0.21).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from .errors import UserError

ADAPTER = "default"
HOOKS = (
    *("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    *("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks"),
    "_is_full_backward_hook",
)


def adapted_layers(network: nn.Module) -> dict[str, Any]:
    """Return peft's wrappers by the paths of the layers they stand for."""
    return {path: module for path, module in network.named_modules() if "lora_A" in module._modules}


def adaptable_layers(network: nn.Module, called: Collection[str]) -> list[str]:
    """Return the paths of the layers that LoRA can adapt, adapted or not.

    These are the called ``nn.Linear`` and ``nn.Conv2d`` with one group. peft can't fold grouped convolutions (0.21),
    and a weight that is used without calling its module never meets an adapter (``qkv`` of BEiT and Swin V2).

    Args:
        network: With or without adapters.
        called: Paths of the modules that a pass calls.

    Raises:
        UserError: A layer does something to its weight first, such as the weight standardisation of NFNets.
    """
    wrappers = adapted_layers(network)
    inside = tuple(f"{path}." for path in wrappers)
    layers = {
        path: wrappers[path].base_layer if path in wrappers else module
        for path, module in network.named_modules()
        if path in called and not path.startswith(inside)
    }
    found, foldable = {path: layer for path, layer in layers.items() if _is_dense(layer)}, _foldable_types()
    for path, layer in found.items():
        if type(layer) not in foldable:
            raise UserError(
                f"LoRA can't be folded into '{path}': a {type(layer).__name__} changes its weight before it is used."
                " Tune 'norm' or 'full' instead, or take another network."
            )
    return list(found)


def _foldable_types() -> tuple[type[nn.Module], ...]:
    """Return the layers that are linear in their weight, so that what is added to the output can be folded into it."""
    from timm.layers import Conv2dSame
    from timm.layers import Linear as TimmLinear

    return (nn.Conv2d, Conv2dSame, nn.Linear, TimmLinear)


def _is_dense(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def adapt(network: nn.Module, paths: Collection[str], *, rank: int, alpha: float) -> list[nn.Parameter]:
    """Have adapters on the layers at ``paths``, and return their parameters.

    New ones change nothing yet: their first factor comes from torch's global generator, the second is zero. Adapters on
    other layers are taken out if they change nothing; trained ones stay as they are.
    """
    present = adapted_layers(network)
    _unwrap(network, [path for path, layer in present.items() if path not in paths and is_idle(layer)])
    missing = [path for path in paths if path not in present]
    if missing:
        _wrap(network, missing, rank=rank, alpha=alpha)
    wrappers = adapted_layers(network)
    return [parameter for path in paths for parameter in adapter_parameters(wrappers[path])]


def _wrap(network: nn.Module, paths: list[str], *, rank: int, alpha: float) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    layers = {path: network.get_submodule(path) for path in paths}
    # an expression, because a list of names also matches every path that ends like one of them
    pattern = "|".join(re.escape(path) for path in paths)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern), network, ADAPTER)  # type: ignore[arg-type]
    del network.peft_config
    for path, layer in layers.items():
        wrapper: Any = network.get_submodule(path)
        _move_hooks(layer, wrapper)
        if isinstance(layer, nn.Conv2d):
            reading = wrapper.lora_A[ADAPTER]
            reading.dilation, reading.padding_mode = layer.dilation, layer.padding_mode
            reading._reversed_padding_repeated_twice = layer._reversed_padding_repeated_twice


def _unwrap(network: nn.Module, paths: Iterable[str]) -> None:
    """Put the layers at ``paths`` back into the places of their wrappers."""
    for path in paths:
        wrapper: Any = network.get_submodule(path)
        _move_hooks(wrapper, wrapper.base_layer)
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, wrapper.base_layer)


def _move_hooks(source: nn.Module, target: nn.Module) -> None:
    # the dicts change places whole: handles refer to them
    for name in HOOKS:
        hooks = getattr(source, name)
        setattr(source, name, getattr(target, name))
        setattr(target, name, hooks)


def is_idle(wrapper: Any) -> bool:
    """Return whether an adapter changes nothing: its second factor is still zero."""
    return not bool(wrapper.lora_B[ADAPTER].weight.any())


def discard(network: nn.Module) -> None:
    """Take out all adapters, none of which may have been trained."""
    _unwrap(network, list(adapted_layers(network)))


def fold(network: nn.Module) -> None:
    """Add all adapters to the weights of their layers, and bring back the layers."""
    wrappers = adapted_layers(network)
    for wrapper in wrappers.values():
        wrapper.merge()
    _unwrap(network, list(wrappers))


def adapter_parameters(wrapper: Any) -> list[nn.Parameter]:
    """Return the two factors of an adapter."""
    return [wrapper.lora_A[ADAPTER].weight, wrapper.lora_B[ADAPTER].weight]


def parameters_with_adapters(network: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Return the parameters of these names; behind a weight stand the factors of its layer's adapter."""
    adapters = {f"{path}.weight": adapter_parameters(layer) for path, layer in adapted_layers(network).items()}
    # peft's wrapper answers for the weight and bias of the layer it holds, so that their names still lead there
    return [each for name in names for each in (network.get_parameter(name), *adapters.get(name, ()))]


def original_state(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the state under the names it has without adapters, and the state of the adapters.

    The tensors are the live ones, ``requires_grad`` included.
    """
    state: Mapping[str, Tensor] = network.state_dict(keep_vars=True)
    names = {
        f"{path}.base_layer.{rest}": f"{path}.{rest}"
        for path, wrapper in adapted_layers(network).items()
        for rest in wrapper.base_layer.state_dict()
    }
    own = {id(parameter) for each in adapted_layers(network).values() for parameter in adapter_parameters(each)}
    original = {names.get(key, key): tensor for key, tensor in state.items() if id(tensor) not in own}
    return original, {key: tensor for key, tensor in state.items() if id(tensor) in own}
