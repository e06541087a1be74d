"""The whole inspector as one TensorFlow module: bytes or pixels in, verdicts out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tensorflow as tf

from mvdefect.data.images import ResizeMethod
from mvdefect.evaluation.evaluate import read_operating_point
from mvdefect.evaluation.operating_point import OperatingPoint
from mvdefect.models.classifier import load_classifier
from mvdefect.models.heatmaps import build_heatmaps
from mvdefect.models.normality import Normality, load_normality
from mvdefect.runs import RunFolder, read_run_config
from mvdefect.serving.answers import BYTES, DEFAULT, EXPLAIN, PIXELS
from mvdefect.serving.decision import decide
from mvdefect.serving.novelty import score_features
from mvdefect.serving.preprocessing import read_photographs, resize_photographs


class InspectorGraph(tf.Module):  # type: ignore[misc]
    """All that a run decides with.

    Args:
        classifier: From uint8 pixels (n, size, size, 3) to logits (n, 1).
        features: From the same to what the novelty compares.
        normality: What good images look like.
        point: The operating point.
        resize: How photographs are brought to the working size.
    """

    def __init__(
        self,
        classifier: Any,
        features: Any,
        normality: Normality,
        point: OperatingPoint,
        resize: ResizeMethod,
    ) -> None:
        super().__init__(name="inspector")
        self.classifier = classifier
        self.heatmaps = build_heatmaps(classifier)
        self.features = features
        self.normality = normality
        self.point = point
        self.resize = resize
        self.size_px = int(classifier.input.shape[1])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, BYTES)])  # type: ignore[untyped-decorator]
    def inspect_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Inspect image files, (n,)."""
        pixels, readable = read_photographs(image_bytes, self.size_px, self.resize)
        return self._inspect(pixels, readable)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, PIXELS)])  # type: ignore[untyped-decorator]
    def inspect_pixels(self, pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        """Inspect RGB pixels of any size, (n, height, width, 3)."""
        readable = tf.ones(tf.shape(pixels)[0], tf.bool)
        return self._inspect(resize_photographs(pixels, self.size_px, self.resize), readable)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, BYTES)])  # type: ignore[untyped-decorator]
    def explain_files(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Inspect image files, and say where in the photograph at working size a defect is seen."""
        pixels, readable = read_photographs(image_bytes, self.size_px, self.resize)
        return {**self._inspect(pixels, readable), "heatmap": self.heatmaps(pixels, training=False)}

    def _inspect(self, pixels: tf.Tensor, readable: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.reshape(self.classifier(pixels, training=False), (-1,))
        novelty = score_features(self.normality, self.features(pixels, training=False))
        return decide(self.point, logits, novelty, readable)

    def list_signatures(self) -> dict[str, Any]:
        """Return the functions by the names under which TF Serving offers them."""
        return {DEFAULT: self.inspect_files, PIXELS: self.inspect_pixels, EXPLAIN: self.explain_files}


def build_graph(folder: RunFolder) -> InspectorGraph:
    """Put the inspector of a finished run together.

    Raises:
        RunError: Something of it is missing or damaged.
    """
    config = read_run_config(folder)
    return InspectorGraph(
        load_classifier(folder.model),
        load_classifier(folder.features),
        load_normality(folder.normality),
        read_operating_point(folder),
        config.resize,
    )


def save_graph(graph: InspectorGraph, path: Path) -> None:
    """Write a SavedModel."""
    tf.saved_model.save(graph, str(path), signatures=graph.list_signatures())
