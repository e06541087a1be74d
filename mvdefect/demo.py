"""The demonstration: drawn parts, an inspector of them, and its honest figure, without any download."""

from __future__ import annotations

from pathlib import Path

from mvdefect.config import FitConfig, StageConfig
from mvdefect.data.synthetic.write import write_parts
from mvdefect.runs import RunFolder
from mvdefect.workflow import fit_inspector

WEIGHTS_NOTE = (
    "The demo downloads nothing: its small CNN starts from random weights and learns from the drawn parts "
    "alone. For photographs of your own, start from a pre-trained backbone: mvdefect fit --help."
)


def make_demo_config(data: Path) -> FitConfig:
    """Return the settings of the demo; `configs/demo.yaml` holds the same."""
    return FitConfig(
        data=data,
        image_size_px=128,
        backbone="small_cnn",
        weights="none",
        head="patch",
        dropout=0.0,
        stages=(StageConfig(depth_blocks=4, epochs=45, learning_rate=2e-3),),
        patience=15,
        batch_size=8,
        views=0,
        ema=None,
    )


def run_demo(out: Path, overwrite: bool = False) -> RunFolder:
    """Draw the parts into `out/data`, and fit and measure an inspector in `out/run`.

    Raises:
        MvdefectError: `out` holds something else, or a demo already, and `overwrite` is off.
    """
    data = write_parts(out / "data")
    return fit_inspector(make_demo_config(data), out / "run", overwrite)
