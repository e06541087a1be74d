"""The settings of a run: defaults, overridden by a YAML file, overridden by flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mvdefect.core.errors import ConfigError
from mvdefect.core.settings import (
    Settings,
    dump_settings,
    list_changes,
    load_settings,
    read_yaml,
    validate_settings,
)

OLD_CORRELATION = "near_duplicate_correlation"
OLD_SIZE = "image_size_px"
AUTO = "auto"
FULL = "full"


STEP_PX = 32  # sides of a working size are multiples of it: backbones halve five times
Size = tuple[int, int]  # height and width, in pixels
ResizeMethod = Literal["letterbox", "stretch"]


def _check_resolution(value: Any) -> Any:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    is_size = isinstance(value, list | tuple) and len(value) == 2
    if value in (AUTO, FULL) or (is_size and all(map(_is_side, value))):
        return tuple(value) if is_size else value
    if not _is_side(value) or value < 64:
        raise ValueError(
            "must be auto, full, the longer side in pixels (a multiple of 32, at least 64), or height and "
            "width as in [96, 224], each a multiple of 32"
        )
    return value


def _is_side(value: Any) -> bool:
    return type(value) is int and value >= STEP_PX and value % STEP_PX == 0


Resolution = Annotated[str | int | Size, BeforeValidator(_check_resolution)]


def _check_region(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _check_region(one) for name, one in value.items()}
    if isinstance(value, str | Path) and str(value):
        return str(value)
    raise ValueError("must be a mask image, a JSON file of polygons, auto, none, or one of these by product")


Region = Annotated[str | dict[str, str], BeforeValidator(_check_region)]


class AugmentConfig(Settings):
    """Changes that a training image may undergo. Switch off what would itself be a defect."""

    flip: bool = Field(True, description="Mirror left and right; with turns, also up and down.")
    quarter_turns: bool = Field(True, description="Turn by 0, 90, 180 or 270 degrees.")
    brightness: float = Field(
        0.08, ge=0, le=0.5, description="Largest shift of brightness, as a share of the full range."
    )
    contrast: float = Field(
        0.15, ge=0, le=0.9, description="Largest relative change of contrast, about mid-grey."
    )


class StageConfig(Settings):
    """One stage of training."""

    depth_blocks: int | None = Field(
        None,
        ge=0,
        description="Backbone blocks to unfreeze (0: train the head only; null: what suits the backbone).",
    )
    epochs: int = Field(ge=1, description="Epochs of the stage.")
    learning_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Peak of the uppermost block's rate; null: what suits the backbone.",
    )
    head_learning_rate: float | None = Field(
        None, gt=0, le=1, description="Peak of the head's rate; null: that of the uppermost block."
    )
    block_decay: float = Field(
        1.0, gt=0, le=1, description="Factor on the learning rate from a block to the one below it."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the stage in which learning rates rise.")
    solve: bool = Field(
        False, description="Solve a pooled head by logistic regression, in place of the first epoch's steps."
    )


class FitConfig(Settings):
    """Everything that decides what `mvdefect fit` does."""

    data: tuple[str, ...] = Field(
        (), description="Folder of images, table (CSV), zip or tar archive, mvtec_ad:bottle, or elpv."
    )
    good: tuple[str, ...] = Field(
        (), description="Name of a folder or label of good images, beside the usual ones; '.': DATA itself."
    )
    label_pattern: str = Field(
        "", description="Regular expression that finds the label in an id, as in '(?P<label>ok|ng)'."
    )
    split: Path | None = Field(
        None, description="Split plan of `mvdefect data split`; without one, a plan is drawn."
    )
    protocol: Literal["closed-set", "good-only", "given"] | None = Field(
        None,
        description="Parts that are drawn (closed-set, or good-only: no defective image trains), or that "
        "folders or a table name (given); null: given for a table that names parts, otherwise what suits.",
    )
    group_pattern: str = Field(
        "", description="Regular expression that names, in an id, what belongs together."
    )
    part_pattern: str = Field(
        "",
        description="Regular expression that names, in an id, the part that the image shows, where several "
        "images show one, as in '(?P<part>SN[0-9]+)_(?P<view>cam[0-9])'.",
    )
    categories: tuple[str, ...] = Field((), description="Products to use (default: all).")
    skip_broken: bool = Field(False, description="Leave unreadable files out instead of stopping.")
    near_duplicates: Literal["part", "image", "none"] = Field(
        "part",
        description="What a split keeps together: images of one part, an image's changed copies, or nothing.",
    )
    resolution: Resolution = Field(
        AUTO,
        description="Working size: the longer side in pixels (a multiple of 32), [height, width], full "
        "(that of the images), or auto: what the images and their defects need.",
    )
    megapixels: float | None = Field(
        None,
        gt=0,
        description="Most megapixels of an image that networks may look at, all scales together: the "
        "limit on time per image for auto and full; null: any number.",
    )
    network_shrink: int | None = Field(
        None,
        ge=1,
        description="How many times smaller the network that is trained sees images than the working size; "
        "null: as small as about 224 by 224 pixels.",
    )
    resize: ResizeMethod = Field(
        "letterbox", description="How images get their working size: with margins, or out of proportion."
    )
    region: Region = Field(
        "none",
        description="Region of each image that counts: a mask image (white counts), a JSON file of polygons, "
        "auto (the product, as good images show it) or none (all of the image); or a folder or a mapping of "
        "these by product.",
    )
    bits: Literal["auto", 8, 9, 10, 11, 12, 13, 14, 15, 16] = Field(
        "auto",
        description="Bits that images of more than 8 bits use; auto: by the largest value in the data set.",
    )
    max_megapixels: float = Field(
        180.0, gt=0, description="Largest image that is read, in megapixels; a limit against full memory."
    )
    mm_per_px: float | None = Field(
        None,
        gt=0,
        description="Millimetres per pixel of the images as they are, for the sizes of suspicious regions; "
        "null: sizes are told in pixels alone.",
    )
    mirror: bool = Field(
        True,
        description="Let the classifier look at the mirror image too, where augment.flip allows it; slower.",
    )
    augment: AugmentConfig = Field(AugmentConfig(), description="Changes that a training image may undergo.")
    backbone: str = Field(
        AUTO,
        description="Backbone: resnet50, efficientnetb0, efficientnetv2b0, convnext_tiny, densenet121, "
        "mobilenetv2 or small_cnn; auto: densenet121, or what the weights that this machine has belong to.",
    )
    weights: str = Field(
        AUTO,
        description="Weights to start from: imagenet, texture, none, or the path of a weights file; "
        "auto: imagenet, or texture if no backbone was named and there are none.",
    )
    head: Literal["pooled", "patch"] = Field(
        "pooled",
        description="Head: pooled scores the image; patch scores every position, and its map is the heatmap.",
    )
    pooling: Literal["avg", "avg_max"] = Field(
        "avg", description="What a pooled head takes of each feature: its average, or also its maximum."
    )
    sharpness: float = Field(
        1.0,
        gt=0,
        le=100,
        description="Sharpness of a patch head's pooling: low: mean, high: maximum.",
    )
    learn_sharpness: bool = Field(False, description="Let a patch head find its sharpness.")
    taps: Literal[1, 2] = Field(
        2, description="Resolutions that the head looks at: the output alone, or also a finer one."
    )
    dropout: float = Field(
        0.2, ge=0, lt=1, description="Share of features that are dropped before the last layer."
    )
    bn_policy: Literal["frozen", "adapt"] = Field(
        "frozen",
        description="Batch normalisation of blocks that learn: as it came, or adapting.",
    )
    views: int = Field(
        8,
        ge=0,
        le=1024,
        description="Views of each image in training (0: new ones in every epoch, none stored).",
    )
    activation_budget_gb: float = Field(
        10.0, ge=0, description="Gigabytes of disk for activations of frozen blocks (0: store none)."
    )
    activation_dtype: Literal["float16", "float32"] = Field(
        "float16", description="Number format of stored activations."
    )
    balance: Literal["weights", "batches", "none"] = Field(
        "weights",
        description="What makes each category and class count alike: loss weights, or how often it comes.",
    )
    loss: Literal["cross_entropy", "focal"] = Field("cross_entropy", description="Loss that training lowers.")
    focal_gamma: float = Field(2.0, ge=0, le=10, description="Gamma of the focal loss (0: cross-entropy).")
    label_smoothing: float = Field(
        0.0, ge=0, lt=0.5, description="Share of a label that is spread over all classes."
    )
    mask_loss_weight: float = Field(
        0.0, ge=0, description="Weight of the masks beside the labels; needs a patch head."
    )
    learn_from_masks: bool = Field(
        True, description="Learn from masks and boxes, where there are some, which positions are defective."
    )
    fine_tune: bool | None = Field(
        None,
        description="Train a pre-trained network too, beside what is solved on its features; null: where "
        "there are 30 independent defective images to learn from.",
    )
    stages: tuple[StageConfig, ...] = Field(
        (
            StageConfig(depth_blocks=0, epochs=1, learning_rate=1e-3, solve=True),
            StageConfig(epochs=16),
        ),
        min_length=1,
        description="Stages of training, one after another.",
    )
    patience: int = Field(
        8, ge=1, description="Epochs without a better validation score before a stage ends."
    )
    weight_decay: float = Field(1e-4, ge=0, le=1, description="Weight decay of AdamW.")
    clip_norm: float | None = Field(1.0, gt=0, description="Largest norm of a gradient; null: any.")
    ema: float | None = Field(
        0.98, gt=0, lt=1, description="Momentum of the moving average of weights; null: no average."
    )
    batch_size: int = Field(32, ge=1, le=1024, description="Images per batch.")
    folds: int | None = Field(
        None,
        ge=1,
        le=10,
        description="Folds of train and val, each held out in turn to choose threshold and members by "
        "(1: val alone is held out); null: 3 where val is small and weights are pre-trained.",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of the split and of the training.")
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        "auto", description="Number format; auto: mixed_bfloat16 on GPUs that have it, otherwise float32."
    )
    devices: int = Field(
        1, ge=1, le=64, description="GPUs, or parts of the processor, that share each batch."
    )
    deterministic: bool = Field(
        True, description="Only operations that always give the same result (default), or the fastest."
    )
    tensorboard: bool = Field(True, description="Write curves for TensorBoard into the run.")
    one_class: Literal["padim", "memory_bank", "gaussian"] = Field(
        "padim",
        description="What tells how unlike good images one is, the novelty; padim: for parts that lie alike.",
    )
    verdict: Literal["classifier", "combined", "either"] = Field(
        "combined",
        description="What makes an image defective: the classifier's score, "
        "one that also weighs novelty (combined), or either of score and novelty.",
    )
    require: str | None = Field(
        None,
        description="What the line needs, as in 'recall 0.95, false-alarms 0.05': the report answers it, and "
        "the threshold is chosen by it unless one is given.",
    )
    threshold: str | None = Field(
        None,
        description="What the threshold is chosen by, on validation: f1 (the default), 'min-recall 0.99', "
        "'max-fpr 0.01', 'cost 1:20' (a false alarm : a missed defect), requirement (the default if there is "
        "one), or a probability.",
    )
    review_budget: float = Field(
        0.0, ge=0, lt=1, description="Share of images, the least certain, that a person decides."
    )
    prevalence: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of defectives on the line, as in 0.005 (default: as photographed).",
    )
    baseline: str | None = Field(None, description="The baseline that made a run; null: transfer learning.")

    @property
    def size_px(self) -> Size:
        """Height and width at which images are seen, once `mvdefect.data.resolution` has settled them."""
        if not isinstance(self.resolution, tuple):
            raise ConfigError(f"the working size is not settled yet. Received: resolution={self.resolution}")
        return self.resolution

    @property
    def looks_twice(self) -> bool:
        """Whether the classifier also looks at the mirror image."""
        return self.mirror and self.augment.flip

    @property
    def contract(self) -> str:
        """What the threshold is chosen by."""
        return self.threshold or ("f1" if self.require is None else "requirement")

    @model_validator(mode="before")
    @classmethod
    def _replace_old_settings(cls, tree: Any) -> Any:
        return replace_old_settings(tree) if isinstance(tree, dict) else tree

    @field_validator("threshold", mode="before")
    @classmethod
    def _name_threshold(cls, value: Any) -> Any:
        return f"{value:g}" if isinstance(value, int | float) else value

    @field_validator("bits", mode="before")
    @classmethod
    def _count_bits(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("data", "good", mode="before")
    @classmethod
    def _list_names(cls, value: Any) -> Any:
        """Take one name for a list of one; runs of 0.1 have one source, or null."""
        names = value if isinstance(value, list | tuple) else [] if value is None else [value]
        return tuple(str(name) if isinstance(name, Path | int) else name for name in names)

    @model_validator(mode="after")
    def _check_mask_loss(self) -> FitConfig:
        if self.mask_loss_weight and self.head != "patch":
            raise ValueError(
                "mask_loss_weight needs the map of a patch head. "
                f"Received: mask_loss_weight={self.mask_loss_weight:g} with head={self.head}"
            )
        return self


def replace_old_settings(tree: dict[str, Any]) -> dict[str, Any]:
    """Replace what an earlier version called otherwise; its runs and files stay readable.

    A correlation of 1 switched near-duplicates off; any other one gives way to the comparison in detail.
    Images were squares.
    """
    kept = {key: value for key, value in tree.items() if key not in (OLD_CORRELATION, OLD_SIZE)}
    if OLD_CORRELATION in tree:
        kept = {"near_duplicates": "none" if tree[OLD_CORRELATION] == 1 else "part", **kept}
    if OLD_SIZE in tree:
        kept = {"resolution": [tree[OLD_SIZE], tree[OLD_SIZE]], **kept}
    return kept


def load_config(
    path: Path | None, overrides: Mapping[str, Any], assignments: Sequence[str] = ()
) -> FitConfig:
    """Build a configuration: defaults < YAML file < flags < `--set` assignments.

    Args:
        path: A YAML file, or none.
        overrides: Settings by dotted key, as in {"stages.1.epochs": 20}; None means 'not given'.
        assignments: "key=value" strings; the value is read as YAML.

    Raises:
        ConfigError: The file cannot be read, a key is unknown (the nearest one is named), or a value
            is not allowed.
    """
    file = replace_old_settings(read_yaml(path))
    return load_settings(FitConfig, file, list_changes(overrides, assignments))


def apply_settings(settings: Mapping[str, Any]) -> FitConfig:
    """Change some of the defaults; here null means null.

    Args:
        settings: By dotted key, as in {"stages.1.epochs": 20}.

    Raises:
        ConfigError: A key is unknown (the nearest one is named), or a value is not allowed.
    """
    return load_settings(FitConfig, {}, settings.items())


def validate_config(tree: Mapping[str, Any]) -> FitConfig:
    """Check a tree of settings.

    Raises:
        ConfigError: It names each bad key, what is allowed and what came.
    """
    return validate_settings(FitConfig, tree)


def dump_config(config: FitConfig) -> str:
    """Return the configuration as YAML that `load_config` reads."""
    return dump_settings(config)
