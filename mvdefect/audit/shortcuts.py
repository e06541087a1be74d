"""Shortcuts: properties of a photograph that say nothing of a defect, and yet tell good from defective.

A classifier takes the easiest way. If defective parts were photographed with another camera, it learns
the camera. A small model that sees nothing but such a property measures how far that way leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvdefect.audit.findings import Finding, Probe, Severity
from mvdefect.data.groups.candidates import Indices
from mvdefect.data.records import Record
from mvdefect.data.scan import FileFacts, FirstLook
from mvdefect.evaluation.bootstrap import Figure
from mvdefect.evaluation.figures import Sample, measure, roc_auc

WARN_ABOVE = 0.6
CHANCE = 0.5
FOLDS = 5
MAX_PROBED_IMAGES = 5000
MIN_GROUPS_PER_CLASS = 10
UNKNOWN = Figure(float("nan"), float("nan"), float("nan"))

Row = tuple[float | str, ...]


@dataclass(frozen=True)
class Property:
    """A property to probe.

    Attributes:
        name: What the small model sees.
        columns: Name of each column, with its unit.
        causes: For each column, what such a difference between the classes can come from.
        read: One row of columns; text stands for a category.
        advice: What to do about it.
        severity: How bad it is if it tells good from defective.
    """

    name: str
    columns: tuple[str, ...]
    causes: tuple[str, ...]
    read: Callable[[Record, FileFacts], Row]
    advice: str
    severity: Severity = Severity.WARNING


def probe_shortcuts(look: FirstLook, groups: Indices) -> tuple[Probe, ...]:
    """Measure how well each property of `PROPERTIES` alone tells good from defective.

    Grouped, stratified 5-fold cross-validation of a random forest; ROC-AUC over all held-out
    predictions, with its interval by group bootstrap. Of more than 5,000 images, whole groups are drawn.

    Args:
        look: The readable files.
        groups: Group of each image.
    """
    chosen = _draw_groups(groups)
    labels = np.array([look.records[index].label == 1 for index in chosen], bool)
    return tuple(_probe(look, chosen, labels, groups[chosen], seen) for seen in PROPERTIES)


def report_shortcuts(probes: Sequence[Probe]) -> Iterator[Finding]:
    """Warn of each property that tells good from defective better than chance allows."""
    for seen, probe in zip(PROPERTIES, probes, strict=True):
        auc = probe.roc_auc
        if auc.value > WARN_ABOVE and auc.low > CHANCE:
            yield Finding(
                f"shortcut-{seen.name.replace(' ', '-')}",
                seen.severity,
                f"The {seen.name} alone tells good from defective: ROC-AUC {auc.value:.2f} ({auc.low:.2f} to "
                f"{auc.high:.2f}) where 0.50 is chance. {probe.remark} {probe.cause}",
                seen.advice
                if seen.severity == Severity.NOTE
                else f"{seen.advice} Compare every score with this one.",
            )


def _draw_groups(groups: Indices) -> Indices:
    """Return the images to probe: all, or those of whole groups drawn up to the limit."""
    if len(groups) <= MAX_PROBED_IMAGES:
        return np.arange(len(groups))
    order = np.random.default_rng(0).permutation(int(groups.max()) + 1)
    sizes = np.bincount(groups)[order]
    return np.flatnonzero(np.isin(groups, order[np.cumsum(sizes) <= MAX_PROBED_IMAGES]))


def _probe(
    look: FirstLook, chosen: Indices, labels: NDArray[np.bool_], groups: Indices, seen: Property
) -> Probe:
    for name, members in (("good", groups[~labels]), ("defective", groups[labels])):
        held = len(np.unique(members))
        if held < MIN_GROUPS_PER_CLASS:
            return Probe(
                seen.name,
                UNKNOWN,
                f"not measured: it takes {name} images of {MIN_GROUPS_PER_CLASS} different parts, and there "
                f"are {held}",
            )
    rows = [seen.read(look.records[index], look.facts[index]) for index in chosen]
    table, origin = _encode(rows)
    if not np.ptp(table, axis=0).any():
        return Probe(seen.name, Figure(CHANCE, np.nan, np.nan, "constant"), "the same for all images")
    scores = _predict_held_out(table, labels, groups)
    auc = measure(Sample(labels, scores, scores > CHANCE, groups), roc_auc)
    return Probe(seen.name, auc, *_describe_difference(seen, rows, (table, origin), labels))


def _encode(rows: Sequence[Row]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return rows as numbers, text as one column for each of its values; and where each is from."""
    columns: list[NDArray[np.float64]] = []
    origin: list[int] = []
    for number, column in enumerate(zip(*rows, strict=True)):
        if isinstance(column[0], str):
            found = [(np.array(column) == value).astype(float) for value in sorted(set(column))]
        else:
            found = [np.array(column, float)]
        columns += found
        origin += [number] * len(found)
    return np.stack(columns, axis=1).astype(np.float64), np.array(origin, np.int64)


def _predict_held_out(
    table: NDArray[np.float64], labels: NDArray[np.bool_], groups: Indices
) -> NDArray[np.float64]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import StratifiedGroupKFold

    scores = np.zeros(len(labels))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    for seen, held_out in folds.split(table, labels, groups):
        forest = RandomForestClassifier(100, min_samples_leaf=5, class_weight="balanced", random_state=0)
        forest.fit(table[seen], labels[seen])
        positive = list(forest.classes_).index(True) if True in forest.classes_ else None
        scores[held_out] = 0.0 if positive is None else forest.predict_proba(table[held_out])[:, positive]
    return scores


def _describe_difference(
    seen: Property,
    rows: Sequence[Row],
    encoded: tuple[NDArray[np.float64], NDArray[np.int64]],
    labels: NDArray[np.bool_],
) -> tuple[str, str]:
    """Say by which column the classes differ most, and what that can come from."""
    table, origin = encoded
    verdicts, groups = labels, np.arange(len(labels))
    ones = np.ones((1, len(labels)))
    separation = [
        abs(float(roc_auc(Sample(labels, column, verdicts, groups), ones)[0]) - CHANCE) for column in table.T
    ]
    best = int(np.argmax(separation))
    number = int(origin[best])
    values = [row[number] for row in rows]
    if isinstance(values[0], str):
        difference = _compare_shares(np.array(values, dtype=str), labels)
    else:
        good, bad = np.median(table[~labels, best]), np.median(table[labels, best])
        difference = f"Median {seen.columns[number]}: good {good:.4g}, defective {bad:.4g}."
    return difference, seen.causes[number]


def _compare_shares(names: NDArray[np.str_], labels: NDArray[np.bool_]) -> str:
    shares = {name: float(labels[names == name].mean()) for name in sorted(set(names.tolist()))}
    least, most = min(shares, key=lambda name: shares[name]), max(shares, key=lambda name: shares[name])
    if shares[least] == shares[most]:
        return f"Of each, {shares[most]:.0%} are defective."
    return f"Of {most}, {shares[most]:.0%} are defective; of {least}, {shares[least]:.0%}."


def _read_size(_: Record, facts: FileFacts) -> Row:
    height, width = facts.size_px
    return float(width), float(height), width / max(height, 1)


def _read_encoding(_: Record, facts: FileFacts) -> Row:
    header = facts.header
    if header is None:
        return "", "", 0.0, 0.0
    return header.format, header.mode, float(header.jpeg_quality), float(header.exif_tags)


def _read_file_size(_: Record, facts: FileFacts) -> Row:
    height, width = facts.size_px
    return (facts.size_bytes / max(height * width, 1),)


def _read_tones(_: Record, facts: FileFacts) -> Row:
    tones = facts.tones
    return (tones.mean, tones.spread, *tones.border) if tones else (0.0,) * 5


def _read_category(record: Record, _: FileFacts) -> Row:
    return (record.category,)


SAVED_OTHERWISE = "Good and defective images were saved with other settings or by other programs."
TAKEN_OTHERWISE = "Good and defective images were cropped or taken differently."
OTHER_LIGHT = (
    "This can come from other light or exposure, or from defects that change the whole picture, as a large "
    "stain."
)
OTHER_BORDER = (
    "This can come from another background or crop, or from parts and defects that reach the edge of the "
    "image."
)
PROPERTIES = (
    Property(
        "image size",
        ("width in pixels", "height in pixels", "aspect ratio"),
        (TAKEN_OTHERWISE,) * 3,
        _read_size,
        "Crop all in one way before training; `--set resize=stretch` hides the shape from the model, not the "
        "difference in scale.",
    ),
    Property(
        "file encoding",
        ("format", "colour mode", "JPEG quality", "number of EXIF tags"),
        (SAVED_OTHERWISE,) * 4,
        _read_encoding,
        "Save all images in one way, from the camera's own files.",
    ),
    Property(
        "file size",
        ("bytes per pixel",),
        ("A defect makes a file larger or smaller by itself; so does another compression.",),
        _read_file_size,
        "Nothing, if all files were saved in one way: format, quality and tags are judged apart from this.",
        Severity.NOTE,
    ),
    Property(
        "light and border",
        ("mean grey value", "spread of grey values", "border red", "border green", "border blue"),
        (OTHER_LIGHT, OTHER_LIGHT, OTHER_BORDER, OTHER_BORDER, OTHER_BORDER),
        _read_tones,
        "If it is the light or the background, take both kinds in the same place and light.",
    ),
    Property(
        "category",
        ("category",),
        ("Some products have far more defective images than others.",),
        _read_category,
        "Balance the products, or train one inspector for each.",
    ),
)
