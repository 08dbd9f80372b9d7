"""Masks of detections and objects in pixels of the file, as COCO's compressed run lengths."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask as coco
from torch import Tensor
from torchvision.models.detection.roi_heads import paste_masks_in_image

Code = dict[str, Any]
"""``size``, height and width, and ``counts``, text: what COCO files call a ``segmentation``."""

#: What a pixel has to be at least to belong to the object (He 2017, section 3.1, "Inference").
_THRESHOLD = 0.5


def paste_masks(masks: Tensor, boxes: Tensor, size: tuple[int, int]) -> list[Code]:
    """Return what of a picture belongs to each detection.

    Args:
        masks: float32 ``[N, m, m]``: how likely each cell of a box belongs to the object.
        boxes: float32 ``[N, 4]``, ``xyxy`` in pixels of the picture.
        size: Its height and width.
    """
    # one after the other: a hundred masks of a large picture would be a gigabyte
    return [
        encode_masks(paste_masks_in_image(mask[None, None], box[None], size)[0] > _THRESHOLD)[0]
        for mask, box in zip(masks, boxes, strict=True)
    ]


def encode_masks(masks: Tensor) -> list[Code]:
    """Return the codes of masks, ``[N, H, W]``, whatever isn't 0 being inside."""
    if not len(masks):
        return []
    columns = np.asfortranarray((masks != 0).permute(1, 2, 0).to(torch.uint8).cpu().numpy())
    return [{"size": list(map(int, each["size"])), "counts": each["counts"].decode()} for each in coco.encode(columns)]


def decode_masks(codes: Sequence[Code]) -> NDArray[np.uint8]:
    """Return masks of 0 and 1, ``[N, H, W]``, of at least one code."""
    masks: NDArray[np.uint8] = coco.decode(list(codes)).transpose(2, 0, 1)
    return masks


def mask_areas(codes: Sequence[Code]) -> NDArray[np.float64]:
    """Return how many pixels each mask has, ``[N]``."""
    return np.array([coco.area(code) for code in codes], dtype=np.float64)


def mask_overlap(found: Sequence[Code], truths: Sequence[Code], is_crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return intersection over union, ``[D, M]``, or for crowds over the area of the detection."""
    if not found or not truths:
        return np.zeros((len(found), len(truths)))
    overlaps: NDArray[np.float64] = coco.iou(list(found), list(truths), is_crowd.astype(np.uint8))
    return overlaps


def pack_codes(codes: Sequence[Code], size: tuple[int, int]) -> bytes:
    """Return the codes of a picture as one text, which an array holds."""
    return "\n".join([f"{size[0]} {size[1]}", *(code["counts"] for code in codes)]).encode()


def unpack_codes(packed: bytes) -> list[Code]:
    """Return the codes of a picture."""
    first, *counts = packed.decode().split("\n")
    return [{"size": [int(side) for side in first.split()], "counts": each} for each in counts]
