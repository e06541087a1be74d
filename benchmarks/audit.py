"""How well the audit finds what was planted, and how often it warns where nothing was.

    python benchmarks/audit.py --seeds 20

For each drawn category: precision and recall of near-duplicate pairs over all transformations; then, for
each shortcut, how often it is reported where it was planted; then how many errors and shortcut warnings
or warnings of lost detail there are on drawn data without any fault.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from itertools import combinations
from pathlib import Path

from mvdefect.audit.audit import audit_data
from mvdefect.audit.findings import Audit, Severity
from mvdefect.data.sources.folders import read_layout
from mvdefect.drawing.catalogue import PARTS
from mvdefect.drawing.data_set import write_parts
from mvdefect.drawing.flaws import FAULTLESS, Faults
from mvdefect.drawing.photos import SHORTCUTS

NEAR_DUPLICATES = 28
LOST_DETAIL = ("much-shrunk-images", "mostly-padding")
REPORTED_AS = {
    "border": "shortcut-light-and-border",
    "brightness": "shortcut-light-and-border",
    "category": "shortcut-category",
    "compression": "shortcut-file-encoding",
    "size": "shortcut-image-size",
}


def audit_drawn(
    seed: int, categories: tuple[str, ...], faults: Faults
) -> tuple[Audit, dict[str, list[list[str]]]]:
    """Draw a data set, audit it, and return the audit and what was planted."""
    with tempfile.TemporaryDirectory() as folder:
        root = write_parts(
            Path(folder) / "drawn", seed, good=60, defective_per_type=15, categories=categories, faults=faults
        )
        planted = root / "planted.json"
        return audit_data(read_layout(root)), json.loads(planted.read_text()) if planted.exists() else {}


def list_pairs(audit: Audit) -> set[tuple[str, ...]]:
    """Return every pair of ids that the audit puts into one group of near-duplicates."""
    groups = [finding.groups for finding in audit.findings if finding.code == "near-duplicates"]
    return {tuple(sorted(pair)) for found in groups for group in found for pair in combinations(group, 2)}


def list_warnings(audit: Audit) -> list[str]:
    """Return the codes of the errors, and of the warnings of shortcuts and of lost detail; no notes."""
    return [
        finding.code
        for finding in audit.findings
        if finding.severity == Severity.ERROR
        or (
            finding.severity == Severity.WARNING
            and (finding.code.startswith("shortcut-") or finding.code in LOST_DETAIL)
        )
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=20, help="of the data without faults")
    parser.add_argument("--planted-seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["MVDEFECT_CACHE"] = cache
        total: list[int] = [0, 0, 0]
        for category in sorted(PARTS):
            hits = found_count = planted_count = 0
            for seed in range(options.planted_seeds):
                audit, planted = audit_drawn(seed, (category,), Faults(near_duplicates=NEAR_DUPLICATES))
                expected = {tuple(sorted(row[:2])) for row in planted["near_duplicates"]}
                found = list_pairs(audit)
                hits += len(found & expected)
                found_count, planted_count = found_count + len(found), planted_count + len(expected)
            total = [total[0] + hits, total[1] + found_count, total[2] + planted_count]
            print(f"{category}: precision {hits}/{found_count}, recall {hits}/{planted_count}", flush=True)
        print(f"near-duplicates: precision {total[0] / total[1]:.3f}, recall {total[0] / total[2]:.3f}")
        for shortcut in SHORTCUTS:
            categories = ("fabric", "nut") if shortcut == "category" else ("fabric",)
            audits = [
                audit_drawn(seed, categories, Faults(shortcut=shortcut))[0]
                for seed in range(options.planted_seeds)
            ]
            reported = sum(REPORTED_AS[shortcut] in list_warnings(audit) for audit in audits)
            print(f"shortcut {shortcut}: reported in {reported} of {len(audits)}", flush=True)
        alarms = [
            code
            for seed in range(options.seeds)
            for code in list_warnings(audit_drawn(seed, ("fabric", "pill"), FAULTLESS)[0])
        ]
        print(f"without faults: {len(alarms)} errors or warnings in {options.seeds} seeds {alarms}")


if __name__ == "__main__":
    main()
