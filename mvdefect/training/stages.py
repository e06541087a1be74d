"""Stages: what learns, for how long and how fast; and the optimizer, with a rate for each block."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from mvdefect.config import FitConfig, StageConfig
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.freezing import BACKBONE, check_depth

FIRST_SHARE = 0.1  # of the peak rate, at the first step of a warm-up
LAST_SHARE = 0.01  # of the peak rate, when the stage is over
MIN_STEPS = 80
AVERAGED_SHARE = 0.1  # of a stage's steps, over which a moving average reaches at most


@dataclass(frozen=True)
class Stage:
    """One stage of training; see `mvdefect.config.StageConfig`, whose gaps are filled here."""

    depth_blocks: int
    epochs: int
    learning_rate: float
    head_learning_rate: float
    block_decay: float = 1.0
    warmup: float = 0.1
    solve: bool = False


def plan_stages(config: FitConfig, spec: BackboneSpec, images: int | None = None) -> tuple[Stage, ...]:
    """Fill in what the settings leave to the backbone.

    From random weights every block has to learn; from pre-trained ones the backbone knows a depth. Where the
    settings name no stages, the last one has at least 80 steps, however few the images.

    Args:
        config: The settings.
        spec: The backbone.
        images: To learn from; None: epochs stay as they are.

    Raises:
        ConfigError: A stage is deeper than the backbone.
    """
    usual_depth = spec.max_depth_blocks if config.weights == "none" else spec.depth_blocks
    stages = tuple(_complete(stage, spec, usual_depth) for stage in config.stages)
    for stage in stages:
        check_depth(spec, stage.depth_blocks)
    if images is None or config.stages != FitConfig.model_fields["stages"].default:
        return stages
    least = math.ceil(MIN_STEPS / math.ceil(images / config.batch_size))
    return (*stages[:-1], replace(stages[-1], epochs=max(stages[-1].epochs, least)))


def _complete(stage: StageConfig, spec: BackboneSpec, usual_depth: int) -> Stage:
    rate = spec.learning_rate if stage.learning_rate is None else stage.learning_rate
    return Stage(
        depth_blocks=usual_depth if stage.depth_blocks is None else stage.depth_blocks,
        epochs=stage.epochs,
        learning_rate=rate,
        head_learning_rate=rate if stage.head_learning_rate is None else stage.head_learning_rate,
        block_decay=stage.block_decay,
        warmup=stage.warmup,
        solve=stage.solve,
    )


@dataclass(frozen=True)
class _Settings:
    warmup: float
    total_steps: int
    weight_decay: float
    clip_norm: float | None
    ema: float | None


def make_optimizer(
    model: Any,
    spec: BackboneSpec,
    stage: Stage,
    total_steps: int,
    *,
    weight_decay: float,
    clip_norm: float | None,
    ema: float | None,
    variables: Sequence[Any] | None = None,
) -> keras.optimizers.Optimizer:
    """Make the optimizer of a stage: AdamW (Loshchilov & Hutter, 2019), built and ready.

    Where the head and all blocks that learn share one rate it is a plain AdamW. Otherwise it is a
    MultiOptimizer with an AdamW for each rate; it has no `learning_rate` of its own.

    Where averages are kept, `optimizer.finalize_variable_values(variables)` puts them in place of the
    variables, and so does `model.fit` when it ends: whoever goes on with the same optimizer has to put
    the variables back first.

    Args:
        model: A classifier of `mvdefect.models.classifier`; what learns has been set.
        spec: Its backbone.
        stage: The rates, and the share of steps in which they rise.
        total_steps: Batches of the stage, at least 1.
        weight_decay: Share of a weight that goes in a step, times the rate. Vectors and scalars (biases,
            scales and shifts of normalisation, sharpness) keep theirs.
        clip_norm: Largest norm of all gradients together, or None. With several rates it holds for the
            gradients of each rate on their own.
        ema: Momentum of the moving average of variables, or None to keep none; see `find_momentum`.
        variables: What to build it for: the trainable variables of a model that has some of the
            classifier's layers, in that model's order; None: those of the classifier.

    Returns:
        The optimizer; with the policy mixed_float16 it scales the loss.
    """
    learning = list(model.trainable_variables if variables is None else variables)
    rates = find_rates(model, spec, stage)
    grouped: dict[float, list[Any]] = {}
    for variable in learning:
        grouped.setdefault(rates.get(id(variable), stage.head_learning_rate), []).append(variable)
    settings = _Settings(stage.warmup, total_steps, weight_decay, clip_norm, ema)
    group_of = {rate: _make_adamw(rate, group, settings) for rate, group in grouped.items()}
    if len(group_of) == 1:
        optimizer = next(iter(group_of.values()))
    else:
        optimizer = keras.optimizers.MultiOptimizer(
            lambda variable: group_of[rates.get(id(variable), stage.head_learning_rate)]
        )
    if model.dtype_policy.name == "mixed_float16":  # `compile` would wrap it too, but not build it
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(learning)
    return optimizer


def find_rates(model: Any, spec: BackboneSpec, stage: Stage) -> dict[int, float]:
    """Return the peak rate of every variable of the backbone by its `id`.

    The uppermost block has the rate of the stage, and each block below it `block_decay` times the rate
    of the block above; so do layers of the whole backbone, frozen or not.
    """
    backbone = model.get_layer(BACKBONE)
    names = [layer.name for layer in backbone.layers]
    ends = [names.index(name) for name in spec.boundaries[:-1]]
    rates: dict[int, float] = {}
    for index, layer in enumerate(backbone.layers):
        blocks_above = sum(index <= end for end in ends)
        rate = stage.learning_rate * stage.block_decay**blocks_above
        rates |= {id(variable): rate for variable in layer.variables}
    return rates


def make_schedule(
    peak: float, warmup: float, total_steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Make a rate that rises linearly from a tenth of its peak, then falls as a cosine to a hundredth.

    Args:
        peak: The highest rate.
        warmup: Share of the steps in which it rises, in [0, 1); 0: it begins at its peak.
        total_steps: Steps after which it is at its lowest.
    """
    warmup_steps = max(1, round(warmup * total_steps)) if warmup else 0
    rising = {"warmup_target": peak, "warmup_steps": warmup_steps} if warmup_steps else {}
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=peak * FIRST_SHARE if warmup_steps else peak,
        decay_steps=max(1, total_steps - warmup_steps),
        alpha=LAST_SHARE,
        **rising,
    )


def find_momentum(ema: float | None, total_steps: int) -> float:
    """Return a momentum, lowered where the average would remember more than a tenth of the steps.

    It remembers 1 / (1 - momentum) of them; None has no average, and the momentum no effect.
    """
    limit = 1 - 1 / max(1.0, AVERAGED_SHARE * total_steps)
    return limit if ema is None else min(ema, limit)


def _make_adamw(peak: float, variables: Sequence[Any], settings: _Settings) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(
        make_schedule(peak, settings.warmup, settings.total_steps),
        weight_decay=settings.weight_decay,
        global_clipnorm=settings.clip_norm,
        use_ema=settings.ema is not None,
        ema_momentum=find_momentum(settings.ema, settings.total_steps),
    )
    kept = [variable for variable in variables if len(variable.shape) <= 1]
    optimizer.exclude_from_weight_decay(var_list=kept)
    return optimizer
