"""TensorFlow, loaded late and quietly, on which devices and how precisely; and what a run was made with."""

from __future__ import annotations

import gc
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import metadata
from typing import Any

from mvdefect.core.errors import ConfigError
from mvdefect.core.parallel import count_cores
from mvdefect.core.version import __version__

TENSORFLOW = "tensorflow"
OFFLINE = "MVDEFECT_OFFLINE"  # environment variable: any value but "" keeps it from the network
BFLOAT16_CAPABILITY = (8, 0)  # Ampere and later


PACKAGES = (
    "keras",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "scikit-learn",
    "tensorflow",
    "tensorflow-datasets",
)


def load_backend(verbose: bool = False) -> None:
    """Load what Keras computes with: TensorFlow, unless the variable KERAS_BACKEND names another library.

    TensorFlow then computes the same on every run, whatever its own determinism is set to. It does one
    operation at a time: otherwise three gradients of one feature map, as several poolings give them, are
    added in the order in which they are ready. And it leaves the graph as it was traced: its optimiser
    rewrites one graph in two ways, from process to process, which round otherwise.
    """
    if os.environ.get("KERAS_BACKEND", TENSORFLOW) == TENSORFLOW:
        load_tensorflow(verbose, operations_at_once=1)
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def load_tensorflow(
    verbose: bool = False, devices: int = 1, gpu: int | None = None, operations_at_once: int = 0
) -> None:
    """Import TensorFlow and Keras and look for devices, without the chatter of their native code.

    Args:
        verbose: Let the messages through.
        devices: How many devices will share a batch; a machine without GPUs divides its processor.
        gpu: Number of the only GPU to use, counted again from 0 where it is too high; None: all of them.
        operations_at_once: How many operations may run at a time; 0: what TensorFlow thinks best.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if verbose else "3")
    with nullcontext() if verbose else muted_stderr():
        with _collector_as_it_was():
            import tensorflow as tf

        with suppress(RuntimeError):  # it runs already, as in a notebook
            tf.config.threading.set_inter_op_parallelism_threads(operations_at_once)
        if gpu is not None and list_gpus():
            tf.config.set_visible_devices(list_gpus()[gpu % len(list_gpus())], "GPU")
        for one in list_gpus():
            tf.config.experimental.set_memory_growth(one, True)
        if devices > 1 and not list_gpus():
            processor = tf.config.list_physical_devices("CPU")[0]
            parts = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
            tf.config.set_logical_device_configuration(processor, parts)
        tf.zeros(1)  # the first use starts the runtime, which has things to say as well
    if not verbose:
        tf.get_logger().setLevel("ERROR")  # it warns of functions that are traced again, as each stage's are


@contextmanager
def _collector_as_it_was() -> Iterator[None]:
    """Keep what is imported from adding callbacks to the garbage collector.

    TensorFlow imports JAX where it is installed, which adds one. Python ignores what is raised in a callback,
    so a Ctrl-C that falls into it goes unheard. Where JAX was imported before, its callback stays.
    """
    kept = list(gc.callbacks)
    yield
    gc.callbacks[:] = kept


def forget_graphs() -> None:
    """Let go of the graphs of training steps that are traced already, tens of megabytes each.

    TensorFlow notes for ever how to differentiate the sum over devices that Keras puts into each of them,
    which nobody does, and the note holds the graph. There is no public way to take it back; see
    https://github.com/tensorflow/tensorflow/issues/27492.
    """
    if TENSORFLOW in sys.modules:
        from tensorflow.python.framework import ops

        noted = getattr(ops.gradient_registry, "_registry", {})
        for name in [name for name in noted if name.startswith("CustomGradient-")]:
            del noted[name]


def list_gpus() -> list[Any]:
    """Return the GPUs that TensorFlow sees."""
    import tensorflow as tf

    return list(tf.config.list_physical_devices("GPU"))


def share_batches(devices: int) -> AbstractContextManager[Any]:
    """Return a scope in which a model is built and trained on several devices that share each batch.

    Args:
        devices: How many; with 1 the scope does nothing.

    Raises:
        ConfigError: There are fewer.
    """
    if devices == 1:
        return nullcontext()
    import tensorflow as tf

    names = [device.name for device in tf.config.list_logical_devices("GPU" if list_gpus() else "CPU")]
    if len(names) < devices:
        raise ConfigError(
            f"devices must be at most {len(names)} on this machine. Received: devices={devices}"
        )
    return tf.distribute.MirroredStrategy(names[:devices]).scope()  # type: ignore[no-any-return]


def set_precision(precision: str) -> str:
    """Choose in which precision layers compute; variables stay float32.

    Args:
        precision: A Keras dtype policy, or "auto": mixed_bfloat16 where every GPU has it, else float32.

    Returns:
        The policy.
    """
    import keras

    policy = _choose_policy() if precision == "auto" else precision
    keras.config.set_dtype_policy(policy)
    return policy


def _choose_policy() -> str:
    import tensorflow as tf

    details = [tf.config.experimental.get_device_details(gpu) for gpu in list_gpus()]
    capable = [found.get("compute_capability", (0, 0)) >= BFLOAT16_CAPABILITY for found in details]
    return "mixed_bfloat16" if capable and all(capable) else "float32"


def seed_everything(seed: int, deterministic: bool = True) -> None:
    """Seed every generator, and choose only operations whose result does not vary from run to run.

    Args:
        seed: The seed.
        deterministic: Without it operations may be faster, above all on GPUs.
    """
    import keras

    keras.utils.set_random_seed(seed)
    if deterministic and keras.backend.backend() == TENSORFLOW:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


@contextmanager
def muted_stderr() -> Iterator[None]:
    """Send the file descriptor itself to nowhere: native code does not ask `sys.stderr`."""
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


def describe_environment() -> dict[str, Any]:
    """Return versions, machine, devices and command line, as a tree for JSON."""
    import tensorflow as tf

    return {
        "mvdefect": __version__,
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "cores": count_cores(),
        "devices": [device.device_type for device in tf.config.list_physical_devices()],
        "command": ["mvdefect", *sys.argv[1:]],
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
