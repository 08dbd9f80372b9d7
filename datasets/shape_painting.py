"""The pixels of a generated scene (``shape_scenes.py``): a textured ground, and shapes on it.

The ground's texture and colours are drawn without regard to the shapes, so that they tell nothing about them. Shapes
are brighter at one side than the other, their colours vary, and everything has noise and soft edges.
"""

import colorsys
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .shape_layout import SHAPE_COLORS, Layout

_NOISE = (0.05, 0.35)
"""Range of the noise as a share of that of a byte, before edges are softened; that halves it."""

_BLUR = (0.3, 0.7)
"""Of the edges, in pixels to each side of one in a picture of 160: what a lens and a sensor make of them."""

_SLOPE = 0.35
"""How much brighter or darker a shape is at one side of the picture than at the middle."""

_USUAL_SIZE = 160

Plane = NDArray[np.float32]


def paint(rng: np.random.Generator, layout: Layout) -> Image.Image:
    """Return the picture of a layout, in RGB."""
    size = len(layout.numbers)
    y, x = np.meshgrid(*[np.linspace(-0.5, 0.5, size, dtype=np.float32)] * 2, indexing="ij", sparse=True)
    first, second = _ground_color(rng), _ground_color(rng)
    texture = _texture(rng, x, y)
    canvas = np.empty((3, size, size), dtype=np.float32)  # NumPy is slow where the last dimension is one of 3
    for plane, start, stop in zip(canvas, first, second, strict=True):
        np.multiply(texture, stop - start, out=plane)
        np.add(plane, start, out=plane)
    for number, name in enumerate(layout.names, start=1):
        rows, columns = np.nonzero(layout.numbers == number)
        slopes = rng.uniform(-_SLOPE, _SLOPE, 2).astype(np.float32)
        light = 1 + slopes[0] * x[0, columns] + slopes[1] * y[rows, 0]
        canvas[:, rows, columns] = _shape_color(rng, name.color)[:, None] * light
    noise = rng.integers(0, 256, canvas.shape, dtype=np.uint8).astype(np.float32)
    noise -= np.float32(127.5)
    noise *= np.float32(rng.uniform(*_NOISE))
    canvas += noise
    pixels = np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)
    blur = ImageFilter.BoxBlur(float(rng.uniform(*_BLUR)) * size / _USUAL_SIZE)
    return Image.merge("RGB", [Image.fromarray(plane).filter(blur) for plane in pixels])


def _ground_color(rng: np.random.Generator) -> Plane:
    """Return any colour that isn't a strong one: those are the shapes'."""
    return _rgb(rng.uniform(0, 1), rng.uniform(0, 0.4), rng.uniform(0.15, 0.95))


def _shape_color(rng: np.random.Generator, name: str) -> Plane:
    hue, spread = SHAPE_COLORS[name]
    return _rgb((hue + rng.uniform(-spread, spread)) / 360 % 1, rng.uniform(0.72, 1), rng.uniform(0.6, 0.95))


def _rgb(hue: float, saturation: float, value: float) -> Plane:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), dtype=np.float32) * 255


def _texture(rng: np.random.Generator, x: Plane, y: Plane) -> Plane:
    """Return how much of the second colour each point of the ground has, 0 to 1: one of four textures."""
    angle = rng.uniform(0, 2 * math.pi)
    along = x * np.float32(math.cos(angle)) + y * np.float32(math.sin(angle))
    across = y * np.float32(math.cos(angle)) - x * np.float32(math.sin(angle))
    match int(rng.integers(4)):
        case 0:  # stripes
            wave = np.sin(along * np.float32(2 * math.pi * rng.uniform(3, 14)) + np.float32(rng.uniform(0, 6.28)))
            share = 0.5 + wave * np.float32(rng.uniform(0.5, 2))
        case 1:  # a gradient; the corners are 0.71 from the middle
            share = 0.5 + along * np.float32(0.71)
        case 2:  # checkers
            number = np.float32(rng.uniform(4, 12))
            shift = rng.uniform(0, 1, 2).astype(np.float32)
            share = np.mod(np.floor(along * number + shift[0]) + np.floor(across * number + shift[1]), 2)
        case _:  # clouds
            grain = int(rng.integers(4, 40))
            coarse = Image.fromarray(rng.random((grain, grain), dtype=np.float32))
            share = np.asarray(coarse.resize(along.shape, Image.Resampling.BICUBIC))
    return np.asarray(np.clip(share, 0, 1), dtype=np.float32)
