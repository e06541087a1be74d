"""Faults of masks: missing, empty, on a good image, of another size, unreadable, without an image."""

from __future__ import annotations

from collections.abc import Iterator

from mvdefect.audit.findings import Finding, Severity
from mvdefect.data.layouts import Layout
from mvdefect.data.scan import FirstLook


def find_mask_faults(layout: Layout, look: FirstLook) -> Iterator[Finding]:
    """Find masks that are not what they should be; a data set without any mask is fine."""
    unusable: list[tuple[str, str]] = []
    on_good: list[tuple[str, str]] = []
    empty: list[tuple[str, str]] = []
    missing: list[tuple[str, str]] = []
    masked = {record.category for record in layout.records if record.label and record.mask_path}
    for record, facts in zip(look.records, look.facts, strict=True):
        if facts.mask is None:
            if record.label and record.category in masked:
                missing.append((record.id, ""))
        elif facts.mask_fault:
            unusable.append((record.id, facts.mask_fault))
        elif facts.mask.share and not record.label:
            on_good.append((record.id, f"{facts.mask.share:.2%} marked in {record.mask_path}"))
        elif not facts.mask.share and record.label:
            empty.append((record.id, str(record.mask_path)))
    orphans = [(str(path), "") for path in layout.orphan_masks]
    found = {"unusable": unusable, "good": on_good, "empty": empty, "missing": missing, "orphan": orphans}
    for key, (code, severity, message, advice) in FAULTS.items():
        if found[key]:
            yield Finding(code, severity, message.format(len(found[key])), advice, tuple(found[key]))


FAULTS = {
    "unusable": (
        "unusable-masks",
        Severity.ERROR,
        "{} mask(s) cannot be read, or have another size than their photograph.",
        "Export them again, in the photograph's own size.",
    ),
    "good": (
        "masks-on-good-images",
        Severity.ERROR,
        "{} photograph(s) labelled good have a mask that marks a defect.",
        "Either the label or the mask is wrong: look at them and move or mend them.",
    ),
    "empty": (
        "empty-masks",
        Severity.ERROR,
        "{} defective photograph(s) have a mask that marks nothing.",
        "Draw the defect, or remove the mask; if there is no defect, the photograph is good.",
    ),
    "missing": (
        "missing-masks",
        Severity.WARNING,
        "{} defective photograph(s) have no mask, while others of the product have one.",
        "Add them, or know that where a defect lies is measured on the others alone.",
    ),
    "orphan": (
        "orphaned-masks",
        Severity.ERROR,
        "{} mask(s) belong to no defective photograph.",
        "Rename them to <name>_mask.png in the folder of their type, or remove them.",
    ),
}
