"""What learns and what stays: unfreezing by depth, and batch normalisation that never moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from mvdefect.core.errors import ConfigError
from mvdefect.models.backbones import BackboneSpec

BACKBONE = "backbone"


def unfreeze(model: Any, spec: BackboneSpec, depth_blocks: int, bn_policy: str = "frozen") -> None:
    """Let the head and the uppermost blocks of the backbone learn, and freeze the rest.

    Batch normalisation of the backbone stays frozen at any depth, unless the policy is "adapt": with few
    images its statistics would drift. In Keras a frozen layer of this kind runs in inference mode also
    while the model trains. Compile the model afterwards; a change of `trainable` has no effect before.

    Args:
        model: A classifier of `mvdefect.models.classifier`.
        spec: Its backbone.
        depth_blocks: Blocks that learn, counted from the top: 0 is the head alone.
        bn_policy: "frozen", or "adapt": in blocks that learn, batch normalisation goes by the statistics
            of the batch, and its moving statistics follow.

    Raises:
        ConfigError: The backbone has fewer blocks than that.
    """
    check_depth(spec, depth_blocks)
    backbone = model.get_layer(BACKBONE)
    backbone.trainable = True  # sets every layer below it; the loop then freezes
    first = _first_trainable_index(backbone, spec, depth_blocks)
    for index, layer in enumerate(backbone.layers):
        stays = bn_policy == "frozen" and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= first and not stays


def list_changing_variables(model: Any, spec: BackboneSpec, depth_blocks: int) -> list[Any]:
    """Return the variables of a classifier that training at a depth may change; the others stay as they came.

    Args:
        model: A classifier of `mvdefect.models.classifier`.
        spec: Its backbone.
        depth_blocks: The depth, or the largest one of several stages.
    """
    backbone = model.get_layer(BACKBONE)
    frozen = backbone.layers[: _first_trainable_index(backbone, spec, depth_blocks)]
    kept = {id(variable) for layer in frozen for variable in layer.variables}
    return [variable for variable in model.variables if id(variable) not in kept]


def check_depth(spec: BackboneSpec, depth_blocks: int) -> None:
    """Raise ConfigError where the backbone has no such depth."""
    if not 0 <= depth_blocks <= spec.max_depth_blocks:
        raise ConfigError(
            f"depth_blocks of {spec.name} goes from 0 (head only) to {spec.max_depth_blocks} "
            f"(all blocks). Received: depth_blocks={depth_blocks}"
        )


def _first_trainable_index(backbone: Any, spec: BackboneSpec, depth_blocks: int) -> int:
    if depth_blocks == spec.max_depth_blocks:
        return 0
    names = [layer.name for layer in backbone.layers]
    if depth_blocks == 0:
        return len(names)
    return names.index(spec.boundaries[-depth_blocks - 1]) + 1


@dataclass(frozen=True)
class BlockSummary:
    """What learns in one block of a classifier."""

    block: str
    parameters: int
    trainable: int


def trainable_summary(model: Any, spec: BackboneSpec) -> tuple[BlockSummary, ...]:
    """Count parameters and trainable parameters, block by block from the input, the head last."""
    backbone = model.get_layer(BACKBONE)
    names = [layer.name for layer in backbone.layers]
    ends = [names.index(name) + 1 for name in spec.boundaries]
    ends[-1] = len(names)
    summaries = []
    for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True), start=1):
        layers = backbone.layers[start:end]
        summaries.append(_summarise(f"block {number}, up to {spec.boundaries[number - 1]}", layers))
    head = [layer for layer in model.layers if layer.name != BACKBONE]
    return (*summaries, _summarise("head", head))


def _summarise(block: str, layers: list[Any]) -> BlockSummary:
    def count(variables: list[Any]) -> int:
        return int(sum(keras.ops.size(variable) for variable in variables))

    return BlockSummary(
        block,
        sum(count(layer.weights) for layer in layers),
        sum(count(layer.trainable_weights) for layer in layers),
    )
