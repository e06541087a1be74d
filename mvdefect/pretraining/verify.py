"""Whether a card tells the truth: its weights are those that lie there, and its command gives its losses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mvdefect.core.parallel import count_cores
from mvdefect.core.progress import show_steps
from mvdefect.pretraining.card import hash_file, read_card
from mvdefect.pretraining.pretrain import build_model, take_step
from mvdefect.pretraining.stream import iterate_batches, list_photographs

LARGEST_DIFFERENCE = 1e-3


@dataclass(frozen=True)
class Verification:
    """What came out.

    Attributes:
        steps: How many were repeated.
        largest_difference: Between a loss of the card and its repetition.
        same_file: Whether the weights file is the one that the card was written for.
    """

    steps: int
    largest_difference: float
    same_file: bool

    @property
    def holds(self) -> bool:
        """Whether the card tells the truth."""
        return self.same_file and self.largest_difference <= LARGEST_DIFFERENCE


def verify_card(weights: Path, workers: int | None = None) -> Verification:
    """Train the first steps of a card again.

    Args:
        weights: The weights file; the card lies beside it.
        workers: Processes that draw; None: one a core.

    Raises:
        WeightsError: The card is missing or damaged, or the weights that it started from are.
    """
    card = read_card(weights)
    model = build_model(card.config)
    steps, losses = len(card.first_losses), []
    batches = iterate_batches(
        card.config, list_photographs(card.config.photographs), range(steps), workers or count_cores()
    )
    with show_steps("Repeating", steps) as advance:
        for batch in batches:
            losses.append(take_step(model, card.config, batch))
            advance()
    gap = np.abs(np.array(losses) - np.array(card.first_losses)).max()
    return Verification(steps, float(gap), hash_file(weights) == card.sha256)
