"""How the answer to a requirement is put to people, on the terminal and in the report."""

from __future__ import annotations

import math
import shlex
from pathlib import Path

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
    if clause.figure == RECALL:
        return f"recall of at least {format_percent(clause.limit)}"
    return f"false alarms of at most {format_percent(clause.limit)}"


def describe_clause(clause: ClauseAnswer, evaluation: Evaluation) -> str:
    """Say what was found for one clause, and what it takes to tell where that is not enough."""
    counts = {name: int(figure.value) for name, figure in evaluation.confusion.items()}
    if clause.figure == RECALL:
        kind, done, hits, others = "defective", "caught", "true_positive", "false_negative"
    else:
        kind, done, hits, others = "good", "rejected", "false_positive", "true_negative"
    if math.isnan(clause.value):
        result = "caught" if clause.figure == RECALL else "passed"
        return (
            f"no {kind} image was tested; {clause.more_needed} independent ones, all of them {result}, are the "
            "fewest that can show it"
        )
    found = (
        f"{counts[hits]} of {counts[hits] + counts[others]} {kind} {done}, {format_percent(clause.value)}, "
        f"95% interval {format_span(clause.low, clause.high)}"
    )
    if clause.answer != Answer.TOO_FEW:
        return found
    if clause.more_needed is None:
        return f"{found}; so near to the limit no number of images would tell"
    return (
        f"{found}; at this rate, {clause.more_needed:,} more independent {kind} "
        f"image{'s' if clause.more_needed > 1 else ''} in the test part would show that it is "
        f"{ANSWERS[clause.heading_for]}"
    )


def describe_statement(answer: RequirementAnswer) -> str:
    """Say what was required, and when."""
    asked = " and ".join(name_clause(clause) for clause in answer.clauses)
    if answer.stated == "before the figures":
        return f"Required, before the figures were known: {asked}."
    kept = f" The fit had another one, which stays: {answer.instead_of}." if answer.instead_of else ""
    return f"Required, stated after the figures: {asked}.{kept}"


def describe_requirement(evaluation: Evaluation) -> str:
    """Say in a few sentences whether the requirement is met; "" where there is none."""
    answer = evaluation.requirement
    if answer is None:
        return ""
    clauses = [
        f"{name_clause(clause)}: {ANSWERS[clause.answer]} ({describe_clause(clause, evaluation)})"
        for clause in answer.clauses
    ]
    parts = ". ".join(f"{clause[0].upper()}{clause[1:]}" for clause in clauses)
    return f"{HEADLINES[answer.answer]}. {describe_statement(answer)} {parts}."


def describe_question(command: str, run: Path) -> str:
    """Ask for a requirement, with the command that answers it."""
    line = shlex.join(["mvdefect", command, str(run), "--require", EXAMPLE])
    return f"Nobody said what the line needs. State it, and it is answered: `{line}`"
