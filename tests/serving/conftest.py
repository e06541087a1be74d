"""One export of the finished run, for all tests of serving."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdefect.exporting.export import ExportSettings, export_run


@pytest.fixture(scope="session")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of the finished run; tests read it and change nothing."""
    root = tmp_path_factory.mktemp("saved_models")
    return export_run(finished_run, root, ExportSettings(name="parts")).path
