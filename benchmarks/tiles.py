"""What `mvdefect fit` reaches on real photographs with masks, under protocols that cannot flatter it.

    python benchmarks/tiles.py kfold --data ../shared/data/magnetic_tile --weights FILE --out runs/kfold
    python benchmarks/tiles.py kfold --data ../shared/data/magnetic_tile --weights FILE --out runs/pooled \\
        --set head=pooled --against runs/kfold
    python benchmarks/tiles.py unseen --data ../shared/data/magnetic_tile --weights FILE --out runs/unseen

`kfold`: five folds over groups of near-duplicates; each photograph is tested once, by an inspector that saw
nothing like it. Prints the figures of each fold and their means; over all folds the recall on the smallest
quarter of defects by mask area; and how well heatmaps find the defective pixels.
With `--against` it compares with runs made before, by a paired bootstrap over groups.

`unseen`: each defect type is held out in turn. Prints the recall on that type at 5% false alarms for the
classifier, the one-class score, both weighed together, and either: where a fifth of the false alarms is the
classifier's, and the rest the one-class score's.

Folds that are finished are not run again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.core.runtime import load_tensorflow

FALSE_ALARM_RATE = 0.05
NOVELTY_ODDS = 4  # its share of the false alarms of `either`, to one of the classifier
TAIL_SHARE = 0.25


def draw(data: Path, protocol: str, seed: int, out: Path) -> dict[str, Path]:
    """Draw the plans of a protocol and write them; return where, by name."""
    from mvdefect.data.groups.grouping import group_records
    from mvdefect.data.scan import scan_images
    from mvdefect.data.sources.folders import read_records
    from mvdefect.data.splits.plan import save_plans
    from mvdefect.data.splits.protocols import draw_plans

    scan = scan_images(read_records(data))
    number = {"n": 5} if protocol == "kfold" else {}
    plans = draw_plans(scan, group_records(scan), protocol, seed, **number)
    return {path.stem: path for path in save_plans(plans, out)}


def choose_plans(args: argparse.Namespace, protocol: str) -> dict[str, Path]:
    """Draw all plans of a protocol and keep the first of them, where not all are asked for."""
    plans = draw(args.data, protocol, args.seed, args.out)
    return dict(list(plans.items())[: args.first])


def fit_all(args: argparse.Namespace, plans: dict[str, Path]) -> dict[str, Path]:
    """Fit an inspector for each plan whose run is missing."""
    from mvdefect.config import load_config
    from mvdefect.workflow.fit import fit_inspector

    runs = {}
    for name, plan in plans.items():
        runs[name] = args.out / f"run-{name}"
        if runs[name].exists():
            continue
        overrides = {
            "data": str(args.data),
            "weights": str(args.weights),
            "split": str(plan),
            "seed": args.seed,
        }
        config = load_config(args.config, overrides, args.set)
        started = time.perf_counter()
        fit_inspector(config, runs[name])
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
    return runs


def read_tested(runs: dict[str, Path]) -> list[Any]:
    """Return the test predictions of all runs."""
    from mvdefect.runs import RunFolder, read_predictions

    return [row for run in runs.values() for row in read_predictions(RunFolder(run)) if row.split == "test"]


def measure_area(data: Path) -> dict[str, float]:
    """Return the share of pixels that are defective, by id, of every photograph with a mask."""
    from mvdefect.data.images import decode_mask
    from mvdefect.data.sources.folders import read_records

    return {
        record.id: float(decode_mask(record.mask_path.read_bytes()).mean())
        for record in read_records(data)
        if record.mask_path
    }


def find_smallest(rows: list[Any], areas: dict[str, float]) -> list[Any]:
    """Return the defective photographs with the smallest quarter of defects; empty masks say nothing."""
    known = [row for row in rows if areas.get(row.id, 0) > 0]
    limit = np.quantile([areas[row.id] for row in known], 0.25)
    return [row for row in known if areas[row.id] <= limit]


def measure_pixels(runs: dict[str, Path], data: Path) -> list[Any]:
    """Return how well the heatmaps of each run find the pixels of its test photographs, defective and good.

    Letterbox padding does not count, and neither do defective photographs without a mask.
    """
    from mvdefect.data.pipeline import Source, read_masks
    from mvdefect.data.resizing import mark_photograph
    from mvdefect.data.scan import scan_images
    from mvdefect.data.sources.folders import read_records
    from mvdefect.data.splits.plan import read_split_plan
    from mvdefect.data.store import prepare_images
    from mvdefect.evaluation.localisation import measure_localisation
    from mvdefect.models.classifier import load_classifier
    from mvdefect.runs import RunFolder, read_run_config
    from mvdefect.training.predictions import predict_heatmaps

    records, found = read_records(data), []
    scan = scan_images(records)
    sizes = {record.id: size for record, size in zip(scan.records, scan.sizes_px.tolist(), strict=True)}
    for run in runs.values():
        folder = RunFolder(run)
        config = read_run_config(folder)
        store = prepare_images(records, config.size_px, config.resize)
        test = Source(store, read_split_plan(folder.split_plan), "test")
        started = time.perf_counter()
        maps = predict_heatmaps(load_classifier(folder.model), test, 32)
        passed = time.perf_counter() - started
        masks = read_masks(test, store.size_px) > 0
        groups = np.array([row.group for row in test.rows])
        known = masks.any(axis=(1, 2)) | (test.labels == 0)
        inside = [
            mark_photograph(height, width, store.size_px, config.resize)
            for height, width in (sizes[row.id] for row in test.rows)
        ]
        read = time.perf_counter()
        figures = measure_localisation(maps, masks, groups, known, inside=np.stack(inside))
        found.append(figures)
        print(f"{run.name}: {test.count} maps {passed:.1f} s, figures {time.perf_counter() - read:.1f} s")
    return found


def print_pixels(found: Sequence[Any]) -> None:
    """Print the localisation figures of each run and their means."""
    for name in ("pixel_roc_auc", "pro", "pointing"):
        figures = [getattr(one, name) for one in found]
        listed = ", ".join(f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})" for one in figures)
        print(f"{name}: mean {np.mean([one.value for one in figures]):.3f}; {listed}")
    chance = np.mean([one.pointing_chance for one in found])
    print(f"pointing within {found[0].tolerance_px} pixels of the mask; by chance {chance:.3f}")


def compare_recall(rows: list[Any], others: list[Any]) -> tuple[float, float, float]:
    """Return the difference of two recalls on the same photographs and its 95% interval over groups."""
    verdict_of = {row.id: row.verdict == "defective" for row in others}
    gained = np.array([(row.verdict == "defective") - verdict_of[row.id] for row in rows], float)
    _, groups = np.unique([row.group for row in rows], return_inverse=True)
    sums, counts = np.bincount(groups, gained), np.bincount(groups)
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), 5000)
    low, high = np.quantile((draws @ sums) / (draws @ counts), [0.025, 0.975])
    return float(gained.mean()), float(low), float(high)


def run_kfold(args: argparse.Namespace) -> None:
    """Fit five folds and print their figures."""
    from mvdefect.evaluation.evaluate import evaluate_run

    started = time.perf_counter()
    runs = fit_all(args, choose_plans(args, "kfold"))
    minutes = (time.perf_counter() - started) / 60
    print(f"{len(runs)} folds: {minutes:.1f} minutes (what was finished before not counted)")
    figures = []
    for name, run in runs.items():
        found = evaluate_run(run)
        figures.append([found.figures[key].value for key in ("roc_auc", "f1", "recall", "precision")])
        caught = ", ".join(
            f"{entry.defect_type} {entry.caught}/{entry.count}" for entry in found.recall_by_type
        )
        print(f"{name}: ROC-AUC {figures[-1][0]:.4f}, F1 {figures[-1][1]:.3f}; {caught}")
    means, spread = np.mean(figures, axis=0), np.std(figures, axis=0, ddof=1)
    print(
        f"mean: ROC-AUC {means[0]:.4f} (sd {spread[0]:.4f}), F1 {means[1]:.3f} (sd {spread[1]:.3f}), ", end=""
    )
    print(f"recall {means[2]:.3f}, precision {means[3]:.3f}")
    rows, areas = read_tested(runs), measure_area(args.data)
    smallest = find_smallest(rows, areas)
    caught = np.mean([row.verdict == "defective" for row in smallest])
    print(f"smallest quarter of defects: recall {caught:.3f} on {len(smallest)} photographs")
    print_pixels(measure_pixels(runs, args.data))
    if args.against:
        others = read_tested({name: args.against / f"run-{name}" for name in runs})
        gain = compare_recall(find_smallest(others, areas), rows)
        print(f"recall of {args.against} minus this on the smallest quarter: %.3f (%.3f to %.3f)" % gain)


def run_unseen(args: argparse.Namespace) -> None:
    """Hold each defect type out and print what catches it."""
    runs = fit_all(args, choose_plans(args, "unseen-type"))
    print("held out          images  classifier  one-class  combined  either   (recall at 5% false alarms)")
    recalls = []
    for name, run in runs.items():
        rows, good = _read_unseen(run), _read_good_val(run)
        by_logit = _find_surprise([row.logit for row in rows], [row.logit for row in good])
        by_novelty = _find_surprise([row.novelty for row in rows], [row.novelty for row in good])
        either = np.maximum(by_logit - np.log(NOVELTY_ODDS), by_novelty)
        scores = [by_logit, by_novelty, np.array([row.score for row in rows]), either]
        defective = np.array([row.label == 1 for row in rows])
        recalls.append([_find_recall(score, defective) for score in scores])
        print(f"{name:17} {defective.sum():6}  {_align(recalls[-1])}")
    print(f"{'mean':17}         {_align(np.mean(recalls, axis=0))}")


def _align(recalls: Sequence[float]) -> str:
    classifier, one_class, combined, either = recalls
    return f"{classifier:10.3f} {one_class:10.3f} {combined:9.3f} {either:7.3f}"


def _read_unseen(run: Path) -> list[Any]:
    """Return the test predictions of good photographs and of types that were in no other part."""
    from mvdefect.runs import RunFolder, read_predictions

    rows = read_predictions(RunFolder(run))
    seen = {row.defect_type for row in rows if row.split != "test" and row.label}
    return [row for row in rows if row.split == "test" and row.defect_type not in seen]


def _read_good_val(run: Path) -> list[Any]:
    from mvdefect.runs import RunFolder, read_predictions

    return [row for row in read_predictions(RunFolder(run)) if row.split == "val" and not row.label]


def _find_surprise(values: list[float], good: list[float]) -> np.ndarray:
    """Put scores of different kinds on one scale: minus the log of the share of good images beyond them.

    Beyond the upper quarter of the good images that share falls exponentially, at the rate seen there.
    """
    found, known = np.array(values), np.sort(good)
    start = np.quantile(known, 1 - TAIL_SHARE)
    rate = 1 / (known[known > start] - start).mean()
    shares = np.interp(found, known, 1 - (np.arange(len(known)) + 0.5) / len(known))
    beyond = -np.log(TAIL_SHARE) + (found - start) * rate
    return np.asarray(np.where(found > start, beyond, -np.log(shares)))


def _find_recall(scores: np.ndarray, defective: np.ndarray) -> float:
    good = np.sort(scores[~defective])[::-1]
    return float((scores[defective] > good[int(FALSE_ALARM_RATE * len(good))]).mean())


def main() -> None:
    """Run a protocol and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("protocol", choices=("kfold", "unseen"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", required=True, help="of the backbone")
    parser.add_argument("--out", type=Path, required=True, help="where plans and runs go")
    parser.add_argument("--config", type=Path, default=Path("configs/mobilenetv2.yaml"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, metavar="N", help="only the first N plans")
    parser.add_argument("--against", type=Path, help="what `--out` of an earlier run was")
    args = parser.parse_args()
    load_tensorflow()
    {"kfold": run_kfold, "unseen": run_unseen}[args.protocol](args)


if __name__ == "__main__":
    main()
