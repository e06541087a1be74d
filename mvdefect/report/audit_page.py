"""The audit of a data set as one self-contained HTML file, with the pairs to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from mvdefect.audit.findings import Audit, Finding, Pair
from mvdefect.data.images import decode_at_size
from mvdefect.data.records import Record
from mvdefect.errors import ImageError
from mvdefect.paths import write_text
from mvdefect.report.page import make_environment, to_data_uri
from mvdefect.report.wording import describe_audit, format_figure

PICTURE_SIZE_PX = 160
SHOWN_ONE_BY_ONE = ("outliers", "exif-rotation", "masks-on-good-images", "empty-masks", "blank-images")
MAX_SHOWN = 24


def write_audit_page(audit: Audit, records: Mapping[str, Record], path: Path) -> None:
    """Write the page.

    Args:
        audit: What was found.
        records: The photographs by id.
        path: The HTML file.
    """
    pictures = {finding.code: _draw_pairs(finding, records) for finding in audit.findings}
    singles = {finding.code: _draw_singles(finding, records) for finding in audit.findings}
    template = make_environment().get_template("audit.html")
    html = template.render(
        audit=audit,
        verdict=describe_audit(audit),
        pictures=pictures,
        singles=singles,
        format_figure=format_figure,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, html)


def _draw_pairs(finding: Finding, records: Mapping[str, Record]) -> list[tuple[Pair, str, str]]:
    return [
        (pair, _draw(records[pair.first]), _draw(records[pair.second])) for pair in finding.pairs[:MAX_SHOWN]
    ]


def _draw_singles(finding: Finding, records: Mapping[str, Record]) -> list[tuple[str, str, str]]:
    if finding.code not in SHOWN_ONE_BY_ONE:
        return []
    return [(name, reason, _draw(records[name])) for name, reason in finding.files[:MAX_SHOWN]]


def _draw(record: Record) -> str:
    """Return a small picture; one that cannot be read any more is drawn grey."""
    try:
        image = decode_at_size(record.path.read_bytes(), PICTURE_SIZE_PX)
    except (ImageError, OSError):
        image = np.full((PICTURE_SIZE_PX, PICTURE_SIZE_PX, 3), 128, np.uint8)
    encoded = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    return to_data_uri(encoded.tobytes(), "jpeg")
