"""The version of an inspector that is served, and how another one takes its place without a restart.

As TF Serving does, the server serves the last version in an export's folder: a new one is loaded, asked once
and then served, a removed one makes way for the last that is left. Requests end with the version that they
began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mvdefect.core.errors import ExportError
from mvdefect.core.progress import logger
from mvdefect.inspector.answers import Engine
from mvdefect.inspector.places import MANIFEST, find_export

LOOK_SECONDS = 2.0
NEEDED = ("name", "version", "labels", "heat_range", "image_size_px", "resize", "operating_point", "figures")


@dataclass(frozen=True)
class Version:
    """One version of an inspector.

    Attributes:
        engine: What inspects.
        manifest: What its export says of itself.
        heatmap_shape: Height and width of its heatmaps.
    """

    engine: Engine
    manifest: dict[str, Any]
    heatmap_shape: tuple[int, int]

    @property
    def name(self) -> str:
        """What the model is called."""
        return str(self.manifest["name"])

    @property
    def number(self) -> int:
        """Of the version."""
        return int(self.manifest["version"])


def check_version(engine: Engine, manifest: dict[str, Any]) -> Version:
    """Ask an engine once in each way, so that no client need wait for it, and return it as a version.

    Raises:
        ExportError: It cannot inspect a photograph, or its export does not say what a server has to know.
    """
    missing = [name for name in NEEDED if name not in manifest]
    if missing or not isinstance(manifest["version"], int):
        raise ExportError(
            f"{MANIFEST} must give {', '.join(NEEDED)}. Missing: {', '.join(missing) or 'none'}"
        )
    photograph = cv2.imencode(".png", np.full((64, 64, 3), 128, np.uint8))[1].tobytes()
    engine([photograph])
    heatmap = engine([photograph], True)[0].heatmap
    if heatmap is None:
        raise ExportError("the engine gives no heatmap of a photograph")
    return Version(engine, manifest, (int(heatmap.shape[0]), int(heatmap.shape[1])))


class Served:
    """The version that is served now.

    Attributes:
        now: It; who answers a request takes it once, at the beginning.
    """

    def __init__(self, first: Version) -> None:
        self.now = first


@dataclass
class Watch:
    """Looks for another version to serve.

    Attributes:
        place: The folder of all versions of an export.
        path: The folder of the version that is served.
        load: Opens the export of a version.
        refused: The state of versions that could not be served; they are tried again when it changes.
    """

    place: Path
    path: Path
    load: Callable[[Path], Version]
    refused: tuple[Path, int] | None = None

    async def keep_current(self, served: Served) -> None:
        """Serve the last version that can be served, for as long as the server runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            found = await asyncio.to_thread(self.find_other)
            if found is not None:
                await asyncio.to_thread(self.take_over, found, served)

    def find_other(self) -> Path | None:
        """Return the folder of the version to serve; None: it is served, or cannot be."""
        try:
            found = find_export(self.place)
            if found is None or found == self.path or self._describe(found) == self.refused:
                return None
        except OSError:  # the disk is gone for a moment
            return None
        return found

    def take_over(self, path: Path, served: Served) -> None:
        """Serve another version, if it works; otherwise the one that is served stays."""
        before = served.now
        try:
            new = self.load(path)
            if new.name != before.name:
                raise ExportError(f"it is called {new.name}, not {before.name}")
        except Exception as error:  # whatever is wrong with it, clients are served
            self.refused = self._describe(path)
            logger.error("%s is not served, version %d stays: %s", path, before.number, error)
            return
        self.path, served.now = path, new
        logger.info("version %d is served in place of version %d", new.number, before.number)

    def _describe(self, path: Path) -> tuple[Path, int]:
        return path, (path / MANIFEST).stat().st_mtime_ns
