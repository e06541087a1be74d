"""Settings of a pre-training: what is allowed, and what an error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mvdefect.core.errors import ConfigError
from mvdefect.pretraining.card import write_command
from mvdefect.pretraining.settings import PretrainConfig, load_pretraining


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("stepz=3", "Did you mean 'steps'"),
        ("steps=0", "steps: input should be greater than or equal to 1. Received: steps=0"),
        ("image_size_px=100", "must be a multiple of 32 and at least 64. Received: image_size_px=100"),
        ("targets={recipee: 1}", "unknown target 'recipee'. Did you mean 'recipe'?"),
        ("targets={recipe: 0}", "must be above 0. Received: targets.recipe=0"),
    ],
)
def test_what_is_not_allowed_is_named(assignment: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_pretraining(None, {}, (assignment,))
    assert said in str(caught.value)


def test_photographs_have_no_recipe() -> None:
    with pytest.raises(ConfigError, match="photographs have no recipe to tell"):
        load_pretraining(None, {"photographs": "somewhere"}, ("targets.recipe=1",))
    assert "recipe" not in load_pretraining(None, {"photographs": "somewhere"}).list_targets()


def test_a_file_and_flags_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "pretrain.yaml"
    path.write_text("steps: 50\nsurfaces: 4\ntargets: {position: 2}\n")
    config = load_pretraining(path, {"steps": 70, "seed": None}, ("targets.contrast=0.1",))
    assert (config.steps, config.surfaces) == (70, 4)
    assert config.list_targets() == {"contrast": 0.1, "position": 2.0}
    path.write_text("- steps\n")
    with pytest.raises(ConfigError, match="must map settings to values"):
        load_pretraining(path, {})


def test_the_command_of_a_card_makes_its_settings(tmp_path: Path) -> None:
    import shlex

    config = load_pretraining(None, {"steps": 70, "surfaces": 3}, ("targets={position: 2, contrast: 0.5}",))
    words = shlex.split(write_command(config, tmp_path / "x.weights.h5"))
    assert words[:4] == ["mvdefect", "pretrain", "--backbone", config.backbone]
    given = [words[index + 1] for index, word in enumerate(words) if word == "--set"]
    assert load_pretraining(None, {"backbone": words[3]}, tuple(given)) == config
    assert write_command(PretrainConfig(), tmp_path / "x.weights.h5").count("--set") == 0
