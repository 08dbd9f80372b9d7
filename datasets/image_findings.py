"""What a check says of the pictures of a data set: sizes, modes, formats, and what reading them does."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any, NamedTuple

from .findings import Finding, Severity, count
from .images import ImageFacts

SMALL_SIDE = 16
"""A side below this many pixels is hardly a picture: one cell of most trunks' last level is 32 pixels wide."""

ELONGATION = 5
"""A longer side of more than this times the shorter: a centre crop then shows less than a fifth of the picture."""

DARK = 16
"""The highest value, of 0..255, that 12-bit data in a 16-bit file can reach."""

_RULES = {
    "1": "black and white become 0 and 255",
    "LA": "transparency is laid over white",
    "PA": "transparency is laid over white",
    "RGBA": "transparency is laid over white",
    "P": "the palette's colours are taken, transparent ones as white",
    "CMYK": "converted by Pillow's formula, without the colour profile",
    "YCbCr": "converted by Pillow's formula",
    "LAB": "converted by Pillow's formula, without the colour profile",
    "HSV": "converted by Pillow's formula",
    "I": "0..65535 becomes 0..255, the same for every picture",
    "F": "0..1 becomes 0..255, the same for every picture",
}
"""How ``read_image`` reads the modes that aren't RGB or grey of 8 bits."""


Facts = Mapping[str, ImageFacts]
"""Of sound pictures, by the names of their images."""


class _Oddity(NamedTuple):
    severity: Severity
    kind: str
    applies: Callable[[ImageFacts], bool]
    what: str
    effect: str


_ODDITIES = (
    _Oddity(
        "warning",
        "small",
        lambda each: min(each.width, each.height) < SMALL_SIDE,
        f"a side of less than {SMALL_SIDE} pixels",
        "Little can be seen on such.",
    ),
    _Oddity(
        "warning",
        "elongated",
        lambda each: max(each.width, each.height) > ELONGATION * min(each.width, each.height),
        f"a side more than {ELONGATION} times as long as the other",
        "Filling the canvas cuts most of them off; --resize pad shows all.",
    ),
    _Oddity(
        "warning",
        "dark",
        lambda each: each.mode[0] in "IF" and each.highest <= DARK,
        "16 bits or floats and use the lowest sixteenth of the range only",
        "They become nearly black: rescale all of them alike.",
    ),
    _Oddity("info", "rotated", lambda each: each.is_reoriented, "an EXIF orientation", "They are read upright."),
    _Oddity(
        "info",
        "several_pictures",
        lambda each: each.has_more_pictures,
        "several frames or pages",
        "The first is read.",
    ),
)


def check_pictures(facts: Mapping[str, ImageFacts]) -> Iterable[Finding]:
    """Return findings on sound pictures, given by the names of their images."""
    yield from _odd_ones(facts)
    for mode, number in Counter(each.mode for each in facts.values()).most_common():
        rule = _RULES.get("I" if mode.startswith("I;16") else mode)
        files = tuple(name for name, each in facts.items() if rule and each.mode == mode)
        yield Finding("info", "mode", f"{count(number, 'image')} of mode {mode}{f': {rule}' if rule else ''}.", files)
    if facts:
        formats = Counter(each.format for each in facts.values()).most_common()
        listing = ", ".join(f"{number:,} {name}" for name, number in formats)
        yield Finding("info", "format", f"Formats: {listing}.")
        yield Finding("info", "size", f"Pixels: {_spread('width', facts)}, {_spread('height', facts)}.")


def count_pictures(facts: Mapping[str, ImageFacts]) -> dict[str, Any]:
    """Return the numbers of formats and modes, and the spread of widths and heights in pixels."""
    counts: dict[str, Any] = {
        "formats": dict(Counter(each.format for each in facts.values()).most_common()),
        "modes": dict(Counter(each.mode for each in facts.values()).most_common()),
    }
    for side in ("width", "height"):
        sizes = [getattr(each, side) for each in facts.values()]
        counts[side] = {"min": min(sizes), "median": median(sizes), "max": max(sizes)} if sizes else {}
    return counts


def _spread(side: str, facts: Mapping[str, ImageFacts]) -> str:
    spread = count_pictures(facts)[side]
    return f"{side} {spread['min']:,} to {spread['max']:,} (median {spread['median']:,.0f})"


def _odd_ones(facts: Mapping[str, ImageFacts]) -> Iterable[Finding]:
    for oddity in _ODDITIES:
        files = tuple(name for name, each in facts.items() if oddity.applies(each))
        if files:
            message = f"{count(len(files), 'image has', 'images have')} {oddity.what}, e.g. {files[0]}. {oddity.effect}"
            yield Finding(oddity.severity, oddity.kind, message, files)
