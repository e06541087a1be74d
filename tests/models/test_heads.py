"""Heads and the classifier as a whole."""

from __future__ import annotations

from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, RunError
from mvdefect.models.backbones import BACKBONES
from mvdefect.models.classifier import build_classifier, load_classifier
from mvdefect.models.heads import HeadSettings, LogSumExpPooling, add_head, add_map_output, choose_head


@given(sharpness=st.floats(0.1, 20), seed=st.integers(0, 99))
def test_log_sum_exp_lies_between_mean_and_maximum(sharpness: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (2, 3, 5, 1)).astype(np.float32)
    pooled = keras.ops.convert_to_numpy(LogSumExpPooling(sharpness)(logits))
    flat = logits.reshape(2, -1).astype(np.float64)
    expected = (logsumexp(sharpness * flat, axis=1) - np.log(15)) / sharpness
    assert np.allclose(pooled[:, 0], expected, atol=1e-4)
    assert (pooled[:, 0] >= flat.mean(axis=1) - 1e-4).all()
    assert (pooled[:, 0] <= flat.max(axis=1) + 1e-4).all()


@pytest.mark.parametrize("sharpness", [0.0, -1.0, float("nan")])
def test_sharpness_must_be_positive(sharpness: float) -> None:
    with pytest.raises(ConfigError, match=f"above 0. Received: sharpness={sharpness}"):
        LogSumExpPooling(sharpness)


def test_a_sharpness_that_is_learnt_moves_and_stays_positive(tmp_path: Path) -> None:
    """The logit of an uneven map can only rise by a higher sharpness here, and fall by a lower one."""
    logit_map = keras.Input((2, 2, 1))
    model = keras.Model(logit_map, LogSumExpPooling(2.0, learn_sharpness=True)(logit_map))
    uneven = np.array([0.0, 0.0, 0.0, 4.0], np.float32).reshape(1, 2, 2, 1)
    (weight,) = model.trainable_variables
    assert weight.shape == ()
    assert np.exp(weight.numpy()) == pytest.approx(2.0)
    for target, sign in ((10.0, 1), (-10.0, -1)):
        model.compile(keras.optimizers.SGD(0.05), "mse")
        before = float(weight.numpy())
        for _ in range(20):
            model.train_on_batch(uneven, np.array([[target]], np.float32))
        assert sign * (float(weight.numpy()) - before) > 0.1
        learnt = float(np.exp(weight.numpy()))
        expected = (logsumexp(learnt * uneven) - np.log(4)) / learnt
        assert model.predict(uneven, verbose=0)[0, 0] == pytest.approx(expected, abs=1e-4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert again.trainable_variables[0].numpy() == weight.numpy() != np.float32(np.log(2.0))
    assert np.array_equal(again.predict(uneven, verbose=0), model.predict(uneven, verbose=0))


@pytest.mark.parametrize("head", [HeadSettings(), HeadSettings("patch", learn_sharpness=True)])
def test_half_precision_ends_in_float32(head: HeadSettings) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build_classifier(BACKBONES["small_cnn"], (64, 64), head, 2, None)
        bare = LogSumExpPooling(learn_sharpness=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("backbone").outputs[-1].dtype == "bfloat16"
    logits = model.predict(np.zeros((2, 64, 64, 3), np.uint8), verbose=0)
    assert logits.dtype == np.float32
    pooled = bare(keras.ops.ones((2, 3, 3, 1), "bfloat16"))
    assert keras.backend.standardize_dtype(pooled.dtype) == "float32"
    assert all(variable.dtype == "float32" for variable in [*bare.variables, *model.trainable_variables])


@pytest.mark.parametrize("shapes", [((9, 7, 6), (4, 3, 5)), ((8, 8, 6), (8, 8, 5)), ((5, 5, 4),)])
def test_taps_may_have_sizes_of_any_ratio(shapes: tuple[tuple[int, int, int], ...]) -> None:
    rng = np.random.default_rng(0)
    batch = [rng.normal(0, 1, (2, *shape)).astype(np.float32) for shape in shapes]
    inputs = [keras.Input(shape) for shape in shapes]
    model = keras.Model(inputs, add_head(inputs, HeadSettings("patch", sharpness=2.0)))
    logits, logit_map = add_map_output(model).predict(batch, verbose=0)
    assert logit_map.shape == (2, *shapes[0][:2], 1)
    expected = sum(
        _resize(_score(model, feature, number), shapes[0][:2])
        for number, feature in enumerate(batch, start=1)
    )
    assert np.allclose(logit_map[..., 0], expected, atol=1e-4)
    pooled = (logsumexp(2 * expected, axis=(1, 2)) - np.log(expected[0].size)) / 2
    assert np.allclose(logits[:, 0], pooled, atol=1e-4)


def _score(model: keras.Model, feature: np.ndarray, number: int) -> np.ndarray:
    """Normalise and score each position; scale 1 and shift 0 are what the layer begins with."""
    centred = feature - feature.mean(-1, keepdims=True)
    normalised = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
    return normalised @ model.get_layer(f"scores_{number}").get_weights()[0][0, 0, :, 0]


def _resize(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear, by the centres of positions, as OpenCV does it."""
    return np.stack([cv2.resize(single, size[::-1], interpolation=cv2.INTER_LINEAR) for single in maps])


def test_a_pooled_head_scores_averages_and_maxima() -> None:
    rng = np.random.default_rng(0)
    batch = [rng.normal(0, 1, shape).astype(np.float32) for shape in ((2, 6, 6, 3), (2, 3, 3, 5))]
    inputs = [keras.Input(feature.shape[1:]) for feature in batch]
    for pooling, kinds in (("avg", ("mean",)), ("avg_max", ("mean", "max"))):
        model = keras.Model(inputs, add_head(inputs, HeadSettings(pooling=pooling)))
        pooled = np.concatenate([getattr(x, kind)((1, 2)) for kind in kinds for x in batch], axis=-1)
        kernel, bias = model.get_layer("logit").get_weights()
        assert np.allclose(model.predict(batch, verbose=0), pooled @ kernel + bias, atol=1e-5)
        inner = keras.Model(inputs, model.get_layer("pooled").output)
        assert np.allclose(inner.predict(batch, verbose=0), pooled, atol=1e-6)


@pytest.mark.parametrize("taps", [1, 2])
def test_names_of_layers_do_not_depend_on_what_was_built_before(taps: int) -> None:
    for head in (HeadSettings(pooling="avg_max"), HeadSettings("patch", learn_sharpness=True)):
        models = [build_classifier(BACKBONES["small_cnn"], (64, 64), head, taps, None) for _ in range(2)]
        first, second = ([variable.path for variable in model.variables] for model in models)
        # Generators of random numbers are numbered on; they are no weights.
        assert [path for path in first if "seed" not in path] == [
            path for path in second if "seed" not in path
        ]
        assert len(first) > 8 + 2 * taps


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (HeadSettings("patched"), "unknown head 'patched'. Did you mean 'patch'"),
        (HeadSettings(pooling="average"), "unknown pooling 'average'"),
    ],
)
def test_an_unknown_head_is_refused(settings: HeadSettings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        add_head([keras.Input((4, 4, 2))], settings)


def test_only_a_patch_head_has_a_map() -> None:
    inputs = keras.Input((4, 4, 2))
    with pytest.raises(ConfigError, match="only a patch head has a map"):
        add_map_output(keras.Model(inputs, add_head([inputs], HeadSettings())))


def test_the_settings_of_a_run_choose_the_head() -> None:
    config = FitConfig(head="patch", pooling="avg_max", sharpness=4, learn_sharpness=True, dropout=0.3)
    assert choose_head(config) == HeadSettings("patch", "avg_max", 4.0, True, 0.3)
    assert choose_head(FitConfig()) == HeadSettings()


def test_every_position_gets_a_gradient_and_the_highest_most() -> None:
    import tensorflow as tf

    logits = tf.Variable(np.array([0.0, 1.0, 5.0], np.float32).reshape(1, 1, 3, 1))
    with tf.GradientTape() as tape:
        pooled = LogSumExpPooling()(logits)
    gradient = tape.gradient(pooled, logits).numpy().ravel()
    assert (gradient > 0).all()
    assert gradient.sum() == pytest.approx(1)
    assert gradient.argmax() == 2


POOLED = HeadSettings(pooling="avg_max")
PATCH = HeadSettings("patch", sharpness=3.0, learn_sharpness=True)


@pytest.mark.parametrize(
    ("name", "head"),
    [("small_cnn", PATCH), *((name, POOLED) for name in sorted(BACKBONES))],
    ids=["small_cnn-patch", *sorted(BACKBONES)],
)
def test_pixels_in_logit_out_also_after_reloading(name: str, head: HeadSettings, tmp_path: Path) -> None:
    model = build_classifier(BACKBONES[name], (64, 64), head, 2, None)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    logits = keras.ops.convert_to_numpy(model(pixels, training=False))
    assert logits.shape == (3, 1)
    assert logits.dtype == np.float32
    model.save(tmp_path / "model.keras")
    again = load_classifier(tmp_path / "model.keras")
    assert np.allclose(again(pixels, training=False), logits, atol=1e-5)
    assert np.allclose(again(pixels[:1], training=False), logits[:1], atol=1e-4)


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"not a model")
    with pytest.raises(RunError, match="cannot be loaded"):
        load_classifier(tmp_path / "model.keras")
