"""What the line needs, in the user's words, and whether an inspector is shown to give it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from mvdefect.core.errors import ConfigError
from mvdefect.evaluation.bootstrap import CONFIDENCE, TAIL, Figure, wilson_interval
from mvdefect.evaluation.figures import FIGURES, Sample

Name = Literal["recall", "false_alarm_rate"]
Stated = Literal["before the figures", "after the figures"]

FORM = (
    "'recall 0.95, false-alarms 0.05', or one of the two: the share of defective images that must be caught, "
    "and that of good images that may be rejected, each above 0 and below 1 (95% and 5% will do)"
)
RECALL: Name = "recall"
ALARMS: Name = "false_alarm_rate"
LONGEST = 200  # letters
MOST_IMAGES = 10_000_000

CAUGHT = """recall; sensitivity; tpr; tp; true positive; detection; detected; hit; caught; catch;
defect caught; caught defect; defective caught; defect detected; defect detection; erkennungsrate"""
MISSED = """escape; miss; missed; missed defect; defect missed; defective missed; defect escape; fnr; fn;
false negative; underkill; slip; false accept; false acceptance; false pass; schlupf"""
REJECTED = """false alarm; false positive; fpr; fp; overkill; false reject; false rejection; false call;
good rejected; rejected good; pseudo defect; pseudo error; pseudofehler"""
PASSED = "specificity; tnr; tn; true negative; good passed; passed good"
# By the name in the singular: the figure, and whether the name is that of its complement.
NAMES: dict[str, tuple[Name, bool]] = {
    name: meaning
    for names, meaning in (
        (CAUGHT, (RECALL, False)),
        (MISSED, (RECALL, True)),
        (REJECTED, (ALARMS, False)),
        (PASSED, (ALARMS, True)),
    )
    for name in re.split(r";\s+", names)
}
FILLER = re.compile(
    r"\b(?:rates?|ratio|share|fraction|of|the|an?|is|are|must|should|be|that|to|may|all|at|equals?|target"
    r"|images?|products?|parts?|ones?)\b"
)
NUMBER = re.compile(
    r"(?<![\w.])([-\u2212]?(?:\d+\.?\d*|\.\d+)(?:e-?\d+)?)(?![\w.])\s*(%|percent\b|per cent\b|pct\b)?"
)
PLURAL = re.compile(r"(?<=[^s])s$|(?<=miss)es$")
DIRECTION = re.compile(
    r"(?P<least>>=|=>|≥|>|\b(?:no|not) (?:less|fewer) than\b|\b(?:at least|minimum|minimal|min)\b"
    r"|\b(?:more|greater|higher) than\b|\babove\b|\bover\b)"
    r"|(?P<most><=|=<|≤|<|\b(?:no|not) more than\b|\b(?:at most|maximum|maximal|max)\b"
    r"|\b(?:less|fewer|lower) than\b|\bbelow\b|\bunder\b|\bup to\b)"
)


class Answer(StrEnum):
    """Whether what is asked for is shown, from the best to the worst."""

    MET = "met"
    TOO_FEW = "too few"
    NOT_MET = "not met"


RANKS = tuple(Answer)


@dataclass(frozen=True)
class Clause:
    """A bound of one figure.

    Attributes:
        figure: "recall", which is to be at least `limit`, or "false_alarm_rate", at most `limit`.
        limit: A share, above 0 and below 1.
    """

    figure: Name
    limit: float

    def __str__(self) -> str:
        return f"{'recall' if self.figure == RECALL else 'false-alarms'} {self.limit:.6g}"

    def is_met_by(self, share: float) -> bool:
        """Whether a share is on the right side of the limit; no share is not."""
        return share <= self.limit if FIGURES[self.figure].lower_is_better else share >= self.limit


@dataclass(frozen=True)
class Requirement:
    """What the line needs.

    Attributes:
        clauses: At most one of each figure, recall first.
        stated: Whether it was part of the fit, or came when figures could be seen.
        instead_of: The requirement of the fit, where this is another one; "" otherwise.
    """

    clauses: tuple[Clause, ...]
    stated: Stated = field(default="before the figures", compare=False)
    instead_of: str = field(default="", compare=False)

    def __str__(self) -> str:
        return ", ".join(map(str, self.clauses))

    def get_limit(self, name: Name) -> float | None:
        """Return the limit of a figure; None: nothing is asked of it."""
        return next((clause.limit for clause in self.clauses if clause.figure == name), None)


@dataclass(frozen=True)
class ClauseAnswer:
    """The answer to one clause.

    Attributes:
        figure: As in `Clause`.
        limit: As in `Clause`.
        answer: Met or not met: the whole interval lies on that side of the limit.
        value: The figure on the tested images; NaN where there is none of that class.
        low: Lower end of its 95% interval.
        high: Upper end.
        independent: How many independent images of that class were tested.
        more_needed: At the present rate, how many more of them it takes to tell; 0 where it is told, None
            where the rate lies on the limit, or so near that no data set is large enough.
        heading_for: What more images would show at the present rate.
    """

    figure: Name
    limit: float
    answer: Answer
    value: float
    low: float
    high: float
    independent: int
    more_needed: int | None
    heading_for: Answer


@dataclass(frozen=True)
class RequirementAnswer:
    """The answer to a requirement: the worst of those to its clauses.

    Where all clauses are met, none is so wrongly more often than one alone would be (an intersection-union
    test; Berger, 1982), so nothing is corrected for their number.
    """

    text: str
    answer: Answer
    stated: Stated
    instead_of: str
    confidence: float
    clauses: tuple[ClauseAnswer, ...]


def parse_requirement(text: str) -> Requirement:
    """Read a requirement as people write it: 'recall 0.95, false-alarms 0.05', 'Recall >= 95%', 'escapes 5%'.

    Raises:
        ConfigError: A figure is unknown, named twice or asked for the wrong way round, a number is no share,
            or any inspector would meet it.
    """
    text = str(text)
    dotted = re.sub(r"(?<![\d.])(\d+),(\d+)(?![\d.])", r"\1.\2", text[:LONGEST].lower())  # a decimal comma
    parts = [part for part in re.split(r"[,;&+\n]|\band\b", dotted) if part.strip()]
    if not parts or len(text) > LONGEST:
        raise _refuse("it is too long" if parts else "it is empty", text[:LONGEST])
    clauses = sorted(
        (_parse_clause(part.strip()) for part in parts), key=lambda one: one.figure, reverse=True
    )
    found = Requirement(tuple(clauses))
    if len({clause.figure for clause in clauses}) < len(clauses):
        raise _refuse(f"one figure is bounded twice ({found})", text)
    recall, alarms = found.get_limit(RECALL), found.get_limit(ALARMS)
    if recall is not None and alarms is not None and recall <= alarms:
        swapped = Requirement((Clause(RECALL, alarms), Clause(ALARMS, recall)))
        hint = f"; did you mean '{swapped}'?" if recall < alarms else ""
        raise _refuse(f"an inspector that guesses would meet it{hint}", text)
    return found


def settle_requirement(stored: str | None, asked: str | None) -> Requirement | None:
    """Return what is to be answered, and whether it was stated before the figures.

    Args:
        stored: The requirement of the fit; None: it had none.
        asked: One that comes now; None: that of the fit is answered.

    Raises:
        ConfigError: `asked` is no requirement.
    """
    of_fit = None if stored is None else parse_requirement(stored)
    if asked is None:
        return of_fit
    found = parse_requirement(asked)
    if found == of_fit:
        return found
    return replace(found, stated="after the figures", instead_of="" if of_fit is None else str(of_fit))


def answer_requirement(
    requirement: Requirement, figures: Mapping[str, Figure], sample: Sample
) -> RequirementAnswer:
    """Answer a requirement by the 95% intervals of its figures.

    Args:
        requirement: What is asked for.
        figures: By name, with their intervals, as in `Evaluation.figures`.
        sample: The images that they were measured on.
    """
    answers = []
    for clause in requirement.clauses:
        among = FIGURES[clause.figure].among
        groups = sample.groups if among is None else sample.groups[among(sample)]
        answers.append(answer_clause(clause, figures[clause.figure], groups))
    worst = max((one.answer for one in answers), key=RANKS.index)
    return RequirementAnswer(
        str(requirement), worst, requirement.stated, requirement.instead_of, CONFIDENCE, tuple(answers)
    )


def answer_clause(clause: Clause, figure: Figure, groups: NDArray[np.int64]) -> ClauseAnswer:
    """Answer one clause by the wider of the figure's own interval and the exact one on independent images.

    A bootstrap knows too little of errors that are rare, and nothing of those that it has not seen, so it
    alone shows nothing.

    Args:
        clause: What is asked for.
        figure: The share, with its interval.
        groups: Code of the group of each image that it is a share of, (n,).
    """
    count = count_independent(groups)
    low, high = find_interval(figure.value, count)
    low, high = np.nanmin([low, figure.low]), np.nanmax([high, figure.high])
    answer = Answer.TOO_FEW
    if clause.is_met_by(low) and clause.is_met_by(high):
        answer = Answer.MET
    elif not (clause.is_met_by(low) or clause.is_met_by(high)):
        answer = Answer.NOT_MET
    is_missing = math.isnan(figure.value)
    heading = Answer.MET if is_missing or clause.is_met_by(figure.value) else Answer.NOT_MET
    more = count_more(clause, figure, count) if answer == Answer.TOO_FEW else 0
    return ClauseAnswer(
        clause.figure,
        clause.limit,
        answer,
        figure.value,
        float(low),
        float(high),
        int(count + 1e-9),
        more,
        heading,
    )


def count_independent(groups: NDArray[np.int64]) -> float:
    """Return how many independent images those of some groups are worth (Kish, 1965).

    The images of a group are taken to be right or wrong together: groups of one size count one each, and
    those of unequal sizes less, for a share of images is mostly that of the largest groups.
    """
    sizes = np.unique(groups, return_counts=True)[1].astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum()) if len(sizes) else 0.0


def find_interval(share: float, count: float) -> tuple[float, float]:
    """Return the wider of Clopper and Pearson's (1934) and Wilson's (1927) 95% interval of a share.

    Args:
        share: That was seen; NaN: none was.
        count: In so many independent images, which may be no whole number.
    """
    if math.isnan(share) or count <= 0:
        return 0.0, 1.0
    hits = share * count
    low = float(beta.ppf(TAIL, hits, count - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - TAIL, hits + 1, count - hits)) if hits < count else 1.0
    wilson_low, wilson_high = wilson_interval(share, count)
    return min(low, wilson_low), max(high, wilson_high)


def count_more(clause: Clause, figure: Figure, count: float) -> int | None:
    """Return how many more independent images it takes to tell, if the rate stays as it is.

    Where the figure's own interval is the wider one, it is taken to shrink with the root of their number.
    Where nothing was tested, every image is taken to be right.

    Returns:
        At least 1; None: more than ten million, or no number.
    """
    share = figure.value
    if math.isnan(share):
        share = 0.0 if FIGURES[clause.figure].lower_is_better else 1.0
    if share == clause.limit:
        return None

    def is_told(images: float) -> bool:
        low, high = find_interval(share, images)
        return not low < clause.limit < high

    enough = max(1, math.ceil(count))
    while not is_told(enough):
        enough *= 2
        if enough > MOST_IMAGES:
            return None
    below = enough // 2
    while enough - below > 1:
        middle = (enough + below) // 2
        below, enough = (below, middle) if is_told(middle) else (middle, enough)
    low, high = find_interval(share, count)
    end, exact = (figure.low, low) if share > clause.limit else (figure.high, high)
    if abs(share - end) > abs(share - exact):
        enough = max(enough, math.ceil(count * ((share - end) / (share - clause.limit)) ** 2))
    return max(1, math.ceil(enough - count - 1e-9))


def _refuse(problem: str, text: str) -> ConfigError:
    end = "" if problem.endswith("?") else "."
    return ConfigError(f"the requirement cannot be used: {problem}{end} Allowed: {FORM}. Received: {text!r}")


def _parse_clause(text: str) -> Clause:
    numbers = NUMBER.findall(text)
    directions = {match.lastgroup for match in DIRECTION.finditer(text)}
    if len(numbers) != 1:
        raise _refuse("a comma must separate its parts" if numbers else "a number is missing", text)
    name, is_complement = _find_figure(DIRECTION.sub(" ", NUMBER.sub(" ", text)), text)
    (number, percent), *_ = numbers
    share = _read_share(number, percent, text)
    goal = "most" if FIGURES[name].lower_is_better != is_complement else "least"
    if directions - {goal}:
        raise _refuse(f"this figure can be asked to be at {goal} some share", text)
    return Clause(name, round(1 - share, 12) if is_complement else share)


def _find_figure(words: str, text: str) -> tuple[Name, bool]:
    """Return the figure that some words name, and whether they name its complement."""
    kept = re.findall(r"[^\W\d_]+\d?", FILLER.sub(" ", words.replace("_", " ")))
    name = " ".join(PLURAL.sub("", word) for word in kept)
    if name in NAMES:
        return NAMES[name]
    nearest = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.6)
    hint = f"; did you mean '{nearest[0]}'?" if nearest else ""
    raise _refuse(f"unknown figure '{name}'{hint}" if name else "a number must have its figure", text)


def _read_share(number: str, percent: str, text: str) -> float:
    """Return a share; from 2 on, a number without a percent sign is a percentage as well."""
    value = float(number.replace("\u2212", "-"))
    share = value / 100 if percent or 2 <= value < 100 else value
    if 0 < share < 1:
        return share
    problem = "a share must be above 0 and below 1"
    if 1 < share < 2 and not percent:
        problem += f"; did you mean {value:g}%, which is {value / 100:g}?"
    if share in (0, 1):
        problem = "no number of images can show that there is never an error"
    raise _refuse(problem, text)
