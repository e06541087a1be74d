"""How figures and verdicts are put to people: on the terminal and in the report."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mvdefect.audit.findings import Audit, Probe, Severity
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.evaluation.box_figures import BoxFigures
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.figures import UNKNOWN
from mvdefect.evaluation.operating_point import PartPoint

VERDICT_NAMES = {
    "classifier": "the classifier calls it defective",
    "novelty": "it is unlike good images",
    "combined": "both, weighed together, call it defective",
    "either": "either of the first two",
}
SMALLEST_SHARE = 1e-6  # what is nearer to 0 or 1 comes of rounding
PROTOCOLS = {
    "closed-set": "every defect type is in every part, so the figures are for defects of known types.",
    "kfold": "one of several rounds in which each photograph is tested once; defects are of known types.",
    "unseen-type": "the type that is tested was never shown in training, so the figures are for defects of "
    "a new type.",
    "good-only": "trained on good photographs alone; every defective one is in test.",
    "label-budget": "few defective photographs to learn from; defects are of known types.",
    "random": "parts drawn by label alone, as much published code does; near-duplicates are torn apart, so "
    "the figures are too good.",
    "given": "the parts are those that the data names.",
    "official": "trained on good photographs alone, as in the literature on one-class inspection.",
}
WAYS = {  # of dividing images, that `check` tries; {} is the number in the protocol's name
    "closed-set": "all kinds of defects in training and test",
    "good-only": "good images alone in training",
    "unseen-type": "one kind of defect kept out of training",
    "label-budget": "{} defective images in training",
    "kfold": "{} rounds, each image tested once",
    "official": "good images alone in training, as papers do it",
}
PERCENTILES = {"p50": "median", "p95": "95th percentile"}


def name_latency(name: str) -> str:
    """Return what people call a time per image, as in "batch_32_p50_ms"."""
    _, size, percentile, _ = name.split("_")
    return f"ms per image, batch of {size}, {PERCENTILES[percentile]}"


def format_figure(figure: Figure) -> tuple[str, str]:
    """Return a figure and its interval as text, or a dash and the reason where it is not defined."""
    if math.isnan(figure.value):
        return "-", figure.method if figure.method == UNKNOWN.method else ""
    if math.isnan(figure.low):
        return f"{figure.value:.3f}", ""
    return f"{figure.value:.3f}", f"{figure.low:.3f} to {figure.high:.3f}"


def format_percent(share: float) -> str:
    """Return a share as a percentage, finer where it is near 0 or 1."""
    if math.isnan(share):
        return "not defined"
    if SMALLEST_SHARE < share < 0.0095:
        return f"{100 * share:.2g}%"
    if 0.9995 <= share < 1 - SMALLEST_SHARE:
        return f"{share:.2%}"
    digits = 1 if SMALLEST_SHARE < share < 0.0995 or 0.9005 < share < 0.9995 else 0
    return f"{share:.{digits}%}"


def format_span(low: float, high: float) -> str:
    """Return an interval of shares as percentages, as in "61 to 92%"."""
    if math.isnan(low):
        return "not defined"
    return f"{format_percent(low)} to {format_percent(high)}".replace("%", "", 1)


def format_signed(value: float, digits: int = 3) -> str:
    """Return a number with its sign, a minus being as wide as a plus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def format_probability(probability: float) -> str:
    """Return a probability with three decimals, and never as the 0 or 1 that it is not."""
    if 0 < probability < 0.0005:
        return "<0.001"
    return ">0.999" if 0.9995 <= probability < 1 else f"{probability:.3f}"


def format_count(figure: Figure) -> tuple[str, str]:
    """Return a count and its interval as text."""
    return f"{figure.value:.0f}", f"{figure.low:.0f} to {figure.high:.0f}"


def describe_line(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return what the inspector does to the line: name, value and interval of each figure."""
    line = evaluation.line
    if line is None or evaluation.by_part is not None:  # then it is told with the parts
        return []
    share = f"{line.prevalence:.2%} defective" + ("" if line.is_given else ", as photographed")
    has_defects = bool(evaluation.defective)
    rows = [(f"precision at {share}", *format_figure(line.precision))] if has_defects else []
    for words, figure in (
        *([("escapes: defects passed, per thousand", line.escape_ppt)] if has_defects else []),
        ("overkill: good rejected, per thousand", line.overkill_ppt),
        ("left to a person, per thousand", line.review_ppt),
    ):
        rows.append((words, f"{figure.value:.2f}", f"{figure.low:.2f} to {figure.high:.2f}"))
    return rows if evaluation.reviewed else rows[:-1]


def describe_localisation(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Return how well the heatmaps find the defects: name, value and interval of each figure."""
    found = evaluation.localisation
    if found is None:
        return []
    near = f"highest pixel within {found.tolerance_px} pixels of the defect"
    return [
        ("heatmap: pixel ROC-AUC", *format_figure(found.pixel_roc_auc)),
        ("heatmap: PRO to 30% false positives", *format_figure(found.pro)),
        (f"heatmap: {near} (chance {found.pointing_chance:.2f})", *format_figure(found.pointing)),
        *_describe_boxes(found.boxes),
    ]


def _describe_boxes(found: BoxFigures | None) -> list[tuple[str, str, str]]:
    if found is None:
        return []
    size = f"{format_percent(found.box_share)} of the image, chance {found.chance:.2f}"
    rows = [(f"regions: highest box holds the defect ({size})", *format_figure(found.hits))]
    return [*rows, ("regions: good images with a box", *format_figure(found.alarms))] if found.good else rows


def describe_verdict(evaluation: Evaluation) -> str:
    """Say in three sentences what was found, for someone who decides about the line."""
    if not evaluation.defective:
        return _describe_good_alone(evaluation)
    counts, figures = evaluation.confusion, evaluation.figures
    good = evaluation.images - evaluation.defective
    caught, alarms = figures["recall"], figures["false_alarm_rate"]
    if evaluation.reviewed:
        left = f"It leaves {evaluation.reviewed} to a person, whom these figures leave out."
    else:
        left = (
            f"Its verdict is right for {figures['accuracy'].value:.1%} of the {evaluation.unit}s; always "
            f"naming the larger class would be right for {figures['majority_rate'].value:.1%}."
        )
    return (
        f"On {evaluation.images} {evaluation.unit}s that it had not seen, the inspector caught "
        f"{counts['true_positive'].value:.0f} of {evaluation.defective} defective ones and raised "
        f"{counts['false_positive'].value:.0f} false alarms among {good} good ones, at the threshold "
        f"{evaluation.operating_point.probability:.3f}. On more {evaluation.unit}s like these, expect it to "
        f"catch {format_span(caught.low, caught.high)} of the defective ones and to reject "
        f"{format_span(alarms.low, alarms.high)} of the good ones that it decides on. {left}"
    )


def _describe_good_alone(evaluation: Evaluation) -> str:
    alarms, point = evaluation.figures["false_alarm_rate"], evaluation.operating_point
    return (
        f"On {evaluation.images} good {evaluation.unit}s that it had not seen, the inspector raised "
        f"{evaluation.confusion['false_positive'].value:.0f} false alarms at the threshold "
        f"{point.probability:.3f}; expect between {alarms.low:.0%} and {alarms.high:.0%} on more. "
        "What share of defects it catches cannot be told, since no tested image is defective: add the "
        "defective images that you have, be it one, and run the same command again."
    )


def describe_pooling(by_part: PartPoint) -> str:
    """Say how the score of a part is made of those of its images."""
    pooling = by_part.pooling
    kind = pooling.kind
    if kind == "soft maximum":
        kind = f"soft maximum, of temperature {pooling.temperature:g},"  # type: ignore[assignment]
    scaled = ", after each view was put on the scale of its good images" if pooling.scales else ""
    text = f"The score of a part is the {kind} of those of its images{scaled}."
    if pooling.roc_auc is None or pooling.maximum_roc_auc is None:
        return text
    if pooling.kind == "maximum" and not pooling.scales:
        return (
            f"{text} On held-out parts no other way was better for certain (ROC-AUC {pooling.roc_auc:.3f})."
        )
    return (
        f"{text} On held-out parts its ROC-AUC is {pooling.roc_auc:.3f}, that of the maximum "
        f"{pooling.maximum_roc_auc:.3f}."
    )


def describe_protocol(protocol: str) -> str:
    """Say what a figure under a protocol means."""
    return PROTOCOLS.get(protocol.split(" ")[0], "see the notes of the split plan.")


def name_protocol(protocol: str) -> str:
    """Say in plain words how images are divided under a protocol, and its name, as `--protocol` takes it."""
    name, _, number = protocol.partition(" ")
    return f"{WAYS[name].format(number)} ({protocol})"


def find_common_remark(probes: Sequence[Probe]) -> str:
    """Return why no property could be looked at, if the reason is one for all; otherwise ""."""
    remarks = {probe.remark for probe in probes}
    is_unknown = all(math.isnan(probe.roc_auc.value) for probe in probes)
    return remarks.pop() if is_unknown and len(remarks) == 1 else ""


def describe_audit(audit: Audit) -> str:
    """Say in one or two sentences whether a data set can be trusted."""
    errors, warnings = audit.count(Severity.ERROR), audit.count(Severity.WARNING)
    if errors:
        return (
            f"{errors} error(s) and {warnings} warning(s): mend the errors before training, "
            "or the results will be wrong."
        )
    if warnings:
        return f"No error, {warnings} warning(s): read them before you trust a result."
    return "No error and no warning: these images are fit for training."
