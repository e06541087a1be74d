"""The report as Markdown: the same words and tables, pictures as files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mvdefect.paths import write_text
from mvdefect.report.drawing import write_png
from mvdefect.report.gallery import Gallery, Picture
from mvdefect.report.sections import Section
from mvdefect.report.sheets import Sheet
from mvdefect.report.verdict import Verdict

FIGURES = "figures"
SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~])")


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
    yield from (
        "# Inspection report",
        "",
        f"**{escape(verdict.headline)}.** {escape(' '.join(verdict.sentences))}",
        "",
    )
    for figure in verdict.key_figures:
        yield f"- {escape(figure.name)}: **{escape(figure.value)}** ({escape(figure.detail)})"
    yield ""


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
    for suffix, encoded in (("", picture.photograph), ("_heatmap", picture.heatmap)):
        if encoded is not None:
            (folder / FIGURES / f"{name}{suffix}.jpg").write_bytes(encoded)
            yield f"![{escape(picture.alt)}]({FIGURES}/{name}{suffix}.jpg) "


def _fence(text: str) -> tuple[str, str, str]:
    """Enclose lines in more backticks than they hold."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return fence, text.rstrip("\n"), fence
