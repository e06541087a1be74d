"""The audit of a data set, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Iterator

from mvdefect.audit.amounts import check_protocols, find_outliers, find_rare_types, report_protocols
from mvdefect.audit.copies import find_copies
from mvdefect.audit.files import find_file_faults
from mvdefect.audit.findings import Audit, Finding, Severity
from mvdefect.audit.masks import find_mask_faults
from mvdefect.audit.shortcuts import probe_shortcuts, report_shortcuts
from mvdefect.data.duplicates import find_near_duplicates
from mvdefect.data.groups import join_links
from mvdefect.data.layouts import Layout
from mvdefect.data.records import count_by_stratum
from mvdefect.data.scan import look_at_files, make_scan

ORDER = tuple(Severity)


def audit_data(layout: Layout, min_correlation: float = 0.98) -> Audit:
    """Look for everything that would make figures lie, or training fail.

    Time grows with n log n and memory with n, the number of images; each file is read once.

    Args:
        layout: The data set.
        min_correlation: Above this correlation of thumbnails two images are near-duplicates.
    """
    look = look_at_files(layout.records)
    usable = look.select_readable()
    categories = [record.category for record in usable.records]
    links = find_near_duplicates(usable.thumbnails, categories, min_correlation)
    scan = make_scan(usable)
    groups = join_links(scan, links)
    probes = probe_shortcuts(usable, groups.codes)
    protocols = check_protocols(scan, groups)

    def find_all() -> Iterator[Finding]:
        yield from find_file_faults(look)
        yield from find_copies(usable, links)
        yield from find_mask_faults(layout, look)
        yield from report_shortcuts(probes)
        yield from report_protocols(protocols)
        yield from find_rare_types(layout.records)
        yield from find_outliers(usable)
        for note in groups.notes:
            yield Finding("grouping", Severity.NOTE, f"{note}.", "Nothing.")

    findings = tuple(sorted(find_all(), key=lambda finding: ORDER.index(finding.severity)))
    return Audit(
        root=str(layout.root),
        images=len(layout.records),
        counts=count_by_stratum(layout.records),
        findings=findings,
        probes=probes,
        protocols=protocols,
    )
