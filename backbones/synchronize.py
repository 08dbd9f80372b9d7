"""Batch norms whose statistics are those of all processes' samples."""

from torch import nn

from .lora import HOOKS


def synchronize_norms(network: nn.Module) -> nn.Module:
    """Return a network whose batch norms synchronise their statistics; names, values and hooks stay as they are.

    By timm's conversion, because torch's would take the activation out of timm's norms with one. Frozen norms are in
    evaluation mode and exchange nothing. torch can do it on GPUs only.

    Args:
        network: Changed in place, but for itself being a batch norm.
    """
    from timm.layers import convert_sync_batchnorm

    before = dict(network.named_modules())
    converted: nn.Module = convert_sync_batchnorm(network)
    for path, module in converted.named_modules():
        if before.get(path) not in (None, module):
            vars(module).update({name: getattr(before[path], name) for name in HOOKS})
    return converted
