"""Members: several classifiers as one, which may look at an image and at its mirror image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from mvdefect.models.classifier import PARTS, chain_parts, run_parts

MEMBERS, MIRROR = "members", "mirror_image"


@keras.saving.register_keras_serializable("mvdefect")
class WeightedSum(keras.layers.Layer):  # type: ignore[misc]
    """Adds tensors of one shape, each with its weight, in float32.

    Args:
        weights: One a tensor.
    """

    def __init__(self, weights: Sequence[float], dtype: Any = "float32", **kwargs: Any) -> None:
        super().__init__(dtype=dtype, **kwargs)
        self.shares = [float(weight) for weight in weights]

    def call(self, inputs: Sequence[Any]) -> Any:
        """Add them up."""
        terms = [share * keras.ops.cast(x, "float32") for share, x in zip(self.shares, inputs, strict=True)]
        return sum(terms[1:], start=terms[0])

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "weights": self.shares}


@keras.saving.register_keras_serializable("mvdefect")
class Mirror(keras.layers.Layer):  # type: ignore[misc]
    """Swaps left and right of images or maps, (b, height, width, c)."""

    def __init__(self, dtype: Any = "float32", **kwargs: Any) -> None:
        super().__init__(dtype=dtype, autocast=False, **kwargs)

    def call(self, images: Any) -> Any:
        """Mirror them."""
        return keras.ops.flip(images, 2)


def join_members(members: Sequence[tuple[Any, float]], mirrored: bool = False) -> keras.Model:
    """Return one classifier whose logit is the weighted sum of those of several, its members.

    Args:
        members: Classifiers of one input size, each with its weight. One alone that looks once is returned as
            it is.
        mirrored: Whether each also looks at the mirror image, and both logits are averaged.
    """
    if len(members) == 1 and not mirrored:
        return members[0][0]
    pixels = keras.Input(members[0][0].input.shape[1:], dtype="uint8", name="pixels")
    looks = list_looks(pixels, mirrored)
    logits = []
    for number, (member, _) in enumerate(members):
        parts = [_rename(member.get_layer(name), f"{name}_{number}") for name in PARTS]
        logits += [run_parts(look, *parts) for look in looks]
    shares = [weight / len(looks) for _, weight in members for _ in looks]
    return keras.Model(pixels, WeightedSum(shares, name=MEMBERS)(logits), name=MEMBERS)


def list_looks(pixels: Any, mirrored: bool) -> list[Any]:
    """Return what members look at: a Keras tensor of pixels, and its mirror image if they are to."""
    return [pixels, Mirror(name=MIRROR)(pixels)] if mirrored else [pixels]


def looks_twice(model: Any) -> bool:
    """Whether a classifier also looks at the mirror image."""
    return MIRROR in {layer.name for layer in model.layers}


def list_members(model: Any) -> list[tuple[Any, float]]:
    """Return the members of a classifier with their weights; itself where it has none."""
    if MEMBERS not in {layer.name for layer in model.layers}:
        return [(model, 1.0)]
    shares, looks = model.get_layer(MEMBERS).shares, 1 + looks_twice(model)
    members = []
    for number in range(len(shares) // looks):
        scaling, backbone, head = (_rename(model.get_layer(f"{name}_{number}"), name) for name in PARTS)
        share = sum(shares[number * looks : (number + 1) * looks])
        members.append((chain_parts(scaling, backbone, head, f"member_{number}"), share))
    return members


def _rename(part: Any, name: str) -> keras.Model:
    return keras.Model(part.input, part.output, name=name)
