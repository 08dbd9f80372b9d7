"""The commands of ``onetrunk backbones``: ``list`` is here, ``support`` in its own file."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..cli import Command
from .support import SupportOptions, support

if TYPE_CHECKING:
    from ...backbones import BackboneDescription


@dataclass(kw_only=True)
class ListOptions:
    """List the trunks."""

    names: list[str] | None = None
    """Only these, each in full; timm/NAME too."""
    json: bool = False
    """Print JSON for scripts instead of a table."""


def list_backbones(options: ListOptions) -> None:
    """Print each trunk's size, levels, weight sets with published accuracy, and what is at hand offline."""
    from ...backbones import describe, list_rows

    rows = [describe(name) for name in options.names] if options.names else list_rows()
    if options.json:
        print(json.dumps([_plain(row) for row in rows], indent=1))
    elif options.names:
        print("\n\n".join(_in_full(row) for row in rows))
    else:
        _print_table(rows)


def _print_table(rows: list["BackboneDescription"]) -> None:
    from rich.table import Table

    from ..console import wide_console

    table = Table("name", "depth", "weights: top-1/top-5 %", "levels: channels/stride")
    for heading in ("M param.", "GMACs"):
        table.add_column(heading, justify="right")
    table.add_column("offline")
    for row in rows:
        table.add_row(
            row.name,
            str(row.depth),
            "\n".join(_weight_line(each) for each in row.weight_sets) or "none published",
            _levels(row),
            f"{row.parameters / 1e6:.2f}",
            f"{row.gmacs:.2f}",
            ", ".join(row.offline_weights) or "-",
        )
    wide_console().print(table)
    print(
        "GMACs at the weights' own image size. `*` after a level: its map isn't exactly canvas/stride cells.\n"
        "Any network of timm: --backbone timm/NAME. In full: onetrunk backbones list --names vgg16 timm/convnext_tiny"
    )


def _levels(row: "BackboneDescription") -> str:
    levels = [f"{name} {spec.channels}/{spec.stride}{'' if spec.is_exact else '*'}" for name, spec in row.specs.items()]
    return "  ".join([*levels, f"embedding {row.embedding_dim}"])


def _weight_line(weights: Any) -> str:
    published = f": {weights.top1:.2f}/{weights.top5:.2f}" if weights.top1 and weights.top5 else ""
    return f"{weights.name}{published}"


def _in_full(row: "BackboneDescription") -> str:
    sets = [f"    {_weight_line(each)}{' (at hand)' if each.is_local else ''}  {each.url}" for each in row.weight_sets]
    height, width = row.image_size
    return "\n".join(
        [
            f"{row.name}: {row.about}" if row.about else row.name,
            f"  {row.parameters:,} parameters, {row.gmacs:.2f} GMACs at {height}x{width}, depth {row.depth}",
            f"  levels (channels/stride): {_levels(row)}",
            f"  logits: {row.num_logits}",
            "  weights:",
            *(sets or ["    none published"]),
        ]
    )


def _plain(row: "BackboneDescription") -> dict[str, Any]:
    sets = [
        {"name": each.name, "top1": each.top1, "top5": each.top5, "url": each.url, "is_local": each.is_local}
        for each in row.weight_sets
    ]
    return {
        "name": row.name,
        "about": row.about,
        "parameters": row.parameters,
        "gmacs": row.gmacs,
        "depth": row.depth,
        "image_size": list(row.image_size),
        "levels": {name: asdict(spec) for name, spec in row.specs.items()},
        "embedding_dim": row.embedding_dim,
        "num_logits": row.num_logits,
        "weights": sets,
    }


COMMANDS = {
    "list": Command(list_backbones, ListOptions, "print the trunks, their levels and their weights"),
    "support": Command(support, SupportOptions, "print which heads go with which trunks, and why not"),
}
