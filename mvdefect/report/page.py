"""What every page is made with: the templates of this package, and pictures inside the page itself."""

from __future__ import annotations

import base64
from pathlib import Path

import jinja2


def make_environment() -> jinja2.Environment:
    """Return the environment in which this package's templates are rendered."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def to_data_uri(encoded: bytes, kind: str) -> str:
    """Return an image that lies inside the page itself."""
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"
