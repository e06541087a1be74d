"""Models and training under another backend of Keras, on a machine without TensorFlow."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "train_step.py"
CASES = [f"{name}-{kind}" for name in ("small_cnn", "mobilenetv2") for kind in ("pooled", "patch")]
BACKENDS = ("tensorflow", "jax")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("jax") is None, reason="JAX is not installed: pip install -e '.[dev]'"),
]

# Weights that are not there yet are drawn and saved; those that are there are loaded.
SCRIPT = """
import sys
from pathlib import Path

import keras
import numpy as np

from mvdefect.models.backbones import BACKBONES
from mvdefect.models.classifier import build_classifier
from mvdefect.models.freezing import unfreeze
from mvdefect.models.heads import HeadSettings
from mvdefect.models.saliency import build_heatmaps
from mvdefect.training.losses import make_loss
from mvdefect.training.stages import make_optimizer
from mvdefect.training.stages import Stage

weights_folder, out = map(Path, sys.argv[1:3])
for case in sys.argv[3:]:
    name, kind = case.split("-")
    weights = weights_folder / f"{case}.npz"
    keras.utils.set_random_seed(0)
    spec, stage = BACKBONES[name], Stage(2, 1, 1e-4, 1e-3, 0.5, 0.5)
    head = HeadSettings(kind, pooling="avg_max", learn_sharpness=True, dropout=0.0)
    model = build_classifier(spec, (64, 64), head, 2, None)
    if weights.exists():
        with np.load(weights) as stored:
            model.set_weights([stored[f"arr_{index}"] for index in range(len(stored))])
    else:
        rng = np.random.default_rng(0)
        for variable in model.get_layer("backbone").weights:
            # Drawn so that the signal neither fades nor grows.
            if len(variable.shape) == 4:
                inputs = np.prod(variable.shape[:2] if variable.shape[-1] == 1 else variable.shape[:3])
                variable.assign(rng.normal(0, np.sqrt(2 / inputs), variable.shape))
        np.savez(weights, *model.get_weights())
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype(np.uint8)
    labels = np.array([[0.0], [1.0], [0.0], [1.0]], np.float32)
    logits = keras.ops.convert_to_numpy(model(pixels))
    maps = keras.ops.convert_to_numpy(build_heatmaps(model)(pixels))
    unfreeze(model, spec, stage.depth_blocks)
    optimizer = make_optimizer(model, spec, stage, 4, weight_decay=1e-4, clip_norm=1.0, ema=0.9)
    use_xla = keras.backend.backend() == "jax"
    model.compile(optimizer, loss=make_loss("focal", 0.1, 2.0), jit_compile=use_xla)
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in model.trainable_variables]
    losses = [float(model.train_on_batch(pixels, labels)) for _ in range(2)]
    optimizer.finalize_variable_values(model.trainable_variables)
    moves = [keras.ops.convert_to_numpy(x) - old for x, old in zip(model.trainable_variables, before)]
    moves = np.concatenate([move.ravel() for move in moves])
    np.savez(out / f"{case}.npz", logits=logits, maps=maps, losses=losses, moves=moves)
tensorflow = sys.modules.get("tensorflow")
print(keras.backend.backend(), "with" if hasattr(tensorflow, "Tensor") else "without", "TensorFlow")
"""


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first TensorFlow that Python finds cannot be imported."""
    package = tmp_path_factory.mktemp("blocked") / "tensorflow"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('raise ImportError("TensorFlow is not to be used here")\n')
    return package.parent


def run(backend: str, blocked: Path, *arguments: str) -> str:
    paths = [str(BENCHMARK.parents[1]), *([] if backend == "tensorflow" else [str(blocked)])]
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "PYTHONPATH": os.pathsep.join(reversed(paths)),
    }
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_block_blocks(blocked: Path) -> None:
    code = "try:\n    import tensorflow\nexcept ImportError as error:\n    print(error)"
    assert run("jax", blocked, "-c", code).strip() == "TensorFlow is not to be used here"


@pytest.fixture(scope="module")
def learned(blocked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What each backend makes of each case, from the same weights: a folder a backend."""
    folder = tmp_path_factory.mktemp("learned")
    for backend, loaded in (("tensorflow", "with"), ("jax", "without")):
        (folder / backend).mkdir()
        said = run(backend, blocked, "-c", SCRIPT, str(folder), str(folder / backend), *CASES)
        assert said.strip() == f"{backend} {loaded} TensorFlow"
    return folder


@pytest.mark.parametrize("case", CASES)
def test_both_backends_give_the_same_logits_and_learn_alike(case: str, learned: Path) -> None:
    found = {}
    for backend in BACKENDS:
        with np.load(learned / backend / f"{case}.npz") as arrays:
            found[backend] = dict(arrays)
    ours, theirs = found["jax"], found["tensorflow"]
    assert ours["logits"].shape == (4, 1)
    assert ours["logits"].std() > 1e-2  # no two images alike, so the next line says something
    assert np.allclose(ours["logits"], theirs["logits"], atol=1e-4)
    assert ours["maps"].std() > 1e-2
    assert np.allclose(ours["maps"], theirs["maps"], atol=1e-3)
    assert np.allclose(ours["losses"], theirs["losses"], rtol=1e-3)
    assert ours["losses"][0] != ours["losses"][1]
    # AdamW divides by the size of the gradient, so where that is nearly 0 its sign is chance.
    assert np.mean(np.abs(ours["moves"] - theirs["moves"]) < 1e-6) > 0.98
    assert np.mean(np.abs(ours["moves"]) > 4e-6) > 0.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_benchmark_of_a_step_runs(backend: str, blocked: Path) -> None:
    sizes = ("--batch-size", "2", "--size-px", "32", "--warmup-steps", "1", "--steps", "2")
    chosen = ("--backbones", "small_cnn", "--precisions", "float32", "--depths", "all")
    said = run(backend, blocked, str(BENCHMARK), *sizes, *chosen, "--peak-tflops", "0.1")
    pattern = r"small_cnn +float32 +all +([\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)% +([\d.]+)  CPU"
    (row,) = re.findall(pattern, said)
    images_per_s, step_ms, step_gflops, share, memory_gb = map(float, row)
    assert images_per_s == pytest.approx(2e3 / step_ms, rel=0.05)
    assert share == pytest.approx(100 * (step_gflops / step_ms) / 0.1, rel=0.05, abs=0.06)
    assert 0.1 < memory_gb < 8
    # By hand, with padding, for an image: 2 * outputs * kernel, of convolutions and logit, in three passes.
    widths = ((3, 16, 16), (16, 16, 16), (16, 32, 8), (32, 32, 8), (32, 48, 4), (48, 48, 4), (48, 64, 2))
    convolutions = sum(2 * 9 * before * after * side**2 for before, after, side in (*widths, (64, 64, 2)))
    assert step_gflops == pytest.approx(2 * 3 * (convolutions + 2 * 112) / 1e9, rel=0.3)


PRETRAIN = """
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Missing())
from mvdefect.cli import main

main(sys.argv[1:])
"""


def test_pretraining_needs_no_tensorflow_under_another_backend(tmp_path: Path) -> None:
    out = tmp_path / "small.weights.h5"
    flags = [
        "--backbone",
        "small_cnn",
        "--image-size",
        "64",
        "--surfaces",
        "2",
        "--steps",
        "2",
        "--workers",
        "1",
    ]
    command = [sys.executable, "-c", PRETRAIN, "pretrain", *flags, "--out", str(out)]
    done = subprocess.run(
        command, env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "small_cnn, 12 views of drawn surfaces" in done.stdout
    assert out.is_file()
