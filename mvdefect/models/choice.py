"""Which backbone and which weights a fit takes where none are named."""

from __future__ import annotations

import os

from mvdefect.config import AUTO, FitConfig
from mvdefect.core.errors import WeightsError
from mvdefect.core.progress import logger
from mvdefect.core.runtime import OFFLINE
from mvdefect.models.backbones import BackboneSpec, find_backbone
from mvdefect.models.weights import (
    find_cached_imagenet,
    find_weights,
    list_texture_backbones,
    shorten_error,
)

DEFAULT_BACKBONE = "densenet121"
PREFERRED_BACKBONES = (
    DEFAULT_BACKBONE,
    "efficientnetb0",
    "resnet50",
    "mobilenetv2",
    "efficientnetv2b0",
    "convnext_tiny",
)


def choose_network(config: FitConfig) -> FitConfig:
    """Name the backbone and the weights of a fit, and log which and why where both were left open.

    The order of preference: ImageNet weights in Keras's cache, of the first of `PREFERRED_BACKBONES` that is
    there; those of `DEFAULT_BACKBONE` by network; the texture weights of this package.

    Raises:
        ConfigError: The backbone is unknown.
    """
    if config.backbone != AUTO or config.weights != AUTO:
        return name_network(config)
    for name in PREFERRED_BACKBONES:
        if find_cached_imagenet(find_backbone(name)) is not None:
            return _take(config, name, "imagenet", "ImageNet weights, found in Keras's cache")
    if not os.environ.get(OFFLINE):
        logger.info("trying to download ImageNet weights; --offline skips this")
    try:
        find_weights(find_backbone(DEFAULT_BACKBONE), "imagenet")
    except WeightsError as error:
        cause = shorten_error(error.__cause__ or error)
        reason = f"texture weights of this package; ImageNet weights cannot be downloaded ({cause})"
        return _take(config, list_texture_backbones()[0], "texture", reason)
    return _take(config, DEFAULT_BACKBONE, "imagenet", "ImageNet weights, downloaded")


def name_network(config: FitConfig) -> FitConfig:
    """Name what is open of backbone and weights, whatever this machine has.

    A backbone takes ImageNet weights, or none where nobody publishes any; texture weights take the backbone
    that they belong to, and all others `DEFAULT_BACKBONE`.

    Raises:
        ConfigError: The backbone is unknown.
    """
    backbone, weights = config.backbone, config.weights
    if backbone == AUTO:
        backbone = list_texture_backbones()[0] if weights == "texture" else DEFAULT_BACKBONE
    if weights == AUTO:
        weights = _name_weights(find_backbone(backbone))
    return config.model_copy(update={"backbone": backbone, "weights": weights})


def _name_weights(spec: BackboneSpec) -> str:
    return "imagenet" if spec.imagenet_file else "none"


def _take(config: FitConfig, backbone: str, weights: str, reason: str) -> FitConfig:
    logger.info("backbone %s: %s (--backbone and --weights name others)", backbone, reason)
    return config.model_copy(update={"backbone": backbone, "weights": weights})
