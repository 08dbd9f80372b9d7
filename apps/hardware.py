"""Which device and which precision a network runs in, chosen once a run."""

import os
import resource
import sys
from typing import Literal

import torch
from torch import nn

from ..backbones.errors import UserError


def choose_device(device: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``mps``, where fp32 then is fp32.

    A GPU's convolutions in fp32 otherwise round to the 10 bits of tf32, and their figures depend on the batch size in
    the third digit; who wants speed has bf16.

    Raises:
        UserError: If the machine lacks the one that was asked for.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        device = next(name for name, is_there in available.items() if is_there)
    if not available[device]:
        raise UserError(f"--device {device}: this machine has none that torch can use. Try: --device cpu")
    if device == "cuda":
        torch.backends.cudnn.allow_tf32 = False
    return torch.device(device)


Precision = Literal["auto", "fp32", "bf16"]


def choose_precision(precision: Precision, device: torch.device, network: nn.Module) -> Precision:
    """Return ``"fp32"`` or ``"bf16"`` for ``auto``; anything else as it is.

    A rule for training. On a CPU with bf16 matrix instructions ResNets and VGGs are two to three times faster in bf16,
    but depthwise convolutions have no bf16 kernels worth the name in the backward pass: a depthwise network trains
    faster in fp32. For inference ``fast_trunk.choose_trunk`` measures.
    """
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if has_bf16 and not is_depthwise(network) else "fp32"
    return "fp32"


def is_depthwise(network: nn.Module) -> bool:
    """Whether a convolution of the network has a filter for each single channel."""
    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    return any(conv.groups == conv.in_channels > 1 for conv in convolutions)


def choose_workers(workers: int | None) -> int:
    """Return the number of loader processes: a core each, at most 8, where it isn't given."""
    if workers is not None:
        return workers
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def peak_memory_mib(device: torch.device) -> float:
    """Return the most memory in use so far, in MiB: the GPU's allocations, or the process's resident size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
