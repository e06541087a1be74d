"""Heads and the classifier as a whole."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from mvdefect.errors import RunError
from mvdefect.models.backbones import BACKBONES
from mvdefect.models.classifier import add_logit_map, build_classifier, load_classifier
from mvdefect.models.heads import LogSumExpPooling
from mvdefect.models.normality import fit_gaussian


@given(sharpness=st.floats(0.1, 20), seed=st.integers(0, 99))
def test_log_sum_exp_lies_between_mean_and_maximum(sharpness: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (2, 3, 5, 1)).astype(np.float32)
    pooled = keras.ops.convert_to_numpy(LogSumExpPooling(sharpness)(logits))
    flat = logits.reshape(2, -1).astype(np.float64)
    expected = (logsumexp(sharpness * flat, axis=1) - np.log(15)) / sharpness
    assert np.allclose(pooled[:, 0], expected, atol=1e-4)
    assert (pooled[:, 0] >= flat.mean(axis=1) - 1e-4).all()
    assert (pooled[:, 0] <= flat.max(axis=1) + 1e-4).all()


def test_sharpness_must_be_positive() -> None:
    with pytest.raises(ValueError, match="above 0. Received: sharpness=0"):
        LogSumExpPooling(0)


def test_every_position_gets_a_gradient_and_the_highest_most() -> None:
    import tensorflow as tf

    logits = tf.Variable(np.array([0.0, 1.0, 5.0], np.float32).reshape(1, 1, 3, 1))
    with tf.GradientTape() as tape:
        pooled = LogSumExpPooling()(logits)
    gradient = tape.gradient(pooled, logits).numpy().ravel()
    assert (gradient > 0).all()
    assert gradient.sum() == pytest.approx(1)
    assert gradient.argmax() == 2


@pytest.mark.parametrize("head", ["pooled", "patch"])
@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_pixels_in_logit_out_also_after_reloading(name: str, head: str, tmp_path: Path) -> None:
    model = build_classifier(BACKBONES[name], 64, head, 2, 0.5, None)
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)
    logits = model.predict(pixels, verbose=0)
    assert logits.shape == (3, 1)
    assert logits.dtype == np.float32
    model.save(tmp_path / "model.keras")
    again = load_classifier(tmp_path / "model.keras")
    assert np.allclose(again.predict(pixels, verbose=0), logits, atol=1e-5)
    assert np.allclose(again.predict(pixels[:1], verbose=0), logits[:1], atol=1e-4)


def test_the_logit_map_pools_to_the_logit() -> None:
    model = build_classifier(BACKBONES["small_cnn"], 64, "patch", 2, 0.0, None)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    logits, logit_map = add_logit_map(model).predict(pixels, verbose=0)
    assert logit_map.shape == (2, 8, 8, 1)
    assert np.allclose(LogSumExpPooling()(logit_map), logits, atol=1e-5)


def test_a_pooled_head_has_no_map() -> None:
    assert add_logit_map(build_classifier(BACKBONES["small_cnn"], 64, "pooled", 2, 0.0, None)) is None


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.keras").write_bytes(b"not a model")
    with pytest.raises(RunError, match="cannot be loaded"):
        load_classifier(tmp_path / "model.keras")


def test_mahalanobis_distance_of_a_known_gaussian() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 2.0, 4.0])
    good = (rng.normal(0, 1, (20_000, 3)) * scale + 10).astype(np.float32)
    points = np.array([[10, 10, 10], [13, 10, 10], [10, 10, 22]], np.float32)
    assert np.allclose(fit_gaussian(good).score(points), [0, 3, 3], atol=0.15)


def test_novelty_works_with_fewer_images_than_features() -> None:
    rng = np.random.default_rng(0)
    normality = fit_gaussian(rng.normal(0, 1, (20, 100)).astype(np.float32))
    near, far = rng.normal(0, 1, (10, 100)), rng.normal(3, 1, (10, 100))
    assert normality.score(near.astype(np.float32)).max() < normality.score(far.astype(np.float32)).min()
