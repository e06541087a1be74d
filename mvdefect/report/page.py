"""What every page is made with: the templates of this package, and pictures inside the page itself."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import jinja2
import markupsafe


def make_environment(*folders: Path) -> jinja2.Environment:
    """Return the environment in which templates are rendered, with the filters that they share.

    Args:
        folders: Where a page of another package has its own templates; they come before those of this one.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent / "templates"]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["jpeg"] = lambda encoded: to_data_uri(encoded, "jpeg")
    environment.filters["inline"] = markupsafe.Markup
    environment.filters["code"] = mark_code
    return environment


def to_data_uri(encoded: bytes, kind: str) -> str:
    """Return an image that lies inside the page itself."""
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def mark_code(text: str) -> markupsafe.Markup:
    """Set what stands between backticks as code; all else is escaped."""
    return markupsafe.Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(markupsafe.escape(text))))  # noqa: S704
