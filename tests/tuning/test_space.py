"""The search space: what varies, when it matters, and what is refused before anything runs."""

from __future__ import annotations

from typing import Any

import keras_tuner
import pytest

from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.errors import ConfigError
from tuning.search.hypermodel import declare_space
from tuning.space.domains import Choice, Range
from tuning.space.space import TABLE, SearchSpace, make_space

BASE = FitConfig(backbone="mobilenetv2", weights="none.h5", data="parts")
CHEAP = {name: None for name, known in TABLE.items() if known.is_searched}


def make(named: dict[str, Any], base: FitConfig = BASE, weights: dict[str, str] | None = None) -> SearchSpace:
    return make_space(base, named, weights or {})


def list_random_values(space: SearchSpace, count: int = 200) -> list[dict[str, Any]]:
    hp = keras_tuner.HyperParameters()
    declare_space(space, hp)
    oracle = keras_tuner.oracles.RandomSearchOracle(hyperparameters=hp, seed=1, max_trials=count)
    return [oracle._random_values() for _ in range(count)]


def test_by_default_everything_above_the_boundary_is_searched() -> None:
    space = make({})
    assert set(space.names) == {name for name, known in TABLE.items() if known.is_searched}
    assert space.list_values("depth_blocks") == (0, 1, 2, 3, 4)  # as deep as suits the backbone


def test_each_can_be_narrowed_fixed_dropped_or_added() -> None:
    named = {
        "dropout": [0, 0.5],
        "learning_rate": {"min": 1e-4, "max": 1e-3},
        "head": "patch",
        "taps": None,
        "weight_decay": [0.5],
        "views": "default",
        "batch_size": [8, 16],
        "depth_blocks": {"min": 1, "max": 3},
    }
    space = make(named)
    domains = {one.name: one.domain for one in space.dimensions}
    assert domains["dropout"] == Choice((0.0, 0.5))
    assert domains["learning_rate"] == Range(1e-4, 1e-3, log=True)
    assert domains["views"] == TABLE["views"].domain
    assert domains["batch_size"] == Choice((8, 16))
    assert domains["depth_blocks"] == Choice((1, 2, 3))
    assert not {"head", "taps", "pooling", "weight_decay"} & set(domains)  # a patch head pools in no such way
    assert (space.base.head, space.base.taps, space.base.weight_decay) == ("patch", BASE.taps, 0.5)


def test_what_matters_only_sometimes_has_a_value_only_then() -> None:
    values = list_random_values(make({}))
    for one in values:
        assert ("learning_rate" in one) == (one["depth_blocks"] > 0)
        assert ("block_decay" in one) == (one["depth_blocks"] > 1)
        assert ("pooling" in one) == (one["head"] == "pooled")
    assert {one["depth_blocks"] for one in values} == {0, 1, 2, 3, 4}


def test_depths_are_those_of_each_backbone() -> None:
    weights = {"densenet121": "dense.h5"}
    space = make({"backbone": ["mobilenetv2", "densenet121"]}, weights=weights)
    values = list_random_values(space)
    for backbone, depths in (("mobilenetv2", {0, 1, 2, 3, 4}), ("densenet121", {0, 1, 2})):
        assert {one["depth_blocks"] for one in values if one["backbone"] == backbone} == depths
    for one in values:
        assert ("learning_rate" in one) == (one["depth_blocks"] > 0)
        assert ("block_decay" in one) == (one["depth_blocks"] > 1)
    assert space.configure({"backbone": "densenet121", "depth_blocks": 2}).weights == "dense.h5"
    assert space.configure({"backbone": "mobilenetv2", "depth_blocks": 4}).weights == "none.h5"


def test_a_base_outside_the_search_gives_way_to_the_first_backbone() -> None:
    space = make({**CHEAP, "backbone": ["resnet50", "densenet121"], "dropout": [0.0, 0.1]})
    assert space.base.backbone == "resnet50"


def test_values_become_settings_of_a_fit() -> None:
    space = make({"augment.flip": [True, False]})
    config = space.configure(
        {"depth_blocks": 2, "learning_rate": 3e-4, "dropout": 0.4, "augment.flip": False, "loss": "focal"}
    )
    assert config.stages[-1] == StageConfig(depth_blocks=2, epochs=16, learning_rate=3e-4)
    assert config.stages[:-1] == BASE.stages[:-1]
    assert (config.dropout, config.augment.flip, config.loss) == (0.4, False, "focal")
    assert config.weight_decay == BASE.weight_decay


def test_from_random_weights_every_block_may_learn() -> None:
    base = FitConfig(backbone="small_cnn", weights="none")
    assert make({}, base).list_values("depth_blocks") == (0, 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"dropot": [0.1, 0.2]}, "dropot"),
        ({"dropout": [0.1, 1.5]}, "space.dropout: .*1.5"),
        ({"dropout": {"min": 0.5, "max": 0.1}}, "min must be below max"),
        ({"learning_rate": {"min": 0, "max": 0.1}}, "above 0 where log is true"),
        ({"dropout": {"low": 0.1, "max": 0.5}}, "min: NUMBER"),
        ({"taps": [1, "2"]}, "all texts, all numbers"),
        ({"taps": [1, 1]}, "different values"),
        ({"depth_blocks": [0, 9]}, "space.depth_blocks: .*from 0"),
        ({"resolution": [64, 100]}, "space.resolution: .*multiple of 32"),
        ({"backbone": ["mobilenetv2", "vgg"]}, "unknown backbone 'vgg'"),
        ({"batch_size": "default"}, "only these have limits of their own"),
        ({"head": "pached"}, "head"),
        ({"depth_blocks": ["a", "b"]}, "depth_blocks takes whole numbers"),
        ({"depth_blocks": {"min": 0.5, "max": 2.5}}, "must be whole numbers"),
        ({"seed": [1, 2]}, "space.seed: a trial cannot vary it"),
        ({"threshold": ["f1", "max-fpr 0.1"]}, "a trial cannot vary it"),
        (CHEAP, "nothing is left to search"),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(named: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make(named)


def test_a_range_of_sizes_is_one_of_steps() -> None:
    assert make({"resolution": {"min": 160, "max": 230}}).list_values("resolution") == (160, 192, 224)


def test_backbones_without_weights_of_their_own_have_those_of_the_settings() -> None:
    base = BASE.model_copy(update={"backbone": "resnet50", "weights": "imagenet"})
    space = make({"backbone": ["resnet50", "densenet121"]}, base, {"resnet50": "r.h5"})
    assert space.configure({"backbone": "resnet50"}).weights == "r.h5"
    assert space.configure({"backbone": "densenet121"}).weights == "imagenet"
    with pytest.raises(ConfigError, match="unknown backbone 'resnet_50'"):
        make({}, base, {"resnet_50": "r.h5"})


def test_the_base_is_told_in_the_same_words_and_is_the_same_fit() -> None:
    space = make({"augment.flip": [True, False]})
    values = space.describe_base()
    assert values["depth_blocks"] == 4  # what suits the backbone
    assert values["learning_rate"] == 5e-4
    assert values["augment.flip"] is True
    told = space.configure(values).stages[-1]
    assert (told.depth_blocks, told.learning_rate, told.epochs) == (4, 5e-4, 16)
    frozen = FitConfig(backbone="mobilenetv2", stages=(StageConfig(depth_blocks=0, epochs=2),))
    assert "learning_rate" not in make({}, frozen).describe_base()
