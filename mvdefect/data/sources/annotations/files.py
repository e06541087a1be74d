"""Files of annotations as others have written them: looked at, read within bounds, and parsed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TypeVar
from xml.etree import ElementTree

from pydantic import Field, TypeAdapter, ValidationError

from mvdefect.core.errors import list_some
from mvdefect.core.files import show_name

HEAD_BYTES = 65_536
MAX_TABLE_BYTES = 1 << 29  # a file for a whole data set
MAX_IMAGE_BYTES = 1 << 28  # a file for one image; LabelMe's may hold the image itself
MAX_TEXT_BYTES = 1 << 24
MAX_EXAMPLES = 3
MAX_SHOWN = 200  # letters of an example

Number = Annotated[float, Field(allow_inf_nan=False)]
Model = TypeVar("Model")


class _PlainTree(ElementTree.TreeBuilder):
    """Builds a tree, but of no file with a document type: that is where entities are declared, which can
    grow to gigabytes or name other files."""

    def doctype(self, *_declared: str | None) -> None:
        raise ValueError("it declares a document type (DTD), which annotations have no use for")


def read_head(path: Path) -> bytes:
    """Return the first 64 KiB of a file, or nothing where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(HEAD_BYTES)
    except OSError:
        return b""


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a file.

    Raises:
        ValueError: It cannot be read, or is larger than the limit.
    """
    try:
        if path.stat().st_size > limit:
            raise ValueError(f"it is larger than {limit >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """Read a text file, in UTF-8 or, where it is not, in Windows' Western encoding.

    Raises:
        ValueError: It cannot be read, or is larger than the limit.
    """
    content = read_bytes(path, limit)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def parse_model(adapter: TypeAdapter[Model], content: bytes) -> Model:
    """Parse JSON.

    Raises:
        ValueError: It is no JSON, is nested too deeply, or does not say what is wanted; in one line, which
            names the first few places.
    """
    try:
        return adapter.validate_json(content.removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        places: dict[str, str] = {}
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            where = ".".join(map(str, fault["loc"][:2]))
            places.setdefault(where, f"{where}: {fault['msg']}" if where else fault["msg"])
        raise ValueError(show_some(places.values())) from None


def parse_xml(content: bytes) -> ElementTree.Element:
    """Parse XML without a document type.

    Raises:
        ValueError: It is no XML, or declares a document type.
    """
    parser = ElementTree.XMLParser(target=_PlainTree())  # noqa: S314  (a DTD is refused)
    try:
        parser.feed(content)
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, LookupError) as error:  # the latter: an encoding that nobody knows
        raise ValueError(f"it is not XML: {error}") from error
    return root


def show_some(items: Iterable[str]) -> str:
    """Join the first few items in one line, fit to be shown, and count the rest."""
    listed = list(items)
    shown = [show_name(item)[: MAX_SHOWN + 1] or "''" for item in listed[:MAX_EXAMPLES]]
    short = [item if len(item) <= MAX_SHOWN else f"{item[:MAX_SHOWN]}..." for item in shown]
    return list_some([*short, *listed[MAX_EXAMPLES:]], MAX_EXAMPLES, "; ")
