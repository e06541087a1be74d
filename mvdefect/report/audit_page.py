"""The audit of a data set: on the terminal, and as one self-contained HTML file with the pairs to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from mvdefect.audit.findings import Audit, Finding, Pair, Severity
from mvdefect.core.errors import ImageError
from mvdefect.core.files import write_text
from mvdefect.data.images import Decoding, decode_at_size
from mvdefect.data.records import Record
from mvdefect.report.page import make_environment, to_data_uri
from mvdefect.report.wording import describe_audit, find_common_remark, format_figure, name_protocol

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
MAX_FILES = 5
SHORTCUTS = "Does anything but the defect tell good from defective?"


PICTURE_SIZE_PX = 160
SHOWN_ONE_BY_ONE = ("outliers", "exif-rotation", "masks-on-good-images", "empty-masks", "blank-images")
MAX_SHOWN = 24


def print_audit(audit: Audit, console: Console) -> None:
    """Print counts, findings, shortcuts and what can be measured."""
    from rich.text import Text

    console.print(_make_count_table(audit))
    for finding in audit.findings:
        if finding.severity == Severity.NOTE and not finding.needs_action:
            continue
        heading = Text.assemble((finding.severity.upper(), COLOURS[finding.severity]), f" {finding.message}")
        console.print(heading)
        for line in _list_files(finding):
            console.print(Text(f"    {line}", style="dim"), overflow="ignore", no_wrap=True, crop=False)
        if finding.needs_action:
            console.print(Text(f"  {finding.advice}"))
    _print_folded(audit, console)
    console.print(_make_probe_table(audit))
    console.print(_make_protocol_table(audit))
    console.print(describe_audit(audit), markup=False)


def _print_folded(audit: Audit, console: Console) -> None:
    """Count in one line the notes that ask for nothing."""
    from rich.text import Text

    folded = [
        finding.code
        for finding in audit.findings
        if finding.severity == Severity.NOTE and not finding.needs_action
    ]
    if folded:
        line = f" {len(folded)} more, nothing to do (--html and --json show them): {', '.join(folded)}"
        console.print(Text.assemble((Severity.NOTE.upper(), COLOURS[Severity.NOTE]), line))


def _list_files(finding: Finding) -> list[str]:
    if finding.groups:
        shown = [", ".join(group[:4]) + (", ..." if len(group) > 4 else "") for group in finding.groups]
    else:
        shown = [f"{name}: {reason}" if reason else name for name, reason in finding.files]
    more = [f"and {len(shown) - MAX_FILES} more (--json lists all)"] if len(shown) > MAX_FILES else []
    return shown[:MAX_FILES] + more


def _make_count_table(audit: Audit) -> Table:
    from rich.table import Table

    table = Table(title=f"{audit.root}: {audit.images} images", title_justify="left")
    table.add_column("product and kind")
    table.add_column("images", justify="right")
    for stratum, count in audit.counts.items():
        table.add_row(stratum, str(count))
    return table


def _make_probe_table(audit: Audit) -> Table | Text:
    from rich.table import Table
    from rich.text import Text

    if reason := find_common_remark(audit.probes):
        return Text(f"{SHORTCUTS} {reason[0].upper()}{reason[1:]}.")
    table = Table(title=f"{SHORTCUTS} (0.5: no, 1: always)", title_justify="left")
    for column in ("property", "ROC-AUC", "95% interval", ""):
        table.add_column(column, justify="right" if column == "ROC-AUC" else "left")
    for probe in audit.probes:
        table.add_row(probe.name, *format_figure(probe.roc_auc), probe.remark)
    return table


def _make_protocol_table(audit: Audit) -> Table:
    from rich.table import Table

    table = Table(title="What can be tested with these images, and how exactly", title_justify="left")
    for column in ("how they are divided (--protocol)", "possible", "what that tells"):
        table.add_column(column)
    for check in audit.protocols:
        table.add_row(name_protocol(check.protocol), "yes" if check.is_possible else "no", check.remark)
    return table


def write_audit_page(audit: Audit, records: Mapping[str, Record], path: Path) -> None:
    """Write the page.

    Args:
        audit: What was found.
        records: The photographs by id.
        path: The HTML file.
    """

    def draw(name: str) -> str:
        return _draw(records[name], audit.decoding)

    pictures = {finding.code: _draw_pairs(finding, draw) for finding in audit.findings}
    singles = {finding.code: _draw_singles(finding, draw) for finding in audit.findings}
    template = make_environment().get_template("audit.html")
    html = template.render(
        audit=audit,
        verdict=describe_audit(audit),
        pictures=pictures,
        singles=singles,
        format_figure=format_figure,
        name_protocol=name_protocol,
        shortcuts=SHORTCUTS,
        common_remark=find_common_remark(audit.probes),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)


def _draw_pairs(finding: Finding, draw: Callable[[str], str]) -> list[tuple[Pair, str, str]]:
    return [(pair, draw(pair.first), draw(pair.second)) for pair in finding.pairs[:MAX_SHOWN]]


def _draw_singles(finding: Finding, draw: Callable[[str], str]) -> list[tuple[str, str, str]]:
    if finding.code not in SHOWN_ONE_BY_ONE:
        return []
    return [(name, reason, draw(name)) for name, reason in finding.files[:MAX_SHOWN]]


def _draw(record: Record, decoding: Decoding) -> str:
    """Return a small picture; one that cannot be read any more is drawn grey."""
    try:
        image = decode_at_size(
            record.path.read_bytes(), (PICTURE_SIZE_PX, PICTURE_SIZE_PX), decoding=decoding
        )
    except (ImageError, OSError):
        image = np.full((PICTURE_SIZE_PX, PICTURE_SIZE_PX, 3), 128, np.uint8)
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return to_data_uri(encoded.tobytes(), "jpeg")
