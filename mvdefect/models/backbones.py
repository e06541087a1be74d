"""The backbones: how each is built, which input it expects, and where its blocks end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mvdefect.config import Size
from mvdefect.core.errors import ConfigError, describe_unknown_name

IMAGENET_MEAN_RGB = (123.675, 116.28, 103.53)
IMAGENET_STD_RGB = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class BackboneSpec:
    """One backbone.

    Taps, depth and rate follow one rule; tests compare each entry with its network, and docs/architecture.md
    says why.

    Attributes:
        name: As on the command line.
        build: Builds the network without its top, from the size of its input in pixels and from weights:
            None for random ones, or "imagenet", which Keras downloads where its cache lacks them.
        preprocess: Maps float32 RGB pixels in [0, 255] to what the network expects.
        boundaries: Names of the layers at which blocks end, from the input upwards. At each of them the
            graph is one tensor wide, so that it can be cut there; the last one is the output.
        fine_tap: Name of the layer where small things are still to be seen; a head may look there as well.
            The last one at twice the resolution of the output, in the last block that works there.
        novelty_taps: Names of the layers whose features tell how unlike good images one is, which should be
            neither of pixels nor of ImageNet's classes yet (Roth et al., 2022): the fine tap. ResNet50
            deviates, as measured (docs/experiments.md).
        depth_blocks: How many blocks to unfreeze, unless the user knows better: those with weights at 1/16 of
            the image's resolution or below; all of a network whose weights nobody publishes.
        learning_rate: The rate that goes with it: 1e-4 for ResNet50's 23.6 M parameters, and for others about
            1e-4 × (23.6 M / parameters)^(2/3). DenseNet121 has half of that.
        imagenet_file: The weights file that Keras publishes, "" where there is none.
        describe: One line for people.
    """

    name: str
    build: Callable[[Size, str | None], Any]
    preprocess: Callable[[Any], Any]
    boundaries: tuple[str, ...]
    fine_tap: str
    novelty_taps: tuple[str, ...]
    depth_blocks: int
    learning_rate: float
    imagenet_file: str
    describe: str

    @property
    def max_depth_blocks(self) -> int:
        """How many blocks can be unfrozen."""
        return len(self.boundaries)


def find_backbone(name: str) -> BackboneSpec:
    """Return the backbone of that name.

    Raises:
        ConfigError: There is none; the message names the nearest one and all that exist.
    """
    if name not in BACKBONES:
        raise ConfigError(describe_unknown_name("backbone", name, BACKBONES))
    return BACKBONES[name]


def _from_applications(constructor: str) -> Callable[[Size, str | None], Any]:
    def build(size_px: Size, weights: str | None = None) -> Any:
        import keras

        make = getattr(keras.applications, constructor)
        return make(include_top=False, weights=weights, input_shape=(*size_px, 3))

    return build


def build_small_cnn(size_px: Size, weights: str | None = None) -> Any:
    """Build a small convolutional network that learns from scratch.

    Four blocks of two 3×3 convolutions, each halving the resolution, down to one sixteenth. Group
    normalisation (Wu & He, 2018) needs no batch statistics, so nothing has to be frozen and small
    batches do no harm.

    Args:
        size_px: Height and width of the input.
        weights: Always None: nobody publishes any.
    """
    import keras

    del weights
    inputs = keras.Input((*size_px, 3))
    x = inputs
    for number, width in enumerate((16, 32, 48, 64), start=1):
        for half, stride in (("a", 2), ("b", 1)):
            name = f"block{number}{half}"
            x = keras.layers.Conv2D(
                width, 3, strides=stride, padding="same", use_bias=False, name=f"{name}_conv"
            )(x)
            x = keras.layers.GroupNormalization(groups=8, name=f"{name}_norm")(x)
            x = keras.layers.Activation("relu", name=f"{name}_relu")(x)
    return keras.Model(inputs, x, name="small_cnn")


def _build_convnext_tiny(size_px: Size, weights: str | None = None) -> Any:
    from mvdefect.models.convnext import build_convnext_tiny

    return build_convnext_tiny(size_px, weights)


def _to_unit_range(pixels: Any) -> Any:
    import keras

    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocess")(pixels)


def _standardise(pixels: Any) -> Any:
    """Subtract ImageNet's mean and divide by its standard deviation, channel by channel."""
    import keras

    scale = [1 / std for std in IMAGENET_STD_RGB]
    offset = [-mean / std for mean, std in zip(IMAGENET_MEAN_RGB, IMAGENET_STD_RGB, strict=True)]
    return keras.layers.Rescaling(scale, offset=offset, name="preprocess")(pixels)


def _to_centred_bgr(pixels: Any) -> Any:
    """Reorder to BGR and subtract ImageNet's mean, as the ResNet weights of 2015 expect."""
    import keras

    bgr = keras.ops.flip(pixels, axis=-1)
    offset = [-103.939, -116.779, -123.68]
    return keras.layers.Rescaling(1.0, offset=offset, name="preprocess")(bgr)


def _keep(pixels: Any) -> Any:
    """EfficientNet and ConvNeXt scale their input themselves."""
    return pixels


BACKBONES = {
    spec.name: spec
    for spec in (
        BackboneSpec(
            name="resnet50",
            build=_from_applications("ResNet50"),
            preprocess=_to_centred_bgr,
            boundaries=(
                "pool1_pool",
                "conv2_block3_out",
                "conv3_block4_out",
                "conv4_block6_out",
                "conv5_block3_out",
            ),
            fine_tap="conv4_block6_out",
            novelty_taps=("conv3_block4_out",),
            depth_blocks=2,
            learning_rate=1e-4,
            imagenet_file="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            describe="ResNet50 (He et al., 2015), 23.6 M parameters",
        ),
        BackboneSpec(
            name="efficientnetb0",
            build=_from_applications("EfficientNetB0"),
            preprocess=_keep,
            boundaries=(
                "block1a_project_bn",
                "block2b_add",
                "block3b_add",
                "block4c_add",
                "block5c_add",
                "block6d_add",
                "top_activation",
            ),
            fine_tap="block5c_add",
            novelty_taps=("block5c_add",),
            depth_blocks=4,
            learning_rate=3e-4,
            imagenet_file="efficientnetb0_notop.h5",
            describe="EfficientNetB0 (Tan & Le, 2019), 4.0 M parameters",
        ),
        BackboneSpec(
            name="efficientnetv2b0",
            build=_from_applications("EfficientNetV2B0"),
            preprocess=_keep,
            boundaries=(
                "block1a_project_activation",
                "block2b_add",
                "block3b_add",
                "block4c_add",
                "block5e_add",
                "block6h_add",
                "top_activation",
            ),
            fine_tap="block5e_add",
            novelty_taps=("block5e_add",),
            depth_blocks=4,
            learning_rate=3e-4,
            imagenet_file="efficientnetv2-b0_notop.h5",
            describe="EfficientNetV2B0 (Tan & Le, 2021), 5.9 M parameters",
        ),
        BackboneSpec(
            name="convnext_tiny",
            build=_build_convnext_tiny,
            preprocess=_keep,
            boundaries=(
                "stage_0_block_2_add",
                "stage_1_block_2_add",
                "stage_2_block_8_add",
                "last_layernorm",
            ),
            fine_tap="stage_2_block_8_add",
            novelty_taps=("stage_2_block_8_add",),
            depth_blocks=2,
            learning_rate=1e-4,
            imagenet_file="convnext_tiny_notop.h5",
            describe="ConvNeXt-Tiny (Liu et al., 2022), 27.8 M parameters",
        ),
        BackboneSpec(
            name="densenet121",
            build=_from_applications("DenseNet121"),
            preprocess=_standardise,
            boundaries=("pool1", "pool2_pool", "pool3_pool", "pool4_pool", "relu"),
            fine_tap="pool4_conv",
            novelty_taps=("pool4_conv",),
            depth_blocks=2,
            learning_rate=1e-4,
            imagenet_file="densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
            describe="DenseNet121 (Huang et al., 2016), 7.0 M parameters",
        ),
        BackboneSpec(
            name="mobilenetv2",
            build=_from_applications("MobileNetV2"),
            preprocess=_to_unit_range,
            boundaries=(
                "expanded_conv_project_BN",
                "block_2_add",
                "block_5_add",
                "block_9_add",
                "block_12_add",
                "block_15_add",
                "out_relu",
            ),
            fine_tap="block_12_add",
            novelty_taps=("block_12_add",),
            depth_blocks=4,
            learning_rate=5e-4,
            imagenet_file="mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            describe="MobileNetV2 (Sandler et al., 2018), 2.3 M parameters, for edge devices",
        ),
        BackboneSpec(
            name="small_cnn",
            build=build_small_cnn,
            preprocess=_to_unit_range,
            boundaries=tuple(f"block{number}b_relu" for number in range(1, 5)),
            fine_tap="block3b_relu",
            novelty_taps=("block3b_relu",),
            depth_blocks=4,
            learning_rate=3e-3,
            imagenet_file="",
            describe="small CNN with group normalisation, 0.1 M parameters, learns from scratch",
        ),
    )
}
