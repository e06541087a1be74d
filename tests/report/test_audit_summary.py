"""The audit behind a report: done once, anew when a file changes, and left out when it cannot be done."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from mvdefect.audit.audit import AuditSettings
from mvdefect.audit.findings import Audit, Finding, Probe, Severity
from mvdefect.config import FitConfig
from mvdefect.core.errors import ImageError
from mvdefect.data.sources.folders import Layout
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.report import audit_summary
from mvdefect.report.audit_summary import AuditSummary, find_layout, summarise_audit
from tests.conftest import make_texture, write_class_folders, write_image

FINDING = Finding("copies", Severity.WARNING, "two are one", "Remove one.", files=(("a", "b"),))
PROBE = Probe("category", Figure(math.nan, math.nan, math.nan), "there is one alone")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FitConfig:
    """Photographs, and a memory of their own."""
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    return FitConfig(data=str(write_class_folders(tmp_path / "nut", 2, 2)))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What counted as near-duplicates in every audit that was done."""
    done: list[str] = []

    def audit(layout: Layout, settings: AuditSettings) -> Audit:
        done.append(settings.near_duplicates)
        return Audit(str(layout.root), len(layout.records), {}, (FINDING,), (PROBE,), ())

    monkeypatch.setattr(audit_summary, "audit_data", audit)
    return done


def summarise(config: FitConfig) -> AuditSummary:
    layout = find_layout(config)
    assert layout is not None
    found = summarise_audit(layout, config)
    assert found is not None
    return found


def test_it_is_the_audit_and_is_done_once(config: FitConfig, calls: list[str]) -> None:
    for _ in range(2):
        found = summarise(config)
        assert found.findings == (Finding("copies", Severity.WARNING, "two are one", "Remove one."),)
        assert isinstance(found.findings[0].severity, Severity)
        assert math.isnan(found.probes[0].roc_auc.value)
        assert found.probes[0].remark == "there is one alone"
    assert calls == ["part"]
    write_image(Path(config.data[0]) / "good" / "000.png", make_texture(77, 60, 60))
    summarise(config)
    summarise(config.model_copy(update={"near_duplicates": "image"}))
    assert calls == ["part", "part", "image"]


def test_a_damaged_memory_is_no_memory(config: FitConfig, calls: list[str], tmp_path: Path) -> None:
    summarise(config)
    (kept,) = (tmp_path / "cache" / "audits").iterdir()
    for text in ("{", "[]", '{"findings": 3, "probes": []}'):
        kept.write_text(text)
        assert len(summarise(config).findings) == 1
    assert len(calls) == 4


def test_what_cannot_be_audited_is_left_out(config: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Audit:
        raise ImageError("the image is broken")

    monkeypatch.setattr(audit_summary, "audit_data", fail)
    layout = find_layout(config)
    assert layout is not None
    assert summarise_audit(layout, config) is None


def test_without_photographs_there_is_no_audit(tmp_path: Path) -> None:
    assert find_layout(FitConfig(data=None)) is None
    assert find_layout(FitConfig(data=str(tmp_path / "gone"))) is None
    (tmp_path / "empty").mkdir()
    assert find_layout(FitConfig(data=str(tmp_path / "empty"))) is None
