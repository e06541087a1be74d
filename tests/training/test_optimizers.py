"""Optimizers: the rate of each block at each step, what decays, averages, and going on from a state."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest

from mvdefect.models.backbones import BACKBONES, BackboneSpec
from mvdefect.models.classifier import HEAD, build_classifier, cut_classifier
from mvdefect.models.freezing import BACKBONE, unfreeze
from mvdefect.models.heads import HeadSettings
from mvdefect.training.losses import make_loss
from mvdefect.training.stages import Stage, make_optimizer, make_schedule

SPEC = BACKBONES["small_cnn"]
SIZE_PX = 32
PLAIN = Stage(4, 1, 1e-3, 1e-3, 1.0, 0.0)
GROUPED = Stage(4, 1, 1e-2, 3e-2, 0.5, 0.0)


def build(stage: Stage, seed: int = 0, spec: BackboneSpec = SPEC) -> Any:
    keras.utils.set_random_seed(seed)
    model = build_classifier(
        spec, (SIZE_PX, SIZE_PX), HeadSettings("patch", learn_sharpness=True, dropout=0.0), 2, None
    )
    unfreeze(model, spec, stage.depth_blocks)
    return model


def optimize(model: Any, stage: Stage, steps: int = 10, **changes: Any) -> Any:
    settings = {"weight_decay": 0.0, "clip_norm": None, "ema": None} | changes
    return make_optimizer(model, SPEC, stage, steps, **settings)


def train(model: Any, optimizer: Any, steps: int, seed: int = 0) -> list[list[np.ndarray]]:
    """Train, and return what the variables were after each step."""
    rng = np.random.default_rng(seed)
    model.compile(optimizer, loss=make_loss("cross_entropy", 0.0, 0.0), run_eagerly=True)
    values = []
    for _ in range(steps):
        pixels = rng.integers(0, 256, (4, SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
        model.train_on_batch(pixels, np.array([[0.0], [1.0], [0.0], [1.0]], np.float32))
        values.append(copy(model.trainable_variables))
    return values


def copy(variables: list[Any]) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def expect_rate(peak: float, step: int, total: int, warmup: int) -> float:
    if step < warmup:
        return peak * (0.1 + 0.9 * step / warmup)
    share = min(1.0, (step - warmup) / (total - warmup))
    return peak * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)


@pytest.mark.parametrize(("warmup", "steps"), [(0.0, 0), (0.1, 10), (0.5, 50), (0.001, 1)])
def test_rates_rise_from_a_tenth_and_fall_to_a_hundredth(warmup: float, steps: int) -> None:
    schedule = make_schedule(2e-3, warmup, 100)
    for step in (0, 1, 5, 10, 37, 50, 75, 99, 100, 120):
        assert float(schedule(step)) == pytest.approx(expect_rate(2e-3, step, 100, steps), rel=1e-4)
    assert float(schedule(steps)) == pytest.approx(2e-3, rel=1e-5)
    assert float(schedule(100)) == pytest.approx(2e-5, rel=1e-3)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.9])
def test_a_stage_may_have_a_single_step(warmup: float) -> None:
    assert float(make_schedule(1e-3, warmup, 1)(0)) == pytest.approx(1e-4 if warmup else 1e-3, rel=1e-5)


@pytest.mark.parametrize("name", ["small_cnn", "mobilenetv2"])
def test_each_block_has_its_rate_at_every_step(name: str) -> None:
    spec = BACKBONES[name]
    stage = Stage(3, 1, 1e-2, 3e-2, 0.5, 0.2)
    model = build(stage, spec=spec)
    optimizer = make_optimizer(model, spec, stage, 50, weight_decay=0.0, clip_norm=None, ema=None)
    assert isinstance(optimizer, keras.optimizers.MultiOptimizer)
    layers = model.get_layer(BACKBONE).layers
    ends = [[layer.name for layer in layers].index(name) + 1 for name in spec.boundaries]
    blocks = [layers[start:end] for start, end in zip(ends[-4:-1], ends[-3:], strict=True)]
    peaks = (1e-2 * 0.25, 1e-2 * 0.5, 1e-2)
    groups = {peak: ids(block) for peak, block in zip(peaks, blocks, strict=True)} | {
        3e-2: ids(model.get_layer(HEAD).layers)
    }
    assert sum(len(group) for group in groups.values()) == len(model.trainable_variables)
    found = {float(inner.learning_rate): inner for inner in optimizer.optimizers}
    for peak, group in groups.items():
        inner = min(found.items(), key=lambda item: abs(item[0] - peak / 10))[1]
        assert {id(variable) for variable in inner._trainable_variables} == group
        for step in (0, 4, 10, 30, 50):
            inner.iterations.assign(step)
            assert float(inner.learning_rate) == pytest.approx(expect_rate(peak, step, 50, 10), rel=1e-4)


def ids(layers: list[Any]) -> set[int]:
    return {id(variable) for layer in layers for variable in layer.trainable_variables}


def test_the_first_step_of_each_block_is_as_long_as_its_rate() -> None:
    """AdamW's first step is the rate, whatever the gradient, unless it is tiny."""
    model = build(GROUPED)
    before = copy(model.trainable_variables)
    (after,) = train(model, optimize(model, GROUPED), 1)
    rates = {f"block{number}": 1e-2 * 0.5 ** (4 - number) for number in range(1, 5)}
    longest: dict[float, float] = {}
    for variable, old, new in zip(model.trainable_variables, before, after, strict=True):
        rate = rates.get(variable.path.split("/")[-2][:6], 3e-2)
        longest[rate] = max(longest.get(rate, 0.0), float(np.abs(new - old).max()))
    assert sorted(longest) == [0.00125, 0.0025, 0.005, 0.01, 0.03]
    for rate, moved in longest.items():
        assert moved == pytest.approx(rate, rel=1e-2)


@pytest.mark.parametrize("stage", [PLAIN, Stage(0, 1, 1e-3, 5e-3, 0.5, 0.1)], ids=["one rate", "head alone"])
def test_one_rate_makes_a_plain_adamw(stage: Stage) -> None:
    model = build(stage)
    optimizer = optimize(model, stage)
    assert type(optimizer) is keras.optimizers.AdamW
    assert optimizer.built
    assert float(optimizer.learning_rate) == pytest.approx(1e-3 if stage is PLAIN else 5e-4)


@pytest.mark.parametrize("stage", [PLAIN, GROUPED], ids=["plain", "multi"])
def test_kernels_decay_and_vectors_and_scalars_do_not(stage: Stage) -> None:
    model = build(stage)
    variables = model.trainable_variables
    assert {len(variable.shape) for variable in variables} == {0, 1, 4}
    optimizer = optimize(model, stage, weight_decay=0.1)
    before = copy(variables)
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in variables], variables)
    for variable, old in zip(variables, before, strict=True):
        block = [number for number in range(1, 5) if f"block{number}" in variable.path]
        rate = (
            stage.learning_rate * stage.block_decay ** (4 - block[0]) if block else stage.head_learning_rate
        )
        expected = old * (1 - 0.1 * rate) if old.ndim == 4 else old
        assert np.allclose(variable.numpy(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("stage", [PLAIN, GROUPED], ids=["plain", "multi"])
def test_the_norm_is_clipped_over_all_gradients_of_a_rate(stage: Stage) -> None:
    """Read from the first momentum, a tenth of the gradient that AdamW saw."""
    model = build(stage)
    optimizer = optimize(model, stage, clip_norm=0.5)
    variables = model.trainable_variables
    optimizer.apply([keras.ops.full(variable.shape, 3.0) for variable in variables], variables)
    groups = getattr(optimizer, "optimizers", [optimizer])
    assert len(groups) == (1 if stage is PLAIN else 5)
    for group in groups:
        seen = np.concatenate([10 * momentum.numpy().ravel() for momentum in group._momentums])
        assert np.linalg.norm(seen) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize("stage", [PLAIN, GROUPED], ids=["plain", "multi"])
def test_averages_are_those_computed_by_hand(stage: Stage) -> None:
    model = build(stage)
    optimizer = optimize(model, stage, steps=100, ema=0.7)
    steps = train(model, optimizer, 4)
    assert all(np.array_equal(*pair) for pair in zip(copy(model.trainable_variables), steps[-1], strict=True))
    averages = steps[0]
    for values in steps[1:]:
        averages = [0.7 * old + 0.3 * new for old, new in zip(averages, values, strict=True)]
    optimizer.finalize_variable_values(model.trainable_variables)
    for variable, average, last in zip(model.trainable_variables, averages, steps[-1], strict=True):
        assert np.allclose(variable.numpy(), average, atol=1e-6)
        assert not np.allclose(average, last, atol=1e-6)


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("stage", [PLAIN, GROUPED], ids=["plain", "multi"])
def test_a_new_optimizer_goes_on_from_the_state_of_another(stage: Stage, ema: float | None) -> None:
    settings = {"weight_decay": 0.01, "clip_norm": 1.0, "ema": ema}
    model = build(stage)
    train(model, optimize(model, stage, **settings), 2)
    weights, state = copy(model.variables), copy(model.optimizer.variables)
    (expected,) = train(model, model.optimizer, 1, seed=1)
    again = build(stage, seed=1)
    optimizer = optimize(again, stage, **settings)
    for variables, values in ((again.variables, weights), (optimizer.variables, state)):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
    (found,) = train(again, optimizer, 1, seed=1)
    assert all(np.allclose(*pair, atol=1e-6) for pair in zip(found, expected, strict=True))
    ends = zip(model.optimizer.variables, optimizer.variables, strict=True)
    assert all(np.allclose(a.numpy(), b.numpy(), atol=1e-6) for a, b in ends)


def test_the_upper_part_of_a_classifier_has_the_rates_of_the_whole() -> None:
    """Two models that share layers: the optimizer of the part moves the variables of the whole."""
    stage = Stage(1, 1, 1e-2, 3e-2, 0.5, 0.0)
    model = build(stage)
    rest = cut_classifier(model, SPEC, 1, model.get_layer(HEAD)).rest
    optimizer = optimize(model, stage, variables=rest.trainable_variables)
    before = {variable.path: variable.numpy() for variable in model.trainable_variables}
    assert {id(variable) for variable in rest.trainable_variables} == ids(model.layers)
    rest.compile(optimizer, loss=make_loss("cross_entropy", 0.0, 0.0), jit_compile=False)
    rest.train_on_batch(np.random.default_rng(0).normal(0, 1, (2, 4, 4, 48)), np.array([[0.0], [1.0]]))
    for variable in model.trainable_variables:
        moved = float(np.abs(variable.numpy() - before[variable.path]).max())
        assert moved == pytest.approx(1e-2 if "block4" in variable.path else 3e-2, rel=2e-2), variable.path


def test_half_precision_of_16_bits_scales_the_loss_and_keeps_its_scale() -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build(PLAIN)
    finally:
        keras.config.set_dtype_policy("float32")
    optimizer = optimize(model, PLAIN, ema=0.9)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    model.compile(optimizer, loss=make_loss("cross_entropy", 0.0, 0.0))
    assert model.optimizer is optimizer
    scales = [v for v in optimizer.variables if v.path.endswith("dynamic_scale")]
    assert [float(scale) for scale in scales] == [2.0**15]
