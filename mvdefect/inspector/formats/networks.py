"""Formats of networks: pixels at working size go in; what comes before and after is left to this program."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mvdefect.core.errors import ExportError
from mvdefect.core.runtime import muted_stderr
from mvdefect.inspector.formats.format import INT8, Format, Look, Original, Pixels

if TYPE_CHECKING:
    from mvdefect.inspector.answers import Engine


class Runtime(Protocol):
    """The module of a format of networks."""

    def write_network(self, network: Any, path: Path, calibration: Pixels | None, /) -> None:
        """Convert a frozen network, `Original.network`, and write it to a path.

        With calibration images, uint8 (n, size, size, 3), it becomes one of 8-bit integers.
        """

    def load_network(self, path: Path, precision: str, /) -> Look:
        """Load one, to be run in a precision.

        Returns:
            A function from uint8 pixels (n, size, size, 3) to OUTPUTS by name: float32 logit (n,), novelty
            (n,), mean novelty (n,; exports of 0.1.0 have none) and heatmap (n, height, width), which threads
            may share.
        """


@dataclass(frozen=True)
class NetworkFormat(Format):
    """A way to keep and to run networks.

    Attributes:
        runtime: Imports its module, which may load heavy packages.
    """

    runtime: Callable[[], Runtime] = field(kw_only=True)

    def write(self, original: Original, path: Path, precision: str, images: Pixels | None) -> dict[str, Any]:
        """Write a network, without the chatter of converters; see `Format.write`."""
        network = original.network
        with muted_stderr(), redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.runtime().write_network(network, path, images if precision == INT8 else None)
        if images is None:
            return {}
        from mvdefect.inspector.network_engines import find_levels

        return {"levels": find_levels(self.load(path, precision), original.look, images)}

    def open(self, export: Path, manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> Engine:
        """Return the engine; see `Format.open`."""
        from mvdefect.inspector.network_engines import make_network_engine
        from mvdefect.inspector.places import MANIFEST

        network = self.load(export / entry["file"], entry["precision"])
        return make_network_engine(network, manifest, export / MANIFEST, entry.get("levels"))

    def load(self, path: Path, precision: str) -> Look:
        """Load a network; see `Runtime.load_network`.

        Raises:
            ExportError: It is damaged, or of another version of its runtime.
        """
        try:
            return self.runtime().load_network(path, precision)
        except (OSError, RuntimeError, ValueError) as error:
            lines = str(error).strip().splitlines() or [repr(error)]
            raise ExportError(f"the network {path} cannot be loaded: {lines[0]}") from error
