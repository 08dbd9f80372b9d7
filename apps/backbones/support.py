"""The command ``onetrunk backbones support``: which head goes with which trunk."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ...backbones.errors import unknown
from ..detection.options import HEADS as DETECTORS
from ..detection.options import HeadName
from ..segmentation.names import DECODERS, DecoderName

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(kw_only=True)
class SupportOptions:
    """Tell which heads go with which trunks, and why not."""

    names: list[str] | None = None
    """Only these trunks; timm/NAME too."""
    heads: list[str] | None = None
    """Only these heads."""
    json: bool = False
    """Print JSON for scripts instead of a table."""


@dataclass(frozen=True)
class Verdict:
    """Whether a trunk carries a head.

    Attributes:
        how: ``yes``; ``dilated`` or ``resampled`` if ``c5`` comes to the head's stride that way; ``no``.
        reason: Why not, in full sentences.
    """

    how: str
    reason: str | None = None


Row = Mapping[str, Verdict]
_SEPARATOR = 3
"""Columns that a line and the spaces beside it take."""


def support(options: SupportOptions) -> None:
    """Print for each trunk and head whether they go together; nothing is downloaded and no values are made."""
    from ...backbones import backbone_names

    heads = list(dict.fromkeys(options.heads or HEADS))
    for head in heads:
        if head not in HEADS:
            raise unknown("head", head, HEADS)
    rows = {name: {head: HEADS[head](name) for head in heads} for name in options.names or backbone_names()}
    if options.json:
        print(json.dumps([_plain(name, row) for name, row in rows.items()], indent=1))
    else:
        _print_tables(rows, heads)


def _any_trunk(name: str) -> Verdict:
    """Every trunk gives an embedding or a map, and this head reads either."""
    from ...backbones.catalog import find_builder

    find_builder(name)
    return Verdict("yes")


def _map(head: str, instead: str, name: str) -> Verdict:
    """Heads that look around in a picture take any map; one is enough."""
    from ...backbones import find_specs

    channels = 1 if name == "lenet" else 3
    if find_specs(name, in_channels=channels):
        return Verdict("yes")
    return Verdict("no", f"{head} needs a map, and this trunk has none with a stride of 2**K. Take the head {instead}.")


def _dense(head: DecoderName, name: str) -> Verdict:
    from ...backbones.architecture import Options
    from ...backbones.assembly import measure_specs
    from ...backbones.catalog import find_builder
    from ..segmentation.requirements import OUTPUT_STRIDES, choose_output_stride, refusal, uses_dilation

    specs, _ = measure_specs(name, find_builder(name), Options())
    if reason := refusal(head, specs):
        return Verdict("no", reason)
    if not uses_dilation(head):
        return Verdict("yes")
    wanted = 16 if 16 in OUTPUT_STRIDES[head] else OUTPUT_STRIDES[head][0]
    return Verdict("dilated" if choose_output_stride(head, name, wanted) == wanted else "resampled")


def _detector(head: HeadName, name: str) -> Verdict:
    from ...backbones.architecture import Options
    from ...backbones.assembly import measure_specs
    from ...backbones.catalog import find_builder
    from ..detection.requirements import refusal

    specs, _ = measure_specs(name, find_builder(name), Options())
    reason = refusal(head, specs)
    return Verdict("no", reason) if reason else Verdict("yes")


HEADS: dict[str, Callable[[str], Verdict]] = {
    **dict.fromkeys(("linear", "mlp", "regression"), _any_trunk),
    "cam": partial(_map, "cam", "regression"),
    **{head: partial(_dense, head) for head in DECODERS},
    **{head: partial(_detector, head) for head in DETECTORS},
    "lstm": _any_trunk,
    "lstm_attention": partial(_map, "lstm_attention", "lstm"),
    "transformer": partial(_map, "transformer", "lstm"),
    "product": _any_trunk,
    "stacked_attention": partial(_map, "stacked_attention", "product"),
}
"""Of all apps, in the order of the columns; each takes the name of a trunk."""


def _print_tables(rows: Mapping[str, Row], heads: Sequence[str]) -> None:
    from ..console import wide_console

    console = wide_console()
    reasons = list(dict.fromkeys(verdict.reason for row in rows.values() for verdict in row.values() if verdict.reason))
    cells = {name: {head: _cell(row[head], reasons) for head in heads} for name, row in rows.items()}
    for part in _parts(cells, heads, console.width):
        console.print(_table(cells, part))
    for number, reason in enumerate(reasons, start=1):
        print(f"{number}: {reason}")
    print(
        "dilated, resampled: c5 comes to stride 16 without other weights, or is interpolated.\n"
        "linear, mlp: classification. regression, cam: localization. fcn32s to pan: segmentation.\n"
        "faster_rcnn, mask_rcnn, retinanet, fcos, ssd: detection. lstm, lstm_attention, transformer: captioning.\n"
        "product, stacked_attention: vqa.\n"
        "Any network of timm: onetrunk backbones support --names timm/NAME"
    )


def _cell(verdict: Verdict, reasons: Sequence[str | None]) -> str:
    return f"- {reasons.index(verdict.reason) + 1}" if verdict.reason else verdict.how


def _parts(cells: Mapping[str, Mapping[str, str]], heads: Sequence[str], width: int) -> Iterator[list[str]]:
    """Divide the columns among tables that aren't wider than ``width``, so that nothing is folded."""
    first = max(map(len, ["trunk", *cells])) + _SEPARATOR + 1
    part: list[str] = []
    used = first
    for head in heads:
        needed = max(map(len, [head, *(row[head] for row in cells.values())])) + _SEPARATOR
        if part and used + needed > width:
            yield part
            part, used = [], first
        part.append(head)
        used += needed
    yield part


def _table(cells: Mapping[str, Mapping[str, str]], heads: Sequence[str]) -> "Table":
    from rich.table import Table

    table = Table("trunk", *heads)
    for name, row in cells.items():
        table.add_row(name, *(row[head] for head in heads))
    return table


def _plain(name: str, row: Row) -> dict[str, Any]:
    heads = {head: {"how": verdict.how, "reason": verdict.reason} for head, verdict in row.items()}
    return {"name": name, "heads": heads}
