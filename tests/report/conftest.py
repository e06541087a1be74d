"""Runs that nothing was trained for: drawn scores for drawn parts, which is all that a report needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mvdefect.config import FitConfig, dump_config
from mvdefect.core.files import write_rows
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.scan import Scan, scan_images
from mvdefect.data.sources.folders import read_records
from mvdefect.data.splits.plan import PARTS, SplitPlan, write_split_plan
from mvdefect.data.splits.protocols import assign_closed_set
from mvdefect.evaluation.heatmaps import Heatmaps, write_heatmaps
from mvdefect.runs import EpochRow, RunFolder, write_json
from mvdefect.workflow.outcome import Scores, settle_outcome
from tests.conftest import make_texture, write_image

HOSTILE_TYPE = "<b>dent&\"'|"
HOSTILE_NAME = "<img src=x onerror=alert(1)>`*_|{number}.png"


def score(plan: SplitPlan, strength: float, seed: int) -> dict[str, Scores]:
    """Draw scores that tell defective from good the better, the higher the strength."""
    rng = np.random.default_rng(seed)
    found = {}
    for part in PARTS:
        labels = np.array([row.label for row in plan.select(part)], np.float64)
        logits = rng.normal(size=len(labels)) + strength * (labels - 0.5)
        novelty = np.exp(rng.normal(size=len(labels)) / 4 + labels / 2)
        wrong = [labels.argmax(), labels.argmin()]  # a defective one and a good one, so that there are errors
        logits[wrong], novelty[wrong] = (-4, 4), (0.8, 1.6)
        found[part] = Scores(logits, novelty)
    return found


def make_run(
    path: Path, scan: Scan, plan: SplitPlan, config: FitConfig, strength: float = 2.0, seed: int = 0
) -> RunFolder:
    """Write a finished run; one without `baseline` has a history and heatmaps too."""
    folder, config = RunFolder(path), config.model_copy(update={"resolution": (224, 224)})
    path.mkdir(parents=True)
    folder.config.write_text(dump_config(config))
    write_split_plan(plan, folder.split_plan)
    command = ["mvdefect", "fit", "--run", f"a folder/{path.name}"]
    write_json(folder.environment, {"command": command, "packages": {"numpy": "2.0"}, "cores": 2})
    if config.baseline is None:
        epochs = [EpochRow(n, 1 + n // 3, n, 1e-3, 1 / n, 1.1 / n, 1 - 0.4 / n, 1.0) for n in range(1, 6)]
        write_rows(folder.history, EpochRow, epochs)
        ids = [row.id for row in plan.select("test")]
        maps = np.random.default_rng(seed).normal(size=(len(ids), 4, 4)).astype(np.float16)
        write_heatmaps(folder, Heatmaps(tuple(ids), maps))
        write_json(folder.latency, {f"batch_{b}_p{p}_ms": b + p / 100 for b in (1, 32) for p in (50, 95)})
    settle_outcome(folder, config, plan, score(plan, strength, seed), scan.defect_shares)
    return folder


def plan_photographs(root: Path) -> tuple[Scan, SplitPlan]:
    """Read photographs and deal them into parts."""
    scan = scan_images(read_records(root))
    return scan, assign_closed_set(scan, group_records(scan), 0)


@pytest.fixture(scope="session")
def photographs(parts_root: Path) -> tuple[Scan, SplitPlan]:
    """Drawn parts with masks, and a plan of them."""
    return plan_photographs(parts_root)


@pytest.fixture(scope="session")
def inspector(
    photographs: tuple[Scan, SplitPlan], parts_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run with everything: masks, heatmaps, a grey zone, a prevalence, a history."""
    config = FitConfig(data=str(parts_root), prevalence=0.02, review_budget=0.3)
    return make_run(tmp_path_factory.mktemp("runs") / "inspector", *photographs, config).path


@pytest.fixture(scope="session")
def baseline(
    photographs: tuple[Scan, SplitPlan], parts_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run on the same plan that hardly tells good from defective."""
    config = FitConfig(data=str(parts_root), baseline="handcrafted")
    return make_run(tmp_path_factory.mktemp("runs") / "handcrafted", *photographs, config, 0.1, 1).path


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on photographs whose names are meant to break a page."""
    root = tmp_path_factory.mktemp("hostile") / "nut"
    for number in range(15):
        name = HOSTILE_NAME.format(number=number)
        write_image(root / "good" / name, make_texture(number))
        write_image(root / HOSTILE_TYPE / name, make_texture(1000 + number))
    config = FitConfig(data=str(root))
    path = tmp_path_factory.mktemp("runs") / "<i>run&"
    return make_run(path, *plan_photographs(root), config, strength=0.5).path


@pytest.fixture
def write_page(tmp_path: Path) -> Callable[..., str]:
    """A function that writes the report of some runs and returns its HTML."""
    from mvdefect.report.report import compare_runs

    def write(*paths: Path) -> str:
        compare_runs(paths, tmp_path / "page.html")
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return write
