"""From the bytes of photographs to verdicts: every engine of an export against plain `model.predict`.

    python benchmarks/inference.py --data ../shared/data/magnetic_tile --out inference
    python benchmarks/inference.py --data ../shared/data/magnetic_tile --out inference --large

For each backbone an inspector learns for a few epochs (the frozen part runs once), and is exported for every
runtime. Then, in this process and in turn, each engine inspects test photographs, from encoded bytes in
memory to verdicts, one at a time and by 32; it has a batch to find its feet (the threads of the one before
still spin, and caches are full of it), and the next is timed. Two baselines get photographs that are decoded
and resized already, which is not in their time: `predict` is `model.predict` of the classifier alone, `both`
that of classifier and novelty, without which most verdicts cannot be reached. ROC-AUC and flips (verdicts
that differ from the run's) come from the export, which measures the whole test part.

With `--large` photographs are brought to 1024 x 1024 PNGs, and an engine's rate is compared with that at
which the same cores decode them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mvdefect.inspector.formats.format import BFLOAT16, FLOAT32, INT8
from mvdefect.inspector.formats.registry import FORMATS

BACKBONES = ("mobilenetv2", "efficientnetb0", "resnet50", "densenet121")
ENGINES = {
    precision: tuple(kind.name for kind in FORMATS.values() if precision in kind.precisions)
    for precision in (FLOAT32, BFLOAT16, INT8)
}
ROUNDS = {1: 40, 32: 7}
LARGE_PX = 1024

Work = Callable[[Sequence[Any]], object]


def make_run(backbone: str, data: Path, out: Path, weights: str, size_px: int) -> Path:
    """Fit an inspector whose backbone stays frozen but for its last block; one that is there is kept."""
    from mvdefect.config import FitConfig, StageConfig
    from mvdefect.runs import RunFolder
    from mvdefect.workflow.fit import fit_inspector

    run = out / "runs" / backbone
    if not RunFolder(run).is_finished:
        stages = (StageConfig(epochs=10, depth_blocks=0), StageConfig(epochs=2, depth_blocks=1))
        config = FitConfig(
            data=data,
            backbone=backbone,
            weights=weights,
            resolution=(size_px, size_px),
            stages=stages,
            views=1,
        )
        fit_inspector(config, run)
    return run


def make_exports(run: Path, out: Path) -> list[tuple[Path, str, dict[str, Any]]]:
    """Export a run for every runtime in every precision; return export, name and cost of each engine."""
    from mvdefect.exporting.export import ExportSettings, export_run

    found = []
    for precision, formats in ENGINES.items():
        root = out / "exports" / precision
        done = sorted((root / run.name).glob("[0-9]*"))
        settings = ExportSettings(formats, precision, max_flips=1.0)
        export = done[-1] if done else export_run(run, root, settings).path
        engines = json.loads((export / "inspector.json").read_text())["engines"]
        found += [(export, engine["name"], engine["cost"]) for engine in engines]
    return found


def read_files(run: Path, count: int, large: bool) -> list[bytes]:
    """Return the bytes of test photographs, or of large PNGs made from them."""
    from mvdefect.data.images import decode_image
    from mvdefect.exporting.samples import Samples
    from mvdefect.runs import open_run, read_run_config

    folder = open_run(run)
    samples = Samples(folder, read_run_config(folder))
    chosen = np.random.default_rng(0).permutation(len(samples.test))[:count]
    paths = samples.find([samples.test[number] for number in chosen])
    files = [path.read_bytes() for path in paths]
    if not large:
        return files
    pictures = [cv2.resize(decode_image(file), (LARGE_PX, LARGE_PX)) for file in files]
    return [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]


def measure(works: dict[str, tuple[Work, Sequence[Any]]]) -> dict[str, dict[str, float]]:
    """Time works in turn, on one item and on 32: milliseconds an item (median, 95%), and items a second.

    Each is asked twice in its turn, about other items, and the second time counts.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in works}
    for size, rounds in ROUNDS.items():
        times: dict[str, list[float]] = {name: [] for name in works}
        for turn in range(rounds):
            for name, (work, items) in works.items():
                first, second = (_take(items, 2 * turn + half, size) for half in (0, 1))
                work(first)
                times[name].append(_time(work, second))
        for name, row in found.items():
            row[f"p50_{size}"], row[f"p95_{size}"] = 1000 * np.percentile(times[name], (50, 95)) / size
            row[f"rate_{size}"] = 1000 / row[f"p50_{size}"]
    return found


def _take(items: Sequence[Any], number: int, size: int) -> list[Any]:
    """Return a batch; after the last item comes the first again."""
    return [items[(number * size + place) % len(items)] for place in range(size)]


def _time(work: Work, batch: Sequence[Any]) -> float:
    started = time.perf_counter()
    work(batch)
    return time.perf_counter() - started


def make_baselines(run: Path) -> dict[str, Work]:
    """Return what a user would write: `model.predict` on pixels at working size."""
    from mvdefect.models.classifier import load_classifier
    from mvdefect.models.normality import load_normality
    from mvdefect.runs import open_run

    folder = open_run(run)
    classifier, features = load_classifier(folder.model), load_classifier(folder.features)
    normality = load_normality(folder.normality)

    def predict(images: Sequence[np.ndarray]) -> object:
        return classifier.predict(np.stack(images), batch_size=32, verbose=0)

    def predict_both(images: Sequence[np.ndarray]) -> object:
        return predict(images), normality.score_images(
            features.predict(np.stack(images), batch_size=32, verbose=0)
        )

    return {"predict": predict, "both": predict_both}


def measure_backbone(backbone: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row an engine, the baselines first."""
    from mvdefect.core.parallel import count_cores
    from mvdefect.data.images import decode_at_size, decode_image
    from mvdefect.inspector.engines import open_engine

    run = make_run(backbone, options.data, options.out, options.weights.get(backbone, "none"), options.size)
    exports = make_exports(run, options.out)
    files = read_files(run, options.images, options.large)
    images = [decode_at_size(file, options.size) for file in files]
    works: dict[str, tuple[Work, Sequence[Any]]] = {
        name: (work, images) for name, work in make_baselines(run).items()
    }
    for export, name, _ in exports:
        works[name] = (open_engine(export, name), files)
    if options.large:
        readers = ThreadPoolExecutor(count_cores())
        works["decoding alone"] = (lambda batch: list(readers.map(decode_image, batch)), files)
    costs = {name: cost for _, name, cost in exports}
    return [
        {"backbone": backbone, "engine": name, **row, **costs.get(name, {})}
        for name, row in measure(works).items()
    ]


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print a table as Markdown; ratios are to `predict` of the same backbone."""
    print(
        "| backbone | engine | batch 1: p50 / p95 ms | ratio | batch 32: p50 / p95 ms | ratio | a second |",
        end="",
    )
    print(" ROC-AUC (run) | flips |\n" + "| --- " * 9 + "|")
    plain = {row["backbone"]: row for row in rows if row["engine"] == "predict"}
    for row in rows:
        base = plain[row["backbone"]]
        cells = [row["backbone"], row["engine"]]
        for size in ROUNDS:
            cells.append(f"{row[f'p50_{size}']:.1f} / {row[f'p95_{size}']:.1f}")
            cells.append(f"{base[f'p50_{size}'] / row[f'p50_{size}']:.1f}")
        cells.append(f"{row['rate_32']:.0f}")
        if "flips" in row:
            cells += [
                f"{row['roc_auc']:.4f} ({row['run_roc_auc']:.4f})",
                f"{row['flips']} of {row['photographs']}",
            ]
        else:
            cells += ["", ""]
        print("| " + " | ".join(cells) + " |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, required=True, help="where runs and exports go; kept for another time"
    )
    parser.add_argument("--backbones", nargs="+", default=list(BACKBONES))
    parser.add_argument("--weights", nargs="*", default=[], metavar="BACKBONE=WEIGHTS", help="default: none")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    options.weights = dict(pair.split("=", 1) for pair in options.weights)
    from mvdefect.core.runtime import load_tensorflow

    load_tensorflow()
    rows = [row for backbone in options.backbones for row in measure_backbone(backbone, options)]
    show(rows)


if __name__ == "__main__":
    main()
