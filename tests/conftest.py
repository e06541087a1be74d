"""Shared fixtures: a cache of their own, a small drawn data set, and one finished run."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

# Before TensorFlow is imported: one thread a worker, or the workers fight for the cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
import pytest

from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.progress import logger
from mvdefect.core.runtime import forget_graphs
from mvdefect.data.images import Pixels

if TYPE_CHECKING:
    from mvdefect.data.pipeline import Source
    from mvdefect.data.store import PreparedStore

LONG_SECONDS = 2.0
SHARED = Path(os.environ.get("MVDEFECT_SHARED", Path(__file__).parents[2] / "shared"))


def pytest_collection_finish() -> None:
    """Let neither Python nor TensorFlow spend time on what pays in a long run only: a test runs a graph once.

    Tracing makes a great many small objects; looking for garbage among them takes a fifth of it.
    """
    gc.set_threshold(50_000, 10, 10)
    if "tensorflow" in sys.modules:
        options = {"disable_meta_optimizer": True}
        sys.modules["tensorflow"].config.optimizer.set_experimental_options(options)
        from mvdefect.training import predictions

        predictions.ROUNDS = {1: 1}


@pytest.fixture(scope="session", autouse=True)
def _quiet_steps():
    """Log no progress, however slow the machine is: tests compare messages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mvdefect.core.progress.HEARTBEAT_S", 3600.0)
        yield


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory):
    """Keep the tests out of the user's cache and off the network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVDEFECT_OFFLINE", "1")
        patch.setenv("MVDEFECT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def _forget_networks() -> Iterator[None]:
    """Let go of what Keras keeps of each model, or a worker grows by gigabytes."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].backend.clear_session()
        forget_graphs()
        gc.collect()


@pytest.fixture(autouse=True)
def _collect_what_a_long_test_leaves() -> Iterator[None]:
    """Graphs are rings of objects, which the collector alone can let go."""
    started = time.process_time()
    yield
    if time.process_time() - started > LONG_SECONDS:
        forget_graphs()
        gc.collect()


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What the package logs during a test, whatever earlier tests did to its logger."""
    heard: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    listener, level = Listener(), logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    yield heard
    logger.setLevel(level)
    logger.removeHandler(listener)


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that one worker makes and all of them use; nobody may change what lies in it."""
    is_worker = "PYTEST_XDIST_WORKER" in os.environ
    root = factory.getbasetemp().parent if is_worker else factory.getbasetemp()
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / f"{name}.made").exists():
            make(root / name)
            (root / f"{name}.made").touch()
    return root / name


@pytest.fixture(scope="session")
def parts_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn products, 20 good and 4 × 5 defective images each, 64 pixels."""
    from mvdefect.drawing.data_set import write_parts

    def make(place: Path) -> None:
        write_parts(place, good=20, defective_per_type=5, size_px=64)

    return make_once(tmp_path_factory, "parts", make)


@pytest.fixture(scope="session")
def sources(parts_root: Path) -> dict[str, Source]:
    """The parts of a closed-set plan of the drawn products, prepared at 64 pixels."""
    from mvdefect.data.groups.grouping import group_records
    from mvdefect.data.pipeline import Source
    from mvdefect.data.scan import scan_images
    from mvdefect.data.sources.folders import read_records
    from mvdefect.data.splits.plan import PARTS
    from mvdefect.data.splits.protocols import assign_closed_set
    from mvdefect.data.store import prepare_images

    scan = scan_images(read_records(parts_root))
    plan = assign_closed_set(scan, group_records(scan), 0)
    store = prepare_images(scan.records, (64, 64), "letterbox")
    return {part: Source(store, plan, part) for part in PARTS}


@pytest.fixture(scope="session")
def tiny_config(parts_root: Path) -> FitConfig:
    """A fit of seconds."""
    return FitConfig(
        data=parts_root,
        resolution=(64, 64),
        backbone="small_cnn",
        weights="none",
        head="patch",
        stages=(
            StageConfig(depth_blocks=0, epochs=1, learning_rate=1e-3),
            StageConfig(depth_blocks=4, epochs=2, learning_rate=3e-3),
        ),
        batch_size=16,
    )


@pytest.fixture(scope="session")
def finished_run(tiny_config: FitConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `tiny_config`; tests read it and change nothing."""
    from mvdefect.workflow.fit import fit_inspector

    return make_once(tmp_path_factory, "run", lambda place: fit_inspector(tiny_config, place))


@pytest.fixture(scope="session")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of the finished run; tests read it and change nothing."""
    from mvdefect.exporting.export import ExportSettings, export_run

    def make(place: Path) -> None:
        export_run(finished_run, place, ExportSettings(name="parts"))

    return make_once(tmp_path_factory, "saved_models", make) / "parts" / "1"


@pytest.fixture
def magnetic_tile() -> Path:
    """The real photographs, where they lie beside the project."""
    path = SHARED / "data" / "magnetic_tile"
    if not path.is_dir():
        pytest.skip(f"no real photographs at {path}; name their place with MVDEFECT_SHARED")
    return path


@pytest.fixture(scope="session")
def mobilenet_weights() -> Path:
    """Real ImageNet weights of MobileNetV2, where they lie beside the project."""
    path = SHARED / "weights" / "mobilenetv2_imagenet_notop.weights.h5"
    if not path.is_file():
        pytest.skip(f"no weights at {path}; name their place with MVDEFECT_SHARED")
    return path


def write_image(path: Path, image: np.ndarray) -> Path:
    """Write RGB or grey pixels in the format that the suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(path.suffix, image[..., ::-1] if image.ndim == 3 else image)[1]
    path.write_bytes(encoded.tobytes())
    return path


def replace_unseen(path: Path) -> None:
    """Put another file in a file's place, of the same size and time."""
    before, other = path.stat(), path.with_name("other")
    changed = path.read_bytes()
    other.write_bytes(changed[:-1] + bytes([changed[-1] ^ 1]))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def read_stored(store: PreparedStore) -> dict[str, dict[str, np.ndarray]]:
    """Read a prepared store as any user of TFDS does: image, mask and the rest by id."""
    import tensorflow_datasets as tfds

    examples = tfds.as_numpy(tfds.builder_from_directory(store.path).as_dataset(split="images"))
    return {example["id"].decode(): example for example in examples}


def make_texture(seed: int, height: int = 40, width: int = 48) -> Pixels:
    """Return a random but smooth RGB picture, unlike that of any other seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def make_surface(seed: int, height: int = 96, width: int = 96) -> Pixels:
    """Return a random RGB surface with fine structure, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.normal(size=(height, width)).astype(np.float32), (0, 0), 1.2)
    patches = cv2.resize(rng.normal(size=(6, 6)).astype(np.float32), (width, height))
    grey = np.clip(120 + 60 * grain + 25 * patches, 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)


def write_class_folders(root: Path, good: int = 12, defective: int = 12) -> Path:
    """Write a product as class folders, with one defect type."""
    for number in range(good):
        write_image(root / "good" / f"{number:03}.png", make_texture(number))
    for number in range(defective):
        write_image(root / "dent" / f"{number:03}.png", make_texture(1000 + number))
    return root


def write_views(root: Path, good: int = 24, defective: int = 12) -> Path:
    """Write parts of two views each; a defect is in the first view alone, and one good part lacks a view."""
    for number in range(good + defective):
        is_bad = number >= good
        for place, view in enumerate(("top", "side")):
            image = make_texture(2 * number + place, 64, 64)
            if is_bad and not place:
                cv2.circle(image, (20 + number % 20, 32), 9, (255, 0, 0), -1)
            if (number, view) != (1, "side"):
                folder = "dent" if is_bad and not place else "good"
                write_image(root / folder / f"SN{number:02}_{view}.png", image)
    return root
