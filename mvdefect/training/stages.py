"""Stages: what learns, for how long, and how fast, once the backbone is known."""

from __future__ import annotations

from dataclasses import dataclass

from mvdefect.config import FitConfig
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import check_depth


@dataclass(frozen=True)
class Stage:
    """One stage of training; see `mvdefect.config.StageConfig`, whose gaps are filled here."""

    depth_blocks: int
    epochs: int
    learning_rate: float


def plan_stages(config: FitConfig, spec: BackboneSpec) -> tuple[Stage, ...]:
    """Fill in what the settings leave to the backbone.

    From random weights every block has to learn; from pre-trained ones the backbone knows a depth.

    Raises:
        ConfigError: A stage is deeper than the backbone.
    """
    usual_depth = spec.max_depth_blocks if config.weights == "none" else spec.depth_blocks
    stages = tuple(
        Stage(
            depth_blocks=usual_depth if stage.depth_blocks is None else stage.depth_blocks,
            epochs=stage.epochs,
            learning_rate=spec.learning_rate if stage.learning_rate is None else stage.learning_rate,
        )
        for stage in config.stages
    )
    for stage in stages:
        check_depth(spec, stage.depth_blocks)
    return stages
