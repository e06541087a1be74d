"""How long a training will take: measured on this machine before a search begins, on a batch of nothing."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mvdefect.config import FitConfig
from mvdefect.core.files import parse_json, write_text
from mvdefect.core.runtime import load_tensorflow, seed_everything, set_precision
from mvdefect.data.resolution import find_network_shrink
from mvdefect.models.backbones import find_backbone
from mvdefect.training.learners import count_slots
from mvdefect.training.stages import plan_stages
from tuning.schedule import Pace
from tuning.search.processes import read_slot, run_isolated

BATCH = 16
LEARNING = 3.0  # passes through what learns that one step costs: forward, and twice as much back
TRACES = 3.0  # what is traced in training, compared with what is traced here
COST = "cost.json"


@dataclass(frozen=True)
class Cost:
    """What it costs to run a classifier.

    Attributes:
        build_s: Seconds to build it, and to trace it once.
        frozen_s: Seconds an image through what is frozen.
        learning_s: Seconds an image through what learns.
    """

    build_s: float
    frozen_s: float
    learning_s: float


@dataclass(frozen=True)
class ProbeJob:
    """What the process needs to know."""

    config: FitConfig
    weights: Path | None
    folder: Path


def measure_pace(config: FitConfig, weights: Path | None, train: int, val: int) -> Pace | None:
    """Measure how long a training takes that has the machine for itself; None where that fails.

    Args:
        config: Its settings.
        weights: Weights file of the backbone, None for random ones.
        train: Images that it learns from.
        val: Images that it is validated on.
    """
    with tempfile.TemporaryDirectory() as name:
        job = ProbeJob(config, weights, Path(name))
        for _ in run_isolated(measure_cost, [(job, job.folder / "messages.txt")]):
            pass
        try:
            cost = Cost(**parse_json((job.folder / COST).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # the first trial will say what is wrong
            return None
    return estimate_pace(cost, config, train, val)


def estimate_pace(cost: Cost, config: FitConfig, train: int, val: int) -> Pace:
    """Return how long a training takes, if no stage ends early; arguments as for `measure_pace`."""
    epochs = sum(stage.epochs for stage in plan_stages(config, find_backbone(config.backbone)))
    learning = epochs * (LEARNING * train + val) * cost.learning_s
    each = TRACES * cost.build_s + learning
    if config.views and config.activation_budget_gb:
        stored = (count_slots(config, epochs) * train + val) * cost.frozen_s
    else:
        stored, each = 0.0, each + epochs * (train + val) * cost.frozen_s
    return Pace(stored + each, each)


def measure_cost(job: ProbeJob) -> None:
    """Run a classifier on black images and write what that costs: what the process does."""
    config = job.config
    load_tensorflow(devices=config.devices, gpu=read_slot() if config.devices == 1 else None)
    from mvdefect.models.classifier import HEAD, build_classifier, cut_classifier
    from mvdefect.models.heads import choose_head

    seed_everything(config.seed, config.deterministic)
    set_precision(config.precision)
    spec, started = find_backbone(config.backbone), time.monotonic()
    shrink = find_network_shrink(config)
    model = build_classifier(spec, config.size_px, choose_head(config), config.taps, job.weights, shrink)
    pixels = np.zeros((BATCH, *config.size_px, 3), np.uint8)
    cut = cut_classifier(model, spec, plan_stages(config, spec)[-1].depth_blocks, model.get_layer(HEAD))
    frozen = None if cut is None else cut.frozen
    stored = pixels if frozen is None else frozen.predict_on_batch(pixels)
    learning = model if cut is None else cut.rest
    learning.predict_on_batch(stored)
    build_s = time.monotonic() - started
    frozen_s = 0.0 if frozen is None else _time(frozen.predict_on_batch, pixels)
    cost = Cost(build_s, frozen_s / BATCH, _time(learning.predict_on_batch, stored) / BATCH)
    write_text(job.folder / COST, json.dumps(asdict(cost)))


def _time(run: Callable[[Any], Any], batch: Any) -> float:
    started = time.monotonic()
    run(batch)
    return time.monotonic() - started
