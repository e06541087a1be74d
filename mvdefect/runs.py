"""Run directory: all that one fit leaves behind. The one place that knows its file names.

A run is made in a folder beside its final place (`<name>.partial`) and moved there when it is whole:
what has the final name is finished, and an older run under that name is replaced only by a finished one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Any

from mvdefect.config import FitConfig, dump_config, load_config
from mvdefect.core.errors import RunError, RunExistsError
from mvdefect.core.files import parse_json, read_rows, write_text
from mvdefect.core.locks import hold
from mvdefect.core.progress import logger

PARTIAL_SUFFIX = ".partial"
REPLACED_SUFFIX = ".replaced"


@dataclass(frozen=True)
class EpochRow:
    """One epoch of training, as a row of `history.csv`."""

    epoch: int
    stage: int
    depth_blocks: int
    learning_rate: float
    loss: float
    val_loss: float
    val_roc_auc: float
    seconds: float


@dataclass(frozen=True)
class PredictionRow:
    """One image and what the inspector says of it, as a row of `predictions.csv`.

    `logit` is the classifier's own, `novelty` the distance from good training images and `mean_novelty` its
    mean over the image (NaN where nothing measures them, and the mean in runs of 0.1.0; see
    `mvdefect.models.one_class`). `score` is what the verdict is reached on, and `probability` its sigmoid.
    `verdict` is good, defective or review. `defect_share` is the share of the image that is defective: 0 for
    a good one, NaN where no mask tells. `part_id` and `view` are as in `mvdefect.data.records.Record`.
    """

    id: str
    split: str
    label: int
    category: str
    defect_type: str
    group: int
    logit: float
    novelty: float
    score: float
    probability: float
    verdict: str
    defect_share: float
    mean_novelty: float = float("nan")
    part_id: str = ""
    view: str = ""


@dataclass(frozen=True)
class RunFolder:
    """The files of a run, finished or not."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings, as YAML."""
        return self.path / "config.yaml"

    @property
    def split_plan(self) -> Path:
        """The split plan; its header lies beside it as JSON."""
        return self.path / "split_plan.csv"

    @property
    def model(self) -> Path:
        """The classifier, as Keras saves it."""
        return self.path / "model.keras"

    @property
    def estimator(self) -> Path:
        """The fitted estimator of a baseline, as joblib saves it."""
        return self.path / "model.joblib"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def tensorboard(self) -> Path:
        """Curves for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def features(self) -> Path:
        """The network whose features the novelty compares, as Keras saves it."""
        return self.path / "features.keras"

    @property
    def normality(self) -> Path:
        """What good images look like, for the novelty."""
        return self.path / "normality.npz"

    @property
    def region(self) -> Path:
        """The region that counts, white, at working size; none where all of an image does."""
        return self.path / "region.png"

    @property
    def members(self) -> Path:
        """What makes the logit, what was left out, and why."""
        return self.path / "members.json"

    @property
    def predictions(self) -> Path:
        """One row an image, of all parts."""
        return self.path / "predictions.csv"

    @property
    def heatmaps(self) -> Path:
        """Where the classifier sees defects, on the test part; see `mvdefect.evaluation.heatmaps`."""
        return self.path / "heatmaps.npz"

    @property
    def heat_scale(self) -> Path:
        """How its heatmaps are coloured, and from where on a place is suspicious."""
        return self.path / "heat_scale.json"

    @property
    def metrics(self) -> Path:
        """The evaluation on the test part."""
        return self.path / "metrics.json"

    @property
    def operating_point(self) -> Path:
        """The threshold and where it comes from."""
        return self.path / "operating_point.json"

    @property
    def localisation(self) -> Path:
        """How well the heatmaps find the defects of the test part."""
        return self.path / "localisation.json"

    @property
    def latency(self) -> Path:
        """How long an image takes."""
        return self.path / "latency.json"

    @property
    def environment(self) -> Path:
        """Versions, machine and command."""
        return self.path / "environment.json"

    @property
    def log(self) -> Path:
        """The messages of the run."""
        return self.path / "log.txt"

    @property
    def figures(self) -> Path:
        """The plots of the report, as PNG."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.path / "report.html"

    @property
    def checkpoint(self) -> Path:
        """Where an unfinished run keeps what it needs to go on."""
        return self.path / "checkpoint"

    @property
    def is_finished(self) -> bool:
        """Whether this is a whole run."""
        return self.metrics.is_file() and not self.checkpoint.exists()


def check_run_is_free(path: Path, overwrite: bool) -> None:
    """Make sure that a run can be put at `path`.

    Raises:
        RunExistsError: Something is there that `overwrite` does not allow to be replaced. A folder that
            is no run of mvdefect is never replaced.
        RunError: Nothing can be written there.
    """
    place = next(place for place in path.absolute().parents if place.exists())
    if not os.access(place, os.W_OK | os.X_OK):
        raise RunError(f"cannot write in {place}; choose another place with --run")
    if not path.exists():
        return
    if not (path.is_dir() and RunFolder(path).is_finished):
        raise RunExistsError(f"{path} exists and is no run of mvdefect, so it is left alone; name another")
    if not overwrite:
        raise RunExistsError(
            f"the run {path} exists. Name another with --run, or replace it with --overwrite"
        )


def name_run(first: Path, config: FitConfig, split_digest: str, overwrite: bool) -> Path:
    """Find the place of a run that nobody has named.

    Args:
        first: The place that it takes if that is free, or if `overwrite` is given.
        config: All settings.
        split_digest: Of the split plan, which knows the content of every image.
        overwrite: Whether what is at `first` may be replaced.

    Returns:
        `first`, or `first` with -2, -3 and so on: where this very run is or was begun, else the first place
        that is free.
    """
    if overwrite:
        return first
    numbered = chain([first], (first.with_name(f"{first.name}-{number}") for number in count(2)))
    taken = list(takewhile(lambda place: place.exists() or _partial(place).path.exists(), numbered))
    same = (
        place
        for place in taken
        if any(_is_same(folder, config, split_digest) for folder in (RunFolder(place), _partial(place)))
    )
    free = first if not taken else first.with_name(f"{first.name}-{len(taken) + 1}")
    return next(same, free)


def _partial(path: Path) -> RunFolder:
    """Return the folder in which a run is made before it takes its place at `path`."""
    return RunFolder(path.with_name(path.name + PARTIAL_SUFFIX))


def _is_same(folder: RunFolder, config: FitConfig, split_digest: str) -> bool:
    """Whether a run, finished or not, has these settings and this split plan."""
    if not folder.config.is_file() or folder.config.read_text(encoding="utf-8") != dump_config(config):
        return False
    header = folder.split_plan.with_suffix(".json")
    return header.is_file() and read_json(header)["digest"] == split_digest


@contextmanager
def make_run(path: Path, config: FitConfig, split_digest: str, overwrite: bool) -> Iterator[RunFolder]:
    """Yield the folder of an unfinished run, which takes its place at `path` when the block ends well.

    Args:
        path: Where the run goes.
        config: All settings.
        split_digest: Of the split plan.
        overwrite: As for `check_run_is_free`, which is asked at the beginning and at the end.

    Raises:
        InUseError: Another process is making it.
        RunExistsError: As for `check_run_is_free`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path):
        check_run_is_free(path, overwrite)
        folder = start_run(path, config, split_digest)
        yield folder
        check_run_is_free(path, overwrite)
        finish_run(folder, path)


def start_run(path: Path, config: FitConfig, split_digest: str) -> RunFolder:
    """Make the folder of an unfinished run, or find the one that an interrupt left.

    What an interrupted run left is used when its settings and its split plan are these; otherwise it is
    removed.
    """
    folder = _partial(path)
    if _is_same(folder, config, split_digest):
        return folder
    if folder.path.exists():
        logger.warning(
            "what an interrupt left in %s had other settings or another split plan, so the fit begins anew",
            folder.path,
        )
        shutil.rmtree(folder.path)
    folder.path.mkdir(parents=True)
    write_text(folder.config, dump_config(config))
    return folder


def finish_run(folder: RunFolder, path: Path) -> RunFolder:
    """Move a whole run to its place; an older run there is removed once the new one stands."""
    shutil.rmtree(folder.checkpoint, ignore_errors=True)
    replaced = path.with_name(path.name + REPLACED_SUFFIX)
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        path.rename(replaced)
    folder.path.rename(path)
    shutil.rmtree(replaced, ignore_errors=True)
    return RunFolder(path)


def open_run(path: Path) -> RunFolder:
    """Return a finished run.

    Raises:
        RunError: There is none at `path`.
    """
    folder = RunFolder(path)
    if folder.is_finished:
        return folder
    if _partial(path).path.is_dir():
        raise RunError(f"the run {path} was interrupted; the command that began it goes on with it")
    raise RunError(f"a run is a folder that `mvdefect fit` made. Received: {path}")


def open_inspector_run(path: Path) -> RunFolder:
    """Return a finished run that holds an inspector.

    Raises:
        RunError: There is none at `path`, or it is that of a baseline.
    """
    folder = open_run(path)
    baseline = read_run_config(folder).baseline
    if baseline is not None and not folder.model.is_file():
        raise RunError(
            f"{path} is a run of the baseline {baseline}, which is measured and compared, but holds no "
            "inspector to predict with or export; mvdefect fit makes one, from good images alone as well"
        )
    return folder


def read_run_config(folder: RunFolder) -> FitConfig:
    """Read the settings of a run."""
    return load_config(folder.config, {})


def read_predictions(folder: RunFolder) -> tuple[PredictionRow, ...]:
    """Read the predictions of a run, sorted by id.

    Raises:
        RunError: The file is missing or damaged.
    """
    return read_rows(folder.predictions, PredictionRow)


def read_history(folder: RunFolder) -> tuple[EpochRow, ...]:
    """Read the history of a run, finished or not.

    Raises:
        RunError: The file is missing or damaged.
    """
    return read_rows(folder.history, EpochRow)


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(tree, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        tree = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    if not isinstance(tree, dict):
        raise RunError(f"{path} is damaged: an object was expected")
    return tree
