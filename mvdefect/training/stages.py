"""Stages: what learns, for how long, and how fast, once the backbone is known."""

from __future__ import annotations

from dataclasses import dataclass

from mvdefect.config import FitConfig, StageConfig
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import check_depth


@dataclass(frozen=True)
class Stage:
    """One stage of training; see `mvdefect.config.StageConfig`, whose gaps are filled here."""

    depth_blocks: int
    epochs: int
    learning_rate: float
    head_learning_rate: float
    block_decay: float = 1.0
    warmup: float = 0.1


def plan_stages(config: FitConfig, spec: BackboneSpec) -> tuple[Stage, ...]:
    """Fill in what the settings leave to the backbone.

    From random weights every block has to learn; from pre-trained ones the backbone knows a depth.

    Raises:
        ConfigError: A stage is deeper than the backbone.
    """
    usual_depth = spec.max_depth_blocks if config.weights == "none" else spec.depth_blocks
    stages = tuple(_complete(stage, spec, usual_depth) for stage in config.stages)
    for stage in stages:
        check_depth(spec, stage.depth_blocks)
    return stages


def _complete(stage: StageConfig, spec: BackboneSpec, usual_depth: int) -> Stage:
    rate = spec.learning_rate if stage.learning_rate is None else stage.learning_rate
    return Stage(
        depth_blocks=usual_depth if stage.depth_blocks is None else stage.depth_blocks,
        epochs=stage.epochs,
        learning_rate=rate,
        head_learning_rate=rate if stage.head_learning_rate is None else stage.head_learning_rate,
        block_decay=stage.block_decay,
        warmup=stage.warmup,
    )
