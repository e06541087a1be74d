"""The settings of a search: YAML, flags over it, and errors that name what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdefect.core.errors import ConfigError
from tuning.settings import dump_search, load_search, make_base

YAML = """
settings: {backbone: mobilenetv2, stages.-1.epochs: 5}
space: {dropout: [0.0, 0.3], taps: null}
strategy: random
trials: 7
refits: {best: 2}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "search.yaml"
    path.write_text(YAML)
    return path


def test_flags_go_over_the_file_and_the_file_over_defaults(path: Path) -> None:
    search = load_search(
        path,
        {"settings.backbone": "resnet50", "settings.weights": None, "trials": 9, "minutes": None},
        ("seed=3",),
        ("taps=[1, 2]", "views=default"),
    )
    assert search.settings == {"backbone": "resnet50", "stages.-1.epochs": 5, "seed": 3}
    assert search.space == {"dropout": [0.0, 0.3], "taps": [1, 2], "views": "default"}
    assert (search.strategy, search.trials, search.minutes, search.refits.best) == ("random", 9, None, 2)
    assert search.refits.seeds == 3
    base = make_base(search)
    assert (base.backbone, base.stages[-1].epochs, base.seed) == ("resnet50", 5, 3)


def test_what_is_dumped_loads_as_the_same(path: Path, tmp_path: Path) -> None:
    search = load_search(path, {})
    again = tmp_path / "again.yaml"
    again.write_text(dump_search(search))
    assert load_search(again, {}) == search


def test_what_a_file_leaves_empty_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "search.yaml"
    path.write_text("settings:\nspace:\n")
    search = load_search(path, {"settings.seed": 3}, ("stages.-1.epochs=5",))
    assert (search.settings, search.space) == ({"seed": 3, "stages.-1.epochs": 5}, {})


def test_directions_are_explicit() -> None:
    assert load_search(None, {}).direction == "max"
    assert load_search(None, {"objective": "val_loss"}).direction == "min"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trails: 3", "Did you mean 'trials'"),
        ("dropout: 0.3", "go under `settings`"),
        ("trials: 0", "trials: .*greater than or equal to 1.*trials=0"),
        ("strategy: grid", "strategy: .*'random'"),
        ("refits: {seed: 3}", "Did you mean 'seeds'"),
        ("settings: {dropot: 0.3}", "Did you mean 'dropout'"),
        ("settings: [1]", "must map names to values"),
        ("- 1", "must map names to values"),
        ("settings: {baseline: majority}", "a baseline has nothing to search"),
        ("a: [", "cannot be read"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "search.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_search(path, {})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml cannot be read"):
        load_search(tmp_path / "none.yaml", {})
