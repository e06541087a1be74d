"""Heatmaps: where in a photograph a classifier finds what it calls defective.

A patch head has its own map. A pooled head is one linear layer on averages (and maxima) of features, so that
Grad-CAM has a closed form, needs no gradient, and costs one pass forwards under any backend of Keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from mvdefect.core.errors import ConfigError
from mvdefect.models.classifier import HEAD, join_head
from mvdefect.models.heads import LOGIT, LOGIT_MAP, POOLED, MapSpreading
from mvdefect.models.kernel_machine import KernelScore
from mvdefect.models.members import Mirror, WeightedSum, list_looks, list_members, looks_twice

HEATMAP = "heatmap"


def build_heatmaps(model: Any) -> keras.Model:
    """Build a model that gives a classifier's map of suspicion.

    Where several members make the logit, it is the sum of their maps with the weights of the members. Where
    they also look at the mirror image, its map is mirrored back, and both are averaged.

    For a patch head it is the head's logit map. For a pooled head it is Grad-CAM (Selvaraju et al., 2017) on
    the features that the head sees: each feature, weighted by the logit's gradient towards it summed over all
    positions. With averages alone this is the class activation map (Zhou et al., 2016), and its mean plus the
    head's bias is the logit. The gradient towards a maximum lies at one position, but Grad-CAM spreads it:
    with `avg_max` a feature's weight is that of its average plus that of its maximum, and the mean is not the
    logit. Coarser maps are brought to the size of the finest, bilinearly, and added; their mean stays
    where the ratio of sizes is a whole number.

    Unlike the paper's, the map is not cut at 0: what speaks for 'good' is negative and ranks lower than what
    says nothing.

    Args:
        model: A classifier of `mvdefect.models.classifier`. The weights of a pooled head are copied, so after
            more training build the maps anew.

    Returns:
        A model from uint8 pixels (b, size, size, 3) to float32 maps (b, height, width), at the resolution of
        the finest features that the head sees.

    Raises:
        ConfigError: The head is neither.
    """
    members, is_mirrored = list_members(model), looks_twice(model)
    if len(members) == 1 and not is_mirrored:
        return _build_own(members[0][0])
    pixels = keras.Input(model.input.shape[1:], dtype="uint8", name="pixels")
    looks = list_looks(pixels, is_mirrored)
    builders = [_build_own(member) for member, _ in members]
    maps = [[build(look)[..., None] for look in looks] for build in builders]
    maps = [[*found[:1], *(Mirror()(one) for one in found[1:])] for found in maps]
    height, width = max(found[0].shape[1:3] for found in maps)
    spread = [MapSpreading(height, width, dtype="float32")(one) for found in maps for one in found]
    total = WeightedSum([weight / len(looks) for _, weight in members for _ in looks])(spread)
    return keras.Model(pixels, keras.layers.Reshape((height, width), name=HEATMAP)(total), name=HEATMAP)


def _build_own(model: Any) -> keras.Model:
    head = model.get_layer(HEAD)
    found = _find_map(head)
    squeezed = keras.layers.Reshape(found.shape[1:3], dtype="float32", name=HEATMAP)(found)
    return join_head(model, keras.Model(head.inputs, squeezed, name=HEAD))


def _find_map(head: Any) -> Any:
    names = {layer.name for layer in head.layers}
    if LOGIT_MAP in names:
        return head.get_layer(LOGIT_MAP).output
    if not {POOLED, LOGIT} <= names:
        raise ConfigError(
            f"heatmaps are for a head with a layer {LOGIT_MAP}, or with {POOLED} and {LOGIT}. "
            f"Received: a head with {', '.join(sorted(names))}"
        )
    scoring = head.get_layer(LOGIT)
    if isinstance(scoring, KernelScore):
        return _add_gradient_maps(head.inputs, scoring)
    kernel = keras.ops.convert_to_numpy(scoring.kernel)[:, 0]
    return _add_activation_maps(head.inputs, _weigh_channels(kernel, [x.shape[-1] for x in head.inputs]))


def _weigh_channels(kernel: NDArray[np.float32], channels: Sequence[int]) -> tuple[NDArray[np.float32], ...]:
    """Add up what the logit makes of each feature's average and, where it is pooled too, its maximum.

    Args:
        kernel: Weights of the logit, float32 (d,): averages from fine to coarse, then maxima.
        channels: How many features each resolution has, from fine to coarse.

    Returns:
        One array (c,) a resolution.
    """
    summed = kernel.reshape(-1, sum(channels)).sum(axis=0)
    return tuple(np.split(summed, np.cumsum(channels)[:-1]))


def _add_activation_maps(features: Sequence[Any], weights: Sequence[NDArray[np.float32]]) -> Any:
    """Return Keras tensor (b, height, width, 1): weighted sums of features, at the size of the finest."""
    height, width = features[0].shape[1:3]
    maps = []
    for number, (feature, weight) in enumerate(zip(features, weights, strict=True), start=1):
        layer = keras.layers.Conv2D(
            1, 1, use_bias=False, trainable=False, dtype="float32", name=f"activation_map_{number}"
        )
        found = layer(feature)
        layer.set_weights([weight[np.newaxis, np.newaxis, :, np.newaxis]])
        if feature.shape[1:3] != (height, width):
            found = MapSpreading(height, width, dtype="float32", name=f"spread_map_{number}")(found)
        maps.append(found)
    return maps[0] if len(maps) == 1 else keras.layers.Add(dtype="float32", name="sum_of_maps")(maps)


@keras.saving.register_keras_serializable("mvdefect")
class GradientMap(keras.layers.Layer):  # type: ignore[misc]
    """Says what each position adds to a score of averages and maxima, by the score's gradient for the image.

    A maximum belongs to the positions that reach it. The mean of a map is what these features add.

    Input: features (b, height, width, c); the gradients towards their averages and their maxima, (b, c) each;
    and usual maxima (c,). Output: float32 (b, height, width, 1).
    """

    def call(self, inputs: Sequence[Any]) -> Any:
        """Sum over the features of each position."""
        ops = keras.ops
        features, averages, maxima, usual = inputs
        features = ops.cast(features, "float32")
        peak = ops.max(features, axis=(1, 2), keepdims=True)
        reached = ops.cast(features >= peak, "float32")
        shares = reached / ops.sum(reached, axis=(1, 2), keepdims=True)
        places = features.shape[1] * features.shape[2]
        rise = ops.einsum("bhwc,bc->bhw", shares, places * maxima * (peak[:, 0, 0] - usual))
        return ops.expand_dims(ops.einsum("bhwc,bc->bhw", features, averages) + rise, -1)


def _add_gradient_maps(features: Sequence[Any], scoring: KernelScore) -> Any:
    """Return what `_add_activation_maps` does where weights differ from image to image.

    Args:
        features: Keras tensors, from fine to coarse, of which a kernel machine scores averages, then maxima.
        scoring: It.
    """
    gradients, usual = scoring.output[1], keras.ops.convert_to_numpy(scoring.middle)
    height, width = features[0].shape[1:3]
    ends = np.cumsum([feature.shape[-1] for feature in features])
    maps = []
    for feature, end in zip(features, ends, strict=True):
        averages, maxima = (slice(first + end - feature.shape[-1], first + end) for first in (0, ends[-1]))
        found = GradientMap(dtype="float32")(
            [feature, gradients[:, averages], gradients[:, maxima], usual[maxima]]
        )
        maps.append(MapSpreading(height, width, dtype="float32")(found))
    return keras.layers.Add(dtype="float32", name="sum_of_maps")(maps)
