"""Filling the activation stores of several cuts of one backbone, which then runs once for all of them."""

from __future__ import annotations

from collections.abc import Sequence

from mvdefect.models.cut import join_frozen
from mvdefect.training.activations import ActivationStore, Run, compute_entries, trace_frozen


def fill_stores(stores: Sequence[ActivationStore], slots: Sequence[int | None]) -> None:
    """Compute what is missing of some slots; afterwards every store holds all of them.

    Stores hold what they would compute on their own. What is whole already is not touched, and where
    everything is whole, nothing runs. A batch at a time is in memory.

    Args:
        stores: Stores of one source and the same views, at cuts that share the layers of one backbone;
            see `mvdefect.models.cut.join_frozen`. Two of one folder count as one.
        slots: The slots; None stands for the images as they are.

    Raises:
        ValueError: The stores are of several sources, views or backbones, or hold no views and slots of
            views are asked for.
        OSError: The disk is full.
    """
    _check_stores(stores)
    distinct = list({store.folder: store for store in stores}.values())
    runs: dict[tuple[int, ...], Run] = {}
    for slot in slots:
        missing = [number for number, store in enumerate(distinct) if not store.find_entry(slot).is_whole()]
        if not missing:
            continue
        chosen, key = [distinct[number] for number in missing], tuple(missing)
        if key not in runs:
            runs[key] = _trace(chosen)
        compute_entries(chosen, slot, runs[key])


def _check_stores(stores: Sequence[ActivationStore]) -> None:
    shown = [(store.source.store.key, store.source.part, store.source.rows, store.views) for store in stores]
    if any(other != shown[0] for other in shown):
        raise ValueError(
            "stores that are filled together must be of one source and the same views. "
            f"Received: {len(stores)} stores of "
            f"{', '.join(sorted({f'{part} of {key}' for key, part, *_ in shown}))}"
        )


def _trace(stores: Sequence[ActivationStore]) -> Run:
    if len(stores) == 1:
        return stores[0].frozen.run
    return trace_frozen(join_frozen([store.frozen.cut.below for store in stores]))
