"""Curves for TensorBoard, which need not be installed for them to be written."""

from __future__ import annotations

import time
from pathlib import Path

import tensorflow as tf

from mvdefect.runs import EpochRow

CURVES = ("loss", "val_loss", "val_roc_auc", "learning_rate", "seconds")


def write_curves(folder: Path, row: EpochRow) -> None:
    """Add one epoch to the curves.

    Each epoch is a file of its own in TensorBoard's event format, and TensorBoard joins them; so a run that
    goes on after an interrupt adds to what is there and repeats nothing.
    """
    event, summary = tf.compat.v1.Event, tf.compat.v1.Summary
    values = [summary.Value(tag=name, simple_value=getattr(row, name)) for name in CURVES]
    now = time.time()
    folder.mkdir(exist_ok=True)
    path = folder / f"events.out.tfevents.{row.epoch:06}"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        written = event(wall_time=now, step=row.epoch, summary=summary(value=values))
        writer.write(written.SerializeToString())
