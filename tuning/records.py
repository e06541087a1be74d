"""What a search leaves: trials, refits of the best, and what is recommended; plain data, no framework."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mvdefect.config import Size
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.runs import EpochRow

Value = str | int | float | bool
COMPLETED, FAILED, RUNNING = "completed", "failed", "running"
DEFAULT = "default"  # the name of the candidate that is searched around


@dataclass(frozen=True)
class TrialRecord:
    """One trial of a search.

    Attributes:
        name: Its number in the search, as in "07".
        status: "completed", "failed" or "running".
        values: Hyperparameters that played a part in it, by name; see `tuning.space.space`.
        score: What is optimised, at its best epoch; NaN where the trial did not complete.
        val_roc_auc: ROC-AUC on validation, at the best epoch; NaN likewise.
        val_loss: Cross-entropy on validation, at the same epoch; NaN likewise.
        history: Its epochs; as far as they came where it failed.
        seconds: How long it took.
        peak_memory_mb: The most memory that its process had, in 10^6 bytes; NaN where it failed.
        parameters: How many numbers the classifier has; 0 where it failed.
        learning_parameters: How many of them learn in the last stage; 0 where it failed.
        trouble: Why it failed; empty otherwise.
    """

    name: str
    status: str
    values: Mapping[str, Value]
    score: float
    val_roc_auc: float
    val_loss: float
    history: tuple[EpochRow, ...]
    seconds: float
    peak_memory_mb: float
    parameters: int
    learning_parameters: int
    trouble: str = ""


def list_completed(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that have a score."""
    return [trial for trial in trials if trial.status == COMPLETED and math.isfinite(trial.score)]


def find_best_epoch(history: Sequence[EpochRow]) -> EpochRow:
    """Return the epoch whose weights a fit keeps: the best ROC-AUC, of equals the lowest loss."""
    return max(history, key=lambda row: (row.val_roc_auc, -row.val_loss))


@dataclass(frozen=True)
class Importance:
    """How much the score depends on a hyperparameter.

    Attributes:
        name: The hyperparameter.
        value: Drop of R² when its values are shuffled among the trials, mean over shuffles; 0: none.
        spread: Standard deviation over shuffles.
    """

    name: str
    value: float
    spread: float


@dataclass(frozen=True)
class Importances:
    """The importance of all hyperparameters, the largest first.

    Attributes:
        rows: One a hyperparameter that took more than one value.
        fit: R² of the forest on trials that it did not see (out of bag); at or below 0 it explains nothing,
            and the rows mean nothing. NaN where there are too few trials to tell.
    """

    rows: tuple[Importance, ...]
    fit: float


@dataclass(frozen=True)
class Refit:
    """One candidate, trained once more.

    Attributes:
        seed: Of the training.
        fold: Which part of train and val it was validated on; 0: the plan's own val.
        score: What is optimised.
        val_roc_auc: ROC-AUC on that part.
        val_loss: Cross-entropy on that part.
    """

    seed: int
    fold: int
    score: float
    val_roc_auc: float
    val_loss: float


@dataclass(frozen=True)
class Candidate:
    """One of the best configurations, or the default, with all its refits.

    Attributes:
        name: Name of its trial, or "default".
        values: Its hyperparameters.
        refits: At least one; none where all failed.
        mean: Of the scores of the refits.
        spread: Standard deviation of those; NaN for one.
        parameters: How many numbers the classifier has.
        learning_parameters: How many of them learn in the last stage.
        size_px: Its working size.
        behind: By how much it is behind the winner in ROC-AUC, paired, with a 95% interval over groups; None
            for the winner itself.
        trouble: Why it could not be refitted; empty otherwise.
    """

    name: str
    values: Mapping[str, Value]
    refits: tuple[Refit, ...]
    mean: float
    spread: float
    parameters: int
    learning_parameters: int
    size_px: Size
    behind: Figure | None = None
    trouble: str = ""

    @property
    def cost(self) -> tuple[int, int]:
        """What makes one simpler than another: work at the line, then how much there is to learn."""
        return self.parameters * self.size_px[0] * self.size_px[1], self.learning_parameters


@dataclass(frozen=True)
class Leaderboard:
    """The candidates, the best mean first, and the choice among them.

    Attributes:
        candidates: All of them; those that failed last.
        winner: Name of the one with the best mean.
        recommended: Name of the simplest one that cannot be told from the winner.
        reason: Why that one, in a sentence or two.
    """

    candidates: tuple[Candidate, ...]
    winner: str
    recommended: str
    reason: str

    def find(self, name: str) -> Candidate:
        """Return a candidate by name."""
        return next(candidate for candidate in self.candidates if candidate.name == name)


@dataclass(frozen=True)
class Confirmation:
    """The recommended configuration against the default on the test part, opened once, after the search.

    Attributes:
        name: "test part", or the fold of a nested search.
        seeds: Of the trainings.
        tuned: ROC-AUC of each.
        default: The same of the default.
        difference: Mean of the tuned less that of the default, paired, with a 95% interval over groups.
        verdict: What that means, in a sentence.
    """

    name: str
    seeds: tuple[int, ...]
    tuned: tuple[float, ...]
    default: tuple[float, ...]
    difference: Figure
    verdict: str


@dataclass(frozen=True)
class SearchSummary:
    """All that the page of a search tells.

    Attributes:
        title: Name of the search.
        objective: Name of what is optimised, "val_roc_auc" or "val_loss".
        direction: "max" or "min".
        trials: In the order in which they began.
        ended: Why the search ended, in a few words.
        importances: See there.
        leaderboard: None while the refits are not done.
        confirmations: What came of the test part; empty where it was not opened.
        settings: The search's settings, as YAML.
        best: The recommended configuration, as YAML; empty while the refits are not done.
        notes: What a reader should know.
    """

    title: str
    objective: str
    direction: str
    trials: tuple[TrialRecord, ...]
    ended: str
    importances: Importances
    leaderboard: Leaderboard | None
    confirmations: tuple[Confirmation, ...]
    settings: str
    best: str
    notes: tuple[str, ...] = ()
