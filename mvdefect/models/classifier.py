"""The classifier: raw uint8 pixels in, one logit out; preprocessing is inside.

It is a chain of three models, `scaling`, `backbone` and `head`, so that it can be cut at the freeze boundary
into what is frozen and the rest that learns, and joined anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from mvdefect.config import Size
from mvdefect.core.errors import RunError, join_lines
from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.bounds import check_model
from mvdefect.models.convnext import Conv2D, gelu
from mvdefect.models.freezing import BACKBONE, check_depth
from mvdefect.models.heads import POOLED, HeadSettings, add_head
from mvdefect.models.kernel_machine import KernelScore
from mvdefect.models.weights import load_weights

SCALING = "scaling"
HEAD = "head"
PARTS = (SCALING, BACKBONE, HEAD)


def build_classifier(
    spec: BackboneSpec,
    size_px: Size,
    head: HeadSettings,
    taps: int,
    weights: Path | None,
    shrink: int = 1,
) -> keras.Model:
    """Build a classifier of good (negative logit) against defective (positive logit).

    Args:
        spec: The backbone.
        size_px: Height and width of the input.
        head: See `mvdefect.models.heads`.
        taps: 1: the head sees the backbone's output; 2: also its last features at twice the resolution.
        weights: A weights file of the backbone without its top, or None for random weights.
        shrink: How many times smaller the backbone sees the image.

    Returns:
        A model from uint8 RGB pixels (b, *size_px, 3) to float32 logits (b, 1).

    Raises:
        ConfigError: A setting of the head has a value that is not allowed.
        WeightsError: The weights are damaged or belong to another architecture.
    """
    network = spec.build(shrink_size(size_px, shrink), None)
    if weights is not None:
        load_weights(network, spec, weights)
    _switch_off_dropout(network)
    return _put_head(build_scaling(spec, size_px, shrink), network, spec, head, taps)


def build_scaling(spec: BackboneSpec, size_px: Size, shrink: int = 1) -> keras.Model:
    """Build what brings uint8 pixels (b, *size_px, 3) to what a backbone expects, float32."""
    pixels = keras.Input((*size_px, 3), dtype="uint8", name="pixels")
    seen = keras.ops.cast(pixels, "float32")
    if shrink > 1:
        seen = keras.layers.AveragePooling2D(shrink, dtype="float32")(seen)
    return keras.Model(pixels, spec.preprocess(seen), name=SCALING)


def shrink_size(size_px: Size, shrink: int) -> Size:
    """Return the size that a backbone sees."""
    return size_px[0] // shrink, size_px[1] // shrink


def replace_head(model: Any, spec: BackboneSpec, head: HeadSettings, taps: int) -> keras.Model:
    """Return a classifier with a new head that shares scaling and backbone with another classifier.

    Args:
        model: A classifier; it stays as it is.
        spec: Its backbone.
        head: The new head.
        taps: As for `build_classifier`.

    Raises:
        ConfigError: A setting of the head has a value that is not allowed.
    """
    return _put_head(model.get_layer(SCALING), model.get_layer(BACKBONE), spec, head, taps)


def copy_classifier(model: Any) -> keras.Model:
    """Return a classifier with the same weights, which shares nothing with it."""
    copy = keras.models.clone_model(model, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def join_head(model: Any, head: Any) -> keras.Model:
    """Return the classifier with another head, which may share its layers."""
    return chain_parts(model.get_layer(SCALING), model.get_layer(BACKBONE), head, model.name)


def load_classifier(path: Path) -> keras.Model:
    """Load a classifier that was saved as `.keras`.

    Raises:
        RunError: The file is missing or damaged, or asks for more memory than an inspector can need.
    """
    try:
        check_model(path)
        known = {f"mvdefect>{one.__name__}": one for one in (Conv2D, KernelScore, gelu)}
        return keras.saving.load_model(path, known, compile=False)
    except Exception as error:  # Keras, h5py and TensorFlow each raise errors of their own
        raise RunError(f"the model {path} cannot be loaded: {join_lines(error)}") from error


def _put_head(scaling: Any, network: Any, spec: BackboneSpec, head: HeadSettings, taps: int) -> keras.Model:
    fine = [network.get_layer(spec.fine_tap).output] if taps == 2 else []
    backbone = keras.Model(network.input, [*fine, network.outputs[-1]], name=BACKBONE)
    features = [keras.Input(tensor.shape[1:]) for tensor in backbone.outputs]
    ending = keras.Model(features, add_head(features, head), name=HEAD)
    return chain_parts(scaling, backbone, ending, f"{spec.name}_{head.kind}")


def chain_parts(scaling: Any, backbone: Any, head: Any, name: str) -> keras.Model:
    """Return the classifier of three models: from uint8 pixels to what the head gives."""
    pixels = keras.Input(scaling.input.shape[1:], dtype="uint8", name="pixels")
    return keras.Model(pixels, run_parts(pixels, scaling, backbone, head), name=name)


def run_parts(pixels: Any, scaling: Any, backbone: Any, head: Any) -> Any:
    """Return what the three models of a classifier make of pixels."""
    return head(keras.tree.flatten(backbone(scaling(pixels))))


def _switch_off_dropout(network: Any) -> None:
    """Let all of a backbone be the same function in training and in use.

    EfficientNet drops whole blocks by chance (Huang et al., 2016), which few images do not bear, and which
    a frozen part that runs once could not follow.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0


@dataclass(frozen=True)
class Below:
    """What lies below a cut, in the graphs of the classifier.

    Attributes:
        scaling: The classifier's scaling.
        entry: The input of its backbone, a Keras tensor.
        features: The backbone's tensors that are needed at the cut, from fine to coarse.
        pooling: From those to the vector that a head with pooling scores, or None where they are stored
            as they are.
        layers: Names of the layers that decide what is stored: those of the features, then those of the
            pooling.
    """

    scaling: Any
    entry: Any
    features: tuple[Any, ...]
    pooling: Any | None
    layers: tuple[str, ...]


@dataclass(frozen=True)
class CutClassifier:
    """Two models that share all layers with the classifier that they were cut from.

    Attributes:
        backbone: Name of the network, and the sizes of its image before and after it is shrunk.
        frozen: From uint8 pixels (b, height, width, 3) to the activations at the cut, a list of tensors.
        rest: From those to what the classifier's head gives.
        names: The layers at the cut, one for each tensor.
        below: What `frozen` is made of.
    """

    backbone: str
    frozen: Any
    rest: Any
    names: tuple[str, ...]
    below: Below


def cut_classifier(model: Any, spec: BackboneSpec, depth_blocks: int, head: Any) -> CutClassifier | None:
    """Cut a classifier below its uppermost blocks.

    Activations are taken at the boundary and, where the head also looks at finer features from below it,
    there as well. A head that pools is cut behind its pooling where the whole backbone is frozen, so a
    vector an image is all that has to be kept.

    Args:
        model: A classifier of `mvdefect.models.classifier`.
        spec: Its backbone.
        depth_blocks: Blocks that learn, counted from the top.
        head: What the rest ends with: the classifier's head, or a model that shares its layers.

    Returns:
        The two parts, or None where every block learns and nothing is frozen.

    Raises:
        ConfigError: The backbone has no such depth.
    """
    check_depth(spec, depth_blocks)
    if depth_blocks == spec.max_depth_blocks:
        return None
    backbone = model.get_layer(BACKBONE)
    boundary = spec.boundaries[-depth_blocks - 1]
    names = _list_cuts(backbone, spec, boundary)
    stored = tuple(backbone.get_layer(name).output for name in names)
    above = _keep_learning_blocks(backbone, boundary, stored)
    below = Below(model.get_layer(SCALING), backbone.input, stored, None, names)
    if above is None and POOLED in {layer.name for layer in head.layers}:
        pooled = head.get_layer(POOLED).output
        below, names = _add_pooling(below, keras.Model(head.inputs, pooled)), (POOLED,)
        head = keras.Model(pooled, head.outputs)
    frozen = join_frozen([below])
    rest = _join(above, head, frozen.outputs)
    sizes = (model.input.shape[1:3], backbone.input.shape[1:3])  # which differ where the image is shrunk
    return CutClassifier(f"{spec.name} {sizes}", frozen, rest, names, below)


def join_frozen(parts: Sequence[Below]) -> keras.Model:
    """Build one model of what lies below several cuts; every layer that they share runs once.

    Args:
        parts: Of cuts of one classifier, or of classifiers that share scaling and backbone, such as
            `mvdefect.models.classifier.replace_head` makes.

    Returns:
        From uint8 pixels (b, height, width, 3) to the activations at the cuts, a list of tensors: those of
        the first cut, then those of the next one.

    Raises:
        ValueError: The parts belong to different backbones.
    """
    first = parts[0]
    if any(part.entry is not first.entry or part.scaling is not first.scaling for part in parts):
        raise ValueError(
            "only cuts that share the layers of one backbone can be joined. Received: cuts of "
            f"{len({id(part.entry) for part in parts})} backbones and "
            f"{len({id(part.scaling) for part in parts})} scalings"
        )
    features = list({id(tensor): tensor for part in parts for tensor in part.features}.values())
    pixels = keras.Input(first.scaling.input.shape[1:], dtype="uint8", name="pixels")
    found = keras.tree.flatten(keras.Model(first.entry, features)(first.scaling(pixels)))
    made = dict(zip(map(id, features), found, strict=True))
    outputs: list[Any] = []
    for part in parts:
        own = [made[id(tensor)] for tensor in part.features]
        outputs += own if part.pooling is None else keras.tree.flatten(part.pooling(own))
    return keras.Model(pixels, outputs, name="frozen")


def _add_pooling(below: Below, pooling: Any) -> Below:
    layers = [layer.name for layer in pooling.layers if not isinstance(layer, keras.layers.InputLayer)]
    return replace(below, pooling=pooling, layers=(*below.layers, *layers))


def _list_cuts(backbone: Any, spec: BackboneSpec, boundary: str) -> tuple[str, ...]:
    """Name the layers whose output is stored, from fine to coarse."""
    order = [layer.name for layer in backbone.layers]
    is_tapped = len(backbone.outputs) == 2
    if is_tapped and order.index(spec.fine_tap) < order.index(boundary):
        return spec.fine_tap, boundary
    return (boundary,)


def _keep_learning_blocks(backbone: Any, boundary: str, stored: Sequence[Any]) -> Any | None:
    """Return what leads from the boundary to those features that are not stored, if any are left."""
    features = [output for output in backbone.outputs if all(output is not tensor for tensor in stored)]
    return keras.Model(backbone.get_layer(boundary).output, features) if features else None


def _join(above: Any | None, head: Any, stored: Sequence[Any]) -> Any:
    """Put the head on the blocks that learn; everything runs in the mode that it is called in."""
    inputs = [keras.Input(tensor.shape[1:], dtype="float32") for tensor in stored]
    learnt = [] if above is None else keras.tree.flatten(above(inputs[-1]))
    given = inputs[: len(head.inputs) - len(learnt)]  # the finer features, where they are stored
    features = [*given, *learnt]
    outputs = head(features if len(features) > 1 else features[0])
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name="rest")
