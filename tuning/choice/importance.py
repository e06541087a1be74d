"""Which hyperparameters a search's scores depend on: a forest on the trials, and what it loses by shuffling.

Permutation importance after Breiman, "Random Forests" (2001); see
https://scikit-learn.org/stable/modules/permutation_importance.html.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tuning.page.scales import is_number, list_hyperparameters, name_value, spans_decades
from tuning.records import Importance, Importances, TrialRecord, Value, list_completed

MIN_TRIALS = 8
TREES = 200
SHUFFLES = 20
ABSENT = -1.0  # code of a category that a trial does not have


@dataclass(frozen=True)
class _Column:
    """One hyperparameter as numbers.

    Attributes:
        name: The hyperparameter.
        is_category: Whether the numbers are codes.
        numbers: One a trial; where the trial does not have it, NaN, or `ABSENT` for a category.
    """

    name: str
    is_category: bool
    numbers: tuple[float, ...]


def measure_importances(trials: Sequence[TrialRecord], seed: int = 0) -> Importances:
    """Measure how much the score depends on each hyperparameter.

    A hyperparameter that plays no part in some trials counts as having a value of its own there. One that
    has a single value where it plays a part is left out: nothing can be told of it.

    Args:
        trials: All trials, in any order; those that did not complete are left out.
        seed: Of the forest and of the shuffles.

    Returns:
        The largest first. Without rows, and with a fit of NaN, where fewer than `MIN_TRIALS` trials
        completed, all scores are equal, or no hyperparameter took two values.
    """
    done = sorted(
        list_completed(trials),
        key=lambda trial: trial.name,  # the forest draws by position
    )
    scores = np.array([trial.score for trial in done])
    columns = _encode(done)
    if len(done) < MIN_TRIALS or not columns or np.ptp(scores) == 0:
        return Importances((), math.nan)
    values = np.column_stack([column.numbers for column in columns])
    forest = _make_forest(columns, seed).fit(values, scores)
    rows = _shuffle(forest, values, scores, columns, seed)
    return Importances(rows, float(forest[-1].oob_score_))


def _encode(trials: Sequence[TrialRecord]) -> list[_Column]:
    columns = []
    for name in sorted(list_hyperparameters(trial.values for trial in trials)):
        values = [trial.values.get(name) for trial in trials]
        if len({_name_exactly(value) for value in values if value is not None}) > 1:
            columns.append(_encode_one(name, values))
    return columns


def _name_exactly(value: Value) -> str:
    """Return a name that only equal values share."""
    return repr(float(value)) if is_number(value) else name_value(value)


def _encode_one(name: str, values: Sequence[Value | None]) -> _Column:
    known = [value for value in values if value is not None]
    numbers = [float(value) for value in known if is_number(value)]
    if len(numbers) < len(known):
        codes = sorted({name_value(value) for value in known})
        found = (ABSENT if value is None else float(codes.index(name_value(value))) for value in values)
        return _Column(name, True, tuple(found))
    is_log = spans_decades(numbers)
    found = (
        math.nan if value is None else math.log10(float(value)) if is_log else float(value)
        for value in values
    )
    return _Column(name, False, tuple(found))


def _make_forest(columns: Sequence[_Column], seed: int) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    categories = [place for place, column in enumerate(columns) if column.is_category]
    numbers = [place for place, column in enumerate(columns) if not column.is_category]
    encoder = ColumnTransformer(
        [
            ("categories", OneHotEncoder(sparse_output=False), categories),
            ("numbers", SimpleImputer(strategy="median", add_indicator=True), numbers),
        ]
    )
    forest = RandomForestRegressor(
        TREES, min_samples_leaf=2, bootstrap=True, oob_score=True, random_state=seed, n_jobs=1
    )
    return make_pipeline(encoder, forest)


def _shuffle(
    forest: Any, values: Any, scores: Any, columns: Sequence[_Column], seed: int
) -> tuple[Importance, ...]:
    """Shuffle the hyperparameters as they came, so that each is one however it is encoded."""
    from sklearn.inspection import permutation_importance

    found = permutation_importance(
        forest, values, scores, scoring="r2", n_repeats=SHUFFLES, random_state=seed, n_jobs=1
    )
    rows = [
        Importance(column.name, float(mean), float(spread))
        for column, mean, spread in zip(columns, found.importances_mean, found.importances_std, strict=True)
    ]
    return tuple(sorted(rows, key=lambda row: (-row.value, row.name)))
