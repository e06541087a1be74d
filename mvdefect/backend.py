"""Loading TensorFlow: late, quietly, and set up for results that can be repeated."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def load_tensorflow(verbose: bool = False) -> None:
    """Import TensorFlow and Keras and look for devices, without the chatter of their native code.

    Args:
        verbose: Let the messages through.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "3")
    with _muted_stderr(not verbose):
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.zeros(1)  # the first use starts the runtime, which has things to say as well


def make_deterministic(seed: int) -> None:
    """Seed every generator, and choose only operations whose result does not vary from run to run."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


@contextmanager
def _muted_stderr(muted: bool) -> Iterator[None]:
    """Send the file descriptor itself to nowhere: native code does not ask `sys.stderr`."""
    if not muted:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
