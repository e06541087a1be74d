"""The hypermodel: what KerasTuner builds and trains is the classifier and the stages of `mvdefect fit`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras_tuner

from mvdefect.config import FitConfig, Size
from mvdefect.core.runtime import seed_everything, set_precision
from mvdefect.data.pipeline import Source
from mvdefect.data.resolution import find_network_shrink
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import HEAD, build_classifier, cut_classifier, replace_head
from mvdefect.models.heads import choose_head
from mvdefect.runs import RunFolder, read_history
from mvdefect.training.activations import ActivationStore, fill_stores
from mvdefect.training.budget import make_room
from mvdefect.training.fit import TrainingJob, train_classifier
from mvdefect.training.learners import count_slots, make_stores
from mvdefect.training.stages import plan_stages
from tuning.records import Value, find_best_epoch
from tuning.space.domains import Choice, Range
from tuning.space.space import Dimension, SearchSpace

SHARED = (
    *("backbone", "weights", "resolution", "network_shrink", "resize"),
    *("views", "seed", "augment", "activation_dtype"),
)
Pair = tuple[ActivationStore, ActivationStore]


EPOCHS = "tuner/epochs"  # what Hyperband allows a trial


def fill_ahead(
    model: Any, config: FitConfig, others: Sequence[FitConfig], train: Source, val: Source
) -> None:
    """Fill the activation stores of a trial, and those of others whose frozen part is of the same network.

    Nothing happens where the trial has all that it needs, where nothing is stored, or where all of it
    together does not fit the budget: then each cut is stored when it is needed.

    Args:
        model: The classifier of the trial.
        config: Its settings.
        others: Settings that may come; those with another backbone, size, view or seed do not count.
        train: The train part.
        val: The validation part.
    """
    if not config.views:
        return
    slots = range(count_slots(config, sum(stage.epochs for stage in config.stages)))
    pairs = list(_list_pairs(model, config, train, val))
    if all(_is_there(pair, slots) for pair in pairs):
        return
    spec = find_backbone(config.backbone)
    for other in others:
        if _shares_views(config, other):
            alike = replace_head(model, spec, choose_head(other), other.taps)
            pairs += _list_pairs(alike, other, train, val)
    needed = {first.folder.name: len(slots) * first.bytes_per_slot for first, _ in pairs}
    needed |= {second.folder.name: second.bytes_per_slot for _, second in pairs}
    if make_room(needed, config.activation_budget_gb, "each depth is stored when it is needed"):
        fill_stores([first for first, _ in pairs], slots)
        fill_stores([second for _, second in pairs], [None])


def _is_there(pair: Pair, slots: Sequence[int]) -> bool:
    """Whether the stores have their entries; whether those are whole is seen when they are opened."""
    first, second = pair
    return second.find_entry(None).note.is_file() and all(
        first.find_entry(slot).note.is_file() for slot in slots
    )


def _shares_views(config: FitConfig, other: FitConfig) -> bool:
    return all(getattr(config, name) == getattr(other, name) for name in SHARED)


def _list_pairs(model: Any, config: FitConfig, train: Source, val: Source) -> Iterator[Pair]:
    """Yield the stores of each stage of a classifier; where every block learns there are none."""
    spec = find_backbone(config.backbone)
    for depth in sorted({stage.depth_blocks for stage in plan_stages(config, spec)}):
        cut = cut_classifier(model, spec, depth, model.get_layer(HEAD))
        if cut is not None:
            yield make_stores(cut, config, train, val)


@dataclass(frozen=True)
class TrainingParts:
    """What trials train on and are validated by; there is no test part in it.

    Attributes:
        train: The train part at each size and way of resizing.
        val: The validation part likewise.
        weights: Weights file of each backbone, None for random ones.
    """

    train: Mapping[tuple[Size, str], Source]
    val: Mapping[tuple[Size, str], Source]
    weights: Mapping[str, Path | None]


class InspectorHyperModel(keras_tuner.HyperModel):  # type: ignore[misc]
    """A classifier of good against defective, whose settings are hyperparameters.

    A trial is what `mvdefect fit` does with the same settings: `build` seeds and builds, and `fit` goes
    through the stages, on stored activations where something is frozen. It can be given to any tuner of
    KerasTuner.
    """

    def __init__(
        self, space: SearchSpace, parts: TrainingParts, others: Sequence[FitConfig] | None = None
    ) -> None:
        """Make a hypermodel.

        Args:
            space: What varies.
            parts: What it trains on.
            others: Settings of which some will be trained as well, so that the frozen part runs once for
                all of them; None: whatever the space allows.
        """
        super().__init__(name="inspector")
        self.space = space
        self.parts = parts
        self.others = others

    def declare_hyperparameters(self, hp: Any) -> None:
        """Put the search space into KerasTuner's hyperparameters; see `declare_space`."""
        declare_space(self.space, hp)

    def configure(self, hp: Any) -> FitConfig:
        """Return the settings of a fit for hyperparameters.

        Raises:
            ConfigError: Their values do not go together.
        """
        config = self.space.configure(declare_space(self.space, hp))
        if hp.values.get(EPOCHS):
            last = config.stages[-1].model_copy(update={"epochs": hp.values[EPOCHS]})
            config = config.model_copy(update={"stages": (*config.stages[:-1], last)})
        return config

    def build(self, hp: Any) -> Any:
        """Return a fresh classifier, not compiled: each stage compiles what it trains."""
        config = self.configure(hp)
        seed_everything(config.seed, config.deterministic)
        set_precision(config.precision)
        spec, weights = find_backbone(config.backbone), self.parts.weights[config.backbone]
        shrink = find_network_shrink(config)
        return build_classifier(spec, config.size_px, choose_head(config), config.taps, weights, shrink)

    def fit(
        self,
        hp: Any,
        model: Any,
        folder: Path | None = None,
        callbacks: Sequence[Any] = (),  # noqa: ARG002
    ) -> dict[str, float]:
        """Train a classifier through all stages, or go on where an interrupt stopped.

        Args:
            hp: The hyperparameters that it was built with.
            model: What `build` returned; in the end it has the best weights.
            folder: Where history and checkpoint go; None: nowhere that lasts.
            callbacks: Those of KerasTuner, for `keras.Model.fit`. They are not called: which epoch is
                kept, and where, is the business of the stages.

        Returns:
            ROC-AUC and loss on validation at the best epoch, by name.
        """
        if folder is None:
            with tempfile.TemporaryDirectory() as place:
                return self.fit(hp, model, Path(place))
        config = self.configure(hp)
        spec, key = find_backbone(config.backbone), (config.size_px, config.resize)
        stages = plan_stages(config, spec)
        job = TrainingJob(spec, stages, config, self.parts.train[key], self.parts.val[key], RunFolder(folder))
        others = self.space.list_cuts(config) if self.others is None else self.others
        fill_ahead(model, config, others, job.train, job.val)
        train_classifier(model, job)
        best = find_best_epoch(read_history(job.folder))
        return {"val_roc_auc": best.val_roc_auc, "val_loss": best.val_loss}


def declare_space(space: SearchSpace, hp: Any) -> dict[str, Value]:
    """Declare all dimensions of a space, each under its condition.

    Args:
        space: The space.
        hp: KerasTuner's `HyperParameters`, which may have values already.

    Returns:
        The value of each that matters, by name.
    """
    values: dict[str, Value] = {}
    for one in space.dimensions:
        with ExitStack() as scopes:
            for condition in one.conditions:
                scopes.enter_context(hp.conditional_scope(condition.parent, list(condition.values)))
            value = _declare(one, hp)
        if all(values.get(condition.parent) in condition.values for condition in one.conditions):
            values[one.name] = value
    return values


def _declare(one: Dimension, hp: Any) -> Any:
    if isinstance(one.domain, Choice):
        return hp.Choice(one.name, list(one.domain.values))
    return _declare_range(one.name, one.domain, hp)


def _declare_range(name: str, domain: Range, hp: Any) -> Any:
    sampling = "log" if domain.log else "linear"
    make = hp.Int if domain.is_whole else hp.Float
    return make(name, domain.low, domain.high, sampling=sampling)
