"""Losses: against NumPy, and that a weight belongs to an image."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from mvdefect.training.losses import make_loss, make_mask_loss


def cross_entropy(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return -labels * np.log(probability) - (1 - labels) * np.log1p(-probability)


def draw_batch(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (np.arange(count) % 2).astype(np.float32)[:, np.newaxis]
    return labels, rng.normal(0, 3, (count, 1)).astype(np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_smoothed_labels(smoothing: float) -> None:
    labels, logits = draw_batch(6)
    smooth = np.where(labels == 1, 1 - smoothing / 2, smoothing / 2)
    loss = make_loss("cross_entropy", smoothing, 2.0)(labels, logits)
    assert float(loss) == pytest.approx(cross_entropy(smooth, logits).mean(), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_focal_loss_turns_down_what_is_known(gamma: float, smoothing: float) -> None:
    labels, logits = draw_batch(6)
    smooth = np.where(labels == 1, 1 - smoothing / 2, smoothing / 2)
    probability = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -smooth * (1 - probability) ** gamma * np.log(probability)
    expected -= (1 - smooth) * probability**gamma * np.log1p(-probability)
    loss = make_loss("focal", smoothing, gamma)
    assert float(loss(labels, logits)) == pytest.approx(expected.mean(), rel=1e-5)
    weights = np.array([0, 1, 2, 0, 1, 3], np.float32)
    weighted = (expected[:, 0] * weights).mean()
    assert float(loss(labels, logits, sample_weight=weights)) == pytest.approx(weighted, rel=1e-5)


def test_focal_loss_of_hard_labels_is_that_of_keras() -> None:
    labels, logits = draw_batch(8)
    expected = keras.losses.BinaryFocalCrossentropy(gamma=2.0, from_logits=True)(labels, logits)
    assert float(make_loss("focal", 0.0, 2.0)(labels, logits)) == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_gradients_of_the_focal_loss_are_numbers_however_sure_the_logit(gamma: float) -> None:
    logits = tf.Variable(np.array([[-90.0], [-20.0], [20.0], [90.0]], np.float32))
    with tf.GradientTape() as tape:
        loss = make_loss("focal", 0.0, gamma)(np.ones((4, 1), np.float32), logits)
    gradient = tape.gradient(loss, logits).numpy()[:, 0] * 4
    assert np.allclose(gradient[:2], -1, atol=1e-3)  # surely wrong: as with the cross-entropy
    assert np.allclose(gradient[2:], 0, atol=1e-3)


def test_a_focal_loss_can_be_rebuilt() -> None:
    loss = make_loss("focal", 0.1, 3.0)
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    labels, logits = draw_batch(4)
    assert float(again(labels, logits)) == float(loss(labels, logits))
    assert (again.gamma, again.label_smoothing) == (3.0, 0.1)


@pytest.mark.parametrize("shape", [(4, 3, 4, 1), (4, 4, 4, 1), (3, 2, 5, 1)])
def test_the_weight_of_a_mask_loss_belongs_to_an_image(shape: tuple[int, ...]) -> None:
    """Also where there are as many images as columns, so a weight could be taken for a column's."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0, 1, shape).astype(np.float32)
    logits = rng.normal(0, 2, shape).astype(np.float32)
    images = cross_entropy(shares, logits).mean(axis=(1, 2, 3))
    loss = make_mask_loss()
    assert float(loss(shares, logits)) == pytest.approx(images.mean(), rel=1e-5)
    for weights in (np.eye(shape[0])[0], np.arange(shape[0]), np.zeros(shape[0]), np.ones(shape[0])):
        expected = (images * weights).mean()
        for given in (weights, weights[:, np.newaxis]):
            found = float(loss(shares, logits, sample_weight=given.astype(np.float32)))
            assert found == pytest.approx(expected, rel=1e-5)


def test_an_image_of_weight_zero_sends_no_gradient_into_its_map() -> None:
    logits = tf.Variable(tf.random.normal((4, 4, 4, 1), seed=0))
    with tf.GradientTape() as tape:
        loss = make_mask_loss()(tf.zeros((4, 4, 4, 1)), logits, sample_weight=tf.constant([1.0, 0, 1.0, 0]))
    gradient = np.abs(tape.gradient(loss, logits).numpy()).reshape(4, -1)
    assert (gradient[[0, 2]] > 0).all()
    assert (gradient[[1, 3]] == 0).all()


def test_labels_and_masks_are_weighed_apart_in_a_fit() -> None:
    """A model that is left as it is gives the loss of both, as NumPy adds it up."""
    labels, logits = draw_batch(4)
    rng = np.random.default_rng(1)
    masks, maps = rng.uniform(0, 1, (4, 4, 4, 1)).astype(np.float32), rng.normal(0, 2, (4, 4, 4, 1))
    inputs = [keras.Input((1,)), keras.Input((4, 4, 1))]
    # A layer with weights, so that there is something to train, at a rate that changes nothing.
    outputs = [
        keras.layers.Dense(1, kernel_initializer="ones")(inputs[0]),
        keras.layers.Identity()(inputs[1]),
    ]
    model = keras.Model(inputs, outputs)
    model.compile(
        keras.optimizers.SGD(0.0),
        loss=[make_loss("cross_entropy", 0.0, 0.0), make_mask_loss()],
        loss_weights=[1.0, 0.5],
        jit_compile=False,
    )
    weights = np.array([1.0, 2.0, 1.0, 0.5], np.float32), np.array([1.0, 0.0, 0.0, 2.0], np.float32)
    arrays = ((logits, maps.astype(np.float32)), (labels, masks), weights)
    batches = tf.data.Dataset.from_tensor_slices(arrays).batch(4)
    found = model.fit(batches, shuffle=False, verbose=0).history["loss"][0]
    expected = (cross_entropy(labels, logits)[:, 0] * weights[0]).mean()
    expected += 0.5 * (cross_entropy(masks, maps).mean(axis=(1, 2, 3)) * weights[1]).mean()
    assert found == pytest.approx(expected, rel=1e-4)
