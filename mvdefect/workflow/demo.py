"""The demonstration: drawn parts, an inspector of them, and its honest figure, without any download."""

from __future__ import annotations

from pathlib import Path

from mvdefect.config import FitConfig
from mvdefect.drawing.data_set import write_parts
from mvdefect.workflow.fit import fit_inspector
from mvdefect.workflow.outcome import FinishedRun

WEIGHTS_NOTE = (
    "The demo downloads nothing: it looks at features of the texture weights of this package, which learned "
    "from drawn surfaces alone. For photographs of your own, ImageNet's weights are better where they can be "
    "had and may be used: mvdefect fit --help."
)


def make_demo_config(data: Path) -> FitConfig:
    """Return the settings of the demo; `configs/demo.yaml` holds the same."""
    return FitConfig(
        data=(str(data),),
        resolution=128,
        backbone="efficientnetb0",
        weights="texture",
        fine_tune=False,
    )


def run_demo(out: Path, overwrite: bool = False) -> FinishedRun:
    """Draw the parts into `out/data`, and fit and measure an inspector in `out/run`.

    Raises:
        MvdefectError: `out` holds something else, or a demo already, and `overwrite` is off.
    """
    data = write_parts(out / "data")
    return fit_inspector(make_demo_config(data), out / "run", overwrite)
