"""The whole inspector as one TensorFlow module: bytes or pixels in, verdicts out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mvdefect.config import ResizeMethod, Size
from mvdefect.core.errors import RunError
from mvdefect.data.counted_region import CountedRegion, read_region
from mvdefect.data.images import choose_decoding
from mvdefect.data.records import GOOD
from mvdefect.evaluation.calibration import SMALLEST_NOVELTY, Calibration
from mvdefect.evaluation.evaluate import read_operating_point
from mvdefect.evaluation.operating_point import (
    DEFECTIVE,
    FOREIGN,
    MEAN_NOVELTY,
    REVIEW,
    OperatingPoint,
)
from mvdefect.inspector.answers import (
    BYTES,
    DEFAULT,
    EXPLAIN,
    FOREIGN_OUTPUT,
    NO_PROBABILITY,
    OK,
    PIXELS,
    UNKNOWN_FILE,
    UNREADABLE,
)
from mvdefect.inspector.formats.format import NOVELTY
from mvdefect.inspector.preprocessing import read_photographs, resize_photographs
from mvdefect.models.classifier import load_classifier
from mvdefect.models.feature_maps import level_outside_tensor, log_novelty_tensor
from mvdefect.models.merging import Merged
from mvdefect.models.normality import load_normality
from mvdefect.models.one_class import Normality
from mvdefect.models.saliency import build_heatmaps
from mvdefect.runs import RunFolder, read_run_config

Three = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


def decide(
    point: OperatingPoint,
    logits: tf.Tensor,
    novelty: tf.Tensor,
    mean_novelty: tf.Tensor,
    readable: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Reach the verdict of each image, as `OperatingPoint.decide` does.

    Args:
        point: The operating point.
        logits: The classifier's, float32 (n,).
        novelty: float32 (n,).
        mean_novelty: float32 (n,).
        readable: bool (n,); of an image that could not be read nothing is known, so a person has to look.

    Returns:
        "probability" float32 (-1 where unreadable), "defective" bool, "needs_review" bool, "novelty" and
        "mean_novelty" float32, "label" string (good, defective, review, unreadable), "not_this_product" bool,
        "status" string (ok, unreadable) and "error" string ("" where it could be read), all (n,).
    """
    logits, distances = tf.cast(logits, tf.float64), tf.cast(novelty, tf.float64)
    scores = _score(point.calibration, logits, distances)
    defective = scores >= point.score
    review = tf.zeros_like(defective)
    if point.review is not None:
        review = tf.logical_and(scores >= point.review[0], scores < point.review[1])
    if point.verdict == "either":
        novel = distances >= point.thresholds["novelty"]
        defective = tf.logical_or(defective, novel)
        review = tf.logical_and(review, tf.logical_not(novel))
    foreign = tf.zeros_like(defective)
    if point.foreign is not None:
        name, limit = point.foreign
        foreign = {MEAN_NOVELTY: tf.cast(mean_novelty, tf.float64), FOREIGN: distances}[name] >= limit
    label = tf.where(review, REVIEW, tf.where(defective, DEFECTIVE, GOOD))
    return {
        "probability": tf.where(readable, tf.cast(tf.sigmoid(scores), tf.float32), NO_PROBABILITY),
        "defective": readable & defective & ~review,
        "needs_review": review | ~readable,
        NOVELTY: tf.where(readable, novelty, 0.0),
        MEAN_NOVELTY: tf.where(readable, mean_novelty, 0.0),
        "label": tf.where(readable, label, UNREADABLE),
        FOREIGN_OUTPUT: readable & foreign,
        "status": tf.where(readable, OK, UNREADABLE),
        "error": tf.where(readable, "", UNKNOWN_FILE),
    }


def _score(calibration: Calibration, logits: tf.Tensor, novelty: tf.Tensor) -> tf.Tensor:
    scores = calibration.logit_weight * logits + calibration.bias
    if not calibration.novelty_weight:
        return scores
    return scores + calibration.novelty_weight * tf.math.log(tf.maximum(novelty, SMALLEST_NOVELTY))


class InspectorGraph(tf.Module):  # type: ignore[misc]
    """All that a run decides with.

    Args:
        classifier: From uint8 pixels (n, height, width, 3) to logits (n, 1); None: the novelty alone decides.
        features: From the same to what the novelty compares.
        normality: What good images look like.
        point: The operating point.
        resize: How photographs are brought to the working size.
        bits: By which values of 16-bit files are scaled, 8 to 16.
        region: What counts of each photograph; None: all of it.
    """

    def __init__(
        self,
        classifier: Any | None,
        features: Any,
        normality: Normality,
        point: OperatingPoint,
        resize: ResizeMethod,
        bits: int,
        region: CountedRegion | None = None,
    ) -> None:
        super().__init__(name="inspector")
        self.classifier = classifier
        self.heatmaps = None if classifier is None else build_heatmaps(classifier)
        self.features = features
        self.normality = normality
        self.point = point
        self.resize = resize
        self.bits = bits
        self.region = region
        self.size_px: Size = features.input.shape[1:3]
        networks = [features] if classifier is None else [features, classifier]
        self._look = Merged(networks)
        self._look_closely = Merged([*networks, self.heatmaps] if self.heatmaps else networks)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, BYTES)])  # type: ignore[untyped-decorator]
    def inspect_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Inspect image files, (n,)."""
        pixels, readable = read_photographs(image_bytes, self.size_px, self.resize, self.bits)
        return self._inspect(pixels, readable)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, PIXELS)])  # type: ignore[untyped-decorator]
    def inspect_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Inspect RGB pixels of any size, (n, height, width, 3)."""
        readable = tf.ones(tf.shape(pixels)[0], tf.bool)
        return self._inspect(resize_photographs(pixels, self.size_px, self.resize), readable)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, BYTES)])  # type: ignore[untyped-decorator]
    def explain_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Inspect image files, and say where in the photograph at working size a defect is seen."""
        pixels, readable = read_photographs(image_bytes, self.size_px, self.resize, self.bits)
        scores, heatmap = self.explain(pixels)
        return {**decide(self.point, *scores, readable), "heatmap": heatmap}

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, PIXELS)])  # type: ignore[untyped-decorator]
    def explain_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Do the same for RGB pixels of any size, (n, height, width, 3); no signature of its own."""
        readable = tf.ones(tf.shape(pixels)[0], tf.bool)
        scores, heatmap = self.explain(resize_photographs(pixels, self.size_px, self.resize))
        return {**decide(self.point, *scores, readable), "heatmap": heatmap}

    def _inspect(self, pixels: tf.Tensor, readable: tf.Tensor) -> dict[str, tf.Tensor]:
        return decide(self.point, *self.find_scores(pixels), readable)

    def find_scores(self, pixels: tf.Tensor) -> Three:
        """Return logit (0 without a classifier), novelty and mean novelty of pixels at working size.

        They are float32 (n,) each.
        """
        return self._score(*self._look(self._cover(pixels)))

    def explain(self, pixels: tf.Tensor) -> tuple[Three, tf.Tensor]:
        """Return these, and where defects are seen, float32 (n, height, width), in pixels at working size.

        See `mvdefect.workflow.explain.draw_heatmaps`.
        """
        features, *found = self._look_closely(self._cover(pixels))
        heatmap = self._draw(features, *found[1:])
        if self.region is not None:
            heatmap = level_outside_tensor(heatmap, self.region.mark_cells(tuple(heatmap.shape[1:3])))
        return self._score(features, *found[:1]), heatmap

    def _cover(self, pixels: tf.Tensor) -> tf.Tensor:
        """Return pixels with one colour outside of the region, as training saw them."""
        if self.region is None:
            return pixels
        counted = self.region.mask[..., np.newaxis].astype(np.float32)
        fill = (1 - counted) * np.array(self.region.fill, np.float32)
        # Arithmetic in whole numbers of float32 is exact, and LiteRT chooses between no bytes.
        return tf.cast(tf.cast(pixels, tf.float32) * counted + fill, tf.uint8)

    def _score(self, features: tf.Tensor, logits: tf.Tensor | None = None) -> Three:
        with tf.name_scope(NOVELTY):
            novelty, mean_novelty = self.normality.measure_tensors(features)
            if logits is None:
                return tf.zeros_like(novelty), novelty, mean_novelty
        return tf.reshape(logits, (-1,)), novelty, mean_novelty

    def _draw(self, features: tf.Tensor, heatmaps: tf.Tensor | None = None) -> tf.Tensor:
        made, maps = self.point.calibration, []
        if heatmaps is not None and made.logit_weight:
            maps.append(made.logit_weight * heatmaps)
        if heatmaps is None or made.novelty_weight:
            with tf.name_scope(NOVELTY):
                found = self.normality.map_tensor(features)
                maps.append(found if heatmaps is None else made.novelty_weight * log_novelty_tensor(found))
        if len(maps) == 1:
            return maps[0]
        size = [max(found.shape[axis] for found in maps) for axis in (1, 2)]
        with tf.name_scope(NOVELTY):
            fine = [tf.image.resize(found[..., tf.newaxis], size)[..., 0] for found in maps]
            return fine[0] + fine[1]

    def list_signatures(self) -> dict[str, Any]:
        """Return the functions by the names under which TF Serving offers them."""
        return {DEFAULT: self.inspect_files, PIXELS: self.inspect_pixels, EXPLAIN: self.explain_files}


def build_graph(folder: RunFolder) -> InspectorGraph:
    """Put the inspector of a finished run together.

    Raises:
        RunError: Something of it is missing or damaged.
    """
    config, point = read_run_config(folder), read_operating_point(folder)
    region = read_region(folder.region)
    if region is not None and region.size_px != config.size_px:
        raise RunError(f"{folder.region} is damaged: it is not of the working size of the run")
    return InspectorGraph(
        None if point.verdict == "novelty" else load_classifier(folder.model),
        load_classifier(folder.features),
        load_normality(folder.normality),
        point,
        config.resize,
        choose_decoding(config).used_bits,
        region,
    )


def save_graph(graph: InspectorGraph, path: Path) -> None:
    """Write a SavedModel."""
    tf.saved_model.save(graph, str(path), signatures=graph.list_signatures())
