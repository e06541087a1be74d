"""The frozen scorer: a kernel machine on a pre-trained backbone, as a classifier that nothing has trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mvdefect.models.backbones import BackboneSpec
from mvdefect.models.classifier import HEAD, chain_parts
from mvdefect.models.features import Trunk
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.heads import LOGIT, pool_features
from mvdefect.models.kernel_machine import KernelMachine, KernelScore, put_machine

DEPTHS = 4  # block boundaries that the scorer looks at, counted from the top


def list_depths(spec: BackboneSpec) -> tuple[str, ...]:
    """Return the layers that the scorer looks at, from fine to coarse: where the last four blocks end."""
    return spec.boundaries[-DEPTHS:]


def list_blocks(trunk: Trunk) -> tuple[int, ...]:
    """Return the lengths of the blocks of a vector: the averages of each layer, then the maxima."""
    channels = tuple(int(trunk.network.get_layer(name).output.shape[-1]) for name in list_depths(trunk.spec))
    return 2 * channels


def build_look(trunk: Trunk) -> keras.Model:
    """Build the network whose one pass serves both the novelty and the scorer.

    Returns:
        A model from uint8 pixels (b, height, width, 3) to a list: what the novelty compares, float32
        (b, height, width, channels); and the averages and maxima that the scorer looks at, float32 (b, d).
    """
    names = list_depths(trunk.spec)
    found = trunk.tap((*trunk.spec.novelty_taps, *names))
    taps, depths = found[: -len(names)], found[-len(names) :]
    return keras.Model(trunk.pixels, [trunk.join(taps), pool_depths(depths)], name="look")


def pool_depths(depths: Sequence[Any]) -> Any:
    """Return what the scorer looks at: averages and maxima of layers, float32 (b, d)."""
    return keras.layers.Activation("linear", dtype="float32", name="vector")(pool_features(depths, "avg_max"))


def build_scorer(trunk: Trunk, machine: KernelMachine) -> keras.Model:
    """Put a fitted kernel machine on its backbone.

    Returns:
        A model from uint8 pixels (b, height, width, 3) to float32 logits (b, 1), of the same three parts as a
        classifier that is trained.
    """
    outputs = [trunk.network.get_layer(name).output for name in list_depths(trunk.spec)]
    backbone = keras.Model(trunk.network.input, outputs, name=BACKBONE)
    features = [keras.Input(tensor.shape[1:]) for tensor in outputs]
    layer = KernelScore(len(machine.landmarks), name=LOGIT)
    ending = keras.Model(features, layer(pool_features(features, "avg_max"))[0], name=HEAD)
    put_machine(layer, machine)
    return chain_parts(trunk.scaling, backbone, ending, f"{trunk.spec.name}_scorer")
