"""What a format of an export is, and what all formats agree on; to know of them loads nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mvdefect.core.runtime import TENSORFLOW

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mvdefect.inspector.answers import Answer, Engine

Pixels: TypeAlias = "NDArray[np.uint8]"
Look: TypeAlias = "Callable[[Pixels], dict[str, np.ndarray]]"  # by name, see OUTPUTS
Signatures: TypeAlias = "Mapping[str, Callable[[Any], list[Answer]]]"

OUTPUTS = (LOGIT, NOVELTY, MEAN_NOVELTY, HEATMAP) = ("logit", "novelty", "mean_novelty", "heatmap")
FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"
OWN_PRECISION = r".*/(head|novelty)(_\d+)?/.*"  # operations that stay as they are where others become 8-bit


def name_tensors(present: Iterable[str]) -> dict[str, str]:
    """Return the name of each output's tensor, for a network that has such tensors.

    Exports of version 0.1.0 have no mean novelty.
    """
    known = set(present)
    tensors = {name: f"{name}:0" for name in OUTPUTS}
    return {name: tensor for name, tensor in tensors.items() if tensor in known}


class Original(Protocol):
    """An inspector that is written in formats."""

    @property
    def name(self) -> str:
        """Under which it is served."""

    @property
    def photograph(self) -> bytes:
        """One that it might be asked about."""

    @property
    def graph(self) -> Any:
        """All of it, a `mvdefect.inspector.graph.InspectorGraph`."""

    @property
    def network(self) -> Any:
        """Its networks alone, a frozen function of TensorFlow.

        From uint8 `pixels` (n, size, size, 3) it makes OUTPUTS, in this order: float32 logit (n,), novelty
        (n,), mean novelty (n,) and heatmap (n, height, width).
        """

    def look(self, pixels: Pixels) -> dict[str, np.ndarray]:
        """Run these networks."""


@dataclass(frozen=True)
class Format(ABC):
    """A way to keep and to run an inspector.

    Attributes:
        name: By which users choose it.
        noun: One of it, in a sentence.
        file: Name of its main file.
        precisions: In which it can compute; one that only knows float32 may lie beside others of fewer bits.
        to_write: The modules that this takes.
        to_run: The modules that running takes.
        brings: What pip has to install for them.
        has_folder: Whether it lies in a folder of its engine's name, or in the export's own.
    """

    name: str
    noun: str
    file: str
    precisions: tuple[str, ...]
    to_write: tuple[str, ...]
    to_run: tuple[str, ...]
    brings: str
    has_folder: bool = True

    @property
    def can_quantize(self) -> bool:
        """Whether it knows more than float32."""
        return self.precisions != (FLOAT32,)

    @property
    def needs_tensorflow(self) -> bool:
        """Whether TensorFlow runs it."""
        return TENSORFLOW in self.to_run

    @abstractmethod
    def write(self, original: Original, path: Path, precision: str, images: Pixels | None) -> dict[str, Any]:
        """Write an inspector.

        Args:
            original: It.
            path: Of the main file.
            precision: In which it will compute.
            images: To calibrate fewer bits with, uint8 (n, size, size, 3); None in float32.

        Returns:
            What `inspector.json` has to say of the engine beside what it says of all.
        """

    @abstractmethod
    def open(self, export: Path, manifest: Mapping[str, Any], entry: Mapping[str, Any]) -> Engine:
        """Return the engine.

        Args:
            export: The folder of the export's version.
            manifest: The content of its `inspector.json`.
            entry: What that says of the engine.

        Raises:
            ExportError: It cannot be loaded.
            RunError: `inspector.json` is damaged.
        """

    def open_signatures(self, _export: Path) -> Signatures:
        """Return what others than this package ask of it, by the name of the input.

        "image_bytes" takes image files, and "pixels" uint8 RGB pixels of any size (n, height, width, 3).
        """
        return {}
