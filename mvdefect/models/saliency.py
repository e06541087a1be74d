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

HEATMAP = "heatmap"


def build_heatmaps(model: Any) -> keras.Model:
    """Build a model that gives a classifier's map of suspicion.

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
    kernel = keras.ops.convert_to_numpy(head.get_layer(LOGIT).kernel)[:, 0]
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
