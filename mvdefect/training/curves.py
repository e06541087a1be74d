"""Curves for TensorBoard."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from mvdefect.runs import EpochRow


def write_curves(folder: Path, row: EpochRow) -> None:
    """Add one epoch to the curves; a run that goes on adds a file, and TensorBoard joins them."""
    writer = tf.summary.create_file_writer(str(folder), filename_suffix=f".epoch-{row.epoch}")
    with writer.as_default(step=row.epoch):
        for name in ("loss", "val_loss", "val_roc_auc", "learning_rate", "seconds"):
            tf.summary.scalar(name, getattr(row, name))
    writer.close()
