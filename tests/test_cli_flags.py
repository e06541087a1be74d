"""Options that are settings: what their fields say of them, and what reaches the settings."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from mvdefect.cli.baseline import baseline
from mvdefect.cli.flags import SettingsCommand
from mvdefect.cli.inspector import evaluate, fit
from mvdefect.cli.pretrain import pretrain
from mvdefect.cli.tune import tune
from mvdefect.config import AugmentConfig, FitConfig, StageConfig, load_config
from mvdefect.pretraining.settings import PretrainConfig
from tuning.settings import RefitConfig, SearchConfig, load_search

NEEDED = {"baseline": ["majority"], "evaluate": ["runs/first"]}


def parse(command: click.Command, *arguments: str) -> dict[str, object]:
    """Return what a command receives, by the names it receives it under."""
    name = str(command.name)
    return command.make_context(name, [*NEEDED.get(name, []), *arguments]).params


def find_option(command: click.Command, name: str) -> click.Option:
    params = command.get_params(click.Context(command))
    return next(one for one in params if isinstance(one, click.Option) and name in one.opts)


def test_flags_reach_the_settings_by_their_keys() -> None:
    given = parse(fit, "--epochs", "3", "--category", "nut", "--category", "bolt", "--split", "plan.csv")
    given |= {"ema": 0.5}
    config = load_config(
        None, {key: given[key] for key in ("stages.-1.epochs", "categories", "split", "ema")}
    )
    assert config.stages[-1].epochs == 3
    assert (config.categories, config.split, config.ema) == (("nut", "bolt"), Path("plan.csv"), 0.5)


def test_flags_of_a_search_are_its_own_or_those_of_its_fits() -> None:
    given = parse(tune, "--seed", "4", "--weights", "none", "--epochs", "2", "--split", "plan.csv")
    names = ("seed", "settings.weights", "settings.stages.-1.epochs", "settings.split", "trials")
    search = load_search(None, {name: given[name] for name in names})
    assert (search.seed, search.trials, search.weights) == (4, 30, {})
    assert search.settings == {"weights": "none", "stages.-1.epochs": 2, "split": "plan.csv"}


@pytest.mark.parametrize("command", [fit, tune, baseline, pretrain, evaluate], ids=lambda one: one.name)
def test_what_is_not_given_changes_nothing(command: SettingsCommand) -> None:
    models = (FitConfig, SearchConfig, PretrainConfig)
    fields = {name for model in models for name in model.model_fields} - {"space"}  # of --vary
    received = parse(command)
    settings = {key: value for key, value in received.items() if "." in key or key in fields}
    assert len(settings) >= 3
    assert set(settings.values()) == {None}


def test_switches_have_three_positions() -> None:
    received = [
        parse(fit, *flags)["deterministic"] for flags in ([], ["--deterministic"], ["--no-deterministic"])
    ]
    assert received == [None, True, False]
    assert parse(fit, "--skip-broken")["skip_broken"] is True


def test_an_option_has_the_type_and_the_words_of_its_field() -> None:
    option = find_option(fit, "--batch-size")
    assert option.help == f"{FitConfig.model_fields['batch_size'].description} Default: 32."
    assert option.type is click.INT
    kind = find_option(baseline, "--kind")
    assert kind.metavar == "[padim|memory_bank|gaussian]"
    assert str(kind.help).endswith("Default: padim.")
    assert str(find_option(fit, "--category").help).endswith("Repeatable.")
    assert "Default" not in str(find_option(evaluate, "--threshold").help)


@pytest.mark.parametrize(
    "model",
    [FitConfig, StageConfig, AugmentConfig, SearchConfig, RefitConfig, PretrainConfig],
    ids=lambda one: one.__name__,
)
def test_every_setting_is_described_in_a_full_phrase(model: type[FitConfig]) -> None:
    for name, field in model.model_fields.items():
        text = field.description or ""
        assert text.endswith("."), name
        assert text[0].isupper(), name
