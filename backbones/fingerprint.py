"""A hash that tells whether a network's values are the same."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over the sorted names, shapes and values of a state dict.

    Values are hashed as float32 (counters as int64) in row-major order, and the prefix that ``torch.compile`` puts into
    names is removed: memory format, compilation and device do not change the result. A bfloat16 copy has other values,
    so take the fingerprint of the float32 state.
    """
    digest = hashlib.sha256()
    tensors = {name.replace("_orig_mod.", ""): tensor for name, tensor in state.items()}
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        wide = tensor.to("cpu", torch.float32 if tensor.is_floating_point() else torch.int64).contiguous()
        digest.update(f"{name}:{list(wide.shape)}:".encode())
        digest.update(wide.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
