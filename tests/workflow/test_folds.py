"""Folds of train and val: no image is judged by what was fitted on it, and the inspector is all of them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from mvdefect.config import AugmentConfig, FitConfig, StageConfig
from mvdefect.core.runtime import seed_everything
from mvdefect.data.pipeline import Source, make_inference_batches
from mvdefect.data.splits.folds import draw_folds
from mvdefect.data.splits.plan import read_split_plan
from mvdefect.evaluation import members as members_module
from mvdefect.evaluation.evaluate import judge_rows, read_operating_point
from mvdefect.evaluation.members import NETWORK, PATCHES, SCORER, Member, choose_members, parse_members
from mvdefect.evaluation.operating_point import HELD_OUT, choose_operating_point
from mvdefect.exporting.export import ExportSettings, export_run
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier, load_classifier
from mvdefect.models.features import build_features, load_trunk
from mvdefect.models.heads import choose_head
from mvdefect.models.kernel_machine import KernelMachine, find_scaling
from mvdefect.models.members import join_members, list_members
from mvdefect.models.normality import fit_normality, load_normality
from mvdefect.models.saliency import build_heatmaps
from mvdefect.models.scorer import build_look, list_blocks
from mvdefect.runs import RunFolder, read_history, read_json, read_predictions, read_run_config
from mvdefect.training import folds as folds_module
from mvdefect.training.batches import number_strata, weigh_strata
from mvdefect.training.fit import TrainingJob, train_classifier
from mvdefect.training.folds import train_folds
from mvdefect.training.learners import Learners
from mvdefect.training.predictions import compile_features, predict_logits
from mvdefect.training.stages import plan_stages
from mvdefect.workflow import fit as fit_module
from mvdefect.workflow import looks as looks_module
from mvdefect.workflow import members
from mvdefect.workflow import patches as patches_module
from mvdefect.workflow.fit import fit_inspector
from mvdefect.workflow.folds import Folds, count_folds, make_folds
from mvdefect.workflow.frozen import learn_frozen
from mvdefect.workflow.looks import Looks
from mvdefect.workflow.members import join_inspector
from mvdefect.workflow.patches import choose_images


@pytest.fixture(scope="module")
def config(tiny_config: FitConfig, tmp_path_factory: pytest.TempPathFactory) -> FitConfig:
    """A fit from a file of weights."""
    keras.utils.set_random_seed(0)
    weights = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    find_backbone("small_cnn").build((64, 64), None).save_weights(weights)
    stages = (
        StageConfig(depth_blocks=0, epochs=1, learning_rate=1e-3, solve=True),
        StageConfig(depth_blocks=1, epochs=1, learning_rate=1e-3),
    )
    changes = {"weights": str(weights), "head": "pooled", "stages": stages, "tensorboard": False, "views": 1}
    return tiny_config.model_copy(update=changes)


@pytest.fixture(scope="module")
def run(config: FitConfig, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of which every member is in use, whatever it is worth."""

    def use_all(*found: Any) -> tuple[Member, ...]:
        return tuple(replace(one, weight=0.5 + one.weight) for one in choose_members(*found))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(members, "choose_members", use_all)
        patch.setattr(fit_module, "gives_up", lambda *_: False)
        return fit_inspector(config, tmp_path_factory.mktemp("folds") / "run").folder


@pytest.fixture(scope="module")
def folds(sources: dict[str, Source], run: RunFolder) -> Folds:
    plan = read_split_plan(run.split_plan)
    parts = {part: replace(source, plan=plan) for part, source in sources.items()}
    return make_folds(parts, read_run_config(run))


def test_each_image_is_held_out_once_and_groups_stay_whole(run: RunFolder, folds: Folds) -> None:
    assert read_run_config(run).folds == 3
    seen = {row.id for part in ("train", "val") for row in folds.parts[part].rows}
    held = [row.id for source in folds.held_out for row in source.rows]
    assert sorted(held) == sorted(seen)
    for train, judged in zip(folds.train, folds.held_out, strict=True):
        assert not {row.group for row in train.rows} & {row.group for row in judged.rows}
        assert set(train.labels) == set(judged.labels) == {0, 1}


def test_the_inspector_is_what_was_measured_on_test(run: RunFolder, folds: Folds) -> None:
    rows = {row.id: row.logit for row in read_predictions(run)}
    model = load_classifier(run.model)
    for part, are_alike in (("test", True), ("val", False), ("train", False)):
        source = folds.parts[part]
        expected = [rows[row.id] for row in source.rows]
        found = predict_logits(model, source, 16)
        assert np.allclose(found, expected, atol=1e-3) == are_alike, part


def test_folds_that_share_a_network_learn_what_they_would_alone(
    run: RunFolder, folds: Folds, config: FitConfig, tmp_path: Path
) -> None:
    """The last of three, whose network has been through two folds before."""
    spec, settings = find_backbone("small_cnn"), read_run_config(run)

    def build() -> Any:
        seed_everything(settings.seed)
        return build_classifier(spec, (64, 64), choose_head(settings), settings.taps, Path(config.weights))

    def start(name: str) -> TrainingJob:
        (tmp_path / name).mkdir()
        stages = plan_stages(settings, spec)
        return TrainingJob(
            spec, stages, settings, folds.whole, folds.parts["val"], RunFolder(tmp_path / name)
        )

    divided = list(zip(folds.train, folds.held_out, strict=True))
    networks = train_folds(build, start("folds"), divided, lambda _: False)
    assert networks is not None
    own = replace(
        start("alone"), train=folds.train[2], val=folds.held_out[2], whole=folds.whole, keeps_last=True
    )
    most = max(source.count for source in folds.train)
    model = build()
    alone = train_classifier(model, own, Learners(model, spec, own.stages, settings, most))
    expected = predict_logits(join_members([(alone, 1.0)], settings.looks_twice), folds.parts["test"], 16)
    assert np.allclose(networks.predict(2, folds.parts["test"], 16), expected, atol=1e-4)
    assert not np.allclose(networks.predict(1, folds.parts["test"], 16), expected, atol=1e-4)
    copies = networks.separate()
    assert np.allclose(
        predict_logits(copies[2], folds.parts["test"], 16),
        predict_logits(alone, folds.parts["test"], 16),
        atol=1e-4,
    )


def test_the_scorer_in_use_is_fitted_on_all_that_its_folds_learn_from(
    folds: Folds, config: FitConfig
) -> None:
    trunk = load_trunk(find_backbone("small_cnn"), (64, 64), Path(config.weights))
    seen = config.model_copy(
        update={"mirror": False, "augment": AugmentConfig(flip=False, quarter_turns=False)}
    )
    frozen = learn_frozen([trunk], folds, seen, True)
    looks = Looks(compile_features(build_look(trunk)))
    looks.look_at([folds.whole, folds.parts["test"]])
    vectors, scaling = looks.stack(folds.whole), find_scaling(looks.stack(folds.whole), list_blocks(trunk))
    weights = weigh_strata(number_strata(folds.whole))
    machine = KernelMachine.fit(vectors, folds.whole.labels, weights, scaling)
    expected = machine.score(looks.stack(folds.parts["test"]))
    scorer = frozen.scorers[0][0]
    assert np.allclose(predict_logits(scorer, folds.parts["test"], 16), expected, atol=1e-3)


def test_scorers_of_all_scales_and_of_positions_are_one_logit(
    folds: Folds, config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "_is_clear", lambda *_: False)  # none is left out
    monkeypatch.setattr(members_module, "CHANCE", -1.0)
    spec, weights = find_backbone("small_cnn"), Path(config.weights)
    trunks = [load_trunk(spec, (64, 64), weights, shrink) for shrink in (2, 1)]
    frozen = learn_frozen(trunks, folds, config, True)
    sides = [scorer.get_layer("backbone").input.shape[1] for scorer, _ in frozen.scorers]
    assert sides == [32, 64, 64]
    assert frozen.features.output.shape[1] == trunks[0].tap(spec.novelty_taps)[0].shape[1]  # the coarse one
    wholes, patches = [one.weight for one in frozen.members]
    assert [share for _, share in frozen.scorers] == [wholes / 2, wholes / 2, patches]
    inspector = join_inspector(frozen, None, folds, config)
    assert [one.name for one in inspector.members] == [SCORER, PATCHES]
    test, assert_alike = folds.parts["test"], partial(np.testing.assert_allclose, atol=2e-3)
    alone = [(join_members([(one, 1.0)], config.looks_twice), share) for one, share in frozen.scorers]
    said = [share * predict_logits(scorer, test, 16) for scorer, share in alone]
    assert_alike(predict_logits(inspector.classifier, test, 16), np.sum(said, axis=0))
    assert frozen.logits is not None
    assert_alike(frozen.logits["test"], np.sum(said, axis=0))
    assert not np.allclose(said[0], said[1], atol=1e-3)
    maps = build_heatmaps(inspector.classifier)
    finest = max(build_heatmaps(one).output.shape[1] for one, _ in frozen.scorers)
    assert maps.output.shape[1] == finest


def test_a_patch_scorer_learns_from_as_many_images_as_memory_has_room_for(
    folds: Folds, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, labels = folds.whole, {row.id: row.label for row in folds.whole.rows}
    assert choose_images(folds, 4, 0) == {row.id for row in whole.rows}
    monkeypatch.setattr(patches_module, "MAX_POSITIONS", 4 * 12)
    chosen = choose_images(folds, 4, 0)
    assert len(chosen) == 12
    assert sum(labels[key] for key in chosen) == 6
    assert choose_images(folds, 4, 0) == chosen
    assert choose_images(folds, 4, 1) != chosen


def test_maps_that_there_is_no_room_for_are_computed_again(
    folds: Folds, config: FitConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = compile_features(build_look(load_trunk(find_backbone("small_cnn"), (64, 64), Path(config.weights))))
    found = []
    for room in (looks_module.KEPT_BYTES, 0):
        monkeypatch.setattr(looks_module, "KEPT_BYTES", room)
        looks = Looks(run)
        looks.look_at([folds.whole])
        looks.look_at([folds.whole], [(False, True)])
        maps = np.concatenate([maps for _, maps in looks.iterate_maps(folds.train[0])])
        turned = looks.stack(folds.held_out[0], (False, True))
        found.append((maps, looks.stack(folds.held_out[0]), turned))
    for kept, computed in zip(*found, strict=True):
        assert np.array_equal(kept, computed)
    assert not np.allclose(found[0][1], found[0][2])  # other poses have other vectors


def test_an_export_holds_all_members(run: RunFolder, tmp_path: Path) -> None:
    """An export is compared with its run when it is made."""
    assert len(list_members(load_classifier(run.model))) == 5  # the scorer, and a network of each fold
    settings = ExportSettings(formats=("savedmodel", "openvino"))
    made = export_run(run.path, tmp_path / "export", settings)
    assert made.path.is_dir()


def test_a_network_that_is_certainly_worse_is_given_up_after_the_first_fold(
    config: FitConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = []

    def train_badly(model: Any, job: TrainingJob, learners: Learners) -> Any:
        trained.append(job.train.count)
        return train_classifier(model, job, learners)

    monkeypatch.setattr(folds_module, "train_classifier", train_badly)
    monkeypatch.setattr(
        members, "predict_logits", lambda _model, source, _size: -source.labels.astype(np.float32)
    )
    folder = fit_inspector(config, tmp_path / "run").folder
    assert len(trained) == 1
    assert list(read_json(folder.members)) == [SCORER, PATCHES]
    assert "brings too little and is given up after the first of 3 folds" in " ".join(
        folder.log.read_text().split()
    )
    assert folder.is_finished


def test_distances_of_held_out_images_are_of_a_fit_without_them(
    run: RunFolder, folds: Folds, config: FitConfig
) -> None:
    rows = {row.id: row.novelty for row in read_predictions(run)}
    network = build_features(load_trunk(find_backbone("small_cnn"), (64, 64), Path(config.weights)))

    def look(source: Source) -> np.ndarray:
        return np.concatenate([np.asarray(network(batch)) for batch in make_inference_batches(source, 16)])

    train, judged = folds.train[1], folds.held_out[1]
    normality = fit_normality(config.one_class, look(train)[train.labels == 0], config.seed)
    expected = normality.score_images(look(judged))
    assert np.allclose([rows[row.id] for row in judged.rows], expected, rtol=1e-3)
    joined = load_normality(run.normality).score_images(look(folds.parts["test"]))
    assert np.allclose([rows[row.id] for row in folds.parts["test"].rows], joined, rtol=1e-3)


def test_the_threshold_rests_on_all_images_that_were_held_out(run: RunFolder) -> None:
    point, rows = read_operating_point(run), read_predictions(run)
    assert point.part == HELD_OUT
    chosen = choose_operating_point(judge_rows([row for row in rows if row.split != "test"]), HELD_OUT)
    assert point.thresholds["classifier"] == pytest.approx(chosen.thresholds["classifier"])
    assert HELD_OUT in run.report.read_text(encoding="utf-8")


def test_the_report_says_what_the_classifier_is_made_of(run: RunFolder) -> None:
    listed = parse_members(read_json(run.members))
    assert [member.name for member in listed] == [SCORER, PATCHES, NETWORK]
    report = run.report.read_text(encoding="utf-8")
    for member in listed:
        assert member.reason in report
    assert len(read_history(run)) == 2  # the mean of all folds


@pytest.mark.parametrize(
    ("changes", "is_pretrained", "count"),
    [({}, True, 3), ({}, False, 1), ({"folds": 2}, False, 2), ({"folds": 1}, True, 1)],
)
def test_folds_are_for_small_validation_parts(
    run: RunFolder, changes: dict[str, object], is_pretrained: bool, count: int
) -> None:
    plan = read_split_plan(run.split_plan)
    assert count_folds(FitConfig(**changes), plan, is_pretrained) == count
    assert len(draw_folds(plan, count, 0)) == count
    assert count_folds(FitConfig(), replace(plan, protocol="given"), True) == 1


def test_masks_of_what_is_learned_from_are_used_unless_the_settings_say_no(
    folds: Folds, config: FitConfig
) -> None:
    trunk, found = load_trunk(find_backbone("small_cnn"), (64, 64), Path(config.weights)), []
    for learns in (True, False):
        settings = config.model_copy(update={"learn_from_masks": learns})
        frozen = learn_frozen([trunk], folds, settings, True)
        patches = [scorer for scorer, _ in frozen.scorers if "patch" in scorer.name]
        found.append(build_heatmaps(patches[0]).predict(make_inference_batches(folds.parts["test"], 16)))
    assert np.abs(found[0] - found[1]).max() > 0.01
