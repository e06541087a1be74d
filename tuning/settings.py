"""The settings of a search: what `mvdefect tune --config` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mvdefect.config import FitConfig, apply_settings
from mvdefect.core.errors import ConfigError, describe_unknown_name
from mvdefect.core.settings import parse_assignment

DIRECTIONS = {"val_roc_auc": "max", "val_loss": "min"}


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RefitConfig(_Settings):
    """How the best configurations are trained again before one is chosen."""

    best: int = Field(default=3, ge=1, le=50, description="configurations of the search, beside the default")
    seeds: int = Field(default=3, ge=1, le=50, description="trainings of each on every fold")
    folds: int | None = Field(
        default=None,
        ge=1,
        le=20,
        description="parts of train and val that validate in turn; 1: val alone; null: 3 where val holds "
        "few groups of defective photographs",
    )


class SearchConfig(_Settings):
    """Everything that decides what a search does."""

    settings: dict[str, Any] = Field(
        default_factory=dict, description="settings of a fit, by dotted key: where the search starts"
    )
    space: dict[str, Any] = Field(
        default_factory=dict, description="what is searched; see `tuning.space.space`"
    )
    weights: dict[str, str] = Field(
        default_factory=dict, description="backbone -> weights, where they differ by backbone"
    )
    strategy: Literal["bayesian", "random", "hyperband"] = "bayesian"
    objective: Literal["val_roc_auc", "val_loss"] = Field(
        default="val_roc_auc", description="maximised or minimised, on the validation part"
    )
    trials: int = Field(default=30, ge=1, le=100_000, description="at most")
    minutes: float | None = Field(default=None, gt=0, description="no trial begins after so many; null: any")
    patience: int | None = Field(
        default=None, ge=1, description="trials without a better one before the search ends; null: any"
    )
    factor: int = Field(default=3, ge=2, le=10, description="of hyperband: one in so many goes on")
    refits: RefitConfig = RefitConfig()
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the search; that of the fits is a setting")

    @property
    def direction(self) -> str:
        """ "max" or "min"."""
        return DIRECTIONS[self.objective]


def load_search(
    path: Path | None,
    settings: Mapping[str, Any],
    assignments: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    space: Sequence[str] = (),
) -> SearchConfig:
    """Build the settings of a search: defaults < YAML file < flags.

    Args:
        path: A YAML file, or none.
        settings: Settings of a fit by dotted key; None means 'not given'.
        assignments: The same as "key=value" strings, the value being YAML.
        overrides: Settings of the search by name; None means 'not given'.
        space: "name=domain" strings, the domain being YAML.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a value is not allowed.
    """
    tree: dict[str, Any] = {} if path is None else _read_yaml(path)
    fits = {**(tree.get("settings") or {}), **_drop_missing(settings)}
    fits |= dict(map(parse_assignment, assignments))
    named = {**(tree.get("space") or {}), **dict(map(parse_assignment, space))}
    given = {**tree, "settings": fits, "space": named, **_drop_missing(overrides or {})}
    try:
        search = SearchConfig.model_validate(given)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(item) for item in error.errors())) from error
    make_base(search)
    return search


def make_base(search: SearchConfig) -> FitConfig:
    """Return the settings of a fit that the search starts from.

    Raises:
        ConfigError: One has an unknown name or a value that is not allowed.
    """
    config = apply_settings(search.settings)
    if config.baseline is not None:
        raise ConfigError(f"a baseline has nothing to search. Received: baseline={config.baseline}")
    return config


def dump_search(search: SearchConfig) -> str:
    """Return the settings as YAML that `load_search` reads."""
    return yaml.safe_dump(search.model_dump(mode="json"), sort_keys=False)


def _drop_missing(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the search {path} cannot be read: {error}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict) or any(
        not isinstance(tree.get(key) or {}, dict) for key in ("settings", "space")
    ):
        raise ConfigError(
            f"the search {path} must map names to values, and so must `settings` and `space` in it"
        )
    return tree


def _describe(item: Any) -> str:
    *parents, name = (str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        model = RefitConfig if parents == ["refits"] else SearchConfig
        hint = " Settings of a fit go under `settings`." if name in FitConfig.model_fields else ""
        return describe_unknown_name("setting of a search", name, model.model_fields) + hint
    key = ".".join([*parents, name])
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}. Received: {key}={item['input']!r}"
