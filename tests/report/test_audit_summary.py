"""The audit behind a report: done once, done anew when a file changes, and not missed when it cannot be done."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from mvdefect.audit.check import audit_data
from mvdefect.audit.findings import Audit, Severity
from mvdefect.config import FitConfig
from mvdefect.data.layouts import Layout
from mvdefect.report import audit_summary
from mvdefect.report.audit_summary import find_layout, summarise_audit
from tests.conftest import make_texture, write_class_folders, write_image


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FitConfig:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    return FitConfig(data=str(write_class_folders(tmp_path / "nut")))


def summarise(config: FitConfig) -> audit_summary.AuditSummary:
    layout = find_layout(config)
    assert layout is not None
    found = summarise_audit(layout, config)
    assert found is not None
    return found


def test_it_is_the_audit_and_is_done_once(config: FitConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[float] = []

    def audit(layout: Layout, correlation: float) -> Audit:
        calls.append(correlation)
        return audit_data(layout, correlation)

    monkeypatch.setattr(audit_summary, "audit_data", audit)
    root = Path(str(config.data))
    shutil.copy(root / "good" / "000.png", root / "dent" / "copy.png")  # a copy under another label
    first, again = summarise(config), summarise(config)
    assert calls == [0.98]
    assert [(one.code, one.severity, one.message) for one in again.findings] == [
        (one.code, one.severity, one.message) for one in first.findings
    ]
    assert any(one.severity != Severity.NOTE for one in again.findings)
    assert all(isinstance(one.severity, Severity) for one in again.findings)
    nan = [math.isnan(probe.roc_auc.value) for probe in first.probes]
    assert [math.isnan(probe.roc_auc.value) for probe in again.probes] == nan
    write_image(root / "good" / "000.png", make_texture(77))
    summarise(config)
    summarise(config.model_copy(update={"near_duplicate_correlation": 0.9}))
    assert calls == [0.98, 0.98, 0.9]


def test_a_damaged_memory_is_no_memory(config: FitConfig, tmp_path: Path) -> None:
    first = summarise(config)
    (kept,) = (tmp_path / "cache" / "audits").iterdir()
    for text in ("{", "[]", '{"findings": 3, "probes": []}'):
        kept.write_text(text)
        assert len(summarise(config).findings) == len(first.findings)


def test_without_photographs_there_is_no_audit(tmp_path: Path) -> None:
    assert find_layout(FitConfig(data=None)) is None
    assert find_layout(FitConfig(data=str(tmp_path / "gone"))) is None
    (tmp_path / "empty").mkdir()
    assert find_layout(FitConfig(data=str(tmp_path / "empty"))) is None
