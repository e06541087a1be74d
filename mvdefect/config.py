"""The settings of a run: defaults, overridden by a YAML file, overridden by flags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mvdefect.core.errors import ConfigError, describe_unknown_name
from mvdefect.core.settings import assign, merge_trees, parse_assignment

OLD_CORRELATION = "near_duplicate_correlation"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AugmentConfig(_Settings):
    """Changes that a training image may undergo. Switch off what would itself be a defect."""

    flip: bool = Field(default=True, description="mirror left and right (with turns: also up and down)")
    quarter_turns: bool = Field(default=True, description="turn by 0, 90, 180 or 270 degrees")
    brightness: float = Field(
        default=0.08, ge=0, le=0.5, description="largest shift, as a share of full range"
    )
    contrast: float = Field(default=0.15, ge=0, le=0.9, description="largest relative change about mid-grey")


class StageConfig(_Settings):
    """One stage of training."""

    depth_blocks: int | None = Field(
        default=None,
        ge=0,
        description="blocks of the backbone that learn, from the top; 0: none; null: what suits the backbone",
    )
    epochs: int = Field(ge=1)
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="peak of a cosine schedule for the uppermost block; null: what suits the backbone",
    )
    head_learning_rate: float | None = Field(
        default=None, gt=0, le=1, description="peak for the head; null: that of the uppermost block"
    )
    block_decay: float = Field(
        default=1.0, gt=0, le=1, description="factor on the learning rate from a block to the one below it"
    )
    warmup: float = Field(default=0.1, ge=0, lt=1, description="share of the stage in which rates rise")


class FitConfig(_Settings):
    """Everything that decides what `mvdefect fit` does."""

    data: str | None = Field(
        default=None, description="folder of photographs, CSV manifest, archive, or mvtec_ad:<category>"
    )
    split: Path | None = Field(default=None, description="a split plan; null: a closed-set plan is drawn")
    group_pattern: str = Field(
        default="", description="regular expression that names, in an id, what belongs together"
    )
    categories: tuple[str, ...] = Field(default=(), description="products to use; empty: all")
    skip_broken: bool = Field(default=False, description="leave unreadable files out instead of stopping")
    near_duplicates: Literal["part", "image", "none"] = Field(
        default="part",
        description="what is kept in one part of a split: all images of one part, an image and its changed "
        "copies, or neither",
    )
    image_size_px: int = Field(default=224, description="working size; a multiple of 32, at least 64")
    resize: Literal["letterbox", "stretch"] = "letterbox"
    augment: AugmentConfig = AugmentConfig()
    backbone: str = "densenet121"
    weights: str = Field(
        default="imagenet", description="imagenet, texture, none, or the path of a weights file"
    )
    head: Literal["pooled", "patch"] = "pooled"
    pooling: Literal["avg", "avg_max"] = Field(
        default="avg", description="what a pooled head takes of each feature: average, or also maximum"
    )
    sharpness: float = Field(
        default=1.0, gt=0, le=100, description="of a patch head's pooling: low: mean, high: maximum"
    )
    learn_sharpness: bool = Field(default=False, description="let a patch head find its sharpness")
    taps: Literal[1, 2] = Field(
        default=2, description="resolutions that the head looks at: the output alone, or also a finer one"
    )
    dropout: float = Field(default=0.2, ge=0, lt=1)
    bn_policy: Literal["frozen", "adapt"] = Field(
        default="frozen", description="batch normalisation of blocks that learn: as it came, or adapting"
    )
    views: int = Field(
        default=8,
        ge=0,
        le=1024,
        description="views of each image that training goes through, the image itself among them; "
        "0: new ones in every epoch, so that nothing can be stored",
    )
    activation_budget_gb: float = Field(
        default=10.0, ge=0, description="disk space for activations of frozen blocks; 0: store none"
    )
    activation_dtype: Literal["float16", "float32"] = "float16"
    balance: Literal["weights", "batches", "none"] = Field(
        default="weights",
        description="what makes each category and class count alike: loss weights, or how often it comes",
    )
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    focal_gamma: float = Field(default=2.0, ge=0, le=10, description="of the focal loss: 0: cross-entropy")
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    mask_loss_weight: float = Field(
        default=0.0, ge=0, description="weight of the masks beside the labels; needs a patch head"
    )
    stages: tuple[StageConfig, ...] = Field(
        default=(
            StageConfig(depth_blocks=0, epochs=1, learning_rate=1e-3),
            StageConfig(epochs=16),
        ),
        min_length=1,
    )
    patience: int = Field(
        default=8, ge=1, description="epochs without a better validation score before a stage ends"
    )
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    clip_norm: float | None = Field(default=1.0, gt=0, description="largest norm of a gradient; null: any")
    ema: float | None = Field(
        default=0.98, gt=0, lt=1, description="momentum of the moving average of weights; null: no average"
    )
    batch_size: int = Field(default=32, ge=1, le=1024)
    seed: int = Field(default=0, ge=0, lt=2**31)
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = Field(
        default="auto", description="auto: mixed_bfloat16 on GPUs that have it, otherwise float32"
    )
    devices: int = Field(
        default=1, ge=1, le=64, description="GPUs, or parts of the processor, to share a batch"
    )
    deterministic: bool = Field(default=True, description="only operations that always give the same result")
    tensorboard: bool = Field(default=True, description="write curves for TensorBoard into the run")
    one_class: Literal["padim", "memory_bank", "gaussian"] = Field(
        default="padim",
        description="what tells how unlike good images one is, the novelty; padim: for parts that lie alike",
    )
    verdict: Literal["classifier", "combined", "either"] = Field(
        default="combined",
        description="defective by the classifier's score, by one that also weighs how unlike good images "
        "one is, or by the classifier or novelty, each on its own",
    )
    threshold: str = Field(
        default="f1",
        description="what the threshold is chosen by, on validation: f1, min-recall 0.99, max-fpr 0.01, "
        "cost 1:20 (a false alarm : a missed defect), or a probability such as 0.37",
    )
    review_budget: float = Field(
        default=0.0, ge=0, lt=1, description="share of images, the least certain, that a person decides"
    )
    prevalence: float | None = Field(
        default=None, gt=0, lt=1, description="share of defective products on the line; null: as photographed"
    )
    baseline: str | None = Field(
        default=None, description="the baseline that made a run; null: transfer learning"
    )

    @model_validator(mode="before")
    @classmethod
    def _replace_old_settings(cls, tree: Any) -> Any:
        return replace_old_settings(tree) if isinstance(tree, dict) else tree

    @field_validator("threshold", mode="before")
    @classmethod
    def _name_threshold(cls, value: Any) -> Any:
        return f"{value:g}" if isinstance(value, int | float) else value

    @field_validator("data", mode="before")
    @classmethod
    def _name_data(cls, value: Any) -> Any:
        return str(value) if isinstance(value, Path) else value

    @model_validator(mode="after")
    def _check_mask_loss(self) -> FitConfig:
        if self.mask_loss_weight and self.head != "patch":
            raise ValueError(
                "mask_loss_weight needs the map of a patch head. "
                f"Received: mask_loss_weight={self.mask_loss_weight:g} with head={self.head}"
            )
        return self

    @field_validator("image_size_px")
    @classmethod
    def _check_image_size(cls, value: int) -> int:
        if value < 64 or value % 32:
            raise ValueError("must be a multiple of 32 and at least 64")
        return value


def replace_old_settings(tree: dict[str, Any]) -> dict[str, Any]:
    """Replace what an earlier version called otherwise; its runs and files stay readable.

    A correlation of 1 switched near-duplicates off; any other one gives way to the comparison in detail.
    """
    if OLD_CORRELATION not in tree:
        return tree
    kept = {key: value for key, value in tree.items() if key != OLD_CORRELATION}
    return {"near_duplicates": "none" if tree[OLD_CORRELATION] == 1 else "part", **kept}


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
    tree = FitConfig().model_dump(mode="json")
    if path is not None:
        tree = merge_trees(tree, replace_old_settings(_read_yaml(path)))
    given = {key: value for key, value in overrides.items() if value is not None}
    for key, value in [*given.items(), *map(parse_assignment, assignments)]:
        assign(tree, key, value)
    return validate_config(tree)


def apply_settings(settings: Mapping[str, Any]) -> FitConfig:
    """Change some of the defaults; here null means null.

    Args:
        settings: By dotted key, as in {"stages.1.epochs": 20}.

    Raises:
        ConfigError: A key is unknown (the nearest one is named), or a value is not allowed.
    """
    tree = FitConfig().model_dump(mode="json")
    for key, value in settings.items():
        assign(tree, key, value)
    return validate_config(tree)


def validate_config(tree: Mapping[str, Any]) -> FitConfig:
    """Check a tree of settings.

    Raises:
        ConfigError: It names each bad key, what is allowed and what came.
    """
    try:
        return FitConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(item) for item in error.errors())) from error


def dump_config(config: FitConfig) -> str:
    """Return the configuration as YAML that `load_config` reads."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error}") from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"the configuration {path} must map settings to values. Received: {tree!r}")
    return tree


def _describe(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        parent = ".".join(str(part) for part in item["loc"][:-1])
        models: dict[str, type[_Settings]] = {"augment": AugmentConfig, "stages": StageConfig}
        model = models.get(str(item["loc"][0]), FitConfig) if parent else FitConfig
        return describe_unknown_name("setting", str(item["loc"][-1]), model.model_fields)
    message = item["msg"].removeprefix("Value error, ")
    if not key:  # of several settings together; the message names them
        return str(message)
    return f"{key}: {message[0].lower()}{message[1:]}. Received: {key}={item['input']!r}"
