"""Ahead of a trial: the backbone runs once for all cuts of a search, and never again."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdefect.config import FitConfig, StageConfig
from mvdefect.data.pipeline import Source
from mvdefect.training import activations
from mvdefect.training import activations as fill
from tests.tuning.test_hypermodel import make_job, parts
from tests.tuning.test_space import CHEAP
from tuning.search.hypermodel import InspectorHyperModel, TrainingParts
from tuning.search.trials import read_result, train_trial
from tuning.space.space import make_space

__all__ = ["parts"]  # a fixture


@pytest.mark.slow
def test_trials_of_every_depth_head_and_tap_share_one_run_of_the_backbone(
    parts: TrainingParts,
    sources: dict[str, Source],
    parts_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each slot is computed once, by the first trial, whatever the trials after it cut and change."""
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    computed: list[int | None] = []
    compute = activations.compute_entries

    def note(stores: object, slot: int | None, run: object) -> None:
        computed.append(slot)
        compute(stores, slot, run)  # type: ignore[arg-type]

    monkeypatch.setattr(activations, "compute_entries", note)
    monkeypatch.setattr(fill, "compute_entries", note)
    base = FitConfig(
        data=str(parts_root),
        backbone="small_cnn",
        weights="none",
        resolution=(64, 64),
        views=4,
        stages=(StageConfig(depth_blocks=0, epochs=1), StageConfig(epochs=1)),
    )
    named = {
        **CHEAP,
        "depth_blocks": [0, 1, 2],
        "head": ["pooled", "patch"],
        "taps": [1, 2],
        "dropout": "default",
    }
    inspector = InspectorHyperModel(make_space(base, named, {}), parts)
    values = (
        {"depth_blocks": 1, "head": "pooled", "taps": 2, "dropout": 0.1},
        {"depth_blocks": 0, "head": "patch", "taps": 1, "dropout": 0.5},
        {"depth_blocks": 2, "head": "patch", "taps": 2, "dropout": 0.0},
    )
    for number, one in enumerate(values):
        train_trial(make_job(tmp_path / str(number), inspector, **one))  # type: ignore[arg-type]
        result = read_result(tmp_path / str(number))
        assert result is not None
        assert result.status == "completed", result.trouble
    assert sorted(computed, key=str) == [0, 1, None]  # two epochs, and the photographs as they are


def test_what_decides_the_cut_is_listed_for_one_backbone() -> None:
    base = FitConfig(backbone="mobilenetv2", weights="none.h5", data="parts")
    space = make_space(base, {**CHEAP, "depth_blocks": [0, 4], "taps": [1, 2], "dropout": [0.0, 0.2]}, {})
    listed = space.list_cuts(space.configure({"dropout": 0.2}))
    assert {(one.stages[-1].depth_blocks, one.taps) for one in listed} == {(0, 1), (0, 2), (4, 1), (4, 2)}
    assert {one.dropout for one in listed} == {0.2}
