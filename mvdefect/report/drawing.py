"""Plots as inline SVG that follows the page's colours, and as PNG for whatever is no page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from markupsafe import escape
from matplotlib.figure import Figure as Canvas

# Light colours; in the page each becomes the CSS variable of its name, which the dark theme sets anew.
INK, SOFT, GRID, PAPER = "#1b2430", "#5a6672", "#d9dde1", "#ffffff"
GOOD, BAD, OTHER = "#1f6f8b", "#b5452c", "#8a6d1d"
VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    PAPER: "--card",
    GOOD: "--good",
    BAD: "--bad",
    OTHER: "--other",
}
SETTINGS = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "svg.hashsalt": "mvdefect",  # the same plot gives the same file
    "font.size": 10,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.8,
}
WIDTH_INCHES, HEIGHT_INCHES = 4.8, 3.6
DPI = 130
MAX_NAME = 30


@dataclass(frozen=True)
class Plot:
    """A plot of the report.

    Attributes:
        slug: Name for files and anchors.
        title: Its caption.
        alt: What it shows, for who cannot see it.
        svg: An element for the page.
        png: The same as a file.
    """

    slug: str
    title: str
    alt: str
    svg: str
    png: bytes


def draw_plot(
    title: str, alt: str, draw: Callable[[Any], None], height_inches: float = HEIGHT_INCHES
) -> Plot:
    """Draw on a pair of axes.

    Args:
        title: Caption; names the file too.
        alt: What the plot shows.
        draw: Draws on axes of matplotlib, with this module's colours.
        height_inches: Height; the width is the same for all.
    """
    slug = re.sub(r"\W+", "_", title.lower())
    with mpl.rc_context(SETTINGS):
        canvas = Canvas(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        draw(canvas.add_subplot())
        svg, png = io.StringIO(), io.BytesIO()
        canvas.savefig(png, format="png", dpi=DPI)
        canvas.savefig(
            svg, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    return Plot(slug, title, alt, _make_inline(svg.getvalue(), slug, alt), png.getvalue())


def name_in_plot(name: str) -> str:
    """Let a name mean itself in a plot, and leave room for the plot."""
    if len(name) > MAX_NAME:
        name = f"{name[: MAX_NAME // 2 - 1]}…{name[-MAX_NAME // 2 :]}"
    name = name.replace("$", r"\$")  # else it begins a formula
    return f"\u200b{name}" if name.startswith("_") else name  # else a legend leaves it out


def write_png(plot: Plot, folder: Path) -> Path:
    """Write a plot as a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{plot.slug}.png"
    path.write_bytes(plot.png)
    return path


def _make_inline(svg: str, slug: str, alt: str) -> str:
    """Turn a file of matplotlib's into an element: no address, ids of its own, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = (
        re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", svg[: svg.index(">")])
        + svg[svg.index(">") :]
    )
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r'id="([^"]+)"', rf'id="{slug}-\1"', svg)
    svg = svg.replace('href="#', f'href="#{slug}-').replace("url(#", f"url(#{slug}-")
    svg = re.sub(r"font: ?([\d.]+px) [^;\"]+", r"font-size: \1", svg)
    svg = re.sub(r"font-family: ?[^;\"]+;? ?", "", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
