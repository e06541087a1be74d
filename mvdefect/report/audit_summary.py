"""What the audit says of the photographs behind a run: found once, then remembered."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from mvdefect.audit.audit import AuditSettings, audit_data
from mvdefect.audit.findings import Finding, Probe
from mvdefect.config import FitConfig
from mvdefect.core.errors import MvdefectError
from mvdefect.core.files import cache_dir, describe_state, escape_name, parse_json, write_text
from mvdefect.core.progress import logger
from mvdefect.core.version import __version__
from mvdefect.data.groups.duplicates import RULE
from mvdefect.data.sources.folders import Layout
from mvdefect.data.sources.opening import are_there, open_configured


@dataclass(frozen=True)
class AuditSummary:
    """The part of an audit that a report needs.

    Attributes:
        findings: The worst first, without their files.
        probes: What the tried shortcuts came to.
    """

    findings: tuple[Finding, ...]
    probes: tuple[Probe, ...]


SUMMARY = TypeAdapter(AuditSummary)


def find_layout(config: FitConfig) -> Layout | None:
    """Return the photographs that a run was made from, or None where they are not there any more."""
    if not config.data or not are_there(config.data):
        return None
    try:
        return open_configured(config)
    except (MvdefectError, OSError) as error:
        logger.warning("the photographs cannot be read, so the report goes without them: %s", error)
        return None


def summarise_audit(layout: Layout, config: FitConfig) -> AuditSummary | None:
    """Audit the photographs; the answer is kept in the cache and holds until a file changes.

    Args:
        layout: The photographs.
        config: The settings of the run, which say what counts as near-duplicates and how images are resized.

    Returns:
        What was found, or None where the photographs cannot be audited any more.
    """
    try:
        path = cache_dir("audits") / f"{_make_key(layout, config)}.json"
        if (kept := _read(path)) is not None:
            return kept
        audit = audit_data(layout, AuditSettings(config.near_duplicates, config.resolution, config.resize))
    except (MvdefectError, OSError) as error:
        logger.warning("the photographs cannot be checked, so the report goes without: %s", error)
        return None
    findings = tuple(
        Finding(found.code, found.severity, found.message, found.advice) for found in audit.findings
    )
    summary = AuditSummary(findings, audit.probes)
    write_text(path, json.dumps(asdict(summary)))
    return summary


def _read(path: Path) -> AuditSummary | None:
    try:
        return SUMMARY.validate_python(parse_json(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):  # pydantic's errors are ValueErrors
        return None


def _make_key(layout: Layout, config: FitConfig) -> str:
    """Hash all that decides what an audit finds; files as `describe_state` tells them apart."""
    settings = (config.near_duplicates, config.resolution, config.resize)
    head = f"{__version__}\n{RULE}\n{settings}\n{list(map(escape_name, layout.orphan_masks))}\n"
    key = hashlib.sha256(head.encode())
    for record in layout.records:
        key.update(f"{record.id}\0{record.stratum}\0{record.group}\0{record.part}\n".encode())
        for path in filter(None, (record.path, record.mask_path)):
            key.update(describe_state(path))
    return key.hexdigest()[:32]
