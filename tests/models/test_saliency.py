"""Heatmaps against values worked out by hand, and against Grad-CAM by automatic differentiation."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from mvdefect.core.errors import ConfigError
from mvdefect.models.backbones import BACKBONES
from mvdefect.models.classifier import HEAD, SCALING, build_classifier, join_head
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import HeadSettings, add_head, add_map_output
from mvdefect.models.saliency import build_heatmaps

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


def build(pooling: str = "avg", taps: int = 2, kind: str = "pooled") -> keras.Model:
    model = build_classifier(BACKBONES["small_cnn"], (64, 64), HeadSettings(kind, pooling), taps, None)
    if kind == "pooled":
        model.get_layer(HEAD).get_layer("logit").bias.assign([0.7])
    return model


def build_tiny(pooling: str, kernel: list[float]) -> keras.Model:
    """Features are the pixels of 4 × 4, and their averages over 2 × 2; nothing is learnt."""
    pixels = keras.Input((4, 4, 3), dtype="uint8")
    scaling = keras.Model(pixels, keras.ops.cast(pixels, "float32"), name=SCALING)
    inputs = keras.Input((4, 4, 3))
    features = [inputs, keras.layers.AveragePooling2D(2)(inputs)]
    backbone = keras.Model(inputs, features, name=BACKBONE)
    seen = [keras.Input(feature.shape[1:]) for feature in features]
    head = keras.Model(seen, add_head(seen, HeadSettings(pooling=pooling)), name=HEAD)
    head.get_layer("logit").set_weights([np.array(kernel, np.float32)[:, np.newaxis], np.array([0.5])])
    return keras.Model(pixels, head(backbone(scaling(pixels))), name="tiny")


def grad_cam(model: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Grad-CAM as in the paper, by automatic differentiation; times the positions, and without the ReLU."""
    features = model.get_layer(BACKBONE)(model.get_layer(SCALING)(pixels))
    with tf.GradientTape() as tape:
        tape.watch(features)
        logits = model.get_layer(HEAD)(features)
    maps = []
    for feature, gradient in zip(features, tape.gradient(logits, features), strict=True):
        alpha = tf.reduce_mean(gradient, axis=(1, 2), keepdims=True)
        found = tf.reduce_sum(alpha * feature, axis=-1, keepdims=True) * np.prod(feature.shape[1:3])
        maps.append(tf.image.resize(found, features[0].shape[1:3])[..., 0])
    return sum(maps).numpy()


def test_a_map_by_hand() -> None:
    """One bright pixel in the corner of red: 16 · 2 there, and its 2 × 2 average of 4 · 3 around it."""
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[0, 0, 0, 0] = 16
    found = build_heatmaps(build_tiny("avg", [2, 0, 0, 3, 0, 0])).predict(image, verbose=0)
    assert found.shape == (1, 4, 4)
    assert found.dtype == np.float32
    across = np.array([1, 0.75, 0.25, 0])  # bilinear, from centres at 0.5 and 2.5 to centres at 0, 1, 2, 3
    expected = 12 * np.outer(across, across)
    expected[0, 0] += 32
    assert np.allclose(found[0], expected)


def test_what_speaks_for_good_is_negative() -> None:
    image = np.zeros((1, 4, 4, 3), np.uint8)
    image[0, :2, :, 1] = 10
    found = build_heatmaps(build_tiny("avg", [0, -1, 0, 0, 0, 0])).predict(image, verbose=0)[0]
    assert (found[:2] == -10).all()
    assert (found[2:] == 0).all()


def test_the_weight_of_a_maximum_counts_too() -> None:
    """Averages fine and coarse, then maxima fine and coarse: each colour has one of each."""
    image = np.full((1, 4, 4, 3), 10, np.uint8)
    kernel = [1, 0, 0, 0, 2, 0, 0, 0, 4, 8, 0, 0]
    found = build_heatmaps(build_tiny("avg_max", kernel)).predict(image, verbose=0)
    assert np.allclose(found, 150)


@pytest.mark.parametrize("pooling", ["avg", "avg_max"])
def test_it_is_grad_cam(pooling: str) -> None:
    keras.utils.set_random_seed(1)  # of random weights, some positions speak for and some against
    model = build(pooling)
    found = build_heatmaps(model).predict(PIXELS, verbose=0)
    expected = grad_cam(model, PIXELS)
    assert found.shape == (2, 8, 8)
    assert expected.std() > 0.1
    assert expected.min() < 0 < expected.max()
    assert np.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("taps", [1, 2])
def test_the_mean_of_an_averaging_head_and_its_bias_are_the_logit(taps: int) -> None:
    model = build(taps=taps)
    found = build_heatmaps(model).predict(PIXELS, verbose=0)
    assert found.shape == (2, 4 * taps, 4 * taps)
    logits = model.predict(PIXELS, verbose=0)[:, 0]
    assert abs(logits[0] - logits[1]) > 1e-3
    assert np.allclose(found.mean((1, 2)) + 0.7, logits, atol=1e-4)


def test_a_patch_head_gives_its_own_map() -> None:
    model = build(kind="patch")
    found = build_heatmaps(model).predict(PIXELS, verbose=0)
    expected = join_head(model, add_map_output(model.get_layer(HEAD))).predict(PIXELS, verbose=0)[1][..., 0]
    assert expected.std() > 0.01
    assert np.array_equal(found, expected)


def test_half_precision_gives_float32() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build()
        maps = build_heatmaps(model)
    finally:
        keras.config.set_dtype_policy("float32")
    found = maps.predict(PIXELS, verbose=0)
    assert found.dtype == np.float32
    assert np.allclose(found.mean((1, 2)) + 0.7, model.predict(PIXELS, verbose=0)[:, 0], atol=0.05)


def test_the_maps_can_be_saved(tmp_path: Path) -> None:
    maps = build_heatmaps(build("avg_max"))
    maps.save(tmp_path / "maps.keras")
    again = keras.saving.load_model(tmp_path / "maps.keras", compile=False)
    assert np.allclose(again.predict(PIXELS, verbose=0), maps.predict(PIXELS, verbose=0), atol=1e-5)


def test_the_classifier_stays_as_it_was() -> None:
    model = build()
    before = [variable.path for variable in model.trainable_variables]
    logits = model.predict(PIXELS, verbose=0)
    build_heatmaps(model)
    assert [variable.path for variable in model.trainable_variables] == before
    assert np.array_equal(model.predict(PIXELS, verbose=0), logits)


def test_another_head_is_refused() -> None:
    model = build(taps=1)
    seen = keras.Input(model.get_layer(BACKBONE).outputs[0].shape[1:])
    head = keras.Model(seen, keras.layers.Dense(1)(keras.layers.Flatten(name="flat")(seen)), name=HEAD)
    with pytest.raises(ConfigError, match="with pooled and logit. Received: a head with .*flat"):
        build_heatmaps(join_head(model, head))
