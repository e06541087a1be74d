"""The report of a run, or of several side by side: one HTML file that opens without a network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy.special import expit

from mvdefect import __version__
from mvdefect.paths import write_text
from mvdefect.progress import logger
from mvdefect.report.audit_summary import find_layout, summarise_audit
from mvdefect.report.comparing import compare_with_others
from mvdefect.report.contents import RunContents, read_comparable, read_contents
from mvdefect.report.drawing import write_png
from mvdefect.report.gallery import make_galleries
from mvdefect.report.markdown import write_markdown
from mvdefect.report.page import make_environment
from mvdefect.report.sections import TRADE_OFF, Evidence, Section, make_sections
from mvdefect.report.tradeoff import ScoredImages, collect_scores, compute_trade_off, draw_bars, find_range
from mvdefect.report.verdict import Verdict, reach_verdict
from mvdefect.report.wording import format_percent, format_probability
from mvdefect.runs import RunFolder

ICONS = {"ship": "✓", "care": "!", "stop": "✕"}


def write_report(folder: RunFolder) -> None:
    """Write the `report.html` of a run, and its plots as PNG.

    Args:
        folder: A run with its predictions, split plan and operating point; it may not be finished.

    Raises:
        RunError: A file of the run is missing or damaged.
    """
    evidence = gather_evidence((read_contents(folder),))
    sections = make_sections(evidence)
    for section in sections:
        for plot in section.plots:
            write_png(plot, folder.figures)
    write_text(folder.report, _render(evidence, sections))


def compare_runs(paths: Sequence[Path], out: Path, markdown: Path | None = None) -> None:
    """Write the report of a run and of what it is compared with.

    Args:
        paths: Finished runs of one split plan: the inspector, then the others.
        out: The HTML file.
        markdown: The same as Markdown; its pictures go into `figures` beside it. None: no Markdown.

    Raises:
        RunError: One is no finished run, or they are of different split plans.
        SplitError: A split plan was changed.
    """
    started = time.monotonic()
    evidence = gather_evidence(read_comparable(paths))
    sections = make_sections(evidence)
    html = _render(evidence, sections)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, html)
    if markdown is not None:
        write_markdown(_reach(evidence), sections, markdown)
    seconds, megabytes = time.monotonic() - started, len(html.encode()) / 1e6
    logger.info("report of %d run(s): %.1f MB in %.1f s", len(paths), megabytes, seconds)


def gather_evidence(runs: Sequence[RunContents]) -> Evidence:
    """Compare the runs, and look at the photographs of the first one where they are still there."""
    layout = find_layout(runs[0].config)
    records = {} if layout is None else {record.id: record for record in layout.records}
    return Evidence(
        runs=tuple(runs),
        differences=compare_with_others(runs),
        audit=None if layout is None else summarise_audit(layout, runs[0].config),
        images=collect_scores(runs[0]),
        galleries=make_galleries(runs[0], records),
    )


def _reach(evidence: Evidence) -> Verdict:
    return reach_verdict(evidence.runs[0], evidence.differences, evidence.audit)


def _render(evidence: Evidence, sections: Sequence[Section]) -> str:
    run = evidence.runs[0]
    verdict = _reach(evidence)
    template = make_environment().get_template("report.html")
    return template.render(
        run=run,
        evaluation=run.evaluation,
        others=[other.name for other in evidence.runs[1:]],
        verdict=verdict,
        icon=ICONS[verdict.advice],
        sections=sections,
        trade_off_slug=TRADE_OFF,
        trade_off=_prepare_slider(evidence.images),
        version=__version__,
    )


def _prepare_slider(images: ScoredImages) -> dict[str, Any]:
    """Return what the slider shows before it is moved, or where no JavaScript runs."""
    low, high = find_range(images)
    found = compute_trade_off(images, images.threshold, images.review_width, images.prevalence)
    counts = asdict(found)
    shown = {name: str(value) for name, value in counts.items() if isinstance(value, int)}
    shown |= {name: f"{counts[name]:.2f}" for name in ("escape_ppt", "overkill_ppt", "review_ppt")}
    shown |= {name: format_percent(counts[name]) for name in ("recall", "false_alarm_rate", "precision")}
    return {
        "data": images.to_json() | {"low": low, "high": high},
        "shown": shown,
        "low": low,
        "high": high,
        "widest": (high - low) / 4,
        "threshold": images.threshold,
        "review_width": images.review_width,
        "percent": f"{100 * images.prevalence:.4g}",
        "bars": draw_bars(images),
        "left": (images.threshold - low) / (high - low),
        "probability": format_probability(float(expit(images.threshold))),
    }
