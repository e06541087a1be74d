"""The report of a run, or of several side by side: one HTML file, or the same words as Markdown."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scipy.special import expit

from mvdefect.audit.findings import Severity
from mvdefect.core.files import write_text
from mvdefect.core.progress import logger
from mvdefect.core.version import __version__
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.report.audit_summary import find_layout, summarise_audit
from mvdefect.report.contents import RunContents, compare_with_others, read_comparable, read_contents
from mvdefect.report.gallery import Gallery, Picture, make_galleries
from mvdefect.report.page import make_environment
from mvdefect.report.plots import write_png
from mvdefect.report.sections import TRADE_OFF, Evidence, Section, make_sections
from mvdefect.report.sheets import Sheet
from mvdefect.report.tradeoff import ScoredImages, collect_scores, compute_trade_off, draw_bars, find_range
from mvdefect.report.verdict import Verdict, describe_errors, name_findings, reach_verdict
from mvdefect.report.wording import format_percent, format_probability
from mvdefect.runs import RunFolder

FIGURES = "figures"
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


ICONS = {"fine": "✓", "care": "!", "stop": "✕", "plain": "?"}


def write_markdown(verdict: Verdict, sections: Sequence[Section], path: Path) -> None:
    """Write the report.

    Args:
        verdict: What it begins with.
        sections: What follows.
        path: The Markdown file; plots and photographs go into `figures` beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [*_set_verdict(verdict), *(line for section in sections for line in _set(section, path.parent))]
    write_text(path, "\n".join(lines).rstrip() + "\n")


def escape(text: str) -> str:
    """Let a text mean itself in Markdown, whatever is in a file's name."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _set_verdict(verdict: Verdict) -> Iterator[str]:
    said = (verdict.alarm, verdict.statement, verdict.summary)
    yield from (
        "# Inspection report",
        "",
        " ".join(filter(None, (f"**{escape(verdict.headline)}.**", *map(escape, said)))),
        "",
    )
    for clause in verdict.clauses:
        yield f"- {escape(clause.asked)}: **{escape(clause.answer)}** ({escape(clause.detail)})"
    for figure in verdict.key_figures:
        yield f"- {escape(figure.name)}: **{escape(figure.value)}** ({escape(figure.detail)})"
    yield from (f"- {escape(remark)}" for remark in verdict.remarks)
    yield ""
    if verdict.question:
        yield from (escape(verdict.question), "")


def _set(section: Section, folder: Path) -> Iterator[str]:
    yield from (f"## {escape(section.title)}", "")
    for words in section.words:
        yield from (escape(words), "")
    for notice in section.notices:
        advice = f" What to do: {notice.advice}" if notice.advice else ""
        yield f"- **{notice.level}: {escape(notice.code)}.** {escape(notice.message + advice)}"
    if section.notices:
        yield ""
    for sheet in section.sheets:
        yield from _set_sheet(sheet)
    for plot in section.plots:
        write_png(plot, folder / FIGURES)
        yield from (f"![{escape(plot.alt)}]({FIGURES}/{plot.slug}.png)", "")
    for gallery in section.galleries:
        yield from _set_gallery(gallery, folder)
    for code in section.codes:
        yield from (f"### {escape(code.title)}", "", *_fence(code.text), "")


def _set_sheet(sheet: Sheet) -> Iterator[str]:
    yield from (f"### {escape(sheet.title)}", "")
    yield _join([column.name for column in sheet.columns])
    yield "| " + " | ".join("---:" if column.kind == "number" else "---" for column in sheet.columns) + " |"
    yield from (_join(row) for row in sheet.rows)
    yield ""
    if sheet.note:
        yield from (escape(sheet.note), "")


def _join(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"


def _set_gallery(gallery: Gallery, folder: Path) -> Iterator[str]:
    yield from (f"### {escape(gallery.title)}", "")
    for number, picture in enumerate(gallery.pictures, start=1):
        links = "".join(_write(picture, f"{gallery.slug}_{number:03}", folder))
        yield f"- {escape(picture.row.id)}: {escape(picture.caption)} {links}".rstrip()
    if not gallery.pictures:
        yield "None."
    yield ""
    if gallery.left_out:
        yield from (f"{gallery.left_out} more are in predictions.csv of the run.", "")


def _write(picture: Picture, name: str, folder: Path) -> Iterator[str]:
    """Write the files of a picture, and yield a link to each."""
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    for suffix, encoded, alt in picture.views:
        (folder / FIGURES / f"{name}{suffix}.jpg").write_bytes(encoded)
        yield f"![{escape(alt)}]({FIGURES}/{name}{suffix}.jpg) "


def _fence(text: str) -> tuple[str, str, str]:
    """Enclose lines in more backticks than they hold."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return fence, text.rstrip("\n"), fence


def write_report(folder: RunFolder, evaluation: Evaluation | None = None) -> None:
    """Write the `report.html` of a run, and its plots as PNG.

    Args:
        folder: A run with its predictions, split plan and operating point; it may not be finished.
        evaluation: What was measured of it already; None: it is measured.

    Raises:
        RunError: A file of the run is missing or damaged.
    """
    evidence = gather_evidence((read_contents(folder, evaluation=evaluation),))
    sections = make_sections(evidence)
    for section in sections:
        for plot in section.plots:
            write_png(plot, folder.figures)
    write_text(folder.report, _render(evidence, sections))


def compare_runs(
    paths: Sequence[Path], out: Path, markdown: Path | None = None, require: str | None = None
) -> Evaluation:
    """Write the report of a run and of what it is compared with.

    Args:
        paths: Finished runs of one split plan: the inspector, then the others.
        out: The HTML file.
        markdown: The same as Markdown; its pictures go into `figures` beside it. None: no Markdown.
        require: A requirement of the inspector, to be answered instead of that of its fit.

    Returns:
        What was measured of the inspector, with the answer.

    Raises:
        ConfigError: `require` is no requirement.
        RunError: One is no finished run, or they are of different split plans.
        SplitError: A split plan was changed.
    """
    started = time.monotonic()
    evidence = gather_evidence(read_comparable(paths, require))
    sections = make_sections(evidence)
    html = _render(evidence, sections)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, html)
    if markdown is not None:
        write_markdown(_reach(evidence), sections, markdown)
    seconds, megabytes = time.monotonic() - started, len(html.encode()) / 1e6
    logger.info("report of %d run(s): %.1f MB in %.1f s", len(paths), megabytes, seconds)
    return evidence.runs[0].evaluation


def gather_evidence(runs: Sequence[RunContents]) -> Evidence:
    """Compare the runs, and look at the photographs of the first one where they are still there."""
    layout = find_layout(runs[0].config)
    records = {} if layout is None else {record.id: record for record in layout.records}
    audit = None if layout is None else summarise_audit(layout, runs[0].config)
    if errors := describe_errors(audit):
        logger.warning("%s", errors)
    if warnings := name_findings(audit, Severity.WARNING):
        logger.warning("the data check has %s; the report says more, and so does `mvdefect check`", warnings)
    return Evidence(
        runs=tuple(runs),
        differences=compare_with_others(runs),
        audit=audit,
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
        icon=ICONS[verdict.tone],
        sections=sections,
        trade_off_slug=TRADE_OFF,
        trade_off=_prepare_slider(evidence.images) if run.evaluation.defective else None,
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
        "unit": images.unit,
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
