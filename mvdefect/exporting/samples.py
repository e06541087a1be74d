"""The photographs of a run that its export is measured on, and those that it is calibrated with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mvdefect.config import FitConfig
from mvdefect.core.errors import ExportError, RunError
from mvdefect.data.images import choose_decoding, decode_at_size
from mvdefect.data.resolution import spread_over
from mvdefect.data.sources.opening import open_configured
from mvdefect.inspector.formats.format import Pixels
from mvdefect.runs import PredictionRow, RunFolder, read_predictions

FILES = 28  # test photographs that come in every way there is
CALIBRATION_IMAGES = 300


class Samples:
    """The photographs of a run, as they lie now where it found them.

    Args:
        folder: The run.
        config: Its settings.

    Raises:
        ExportError: The photographs are not where they were.
    """

    def __init__(self, folder: RunFolder, config: FitConfig) -> None:
        if not config.data:
            raise RunError(f"{folder.config} names no data")
        try:
            layout = open_configured(config)
        except Exception as error:
            raise ExportError(
                f"an export is compared with the run on its test photographs, which are not there: {error}"
            ) from error
        self._paths = {record.id: record.path for record in layout.records}
        self.config = config
        self._rows = read_predictions(folder)
        self.test = sorted((row for row in self._rows if row.split == "test"), key=lambda row: row.score)
        self.find(self.test)

    @property
    def some(self) -> list[PredictionRow]:
        """Test photographs chosen evenly from the most harmless to the worst."""
        return spread_over(self.test, FILES)

    def find(self, rows: Sequence[PredictionRow]) -> list[Path]:
        """Return where photographs lie.

        Raises:
            ExportError: One is missing.
        """
        missing = [row.id for row in rows if row.id not in self._paths]
        if missing:
            raise ExportError(f"the photograph {missing[0]} is no longer in {', '.join(self.config.data)}")
        return [self._paths[row.id] for row in rows]

    def read_validation(self) -> Pixels:
        """Return validation photographs at working size, uint8 (n, height, width, 3), 300 at most.

        Raises:
            ExportError: The run has none.
        """
        rows = spread_over([row for row in self._rows if row.split == "val"], CALIBRATION_IMAGES)
        if not rows:
            raise ExportError("8-bit numbers are calibrated on validation photographs, and the run has none")
        size, resize = self.config.size_px, self.config.resize
        decoding = choose_decoding(self.config)
        files = (path.read_bytes() for path in self.find(rows))
        return np.stack([decode_at_size(file, size, resize, decoding) for file in files])
