"""Ahead of a trial: the frozen part runs once for all cuts that a search may ask for, not once for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mvdefect.config import FitConfig
from mvdefect.data.pipeline import Source
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import HEAD, replace_head
from mvdefect.models.cut import cut_classifier
from mvdefect.models.heads import choose_head
from mvdefect.training.activations import ActivationStore
from mvdefect.training.fill import fill_stores
from mvdefect.training.learners import count_slots, make_stores
from mvdefect.training.room import make_room
from mvdefect.training.stages import plan_stages

SHARED = ("backbone", "weights", "image_size_px", "resize", "views", "seed", "augment", "activation_dtype")
Pair = tuple[ActivationStore, ActivationStore]


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
