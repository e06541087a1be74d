"""The audit of a data set, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mvdefect.audit.amounts import check_protocols, find_outliers, find_rare_types, report_fit_plan
from mvdefect.audit.copies import find_copies, report_group_names
from mvdefect.audit.detail import find_lost_detail
from mvdefect.audit.files import find_bits, find_file_faults, find_mask_faults
from mvdefect.audit.findings import Audit, Finding, Severity
from mvdefect.audit.shortcuts import probe_shortcuts, report_shortcuts
from mvdefect.config import AUTO, ResizeMethod, Size
from mvdefect.core.errors import LayoutError
from mvdefect.data.groups.grouping import NearDuplicates, find_links, join_links
from mvdefect.data.images import DEFAULT_DECODING, Decoding
from mvdefect.data.records import count_by_stratum
from mvdefect.data.scan import look_at_files, make_scan
from mvdefect.data.sources.folders import EXPECTED, Layout

SEVERITIES = tuple(Severity)
FIRST_THINGS_FIRST = (  # what makes all else meaningless, what makes figures wrong, what is to be known
    "unreadable-files",
    "unused-bits",
    "contradicting-labels",
    "masks-on-good-images",
    "unusable-masks",
    "orphaned-masks",
    "empty-masks",
    "too-few-images",
    "identical-files",
    "groups-separate-one-part",
    "same-part-under-two-labels",
    "tiny-defects",
    "much-shrunk-images",
    "mostly-padding",
    "blank-images",
    "undecided-images",
)


@dataclass(frozen=True)
class AuditSettings:
    """What of a fit's settings decides what is found.

    Attributes:
        near_duplicates: As for `group_records`.
        resolution: Working size of the fit to come; see `mvdefect.data.resolution`.
        resize: How images are brought to it.
        decoding: How files become pixels.
    """

    near_duplicates: NearDuplicates = "part"
    resolution: int | str | Size = AUTO
    resize: ResizeMethod = "letterbox"
    decoding: Decoding = DEFAULT_DECODING


DEFAULTS = AuditSettings()


def audit_data(layout: Layout, settings: AuditSettings = DEFAULTS) -> Audit:
    """Look for everything that would make figures lie, or training fail.

    Time grows with n log n and memory with n, the number of images; each file is read once.

    Args:
        layout: The data set.
        settings: Those of the fit to come.

    Raises:
        LayoutError: It has no image.
    """
    if not layout.records:
        raise LayoutError(f"no image below {layout.title}; {EXPECTED}")
    look = look_at_files(layout.records, decoding=settings.decoding)
    usable = look.select_readable()
    scan = make_scan(usable)
    links = find_links(scan, settings.near_duplicates)
    groups = join_links(scan, links)
    probes = probe_shortcuts(usable, groups.codes)
    protocols = check_protocols(scan, groups)

    def find_all() -> Iterator[Finding]:
        yield from find_file_faults(look)
        yield from find_bits(usable)
        yield from find_copies(usable, scan, links)
        yield from find_lost_detail(usable, settings.resolution, settings.resize)
        yield from find_mask_faults(layout, look)
        yield from report_shortcuts(probes)
        yield from report_fit_plan(scan, groups)
        yield from find_rare_types(layout.records)
        yield from find_outliers(usable)
        yield from report_group_names(scan, groups.codes)

    findings = tuple(sorted(find_all(), key=_rank))
    return Audit(
        root=layout.title,
        images=len(layout.records),
        counts=count_by_stratum(layout.records),
        findings=findings,
        probes=probes,
        protocols=protocols,
        decoding=look.decoding,
    )


def _rank(finding: Finding) -> tuple[int, bool, int]:
    """Return where a finding stands: the worst first, then what asks for something to be done."""
    places = {code: place for place, code in enumerate(FIRST_THINGS_FIRST)}
    return (
        SEVERITIES.index(finding.severity),
        not finding.needs_action,
        places.get(finding.code, len(places)),
    )
