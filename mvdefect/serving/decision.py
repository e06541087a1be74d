"""The operating point in TensorFlow: from logit and novelty to probability and verdict."""

from __future__ import annotations

import tensorflow as tf

from mvdefect.data.records import GOOD
from mvdefect.evaluation.calibration import SMALLEST_NOVELTY, Calibration
from mvdefect.evaluation.operating_point import DEFECTIVE, REVIEW, OperatingPoint
from mvdefect.serving.answers import NO_PROBABILITY, OK, UNREADABLE


def decide(
    point: OperatingPoint, logits: tf.Tensor, novelty: tf.Tensor, readable: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Reach the verdict of each image, as `OperatingPoint.decide` does.

    Args:
        point: The operating point.
        logits: The classifier's, float32 (n,).
        novelty: float32 (n,).
        readable: bool (n,); of an image that could not be read nothing is known, so a person has to look.

    Returns:
        "probability" float32 (-1 where unreadable), "defective" bool, "needs_review" bool, "novelty" float32,
        "label" string (good, defective, review, unreadable) and "status" string (ok, unreadable), all (n,).
    """
    logits, distances = tf.cast(logits, tf.float64), tf.cast(novelty, tf.float64)
    combined = point.combined if point.verdict == "combined" else None
    scores = _score(combined or point.classifier, logits, distances)
    defective = scores >= point.score
    review = tf.zeros_like(defective)
    if point.review is not None:
        review = tf.logical_and(scores >= point.review[0], scores < point.review[1])
    if point.verdict == "either":
        novel = distances >= point.thresholds["novelty"]
        defective = tf.logical_or(defective, novel)
        review = tf.logical_and(review, tf.logical_not(novel))
    label = tf.where(review, REVIEW, tf.where(defective, DEFECTIVE, GOOD))
    return {
        "probability": tf.where(readable, tf.cast(tf.sigmoid(scores), tf.float32), NO_PROBABILITY),
        "defective": readable & defective & ~review,
        "needs_review": review | ~readable,
        "novelty": tf.where(readable, novelty, 0.0),
        "label": tf.where(readable, label, UNREADABLE),
        "status": tf.where(readable, OK, UNREADABLE),
    }


def _score(calibration: Calibration, logits: tf.Tensor, novelty: tf.Tensor) -> tf.Tensor:
    scores = calibration.logit_weight * logits + calibration.bias
    if not calibration.novelty_weight:
        return scores
    return scores + calibration.novelty_weight * tf.math.log(tf.maximum(novelty, SMALLEST_NOVELTY))
