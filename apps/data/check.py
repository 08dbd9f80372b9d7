"""The command ``onetrunk data check``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...backbones.errors import UserError
from ..option_checks import check_range
from ..shell import quoted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ...datasets import Finding, Report

_SHOWN = 10
"""Findings of a kind, files of a finding, and classes at either end that are printed; the JSON file holds all."""

_STYLES = {"error": "bold red", "warning": "bold yellow", "info": "bold"}


@dataclass(kw_only=True)
class CheckOptions:
    """Look at a whole data set: labels, masks, boxes, objects or texts, every picture, duplicates."""

    data: str
    """The data set: a folder or a table."""
    kind: Literal["auto", "labels", "masks", "boxes", "objects", "captions", "questions"] = "auto"
    """What to look at besides the pictures: ``boxes`` for localization, of one object a picture, ``objects`` for
    detection, of any number, ``questions`` with their answers; ``auto``: what the folders, files or columns are those
    of, else labels. A folder in the VOC layout may hold labels, masks, boxes and objects, one of COCO captions too, a
    COCO superset any of these."""
    workers: int | None = None
    """Threads that decode pictures; unset: one for each core, at most 8."""
    output: str | None = None
    """A JSON file for the whole report."""
    overwrite: bool = False
    """Write over the file."""
    val_fraction: float = 0.2
    """As for training: the share of each class that validates, where the data set has no validation split."""
    split_seed: int = 0
    """As for training: seeds that split."""

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        check_range(self, "workers")
        check_range(self, "val_fraction", most=1)
        check_range(self, "split_seed", most=2**32 - 1)


def check_data_set(options: CheckOptions) -> Report:
    """Print what a check of a data set finds, write it where that was asked for, and return it.

    Raises:
        UserError: After the report, if there are errors in it; before, if the data set can't be opened at all or the
            file is there.
    """
    from ...datasets import KINDS, DataError, check_dataset, guess_kind
    from ...datasets.findings import count
    from ..hardware import choose_workers
    from ..run_folder import replace_json

    output = _output_file(options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata in pictures that it reads all the same
        kind = guess_kind(options.data) if options.kind == "auto" else options.kind
        try:
            report = check_dataset(
                options.data,
                kind=kind,
                split_seed=options.split_seed,
                val_fraction=options.val_fraction,
                workers=choose_workers(options.workers),
                track=_track,
            )
        except DataError as error:
            if options.kind != "auto" or kind != "labels":
                raise
            others = ", ".join(each for each in KINDS if each != kind)
            raise DataError(f"{error} It was taken for labels of pictures; for others say --kind: {others}.") from error
    print_report(report)
    if output is not None:
        replace_json(output, report.to_dict())
        print(f"report: {output}")
    if report.errors:
        raise DataError(f"{options.data}: {count(len(report.errors), 'error')}, see the report.")
    return report


def print_report(report: Report) -> None:
    """Print what each split has, then the findings from the worst on, then how many there are."""
    from ...datasets import SEVERITIES
    from ...datasets.findings import count
    from ...datasets.label_findings import CLASS_COUNTS
    from ...datasets.text_findings import TEXT_COUNTS
    from ..console import wide_console

    console = wide_console()
    texts = report.counts.get("texts")
    what = _sum_texts(texts, report.kind) if texts else count(report.counts.get("classes", 0), "class", "classes")
    console.print(
        f"{report.data}: {count(report.counts['images'], 'image')}, {what} (split: {report.split_origin}), read for "
        f"its {report.kind}",
        soft_wrap=True,
    )
    console.print(_text_table(texts) if texts else _class_table(report.counts["splits"]))
    for severity in SEVERITIES:
        # those that only count are the table
        found = [finding for finding in report.of(severity) if finding.kind not in (CLASS_COUNTS, TEXT_COUNTS)]
        if found:
            console.print(severity, style=_STYLES[severity])
        for _, alike in groupby(found, key=lambda finding: finding.kind):
            _print_alike(console, list(alike))
    sums = [count(len(report.of(severity)), severity) for severity in SEVERITIES[:2]]
    console.print(", ".join(sums))


def _class_table(splits: Mapping[str, Mapping[str, int]]) -> Table:
    """Return the number of images of each class in each split, the largest classes first."""
    from rich.table import Table

    table = Table("class")
    for split in splits:
        table.add_column(split, justify="right")
    totals = {name: sum(found[name] for found in splits.values()) for found in splits.values() for name in found}
    ordered = sorted(totals, key=lambda name: -totals[name])
    # the smallest are the ones to look at
    shown = ordered if len(ordered) <= 2 * _SHOWN else [*ordered[:_SHOWN], "", *ordered[-_SHOWN:]]
    for name in shown:
        numbers = [f"{found[name]:,}" if name else "" for found in splits.values()]
        table.add_row(name or f"... {len(ordered) - 2 * _SHOWN:,} more", *numbers)
    return table


def _sum_texts(texts: Mapping[str, Mapping[str, float]], kind: str) -> str:
    from ...datasets.findings import count

    return count(int(sum(found[kind] for found in texts.values())), kind.removesuffix("s"))


def _text_table(texts: Mapping[str, Mapping[str, float]]) -> Table:
    """Return what is counted of the texts of each split."""
    from rich.table import Table

    table = Table("")
    for split in texts:
        table.add_column(split, justify="right")
    for name in next(iter(texts.values())):
        label = "words each (mean)" if name == "words_each" else name.replace("_", " ")
        table.add_row(label, *(f"{found[name]:,}" for found in texts.values()))
    return table


def _print_alike(console: Console, findings: Sequence[Finding]) -> None:
    """Print findings of a kind, and some of their files where there are several."""
    for finding in findings[:_SHOWN]:
        console.print(f"  {finding.message}", soft_wrap=True)
        files = [" = ".join(group) for group in finding.groups] or list(finding.files)
        if len(files) > 1 and finding.severity != "info":
            more = f", and {len(files) - _SHOWN:,} more" if len(files) > _SHOWN else ""
            console.print(f"    {', '.join(files[:_SHOWN])}{more}", soft_wrap=True, style="dim")
    if len(findings) > _SHOWN:
        console.print(f"  ... and {len(findings) - _SHOWN:,} more like these; all of them: --output report.json")


def _track(inspected: Iterator[Any], total: int) -> Iterable[Any]:
    """Show a progress bar where a person looks."""
    from rich.progress import track

    if not (sys.stderr.isatty() and sys.stdout.isatty()):
        return inspected
    return track(inspected, "looking at images", total=total, transient=True)


def _output_file(options: CheckOptions) -> Path | None:
    from ..run_folder import make_folder

    if options.output is None:
        return None
    path = Path(options.output)
    if path.is_dir():
        raise UserError(f"'{path}' is a folder. Name a file for the report: --output {quoted(path / 'report.json')}")
    if path.exists() and not options.overwrite:
        raise UserError(f"'{path}' already exists. Write over it: --overwrite. Or name another file: --output FILE.")
    make_folder(path.parent)
    return path
