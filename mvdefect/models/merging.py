"""Merging: networks of one input run together, and what they compute alike is computed once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


class Merged:
    """Several networks, for use and not for training.

    Two layers are alike where class, settings, weights and inputs are; so the layers of a backbone that no
    training touched run once, however many members of an inspector begin with them.

    Args:
        networks: Functional models from one kind of pixels. Their weights must not change any more.
    """

    def __init__(self, networks: Sequence[Any]) -> None:
        self.networks = tuple(networks)
        self._described = {
            id(layer): _describe(layer) for network in networks for layer in _list_layers(network)
        }

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def __call__(self, pixels: Any) -> list[Any]:
        """Return what each network makes of pixels, in inference mode; to be traced by `tf.function`."""
        made: dict[tuple[Any, ...], Any] = {}
        return [self._run(network, pixels, made) for network in self.networks]

    def _run(self, network: Any, inputs: Any, made: dict[tuple[Any, ...], Any]) -> Any:
        """Run a network layer by layer, but for what has been made of the same inputs already."""

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(layer, keras.Model):
                return self._run(layer, args[0], made)
            kwargs.pop("training", None)
            given = keras.tree.flatten((args, kwargs))
            key = self._described[id(layer)], *map(_name, given)
            if key not in made:
                made[key] = (layer(*args, **kwargs), given)  # inputs too: what is gone may lend its id
            return made[key][0]

        return network._run_through_graph(inputs, operation_fn=lambda layer: layer, call_fn=call)


def _list_layers(network: Any) -> Iterator[Any]:
    """Yield the layers of a network, and those of the networks in it."""
    for layer in network.operations:
        if isinstance(layer, keras.Model):
            yield from _list_layers(layer)
        else:
            yield layer


def _describe(layer: Any) -> bytes:
    """Hash class, settings but for the name, and weights."""
    settings = {name: value for name, value in layer.get_config().items() if name != "name"}
    text = json.dumps([type(layer).__name__, settings], sort_keys=True, default=repr)
    digest = hashlib.sha256(text.encode())
    for variable in getattr(layer, "weights", ()):
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable)).tobytes())
    return digest.digest()


def _name(given: Any) -> Any:
    """Return what tells inputs of layers apart: tensors by what they are, numbers by their value."""
    return id(given) if keras.ops.is_tensor(given) else repr(given)
