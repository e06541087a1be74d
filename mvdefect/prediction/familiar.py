"""Images that a run was made with: what it says of them tells nothing of how it judges new ones."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mvdefect.client.addresses import is_url
from mvdefect.core.errors import SplitError
from mvdefect.data.splits.plan import read_split_plan
from mvdefect.inspector.answers import Answer, Engine
from mvdefect.inspector.places import find_export
from mvdefect.runs import RunFolder

USES = {"train": "trained on", "val": "chose its threshold by"}


class FamiliarImages:
    """Counts the images that an engine is asked about and that its run was made with, by their SHA-256."""

    def __init__(self, engine: Engine, place: str) -> None:
        """Read what the run was made with.

        Args:
            engine: What answers.
            place: The folder of a run; exports and servers do not know their images, so none is counted.
        """
        self._engine, self._parts = engine, _read_parts(place)
        self._counts: Counter[str] = Counter()

    def __call__(self, files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        """Inspect image files, and count."""
        if self._parts:
            found = (self._parts.get(hashlib.sha256(file).hexdigest()) for file in files)
            self._counts.update(part for part in found if part)
        return self._engine(files, with_heatmaps)

    def describe(self) -> str:
        """Say in one line how many there are; "" for none."""
        counts = self._counts
        told = [f"{counts[part]} that this run {use}" for part, use in USES.items() if counts[part]]
        if not told:
            return ""
        return f"among the images are {' and '.join(told)}: figures from them say nothing of new products"


def _read_parts(place: str) -> dict[str, str]:
    """Return the part of each image that a run was made with, by SHA-256; nothing if that is not known."""
    if is_url(place) or find_export(Path(place)) is not None:
        return {}
    try:
        rows = read_split_plan(RunFolder(Path(place)).split_plan).rows
    except SplitError:  # inspecting needs no plan
        return {}
    return {row.sha256: row.part for row in rows if row.part in USES}
