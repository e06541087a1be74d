"""The report of a run: one self-contained HTML file that opens without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mvdefect.config import dump_config
from mvdefect.data.images import Pixels
from mvdefect.data.pipeline import Source, read_pictures
from mvdefect.data.prepare import PreparedStore
from mvdefect.data.splits import read_split_plan
from mvdefect.evaluation.evaluate import Evaluation, evaluate_folder
from mvdefect.evaluation.operating_point import DEFECTIVE
from mvdefect.paths import write_text
from mvdefect.report.figures import draw_figures
from mvdefect.report.page import make_environment, to_data_uri
from mvdefect.report.wording import (
    COUNT_NAMES,
    FIGURE_NAMES,
    VERDICT_NAMES,
    describe_verdict,
    format_count,
    format_figure,
)
from mvdefect.runs import (
    PredictionRow,
    RunFolder,
    read_history,
    read_json,
    read_predictions,
    read_run_config,
)

MAX_PICTURES = 24
PICTURE_SIZE_PX = 200


@dataclass(frozen=True)
class Picture:
    """One photograph of the gallery."""

    row: PredictionRow
    data_uri: str


def write_report(folder: RunFolder, store: PreparedStore) -> None:
    """Draw the figures of a run and write its `report.html`.

    Args:
        folder: A run with its predictions, history, split plan and operating point.
        store: The prepared images, for the gallery of misses and false alarms.
    """
    plan = read_split_plan(folder.split_plan)
    predictions = read_predictions(folder)
    evaluation = evaluate_folder(folder)
    history = read_history(folder) if folder.history.is_file() else ()  # a baseline has none
    tested = [row for row in predictions if row.split == evaluation.part]
    figures = draw_figures(tested, history, evaluation, folder.figures)
    galleries = _choose_galleries(tested, evaluation)
    ids = {row.id for rows in galleries.values() for row in rows}
    pictures = read_pictures(Source(store, plan, evaluation.part), ids)
    html = (
        make_environment()
        .get_template("report.html")
        .render(
            evaluation=evaluation,
            verdict=describe_verdict(evaluation),
            figures=[
                (FIGURE_NAMES[name], format_figure(found)) for name, found in evaluation.figures.items()
            ],
            counts=[(words, format_count(evaluation.confusion[name])) for name, words in COUNT_NAMES.items()],
            plots={title: to_data_uri(path.read_bytes(), "png") for title, path in figures.items()},
            galleries={
                title: [Picture(row, _draw_picture(*pictures[row.id])) for row in rows]
                for title, rows in galleries.items()
            },
            environment=read_json(folder.environment),
            config=dump_config(read_run_config(folder)),
            format_figure=format_figure,
            verdict_names=VERDICT_NAMES,
        )
    )
    write_text(folder.report, html)


def _choose_galleries(
    rows: Sequence[PredictionRow], evaluation: Evaluation
) -> dict[str, list[PredictionRow]]:
    """Pick what a person should look at: the worst errors first, then what was nearest to the threshold."""
    misses = [row for row in rows if row.label and row.verdict != DEFECTIVE]
    alarms = [row for row in rows if not row.label and row.verdict == DEFECTIVE]
    threshold = evaluation.operating_point.score
    galleries = {
        f"Missed defects ({len(misses)})": sorted(misses, key=lambda row: row.score),
        f"False alarms ({len(alarms)})": sorted(alarms, key=lambda row: -row.score),
        "Nearest to the threshold": sorted(rows, key=lambda row: abs(row.score - threshold))[:8],
    }
    return {title: chosen[:MAX_PICTURES] for title, chosen in galleries.items()}


def _draw_picture(image: Pixels, mask: Pixels) -> str:
    """Outline the true defect, where its mask is known, and encode the picture."""
    size = (PICTURE_SIZE_PX, PICTURE_SIZE_PX)
    shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    outlines, _ = cv2.findContours(
        cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    drawn = cv2.drawContours(np.ascontiguousarray(shrunk[:, :, ::-1]), outlines, -1, (60, 200, 255), 1)
    encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    return to_data_uri(encoded.tobytes(), "jpeg")
