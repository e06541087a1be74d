"""Fixtures of tests of data sources."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A product's folder; nothing is in it yet."""
    return tmp_path / "gear"
