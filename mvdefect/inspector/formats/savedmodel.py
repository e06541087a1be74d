"""The SavedModel, which TF Serving loads: the whole inspector, from files or pixels to verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mvdefect.inspector.formats.format import Format, Original, Pixels, Signatures

if TYPE_CHECKING:
    from mvdefect.inspector.answers import Engine


class SavedModel(Format):
    """TensorFlow's own format; it lies in the export's own folder, where TF Serving looks for it."""

    def write(
        self, original: Original, path: Path, _precision: str, _images: Pixels | None
    ) -> dict[str, Any]:
        """Write the graph, and what TF Serving asks itself before it answers anybody; see `Format.write`."""
        from mvdefect.inspector.formats.warmup import write_warmup
        from mvdefect.inspector.graph import save_graph

        save_graph(original.graph, path.parent)
        write_warmup(path.parent, original.name, original.photograph)
        return {}

    def open(self, export: Path, manifest: Mapping[str, Any], _entry: Mapping[str, Any]) -> Engine:
        """Return the engine; see `Format.open`."""
        from mvdefect.inspector.places import MANIFEST, parse_view
        from mvdefect.inspector.tensorflow_engines import open_saved_model

        return open_saved_model(export, parse_view(manifest, export / MANIFEST))

    def open_signatures(self, export: Path) -> Signatures:
        """Return what others ask; see `Format.open_signatures`."""
        from mvdefect.inspector.tensorflow_engines import open_signatures

        return open_signatures(export)
