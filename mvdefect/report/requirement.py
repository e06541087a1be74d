"""How the answer to a requirement is put to people, on the terminal and in the report."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

from mvdefect.core.files import escape_name
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.requirement import (
    RECALL,
    Answer,
    ClauseAnswer,
    RequirementAnswer,
)
from mvdefect.report.wording import format_percent, format_span

ANSWERS = {
    Answer.MET: "met",
    Answer.NOT_MET: "not met",
    Answer.TOO_FEW: "too few images to say",
}
HEADLINES = {
    Answer.MET: "The requirement is met",
    Answer.NOT_MET: "The requirement is not met",
    Answer.TOO_FEW: "Too few images to say whether the requirement is met",
}
EXAMPLE = "recall 0.95, false-alarms 0.05"


def name_clause(clause: ClauseAnswer) -> str:
    """Say what is asked for, as in "recall of at least 95%"."""
    bound = "recall of at least" if clause.figure == RECALL else "false alarms of at most"
    return f"{bound} {100 * clause.limit:.6g}%"


def describe_clause(clause: ClauseAnswer, evaluation: Evaluation) -> str:
    """Say what was found for one clause, and what it takes to tell where that is not enough."""
    counts = {name: int(figure.value) for name, figure in evaluation.confusion.items()}
    if clause.figure == RECALL:
        kind, done, right, hits, others = "defective", "caught", "caught", "true_positive", "false_negative"
    else:
        kind, done, right, hits, others = "good", "rejected", "passed", "false_positive", "true_negative"
    if math.isnan(clause.value):
        needed = f"it takes {clause.more_needed} independent ones at least, all of them {right}"
        return f"no {kind} {evaluation.unit} was tested; {needed}"
    found = (
        f"{counts[hits]} of {counts[hits] + counts[others]} {kind} {done}, {format_percent(clause.value)}; "
        f"cautious 95% interval {format_span(clause.low, clause.high)}"
    )
    if clause.answer != Answer.TOO_FEW:
        return found
    if clause.more_needed is None:
        return f"{found}; the rate lies on the limit, where no number of images would tell"
    images = evaluation.unit if clause.more_needed == 1 else f"{evaluation.unit}s"
    more = f"{clause.more_needed:,} more independent {kind} {images} in the test part"
    return f"{found}; at this rate, {more} would show that it is {ANSWERS[clause.heading_for]}"


def describe_statement(answer: RequirementAnswer) -> str:
    """Say when the requirement was stated."""
    if answer.stated == "before the figures":
        return "The requirement was stated before the figures were known."
    kept = f" The fit had another one, which stays: {answer.instead_of}." if answer.instead_of else ""
    return f"The requirement was stated after the figures.{kept}"


def describe_requirement(evaluation: Evaluation) -> str:
    """Say in a few sentences whether the requirement is met; "" where there is none."""
    answer = evaluation.requirement
    if answer is None:
        return ""
    clauses = [
        f"{name_clause(clause)}: {ANSWERS[clause.answer]} ({describe_clause(clause, evaluation.decisive)})"
        for clause in answer.clauses
    ]
    parts = ". ".join(f"{clause[0].upper()}{clause[1:]}" for clause in clauses)
    return f"{HEADLINES[answer.answer]}. {describe_statement(answer)} {parts}."


def describe_question(command: str, run: Path) -> str:
    """Ask for a requirement, with the command that answers it."""
    line = shlex.join(["mvdefect", command, escape_name(run), "--require", EXAMPLE])
    return f"No requirement was stated. Say what the line needs, and it is answered: `{line}`"
