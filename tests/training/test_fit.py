"""Training: stages, early stopping, best weights, going on after an interrupt."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.errors import ConfigError
from mvdefect.core.runtime import seed_everything
from mvdefect.data.pipeline import Source
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.heads import choose_head
from mvdefect.runs import RunFolder, read_history
from mvdefect.training import fit as fit_module
from mvdefect.training.batches import number_strata, weigh_strata
from mvdefect.training.fit import DivergedError, TrainingJob, train_classifier
from mvdefect.training.learners import Learner
from mvdefect.training.predictions import predict_logits
from mvdefect.training.stages import Stage, plan_stages


def make_job(sources: dict[str, Source], config: FitConfig, path: Path) -> TrainingJob:
    path.mkdir(exist_ok=True)
    spec = find_backbone(config.backbone)
    return TrainingJob(
        spec, plan_stages(config, spec), config, sources["train"], sources["val"], RunFolder(path)
    )


def train(job: TrainingJob) -> np.ndarray:
    """Train, and return the logits of the validation part."""
    seed_everything(job.config.seed)
    config = job.config
    model = build_classifier(job.spec, config.size_px, choose_head(config), config.taps, None)
    return predict_logits(train_classifier(model, job), job.val, config.batch_size)


Whole = tuple[TrainingJob, np.ndarray]


@pytest.fixture(scope="module")
def whole(
    sources: dict[str, Source], tiny_config: FitConfig, tmp_path_factory: pytest.TempPathFactory
) -> Whole:
    """A training that nothing interrupts, and what came out."""
    job = make_job(sources, tiny_config, tmp_path_factory.mktemp("whole"))
    return job, train(job)


def test_two_runs_with_one_seed_agree(
    sources: dict[str, Source], tiny_config: FitConfig, whole: Whole, tmp_path: Path
) -> None:
    again = train(make_job(sources, tiny_config, tmp_path / "again"))
    other = train(make_job(sources, tiny_config.model_copy(update={"seed": 1}), tmp_path / "other"))
    assert np.allclose(whole[1], again, atol=1e-4)
    assert not np.allclose(whole[1], other, atol=1e-2)


def test_no_graph_of_a_training_is_kept(
    sources: dict[str, Source], tiny_config: FitConfig, whole: Whole, tmp_path: Path
) -> None:
    import tensorflow as tf

    gc.collect()
    before = {id(one) for one in gc.get_objects() if isinstance(one, tf.Graph)}
    train(make_job(sources, tiny_config, tmp_path / "run"))
    gc.collect()
    assert [one for one in gc.get_objects() if isinstance(one, tf.Graph) and id(one) not in before] == []


@pytest.mark.parametrize("interrupted_epoch", [0, 1, 2])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    sources: dict[str, Source],
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupted_epoch: int,
) -> None:
    """Interrupted in any epoch, of either stage, what is on disk can be read, and the same comes out."""
    job = make_job(sources, whole[0].config, tmp_path / "interrupted")
    score_epoch = fit_module._score_epoch

    def interrupt(job: TrainingJob, learner: Learner, state: fit_module.TrainingState, loss: float) -> object:
        row = score_epoch(job, learner, state, loss)
        if len(state.rows) == interrupted_epoch:
            raise KeyboardInterrupt
        return row

    with monkeypatch.context() as patch:
        patch.setattr(fit_module, "_score_epoch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(job)
    if interrupted_epoch:
        assert len(read_history(job.folder)) == interrupted_epoch
    assert np.allclose(train(job), whole[1], atol=1e-4)
    expected = read_history(whole[0].folder)
    for row, other in zip(read_history(job.folder), expected, strict=True):
        assert (row.epoch, row.stage) == (other.epoch, other.stage)
        assert row.loss == pytest.approx(other.loss, abs=1e-4)


def test_dropout_goes_on_where_it_stopped(
    sources: dict[str, Source], tiny_config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config.model_copy(update={"dropout": 0.5, "head": "pooled"})
    job = make_job(sources, config, tmp_path / "whole")
    whole = job, train(job)
    test_an_interrupted_training_ends_as_an_uninterrupted_one(sources, whole, tmp_path, monkeypatch, 2)


def test_the_best_epoch_counts_and_patience_ends_a_stage(
    sources: dict[str, Source],
    tiny_config: FitConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    messages: list[str],
) -> None:
    stages = (
        StageConfig(depth_blocks=0, epochs=9, learning_rate=1e-3),
        StageConfig(depth_blocks=1, epochs=1, learning_rate=1e-3),
    )
    config = tiny_config.model_copy(update={"stages": stages, "patience": 2})
    scores = iter([0.6, 0.8, 0.7, 0.7, 0.5])
    monkeypatch.setattr(fit_module, "roc_auc_score", lambda *_: next(scores))
    job = make_job(sources, config, tmp_path / "run")
    seen: list[np.ndarray] = []
    predict = Learner.predict_logits
    monkeypatch.setattr(Learner, "predict_logits", lambda *given: seen.append(predict(*given)) or seen[-1])
    logits = train(job)
    rows = read_history(job.folder)
    assert [row.stage for row in rows] == [1, 1, 1, 1, 2]
    assert [row.val_roc_auc for row in rows] == [0.6, 0.8, 0.7, 0.7, 0.5]
    early = "stage 1/2 ends early, after epoch 4 of 9: the last 2 brought no better validation score"
    assert [message for message in messages if "early" in message] == [early]
    assert np.allclose(logits, seen[1], atol=2e-3)  # those of the second epoch, but for float16


def test_weights_make_each_category_and_class_count_alike(sources: dict[str, Source]) -> None:
    train = sources["train"]
    strata = number_strata(train)
    weights = weigh_strata(strata)
    names = {(row.category, row.label) for row in train.rows}
    assert len(names) == 4
    sums = [weights[strata == stratum].sum() for stratum in range(4)]
    assert np.allclose(sums, train.count / 4)


def test_a_diverging_training_says_so(
    sources: dict[str, Source], tiny_config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.full(sources["val"].count, np.nan, np.float32)
    monkeypatch.setattr(Learner, "predict_logits", lambda *_: nothing)
    with pytest.raises(DivergedError, match=r"lower the learning rate .* Received: learning_rate=0.001"):
        train(make_job(sources, tiny_config, tmp_path / "run"))


def test_stages_leave_to_the_backbone_what_the_settings_do_not_say() -> None:
    gaps = (StageConfig(epochs=1), StageConfig(depth_blocks=0, epochs=2, learning_rate=1e-2))
    spec = find_backbone("mobilenetv2")
    config = FitConfig(stages=gaps)
    assert plan_stages(config, spec) == (
        Stage(spec.depth_blocks, 1, spec.learning_rate, spec.learning_rate),
        Stage(0, 2, 1e-2, 1e-2),
    )
    from_nothing = config.model_copy(update={"weights": "none"})
    assert plan_stages(from_nothing, spec)[0].depth_blocks == spec.max_depth_blocks


def test_a_stage_deeper_than_the_backbone_is_refused() -> None:
    config = FitConfig(stages=(StageConfig(depth_blocks=9, epochs=1),))
    with pytest.raises(ConfigError, match="Received: depth_blocks=9"):
        plan_stages(config, find_backbone("small_cnn"))
