"""The hypermodel: a trial is what `fit` does, and any tuner of KerasTuner can run it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest

from mvdefect.config import FitConfig
from mvdefect.data.pipeline import Source
from mvdefect.data.splits.folds import leave_test_out
from mvdefect.data.splits.plan import read_split_plan
from mvdefect.runs import RunFolder, read_history
from mvdefect.training.fit import DivergedError
from tests.tuning.test_space import CHEAP
from tuning.search.hypermodel import InspectorHyperModel, TrainingParts, declare_space
from tuning.search.trials import FATAL, TrialJob, TrialResult, read_result, run_trials, train_trial
from tuning.space.space import make_space


@pytest.fixture(scope="module")
def parts(sources: dict[str, Source]) -> TrainingParts:
    """Train and val of the drawn products; the plan has no test part."""
    plan = leave_test_out(sources["train"].plan)
    train, val = (replace(sources[part], plan=plan) for part in ("train", "val"))
    return TrainingParts(
        {((64, 64), "letterbox"): train}, {((64, 64), "letterbox"): val}, {"small_cnn": None}
    )


@pytest.fixture
def inspector(tiny_config: FitConfig, parts: TrainingParts) -> InspectorHyperModel:
    return make_inspector(tiny_config, parts)


def make_inspector(config: FitConfig, parts: TrainingParts) -> InspectorHyperModel:
    named = {**CHEAP, "dropout": [0.2, 0.4], "depth_blocks": [0, 4], "learning_rate": [3e-3, 1e-3]}
    return InspectorHyperModel(make_space(config, named, {}), parts)


def make_job(folder: Path, inspector: InspectorHyperModel, **values: float) -> TrialJob:
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    declare_space(inspector.space, hp)
    return TrialJob(folder, inspector, hp.get_config(), with_logits=True)


@pytest.mark.slow
def test_a_trial_is_what_fit_does(finished_run: Path, inspector: InspectorHyperModel, tmp_path: Path) -> None:
    """Same settings, same plan, same seed: the same losses, epoch for epoch, in a process of its own."""
    plan = read_split_plan(RunFolder(finished_run).split_plan)
    train = inspector.parts.train[(64, 64), "letterbox"]
    assert [row.id for row in plan.select("train")] == [row.id for row in train.rows]
    job = make_job(tmp_path, inspector, dropout=0.2, depth_blocks=4, learning_rate=3e-3)
    ((_, result),) = run_trials([job])
    expected = read_history(RunFolder(finished_run))
    assert result.status == "completed", result.trouble
    for name in ("loss", "val_loss", "val_roc_auc"):
        pairs = zip(result.history, expected, strict=True)
        assert all(abs(getattr(a, name) - getattr(b, name)) < 1e-3 for a, b in pairs), name
    assert len(result.logits) == inspector.parts.val[(64, 64), "letterbox"].count
    assert result.parameters == result.learning_parameters > 0  # at depth 4 all of it learns
    assert result.peak_memory_mb > 100
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.slow
def test_an_interrupted_trial_goes_on(inspector: InspectorHyperModel, tmp_path: Path) -> None:
    whole = make_job(tmp_path / "whole", inspector, dropout=0.4, depth_blocks=0)
    train_trial(whole)
    broken = make_job(tmp_path / "broken", inspector, dropout=0.4, depth_blocks=0)

    class Stopped(InspectorHyperModel):
        def fit(
            self,
            hp: object,
            model: object,
            folder: Path | None = None,
            callbacks: object = (),  # noqa: ARG002
        ) -> object:
            import mvdefect.training.fit as fit

            run_epoch = fit._run_epoch

            def stop_after_two(
                model: Any, job: Any, data: Any, learner: Any, state: Any, kept: Any, advance: Any
            ) -> object:
                if len(state.rows) == 2:
                    raise KeyboardInterrupt
                return run_epoch(model, job, data, learner, state, kept, advance)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(fit, "_run_epoch", stop_after_two)
                return super().fit(hp, model, folder)

    stopped = Stopped(inspector.space, inspector.parts)
    with pytest.raises(KeyboardInterrupt):
        train_trial(replace(broken, hypermodel=stopped))
    train_trial(broken)
    first, second = read_result(whole.folder), read_result(broken.folder)
    assert first is not None
    assert second is not None
    assert np.allclose(first.logits, second.logits, atol=1e-5)
    assert [row.epoch for row in second.history] == [1, 2, 3]


class Broken:
    """Stands for a hypermodel whose `configure` raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def configure(self, _: object) -> FitConfig:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (DivergedError("training diverged"), "failed"),
        (MemoryError("too large"), "failed"),
        (RuntimeError("odd"), "failed"),
        (ValueError("depth"), "failed"),
        (OSError(28, "No space left on device"), FATAL),
    ],
)
def test_what_a_trial_died_of_decides_whether_the_search_goes_on(
    tmp_path: Path, error: Exception, status: str
) -> None:
    train_trial(TrialJob(tmp_path, Broken(error), keras_tuner.HyperParameters().get_config()))
    result = read_result(tmp_path)
    assert result is not None
    assert result.status == status
    assert str(error) in result.trouble


def test_a_setting_that_does_not_go_with_others_is_fatal(
    inspector: InspectorHyperModel, tmp_path: Path
) -> None:
    job = make_job(tmp_path, inspector, dropout=0.2, depth_blocks=4)
    job.hyperparameters["values"]["depth_blocks"] = 9
    train_trial(job)
    result = read_result(tmp_path)
    assert result is not None
    assert result.status == FATAL
    assert "depth_blocks of small_cnn goes from 0" in result.trouble


def test_a_learning_rate_without_bound_diverges_and_is_recorded(
    tiny_config: FitConfig, parts: TrainingParts, tmp_path: Path
) -> None:
    config = tiny_config.model_copy(update={"clip_norm": None, "ema": None})
    inspector = make_inspector(config, parts)
    space = make_space(
        config, {**CHEAP, "learning_rate": {"min": 0.5, "max": 1.0}, "dropout": [0.0, 0.1]}, {}
    )
    job = make_job(tmp_path, InspectorHyperModel(space, inspector.parts), learning_rate=1.0, dropout=0.0)
    train_trial(job)
    result = read_result(tmp_path)
    assert result is not None
    if result.status != "completed":  # whether it diverges in two epochs is for the numbers to say
        assert result.status == "failed"
        assert "lower the learning rate" in result.trouble


@pytest.mark.slow
def test_a_tuner_of_kerastuner_can_run_it(inspector: InspectorHyperModel, tmp_path: Path) -> None:
    short = inspector.space.base.stages[0].model_copy(update={"depth_blocks": 4})
    space = replace(inspector.space, base=inspector.space.base.model_copy(update={"stages": (short,)}))
    oracle = keras_tuner.oracles.RandomSearchOracle(
        objective=keras_tuner.Objective("val_roc_auc", "max"), max_trials=2, seed=1
    )

    class Tuner(keras_tuner.Tuner):  # as KerasTuner's documentation has it
        def run_trial(self, trial: Any, *_: object, **__: object) -> object:
            hp = trial.hyperparameters
            return self.hypermodel.fit(hp, self.hypermodel.build(hp))

    tuner = Tuner(oracle, InspectorHyperModel(space, inspector.parts), directory=str(tmp_path))
    tuner.search(verbose=0)
    scores = [trial.score for trial in tuner.oracle.trials.values()]
    assert len(scores) == 2
    assert all(0 <= score <= 1 for score in scores)


def test_results_survive_writing(tmp_path: Path) -> None:
    from tuning.search.trials import write_result

    result = TrialResult("failed", trouble="odd")
    write_result(tmp_path, result)
    found = read_result(tmp_path)
    assert found is not None
    assert (found.status, found.trouble) == ("failed", "odd")
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        read_result(tmp_path)
