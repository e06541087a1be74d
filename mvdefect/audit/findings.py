"""What an audit finds: each with its files, how bad it is, and what to do about it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from mvdefect.data.images import DEFAULT_DECODING, Decoding
from mvdefect.evaluation.bootstrap import Figure

NOTHING = "Nothing"  # how the advice begins where there is nothing to do


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"  # figures or training would be wrong
    WARNING = "warning"  # figures may say less than they seem to
    NOTE = "note"  # worth knowing


@dataclass(frozen=True)
class Pair:
    """Two photographs that belong together.

    Attributes:
        first: Id of one.
        second: Id of the other.
        relation: How they are related, as in "mirrored, correlation 0.995".
    """

    first: str
    second: str
    relation: str


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        code: Short name that scripts can rely on, as in "near-duplicates".
        severity: How bad it is.
        message: What was found, in one sentence.
        advice: What to do about it.
        files: The files concerned, with a reason where they differ in it: (file, reason).
        groups: Groups of ids that belong together, the largest first.
        pairs: Pairs to look at.
    """

    code: str
    severity: Severity
    message: str
    advice: str
    files: tuple[tuple[str, str], ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    pairs: tuple[Pair, ...] = ()

    @property
    def needs_action(self) -> bool:
        """Whether there is anything to do about it."""
        return not self.advice.startswith(NOTHING)


@dataclass(frozen=True)
class Probe:
    """How well a property that should say nothing about a defect tells good from defective.

    Attributes:
        name: What the small model saw, as in "image size".
        roc_auc: Grouped, cross-validated, with its interval; NaN where it cannot be measured.
        remark: Why it could not be measured, or by what the classes differ; "" for nothing.
        cause: What such a difference can come from; "" where nothing was measured.
    """

    name: str
    roc_auc: Figure
    remark: str
    cause: str = ""


@dataclass(frozen=True)
class ProtocolCheck:
    """Whether a protocol can be measured on these photographs.

    Attributes:
        protocol: Its name.
        is_possible: Whether a plan can be drawn.
        remark: What it can tell, or why it cannot be drawn.
    """

    protocol: str
    is_possible: bool
    remark: str


@dataclass(frozen=True)
class Audit:
    """All that was found in a data set.

    Attributes:
        root: The data set.
        images: How many images there are, unreadable ones included.
        counts: Images by category and defect type.
        findings: The worst first.
        probes: What was tried as a shortcut.
        protocols: What can be measured.
        decoding: How files became pixels.
    """

    root: str
    images: int
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    probes: tuple[Probe, ...]
    protocols: tuple[ProtocolCheck, ...]
    decoding: Decoding = DEFAULT_DECODING

    def count(self, severity: Severity) -> int:
        """How many findings are of this severity."""
        return sum(finding.severity == severity for finding in self.findings)


def audit_to_json(audit: Audit) -> dict[str, Any]:
    """Return an audit as plain lists and objects; a figure that is not defined is null."""
    tree = asdict(audit)
    for probe in tree["probes"]:
        probe["roc_auc"] = {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in probe["roc_auc"].items()
        }
    return tree
