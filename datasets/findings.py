"""What a check of a data set found: findings by severity, and the report that holds them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from .open import Kind

Severity = Literal["error", "warning", "info"]

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""From the worst on."""


@dataclass(frozen=True)
class Finding:
    """One thing that the owner of a data set may want to know."""

    severity: Severity
    """``error``: training refuses the data set or the file; ``warning``: figures or training may suffer; ``info``."""
    kind: str
    """Names what was looked for, the same for all findings of its sort, such as ``duplicates_across_splits``."""
    message: str
    """A full sentence, with an example where there are several files."""
    files: tuple[str, ...] = ()
    """The names of the images it is about, as manifests have them."""
    groups: tuple[tuple[str, ...], ...] = ()
    """Of duplicates: ``files`` by content, each group holding the names of the same bytes."""


@dataclass(frozen=True)
class Report:
    """All that a check found."""

    data: str
    """The folder or table."""
    format: str
    kind: Kind
    """What it was looked at for: labels, masks, boxes, objects, captions or questions."""
    split_origin: str
    """Where the splits come from, as ``AnnotatedImages.splits_origin``."""
    counts: Mapping[str, Any]
    """Plain numbers: ``images``, ``readable``, ``classes``, ``splits`` (images of each class by split), ``formats``,
    ``modes``, and ``width`` and ``height`` in pixels (``min``, ``median``, ``max``); of masks also ``pixels``, of
    objects ``objects`` (of each class by split, of ignored ones under ``""``). Of captions and questions ``texts``
    (numbers by split, ``count_texts``) stands in place of ``classes`` and ``splits``."""
    findings: tuple[Finding, ...]
    """From the worst on."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """The findings that make the data set, or some of its files, unusable."""
        return self.of("error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The findings from which training or figures may suffer."""
        return self.of("warning")

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of a severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = asdict(self)
        return {
            **{key: value for key, value in plain.items() if key != "findings"},
            "severities": {severity: len(self.of(severity)) for severity in SEVERITIES},
            "findings": plain["findings"],
        }


def by_severity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings from the worst on, in their order otherwise."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 image``, ``2,000 images``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
