"""Export: a finished run becomes what others load, the whole inspector with all that belongs to it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, ExportError, RunExistsError
from mvdefect.core.files import write_text
from mvdefect.core.locks import hold
from mvdefect.core.progress import logger, show_phase
from mvdefect.data.counted_region import write_region
from mvdefect.data.images import choose_decoding
from mvdefect.evaluation.regions import check_mm_per_px
from mvdefect.exporting.cost import Cost, measure_cost
from mvdefect.exporting.description import describe_cost, describe_engine, describe_export, write_model_card
from mvdefect.exporting.fresh_process import ask_afresh
from mvdefect.exporting.network import GraphOriginal
from mvdefect.exporting.samples import Samples
from mvdefect.exporting.servable import make_servable, warn_of_formats
from mvdefect.inspector.formats.format import FLOAT32
from mvdefect.inspector.formats.registry import DEFAULT_FORMAT, FORMATS, require_packages
from mvdefect.inspector.graph import InspectorGraph, build_graph
from mvdefect.inspector.integrity import FILES, hash_export, hash_file
from mvdefect.inspector.places import MANIFEST, MODEL_CARD, REGION_FILE
from mvdefect.runs import RunFolder, open_inspector_run, read_run_config, write_json

PARTIAL_SUFFIX = ".partial"
MAX_FLIPS = 0.01


@dataclass(frozen=True)
class ExportSettings:
    """What an export is to hold.

    Attributes:
        formats: Names of `mvdefect.inspector.formats.registry`.
        quantize: Precision of all formats but those that know float32 alone.
        max_flips: Share of the test photographs that may get another verdict than in the run.
        name: Of the model; None: that of the run.
        version: Number of the version; None: one more than the last.
        mm_per_px: Millimetres of a pixel of the images, for the sizes of regions; None: as in the run.

    Raises:
        ConfigError: It is not above 0.
    """

    formats: tuple[str, ...] = (DEFAULT_FORMAT,)
    quantize: str = FLOAT32
    max_flips: float = MAX_FLIPS
    name: str | None = None
    version: int | None = None
    mm_per_px: float | None = None

    def __post_init__(self) -> None:
        check_mm_per_px(self.mm_per_px)


@dataclass(frozen=True)
class Exported:
    """What an export came to.

    Attributes:
        path: Its folder, `<root>/<name>/<version>`.
        sha256: Of its `inspector.json`, which holds those of all other files.
        costs: By the name of each engine, how far it is from the run.
        images_per_s: By the name of each engine.
    """

    path: Path
    sha256: str
    costs: dict[str, Cost]
    images_per_s: dict[str, float]


def export_run(run: Path, root: Path, settings: ExportSettings | None = None) -> Exported:
    """Export the inspector of a finished run, and make sure that it says what the run said.

    Args:
        run: The run.
        root: Where exports go; TF Serving's `model_base_path` is `<root>/<name>`.
        settings: What it is to hold.

    Raises:
        ConfigError: A format or precision is not known, or they do not go together.
        ExportError: It says something else or cannot be loaded; nothing is left.
        InUseError: Another process is exporting under that name.
        RunError: `run` is no finished run, or that of a baseline.
        RunExistsError: There is such a version.
    """
    settings = settings or ExportSettings()
    check_settings(settings)
    folder = open_inspector_run(run)
    config = read_run_config(folder)
    base = root / (settings.name or run.resolve().name)
    base.parent.mkdir(parents=True, exist_ok=True)
    with hold(base):
        return _export(folder, config, base, settings)


def _export(folder: RunFolder, config: FitConfig, base: Path, settings: ExportSettings) -> Exported:
    place = _choose_place(base, settings.version)
    is_first = not place.parent.exists()
    unfinished = place.with_name(f".{place.name}{PARTIAL_SUFFIX}")  # TF Serving looks for numbers alone
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        if settings.mm_per_px is not None:
            config = config.model_copy(update={"mm_per_px": settings.mm_per_px})
        manifest = describe_export(folder, config, base.name, int(place.name))
        costs = _fill(unfinished, folder, config, manifest, settings)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if is_first:
            with suppress(OSError):  # it holds the export
                place.parent.rmdir()
    logger.info("exported to %s", place)
    rates = {engine["name"]: engine["images_per_s"] for engine in manifest["engines"]}
    return Exported(place, hash_file(place / MANIFEST), {name: costs[name] for name in rates}, rates)


def check_settings(settings: ExportSettings) -> None:
    """Make sure that formats and precision are known and go together, before any work is done.

    Raises:
        ConfigError: They do not.
        ExportError: A package is missing.
    """
    for name in settings.formats:
        if name not in FORMATS:
            raise ConfigError(f"format must be one of {', '.join(FORMATS)}. Received: {name}")
    chosen = [FORMATS[name] for name in settings.formats]
    if settings.quantize != FLOAT32 and not any(kind.can_quantize for kind in chosen):
        exact = ", ".join(kind.noun for kind in FORMATS.values() if not kind.can_quantize)
        others = ", ".join(kind.name for kind in FORMATS.values() if kind.can_quantize)
        raise ConfigError(f"{exact} stays float32; name one of {others} to quantize")
    for kind in chosen:
        if kind.can_quantize and settings.quantize not in kind.precisions:
            raise ConfigError(
                f"{kind.name} can be {', '.join(kind.precisions)}. Received: {settings.quantize}"
            )
        require_packages(kind.name)


def _choose_place(base: Path, version: int | None) -> Path:
    present = [int(path.name) for path in base.iterdir() if path.name.isdigit()] if base.is_dir() else []
    place = base / str(max(present, default=0) + 1 if version is None else version)
    if place.exists():
        raise RunExistsError(f"{place} exists; name another --version")
    return place


def _fill(
    export: Path, folder: RunFolder, config: FitConfig, manifest: dict[str, Any], settings: ExportSettings
) -> dict[str, Cost]:
    """Write all that an export holds, and measure its engines."""
    samples = Samples(folder, config)
    if "savedmodel" in settings.formats:
        warn_of_formats(samples.find(samples.test))
    with show_phase("Loading the run"):
        graph = build_graph(folder)
    _write_engines(export, graph, samples, manifest, settings)
    if graph.region is not None:
        write_region(graph.region, export / REGION_FILE)
    write_json(export / MANIFEST, manifest)
    costs = _measure_engines(export, samples, manifest["engines"], settings.max_flips)
    write_text(export / MODEL_CARD, write_model_card(manifest))
    write_json(export / MANIFEST, manifest | {FILES: hash_export(export)})
    return costs


def _measure_engines(
    export: Path, samples: Samples, engines: list[dict[str, Any]], max_flips: float
) -> dict[str, Cost]:
    """Ask each engine about the test part, and note with it what it costs.

    What TensorFlow runs comes last: once imported, it does not leave a process. The others are asked in one
    without it, as they are used, and none of their threads outlives them.
    """
    some = samples.some
    order = sorted(engines, key=lambda engine: FORMATS[engine["format"]].needs_tensorflow)
    names = [engine["name"] for engine in order]
    costs: dict[str, Cost] = {}
    with ask_afresh(export, names, samples.find(some), samples.find(samples.test)) as sayings:
        for engine, said in zip(order, sayings, strict=True):
            cost = costs[engine["name"]] = measure_cost(said, some, samples.test)
            check_cost(cost, engine, max_flips)
            engine |= describe_cost(cost, said.images_per_s)
    return costs


def _write_engines(
    export: Path, graph: InspectorGraph, samples: Samples, manifest: dict[str, Any], settings: ExportSettings
) -> None:
    photograph = make_servable(samples.find(samples.some)[0].read_bytes(), choose_decoding(samples.config))
    original = GraphOriginal(graph, manifest["name"], photograph)
    chosen = [FORMATS[name] for name in dict.fromkeys(settings.formats)]
    images = samples.read_validation() if settings.quantize != FLOAT32 else None
    for kind in sorted(chosen, key=lambda one: one.can_quantize):  # what is always exact is listed first
        precision = settings.quantize if kind.can_quantize else FLOAT32
        engine = describe_engine(kind, precision)
        path = export / engine["file"]
        path.parent.mkdir(exist_ok=True)
        with show_phase(f"Writing {engine['name']}"):
            engine |= kind.write(original, path, precision, images if kind.can_quantize else None)
        manifest["engines"].append(engine)


def check_cost(cost: Cost, engine: dict[str, Any], max_flips: float) -> None:
    """Refuse an engine that is too far from its run.

    Raises:
        ExportError: In float32 it is not exact; or too many verdicts differ.
    """
    if engine["precision"] == FLOAT32 and not cost.is_exact:
        raise ExportError(
            f"the engine {engine['name']} does not say what the run said: {cost.compared_flips} of "
            f"{cost.compared} images of the test part get another verdict, and a probability differs by "
            f"{cost.largest_difference:.1e} (at most 1e-4 is allowed); the export was removed"
        )
    if cost.flip_share > max_flips:
        raise ExportError(
            f"the engine {engine['name']} reaches another verdict on {cost.flips} of {cost.photographs} test "
            f"photographs, {cost.flip_share:.1%}; {max_flips:.1%} are allowed (--max-flips); the export was "
            "removed"
        )
