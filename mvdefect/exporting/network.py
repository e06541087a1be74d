"""The networks of an inspector as one frozen graph, for runtimes that are not TensorFlow.

Pixels at working size go in; logit, novelty, mean novelty and heatmap come out. What comes before (files to
pixels) and after (numbers to verdicts) is left to the very code that training and evaluation use.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from mvdefect.inspector.answers import PIXELS
from mvdefect.inspector.formats.format import OUTPUTS, Pixels
from mvdefect.inspector.graph import InspectorGraph

NETWORK = "network"  # the scope of all operations


class GraphOriginal:
    """An inspector that is written in formats; see `mvdefect.inspector.formats.format.Original`.

    Args:
        graph: It.
        name: Under which it is served.
        photograph: One that it might be asked about.
    """

    def __init__(self, graph: InspectorGraph, name: str, photograph: bytes) -> None:
        self.graph, self.name, self.photograph = graph, name, photograph

    @cached_property
    def network(self) -> Any:
        """Its networks, frozen when the first format asks for them."""
        return freeze_network(self.graph)

    def look(self, pixels: Pixels) -> dict[str, np.ndarray]:
        """Run these networks."""
        return run_network(self.network, pixels)


def freeze_network(graph: InspectorGraph) -> Any:
    """Return classifier, novelty and heatmap as one concrete function without variables.

    What they have in common, such as the layers that no training touched, is computed once.

    Args:
        graph: The inspector.

    Returns:
        A function of TensorFlow from uint8 `pixels` (n, size, size, 3) to float32 `logit` (n,), `novelty`
        (n,), `mean_novelty` (n,) and `heatmap` (n, height, width), in this order.
    """

    signature = tf.TensorSpec([None, *graph.size_px, 3], tf.uint8, PIXELS)

    @tf.function(input_signature=[signature])  # type: ignore[untyped-decorator]
    def look(pixels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        scores, heatmap = graph.explain(pixels)
        return tuple(tf.cast(value, tf.float32) for value in (*scores, heatmap))

    frozen = convert_variables_to_constants_v2(look.get_concrete_function())
    nodes, renamed = share_computations(frozen.graph.as_graph_def())
    sources = [_rename(tensor.name, renamed) for tensor in frozen.outputs]
    (place,) = (tensor.name for tensor in frozen.inputs)

    def look_alone(pixels: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found = tf.graph_util.import_graph_def(nodes, {place: pixels}, sources, NETWORK)
        return tuple(tf.identity(tensor, name) for tensor, name in zip(found, OUTPUTS, strict=True))

    wrapped = tf.compat.v1.wrap_function(look_alone, [signature])
    return wrapped.prune(wrapped.inputs, wrapped.outputs)  # without the placeholder that was replaced


def run_network(network: Any, pixels: Pixels) -> dict[str, np.ndarray]:
    """Run a frozen network as other runtimes do, on uint8 pixels (n, size, size, 3)."""
    found = network(tf.constant(pixels))
    return {name: value.numpy() for name, value in zip(OUTPUTS, found, strict=True)}


def share_computations(graph: Any) -> tuple[Any, dict[str, str]]:
    """Leave out nodes that compute what another one does: the same operation, settings and inputs.

    Args:
        graph: A tf.compat.v1.GraphDef in topological order, none of whose operations has a state.

    Returns:
        A smaller one, and by the name of each node left out that of the one which takes its place.
    """
    smaller = tf.compat.v1.GraphDef(versions=graph.versions)
    known: dict[bytes, str] = {}
    renamed: dict[str, str] = {}
    for node in graph.node:
        inputs = [_rename(name, renamed) for name in node.input]
        bare = type(node)(op=node.op, attr=node.attr, input=inputs)
        key = hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()
        if node.op != "Placeholder" and key in known:
            renamed[node.name] = known[key]
            continue
        known[key] = node.name
        kept = smaller.node.add()
        kept.CopyFrom(bare)
        kept.name = node.name
    return smaller, renamed


def _rename(name: str, renamed: dict[str, str]) -> str:
    """Rename a tensor (`node:0`) or a control input (`^node`)."""
    mark, bare = ("^", name[1:]) if name.startswith("^") else ("", name)
    node, colon, number = bare.partition(":")
    return mark + renamed.get(node, node) + colon + number
