"""The settings of a pre-training: defaults, overridden by a YAML file, overridden by flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from mvdefect.core.errors import describe_unknown_name
from mvdefect.core.settings import Settings, list_changes, load_settings, read_yaml

TARGETS = ("recipe", "defect_type", "position", "rotation", "contrast", "layout")
NEEDS_RECIPES = "recipe"
DRAWN_TARGETS = {"recipe": 0.3, "defect_type": 1.0, "position": 1.0, "contrast": 0.5, "layout": 2.0}
PHOTOGRAPHED_TARGETS = {"defect_type": 1.0, "position": 1.0, "rotation": 0.3, "contrast": 0.5, "layout": 2.0}


def _check_image_size(value: int) -> int:
    if value < 64 or value % 32:
        raise ValueError("must be a multiple of 32 and at least 64")
    return value


ImageSize = Annotated[int, AfterValidator(_check_image_size)]


class PretrainConfig(Settings):
    """Everything that decides what `mvdefect pretrain` does."""

    kind: ClassVar[str] = "setting of a pre-training"

    backbone: str = Field("efficientnetb0", description="Backbone to pre-train.")
    weights: str = Field(
        "none",
        description="Weights to start from: none (random), imagenet, texture, or the path of a weights file.",
    )
    photographs: str | None = Field(
        None, description="Folder of photographs to learn from, unlabelled; without one, surfaces are drawn."
    )
    image_size_px: ImageSize = Field(
        128, description="Size of a view in pixels, a multiple of 32, at least 64."
    )
    recipes: int = Field(1000, ge=2, le=1_000_000, description="Kinds of surface that there are.")
    surfaces: int = Field(
        16, ge=2, le=4096, description="Surfaces per step, each with two flawless views and a faulty one."
    )
    steps: int = Field(20_000, ge=1, description="Steps of training.")
    targets: dict[str, float] = Field(
        {}, description=f"Weight of each question: {', '.join(TARGETS)} (default: what suits the source)."
    )
    learning_rate: float = Field(
        2e-3, gt=0, le=1, description="Peak of the learning rate, on a cosine schedule."
    )
    warmup: float = Field(
        0.05, ge=0, lt=1, description="Share of the steps in which the learning rate rises."
    )
    weight_decay: float = Field(0.02, ge=0, le=1, description="Weight decay of AdamW.")
    clip_norm: float = Field(1.0, gt=0, description="Largest norm of a gradient.")
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of all that is drawn.")
    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "float32", description="Number format of the computation."
    )

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
    """Build the settings of a pre-training as `mvdefect.config.load_config` does those of a fit."""
    return load_settings(PretrainConfig, read_yaml(path), list_changes(overrides, assignments))
