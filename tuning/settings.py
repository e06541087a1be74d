"""The settings of a search: what `mvdefect tune --config` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from mvdefect.config import FitConfig, apply_settings
from mvdefect.core.errors import ConfigError
from mvdefect.core.settings import Settings, dump_settings, list_changes, load_settings, read_yaml

DIRECTIONS = {"val_roc_auc": "max", "val_loss": "min"}


class RefitConfig(Settings):
    """How the best configurations are trained again before one is chosen."""

    best: int = Field(
        3, ge=1, le=50, description="Configurations of the search to train again, beside the default."
    )
    seeds: int = Field(3, ge=1, le=50, description="Trainings of each on every fold.")
    folds: int | None = Field(
        None,
        ge=1,
        le=20,
        description="Parts of train and val that validate in turn (1: val alone; null: 3 where val "
        "holds few groups of defective photographs).",
    )


class SearchConfig(Settings):
    """Everything that decides what a search does."""

    kind: ClassVar[str] = "setting of a search"
    hints: ClassVar = dict.fromkeys(FitConfig.model_fields, " Settings of a fit go under `settings`.")

    settings: dict[str, Any] = Field(
        default_factory=dict, description="Settings of a fit, by dotted key: where the search starts."
    )
    space: dict[str, Any] = Field(
        default_factory=dict, description="What is searched; see `tuning.space.space`."
    )
    weights: dict[str, str] = Field(
        default_factory=dict, description="Weights of each backbone, where they differ by backbone."
    )
    strategy: Literal["bayesian", "random", "hyperband"] = Field(
        "bayesian", description="How the search chooses its trials."
    )
    objective: Literal["val_roc_auc", "val_loss"] = Field(
        "val_roc_auc",
        description="What decides, on the validation part: the most val_roc_auc, or the least val_loss.",
    )
    trials: int = Field(30, ge=1, le=100_000, description="Trials at most.")
    minutes: float | None = Field(
        None,
        gt=0,
        description="Minutes for everything, refits and confirmation included (default: no limit).",
    )
    patience: int | None = Field(
        None, ge=1, description="Trials without a better one before the search ends (default: no limit)."
    )
    factor: int = Field(3, ge=2, le=10, description="Factor of hyperband: one trial in so many goes on.")
    refits: RefitConfig = Field(RefitConfig(), description="How the best configurations are trained again.")
    seed: int = Field(
        0, ge=0, lt=2**31, description="Seed of the search; that of the fits is a setting of theirs."
    )

    @property
    def direction(self) -> str:
        """ "max" or "min"."""
        return DIRECTIONS[self.objective]


def load_search(
    path: Path | None,
    overrides: Mapping[str, Any],
    assignments: Sequence[str] = (),
    space: Sequence[str] = (),
) -> SearchConfig:
    """Build the settings of a search: defaults < YAML file < flags.

    Args:
        path: A YAML file, or none.
        overrides: Settings by dotted key, those of a fit below `settings`; None means 'not given'.
        assignments: Settings of a fit as "key=value" strings, the value being YAML.
        space: "name=domain" strings, the domain being YAML.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a value is not allowed.
    """
    changes = list_changes(overrides)
    changes += [(f"settings.{key}", value) for key, value in list_changes({}, assignments)]
    changes += [(f"space.{name}", domain) for name, domain in list_changes({}, space)]
    search = load_settings(SearchConfig, read_yaml(path, "search", "names"), changes)
    make_base(search)
    return search


def make_base(search: SearchConfig) -> FitConfig:
    """Return the settings of a fit that the search starts from.

    Raises:
        ConfigError: One has an unknown name or a value that is not allowed.
    """
    from mvdefect.models.choice import name_network

    config = apply_settings(search.settings)
    if config.baseline is not None:
        raise ConfigError(f"a baseline has nothing to search. Received: baseline={config.baseline}")
    return name_network(config)


def dump_search(search: SearchConfig) -> str:
    """Return the settings as YAML that `load_search` reads."""
    return dump_settings(search)
