"""The settings of a pre-training: defaults, overridden by a YAML file, overridden by flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mvdefect.core.errors import ConfigError, describe_unknown_name
from mvdefect.core.settings import assign, parse_assignment

TARGETS = ("recipe", "defect_type", "position", "rotation", "contrast", "layout")
NEEDS_RECIPES = "recipe"
DRAWN_TARGETS = {"recipe": 0.3, "defect_type": 1.0, "position": 1.0, "contrast": 0.5, "layout": 2.0}
PHOTOGRAPHED_TARGETS = {"defect_type": 1.0, "position": 1.0, "rotation": 0.3, "contrast": 0.5, "layout": 2.0}


class PretrainConfig(BaseModel):
    """Everything that decides what `mvdefect pretrain` does."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "efficientnetb0"
    weights: str = Field(
        default="none", description="what to start from: none (random), imagenet, texture, or a weights file"
    )
    photographs: str | None = Field(
        default=None, description="folder of photographs to learn from; null: surfaces are drawn"
    )
    image_size_px: int = Field(default=128, description="size of a view; a multiple of 32, at least 64")
    recipes: int = Field(default=1000, ge=2, le=1_000_000, description="how many kinds of surface there are")
    surfaces: int = Field(
        default=16,
        ge=2,
        le=4096,
        description="surfaces a step, each with two flawless views and a faulty one",
    )
    steps: int = Field(default=20_000, ge=1)
    targets: dict[str, float] = Field(
        default={}, description=f"weight of each question: {', '.join(TARGETS)}; empty: what suits the source"
    )
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="peak of a cosine schedule")
    warmup: float = Field(default=0.05, ge=0, lt=1, description="share of the steps in which the rate rises")
    weight_decay: float = Field(default=0.02, ge=0, le=1)
    clip_norm: float = Field(default=1.0, gt=0, description="largest norm of a gradient")
    seed: int = Field(default=0, ge=0, lt=2**31)
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"

    @field_validator("image_size_px")
    @classmethod
    def _check_image_size(cls, value: int) -> int:
        if value < 64 or value % 32:
            raise ValueError("must be a multiple of 32 and at least 64")
        return value

    @model_validator(mode="after")
    def _check_targets(self) -> PretrainConfig:
        for name, weight in self.targets.items():
            if name not in TARGETS:
                raise ValueError(describe_unknown_name("target", name, TARGETS))
            if not weight > 0:
                raise ValueError(
                    f"the weight of a target must be above 0. Received: targets.{name}={weight:g}"
                )
        if self.photographs is not None and NEEDS_RECIPES in self.targets:
            raise ValueError(f"photographs have no recipe to tell; drop targets.{NEEDS_RECIPES}")
        return self

    def list_targets(self) -> dict[str, float]:
        """Return the weight of each question, sorted by name."""
        suiting = DRAWN_TARGETS if self.photographs is None else PHOTOGRAPHED_TARGETS
        return dict(sorted((self.targets or suiting).items()))


def load_pretraining(
    path: Path | None, overrides: Mapping[str, Any], assignments: Sequence[str] = ()
) -> PretrainConfig:
    """Build the settings: defaults < YAML file < flags < `--set` assignments.

    Args:
        path: A YAML file, or none.
        overrides: Settings by name; None means 'not given'.
        assignments: "key=value" strings; the value is read as YAML.

    Raises:
        ConfigError: The file cannot be read, a key is unknown, or a value is not allowed.
    """
    tree = PretrainConfig().model_dump(mode="json")
    tree.update({} if path is None else _read_yaml(path))
    tree.update({key: value for key, value in overrides.items() if value is not None})
    for key, value in map(parse_assignment, assignments):
        if key.startswith("targets."):
            tree["targets"][key.removeprefix("targets.")] = value
        else:
            assign(tree, key, value)
    return validate_pretraining(tree)


def validate_pretraining(tree: Mapping[str, Any]) -> PretrainConfig:
    """Check a tree of settings.

    Raises:
        ConfigError: It names each bad key, what is allowed and what came.
    """
    try:
        return PretrainConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(item) for item in error.errors())) from error


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"the configuration {path} must map settings to values. Received: {tree!r}")
    return tree


def _describe(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return describe_unknown_name("setting of a pre-training", key, PretrainConfig.model_fields)
    message = item["msg"].removeprefix("Value error, ")
    if not key:  # of several settings together; the message names them
        return str(message)
    return f"{key}: {message[0].lower()}{message[1:]}. Received: {key}={item['input']!r}"
