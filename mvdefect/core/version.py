"""The version of this package; `mvdefect.__version__` for everybody else."""

from __future__ import annotations

__version__ = "0.1.0"
