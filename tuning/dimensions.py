"""Dimensions: what may be searched, within which limits, and when it matters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tuning.domains import Choice, Domain, Range
from tuning.records import Value

DEFAULT = "default"
CUTS = ("depth_blocks", "head", "pooling", "taps")  # what decides where the frozen part ends
STEPS = {"depth_blocks": 1, "image_size_px": 32, "views": 1, "taps": 1}  # of a range
NOT_SEARCHED = (
    *("data", "split", "group_pattern", "categories", "skip_broken", "near_duplicates", "seed"),
    *(
        "weights",
        "stages",
        "activation_budget_gb",
        "activation_dtype",
        "devices",
        "deterministic",
        "precision",
    ),
    *("tensorboard", "one_class", "verdict", "threshold", "review_budget", "prevalence", "baseline"),
)
LAST_STAGE = ("depth_blocks", "learning_rate", "head_learning_rate", "block_decay", "epochs")


@dataclass(frozen=True)
class Condition:
    """A hyperparameter that must have one of some values for another to matter."""

    parent: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter.

    Attributes:
        name: Its name in the space.
        domain: Its values.
        conditions: When it matters: where all of them hold, the outermost first.
    """

    name: str
    domain: Domain
    conditions: tuple[Condition, ...] = ()

    @property
    def setting(self) -> str:
        """Dotted key of the setting of a fit."""
        return name_setting(self.name)


def name_setting(name: str) -> str:
    """Return the dotted key of the setting of a fit that a hyperparameter is."""
    return f"stages.-1.{name}" if name in LAST_STAGE else name


@dataclass(frozen=True)
class Known:
    """What is known of a hyperparameter before a search is read.

    Attributes:
        domain: Its limits; None: they depend on the backbone, or are what the settings say.
        is_searched: Whether it is searched unless told otherwise.
        needs: Another one, and what that must be for this one to matter.
    """

    domain: Domain | None
    is_searched: bool
    needs: tuple[str, Callable[[Any], bool]] | None = None


# Below the boundary a change means another run of the frozen part; so it is searched on request alone.
TABLE: Mapping[str, Known] = {
    "backbone": Known(None, False),
    "image_size_px": Known(Choice((160, 224, 288)), False),
    "views": Known(Choice((4, 8, 16)), False),
    "augment.flip": Known(Choice((True, False)), False),
    "augment.quarter_turns": Known(Choice((True, False)), False),
    "augment.brightness": Known(Choice((0.0, 0.08, 0.16)), False),
    "augment.contrast": Known(Choice((0.0, 0.15, 0.3)), False),
    "depth_blocks": Known(None, True),
    "learning_rate": Known(Range(1e-5, 1e-3, log=True), True, ("depth_blocks", lambda depth: depth > 0)),
    "block_decay": Known(Range(0.5, 1.0), True, ("depth_blocks", lambda depth: depth > 1)),
    "head_learning_rate": Known(Range(1e-4, 1e-2, log=True), True),
    "head": Known(Choice(("pooled", "patch")), True),
    "pooling": Known(Choice(("avg", "avg_max")), True, ("head", lambda head: head == "pooled")),
    "taps": Known(Choice((1, 2)), True),
    "dropout": Known(Range(0.0, 0.6), True),
    "weight_decay": Known(Range(1e-6, 1e-2, log=True), True),
    "label_smoothing": Known(Choice((0.0, 0.05, 0.1)), True),
    "loss": Known(Choice(("cross_entropy", "focal")), True),
}
