"""Settings: defaults < file < flags, and errors that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mvdefect.config import FitConfig, dump_config, load_config
from mvdefect.core.errors import ConfigError


def write_yaml(path: Path, tree: object) -> Path:
    path.write_text(yaml.safe_dump(tree))
    return path


def test_defaults_then_file_then_flags_then_assignments(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "x.yaml", {"batch_size": 8, "seed": 5, "augment": {"flip": False}})
    config = load_config(path, {"seed": 6, "backbone": None}, ["stages.-1.epochs=3", "augment.contrast=0"])
    assert (config.batch_size, config.seed, config.backbone) == (8, 6, FitConfig().backbone)
    assert (config.augment.flip, config.augment.quarter_turns, config.augment.contrast) == (False, True, 0)
    assert config.stages[-1].epochs == 3
    assert config.stages[0] == FitConfig().stages[0]


def test_a_configuration_survives_the_disk(tmp_path: Path) -> None:
    config = load_config(None, {"data": "photographs", "categories": ["nut"]})
    (tmp_path / "x.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "x.yaml", {}) == config


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("# nothing\n")
    assert load_config(tmp_path / "x.yaml", {}) == FitConfig()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"bakbone": "resnet50"}, "unknown setting 'bakbone'. Did you mean 'backbone'?"),
        ({"augment": {"flips": True}}, "unknown setting 'flips'. Did you mean 'flip'?"),
        ({"resolution": 100}, "each a multiple of 32. Received: resolution=100"),
        ({"resolution": 32}, "each a multiple of 32. Received: resolution=32"),
        ({"head": "tail"}, "head: input should be 'pooled' or 'patch'. Received: head='tail'"),
        ({"batch_size": 0}, "batch_size: input should be greater than or equal to 1. Received: batch_size=0"),
        ({"stages": []}, "stages"),
        ({"stages": [{"depth_blocks": 1}]}, "stages.0.epochs: field required"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(tmp_path: Path, tree: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write_yaml(tmp_path / "x.yaml", tree), {})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("sede=1", "unknown setting 'sede'. Did you mean 'seed'?"),
        ("augment.flop=1", "unknown setting 'augment.flop'. Did you mean 'augment.flip'?"),
        ("stages.7.epochs=1", "stages has the entries 0 to 1. Received: stages.7"),
        ("seed.x=1", "unknown setting 'seed.x'"),
        ("seed", "--set takes key=value"),
        ("=1", "--set takes key=value"),
        ("seed=[", "the value is not YAML"),
        ("seed=many", "seed: input should be a valid integer"),
    ],
)
def test_a_bad_assignment_is_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {}, [assignment])
    assert message in str(caught.value)


def test_a_file_that_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "nothing.yaml", {})
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "x.yaml", {})
    (tmp_path / "x.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="must map settings to values"):
        load_config(tmp_path / "x.yaml", {})


@given(seed=st.integers(0, 2**31 - 1), size=st.integers(2, 30), flip=st.booleans())
def test_any_valid_setting_is_kept(seed: int, size: int, flip: bool) -> None:
    config = load_config(None, {}, [f"seed={seed}", f"resolution={32 * size}", f"augment.flip={flip}"])
    assert (config.seed, config.resolution, config.augment.flip) == (seed, 32 * size, flip)


@pytest.mark.parametrize(("correlation", "expected"), [(0.98, "part"), (0.9, "part"), (1.0, "none")])
def test_settings_of_the_first_version_are_read(correlation: float, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"near_duplicate_correlation: {correlation}\nseed: 3\n")
    config = load_config(path, {})
    assert (config.near_duplicates, config.seed) == (expected, 3)
    old = {**FitConfig().model_dump(mode="json"), "near_duplicate_correlation": correlation}
    del old["near_duplicates"]
    assert FitConfig.model_validate(old).near_duplicates == expected
    assert "near_duplicate_correlation" not in dump_config(config)


def test_a_flag_that_names_an_old_setting_is_told_the_new_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'near_duplicates'"):
        load_config(None, {}, ["near_duplicate_correlation=0.9"])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("photographs", ("photographs",)),
        (None, ()),
        (["old", Path("new")], ("old", "new")),
        ("null", ("null",)),
    ],
)
def test_sources_are_a_list_and_one_may_be_named_alone(
    data: object, expected: tuple[str, ...], tmp_path: Path
) -> None:
    config = FitConfig(data=data)
    assert config.data == expected
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml", {}).data == expected


def test_a_run_of_the_first_version_names_one_source(tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "config.yaml", {"data": "photographs", "good": 1})
    config = load_config(path, {})
    assert (config.data, config.good) == (("photographs",), ("1",))
