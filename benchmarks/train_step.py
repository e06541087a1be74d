"""How fast a training step is, how much of the device it uses, and how much memory it takes.

    KERAS_BACKEND=jax python benchmarks/train_step.py --batch-size 64

Prints a row for each backbone, precision and number of blocks that learn. Weights and images are random,
and all images are in one batch that is shown again and again, so that reading is not measured; copying
the batch to the device is. Each row is measured in a process of its own, as peaks of memory never fall.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from mvdefect.models.backbones import BACKBONES, BackboneSpec

PRECISIONS = ("float32", "mixed_bfloat16")
DEPTHS = ("0", "1", "all")
# Dense peaks in TFLOP/s from NVIDIA's data sheets: of TF32, in which both backends multiply float32 by
# default, and of bfloat16. The first name that fits counts.
PEAKS = {
    "H100 PCIe": (378.0, 756.0),
    "H100": (494.7, 989.4),
    "H200": (494.7, 989.4),
    "A100": (156.0, 312.0),
    "L40S": (183.0, 362.0),
    "A10": (62.5, 125.0),
    "L4": (60.0, 121.0),
}


@dataclass(frozen=True)
class Case:
    """What a row of the table measures."""

    backbone: str
    precision: str
    depth: str
    batch_size: int
    image_size_px: int
    warmup_steps: int
    steps: int


@dataclass(frozen=True)
class Row:
    """What was measured.

    Attributes:
        device: Name of the device.
        step_s: Seconds a step, the median.
        step_flops: Floating-point operations a step.
        peak_memory_gb: On a GPU what was allocated there, otherwise what the process had, in 2^30 bytes.
    """

    device: str
    step_s: float
    step_flops: float
    peak_memory_gb: float


def measure_case(case: Case) -> Row:
    """Build a classifier, train it for a while, and measure the steps after the first ones.

    A step is the time from the end of one to the end of the next. Keras gives a callback the loss, so a
    step has ended on the device when it is called.
    """
    import keras

    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(case.precision)
    model = compile_classifier(case)
    pixels, labels = draw_batch(case)
    moments: list[float] = []
    callback = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda *_, **__: moments.append(time.perf_counter())
    )
    batches = repeat_batch(pixels, labels, case.warmup_steps + case.steps)
    model.fit(batches, verbose=0, shuffle=False, callbacks=[callback])
    step_s = statistics.median(np.diff(moments[case.warmup_steps - 1 :]).tolist())
    peak = measure_peak_memory_gb()  # before anything else is run
    return Row(find_device(), step_s, count_step_flops(model, pixels, labels), peak)


def compile_classifier(case: Case) -> Any:
    """Build a classifier of random weights, set what learns, and compile it as a fit does."""
    import keras

    from mvdefect.models.classifier import build_classifier
    from mvdefect.models.freezing import unfreeze
    from mvdefect.models.heads import HeadSettings
    from mvdefect.training.losses import make_loss
    from mvdefect.training.stages import Stage, make_optimizer

    spec = BACKBONES[case.backbone]
    depth = count_blocks(spec, case.depth)
    model = build_classifier(spec, (case.image_size_px, case.image_size_px), HeadSettings(), 2, None)
    unfreeze(model, spec, depth)
    stage = Stage(depth, 1, spec.learning_rate, spec.learning_rate)
    steps = case.warmup_steps + case.steps
    optimizer = make_optimizer(model, spec, stage, steps, weight_decay=1e-4, clip_norm=1.0, ema=None)
    use_xla = keras.backend.backend() == "jax" or has_gpu()  # TensorFlow on a processor is slower with it
    model.compile(optimizer, loss=make_loss("cross_entropy", 0.0, 0.0), jit_compile=use_xla)
    return model


def count_blocks(spec: BackboneSpec, depth: str) -> int:
    """Return the number of blocks that "0", "1", ... or "all" stands for."""
    return spec.max_depth_blocks if depth == "all" else int(depth)


def draw_batch(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8 pixels (b, size, size, 3) and float32 labels (b, 1)."""
    rng = np.random.default_rng(0)
    shape = (case.batch_size, case.image_size_px, case.image_size_px, 3)
    labels = (np.arange(case.batch_size) % 2).astype(np.float32)[:, np.newaxis]
    return rng.integers(0, 256, shape, np.uint8), labels


def repeat_batch(pixels: np.ndarray, labels: np.ndarray, steps: int) -> Any:
    """Return a Keras data set that gives one batch again and again."""
    import keras

    class RepeatedBatch(keras.utils.PyDataset):  # type: ignore[misc]
        def __len__(self) -> int:
            return steps

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            return pixels, labels

    return RepeatedBatch()


def count_step_flops(model: Any, pixels: np.ndarray, labels: np.ndarray) -> float:
    """Return what JAX's compiler counts, and under TensorFlow what the layers come to."""
    import keras

    if keras.backend.backend() != "jax":
        return len(pixels) * float(sum(list_layer_flops(model)))
    import jax

    states = (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables)
    values = [[variable.value for variable in state] for state in (*states, model.metrics_variables)]
    costs = jax.jit(model.train_step).lower(tuple(values), (pixels, labels)).cost_analysis() or {}
    return float(costs.get("flops", float("nan")))


def list_layer_flops(model: Any) -> Iterator[int]:
    """Yield what each layer takes in a step, for one image.

    A multiplication and an addition are two. A layer that learns needs its forward pass, the gradient of
    its weights and that of its input; a frozen one above it all but the weights'; one below, the first.
    """
    reached = False
    for layer in list_leaves(model):
        learns = bool(layer.trainable_weights)
        reached = reached or learns
        passes = 3 if learns else 2 if reached else 1
        yield passes * count_forward_flops(layer)


def list_leaves(layer: Any) -> Iterator[Any]:
    """Yield the layers of a model and of the models in it, from the input upwards."""
    for child in layer.layers:
        if hasattr(child, "layers"):
            yield from list_leaves(child)
        else:
            yield child


def count_forward_flops(layer: Any) -> int:
    """Return what convolutions and dense layers take for one image; all others count as nothing."""
    import keras

    known = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    if not isinstance(layer, known):
        return 0
    height_width = layer.output.shape[1:-1]  # of a dense layer: no axis
    return 2 * int(np.prod(layer.kernel.shape)) * int(np.prod(height_width))


def has_gpu() -> bool:
    """Whether the backend computes on a GPU."""
    return find_device() != "CPU"


def find_device() -> str:
    """Return the name of the GPU that the backend computes on, or "CPU"."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        return "CPU" if device.platform == "cpu" else str(device.device_kind)
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return str(tf.config.experimental.get_device_details(gpus[0])["device_name"]) if gpus else "CPU"


def measure_peak_memory_gb() -> float:
    """Return the peak on the device, or of the process where the device is the processor."""
    import keras

    if not has_gpu():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if keras.backend.backend() == "jax":
        import jax

        return float(jax.devices()[0].memory_stats()["peak_bytes_in_use"]) / 2**30
    import tensorflow as tf

    return float(tf.config.experimental.get_memory_info("GPU:0")["peak"]) / 2**30


def find_peak_tflops(device: str, precision: str) -> float | None:
    """Return what the device can do at most, or None where the table lacks it."""
    for name, peaks in PEAKS.items():
        if re.search(rf"\b{name}\b", device):
            return peaks[PRECISIONS.index(precision)]
    return None


def format_row(case: Case, row: Row, peak_tflops: float | None) -> str:
    """Format a row of the table."""
    peak = peak_tflops or find_peak_tflops(row.device, case.precision)
    share = f"{row.step_flops / row.step_s / peak / 1e12:.1%}" if peak else "-"
    columns = (
        f"{case.backbone:15} {case.precision:15} {case.depth:>6}",
        f"{case.batch_size / row.step_s:10.1f} {1e3 * row.step_s:9.1f} {row.step_flops / 1e9:11.3f}",
        f"{share:>7} {row.peak_memory_gb:9.2f}  {row.device}",
    )
    return " ".join(columns)


def parse_cases() -> tuple[list[Case], float | None]:
    """Read what to measure from the command line, and the peak that it names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--backbones", nargs="+", choices=sorted(BACKBONES), default=sorted(BACKBONES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--depths", nargs="+", default=DEPTHS, help="blocks that learn: 0, 1, ... or all")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--warmup-steps", type=int, default=5, help="at least 1, as the first compiles")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--peak-tflops", type=float, help="of a device that the table lacks")
    options = parser.parse_args()
    if min(options.warmup_steps, options.steps) < 1:
        parser.error("--warmup-steps and --steps must be at least 1")
    sizes = (options.batch_size, options.size_px, options.warmup_steps, options.steps)
    cases = [
        Case(backbone, precision, depth, *sizes)
        for backbone in options.backbones
        for precision in options.precisions
        for depth in options.depths
    ]
    return cases, options.peak_tflops


def main() -> None:
    """Measure and print."""
    cases, peak_tflops = parse_cases()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    first = cases[0]
    print(f"{first.batch_size} images of {first.image_size_px} pixels a step; memory in GiB")
    print("backbone        precision       blocks   images/s   ms/step  GFLOP/step    peak    memory  device")
    context, failures = multiprocessing.get_context("spawn"), 0
    for case in cases:
        try:
            with ProcessPoolExecutor(1, mp_context=context) as pool:
                row = pool.submit(measure_case, case).result()
            print(format_row(case, row, peak_tflops), flush=True)
        except Exception as error:  # one that has too little memory, say, does not keep the others back
            failures += 1
            print(f"{case.backbone:15} {case.precision:15} {case.depth:>6} failed: {error}", flush=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
