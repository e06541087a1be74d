"""Visual inspection of manufactured products by transfer learning.

Whatever the command line does goes through these functions. Nothing heavy is imported before one is called.

    import mvdefect

    run = mvdefect.fit("images")
    print(mvdefect.evaluate(run).figures["roc_auc"])
    inspector = mvdefect.load(run)
    print(inspector.predict("images/good"))
    mvdefect.export(run)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from mvdefect.core.version import __version__

if TYPE_CHECKING:
    from mvdefect.audit.findings import Audit
    from mvdefect.config import FitConfig, ResizeMethod
    from mvdefect.data.groups.grouping import NearDuplicates
    from mvdefect.evaluation.evaluate import Evaluation
    from mvdefect.exporting.export import Exported
    from mvdefect.inspector.answers import Answer
    from mvdefect.prediction.inspectors import Inspector
    from mvdefect.workflow.outcome import FinishedRun

    Place = str | PathLike[str]
    Run = Place | FinishedRun

__all__ = ["__version__", "check", "evaluate", "export", "fit", "load", "predict"]


def check(
    images: Place | Sequence[Place],
    *,
    categories: Sequence[str] = (),
    group_pattern: str = "",
    good: Sequence[str] = (),
    label_pattern: str = "",
    part_pattern: str = "",
    near_duplicates: NearDuplicates = "part",
    resolution: int | str | tuple[int, int] = "auto",
    resize: ResizeMethod = "letterbox",
    bits: Literal["auto"] | int = "auto",
    max_megapixels: float = 180.0,
) -> Audit:
    """Find what would make figures lie: copies, shortcuts, wrong masks, broken files, too few images.

    Args:
        images: A folder, a table (CSV), an archive, or `mvtec_ad:bottle`; or several of these.
        categories: The products to look at; none: all.
        group_pattern: Images whose names match it alike stay together.
        good: Names of folders or labels of good images, beside the usual ones.
        label_pattern: A regular expression that finds the label in an id, as in "(?P<label>ok|ng)".
        part_pattern: A regular expression that finds the part that an image shows, where several images show
            one, as in "(?P<part>SN[0-9]+)_(?P<view>cam[0-9])".
        near_duplicates: What stays together without being named: "part", "image" or "none".
        resolution: Working size of the fit to come, as its setting.
        resize: How images are brought to it.
        bits: Bits that images of more than 8 bits use, 8 to 16; "auto": by the largest value of all.
        max_megapixels: Larger images count as unreadable.

    Raises:
        LayoutError: There are no images, or they are not laid out in a known way.

    Example:
        >>> audit = mvdefect.check("images")
        >>> [finding.code for finding in audit.findings if finding.severity == "error"]
        []
    """
    from mvdefect.audit.audit import AuditSettings, audit_data
    from mvdefect.config import apply_settings
    from mvdefect.data.images import choose_decoding
    from mvdefect.data.sources.opening import log_notes, open_source

    decoding = choose_decoding(apply_settings({"bits": bits, "max_megapixels": max_megapixels}))
    layout = open_source(_name_places(images), categories, group_pattern, good, label_pattern, part_pattern)
    log_notes(layout)
    return audit_data(layout, AuditSettings(near_duplicates, resolution, resize, decoding))


def fit(
    images: Place | Sequence[Place] | None = None,
    settings: Mapping[str, Any] | FitConfig | None = None,
    *,
    run: Place | None = None,
    overwrite: bool = False,
) -> FinishedRun:
    """Train an inspector, choose its threshold on validation, and measure it on the test part.

    An interrupted fit resumes when it is called again with the same settings.

    Args:
        images: A folder, a table (CSV), an archive, or `mvtec_ad:bottle`, or several of these; None: what the
            settings name.
        settings: By dotted key, as in `{"backbone": "mobilenetv2", "stages.-1.epochs": 30}`; all others have
            their default. Or a whole `mvdefect.config.FitConfig`.
        run: Where the run goes. Default: `runs/<images>`, or `runs/<images>-2` and so on if that is taken by
            other images or settings.
        overwrite: Replace a finished run there.

    Raises:
        MvdefectError: Images, settings, weights or `run` are wrong; the message says what is allowed.

    Example:
        >>> quick = {"backbone": "small_cnn", "weights": "none", "resolution": 64}
        >>> quick["stages"] = [{"epochs": 1}]
        >>> mvdefect.fit("images", quick, run="runs/first", overwrite=True).path.name
        'first'
    """
    from pathlib import Path

    from mvdefect.config import FitConfig, load_config
    from mvdefect.core.runtime import load_tensorflow
    from mvdefect.workflow.job import check_job

    given = None if images is None else _name_places(images)
    if isinstance(settings, FitConfig):
        config = settings if given is None else settings.model_copy(update={"data": given})
    else:
        config = load_config(None, {**(settings or {}), "data": given})
    job = check_job(config, None if run is None else Path(_name_place(run, "run")), overwrite)
    load_tensorflow(devices=config.devices)
    from mvdefect.workflow.fit import run_job

    return run_job(job)


def evaluate(
    run: Run,
    *,
    split: Place | None = None,
    threshold: str | None = None,
    verdict: str | None = None,
    prevalence: float | None = None,
    review_budget: float | None = None,
    require: str | None = None,
    save: bool = False,
) -> Evaluation:
    """Measure a run on its test part, with 95% intervals.

    With a threshold, verdict, prevalence or review budget the operating point is chosen anew, on the run's
    validation part.

    Args:
        run: A finished run, or its folder.
        split: Another plan, whose test images the run must have tested on.
        threshold: "f1", "min-recall 0.99", "max-fpr 0.01", "cost 1:20", "requirement" or a probability.
        verdict: "classifier", "combined" or "either".
        prevalence: Share of defective products on the line, 0 to 1.
        review_budget: Fraction of the images to send to manual review, 0 to 1; the least certain are sent.
        require: What the line needs, as in "recall 0.95, false-alarms 0.05". It is answered, marked as
            stated after the figures unless it is that of the fit, and never saved. None: that of the fit.
        save: Whether the run keeps the others of these.

    Raises:
        ConfigError: A value is not allowed, or `require` comes with `save`.
        ContractError: The contract cannot be met.
        RunError: It is no finished run, or was trained on images that `split` tests on.

    Example:
        >>> mvdefect.evaluate("runs/first", threshold="cost 1:20").operating_point.contract
        'cost 1:20'
    """
    from pathlib import Path

    from mvdefect.core.errors import ConfigError
    from mvdefect.evaluation.evaluate import evaluate_run
    from mvdefect.workflow.outcome import change_operating_point

    place = Path(_find_place(run))
    asked = {
        "threshold": threshold,
        "verdict": verdict,
        "prevalence": prevalence,
        "review_budget": review_budget,
    }
    changes = {name: value for name, value in asked.items() if value is not None}
    if split is not None and (changes or save):
        raise ConfigError("split measures the operating point that the run has: give no other with it")
    if require is not None and save:
        raise ConfigError(
            "a requirement that comes after the figures is answered, not saved: give --require to fit, "
            "or leave --save out"
        )
    if not changes and not save:
        return evaluate_run(place, None if split is None else Path(_name_place(split, "split")), require)
    evaluation = change_operating_point(place, changes, save, require)
    if save:
        from mvdefect.report.report import write_report
        from mvdefect.runs import open_run

        write_report(open_run(place), evaluation)
    return evaluation


def load(
    inspector: Run,
    engine: str | None = None,
    *,
    expect_sha256: str | None = None,
    max_megapixels: float | None = None,
    mm_per_px: float | None = None,
) -> Inspector:
    """Open an inspector: a run, an export, or the address of a server.

    Args:
        inspector: The folder of a run or an export, what `fit` returned, or a URL.
        engine: Which of an export's engines; None: the fastest that can run here.
        expect_sha256: What `export` returned as `sha256`; another export is not opened. None: anything.
        max_megapixels: Larger images are unreadable; None: as in the fit.
        mm_per_px: Millimetres of a pixel of the images, for the sizes of suspicious regions; None: as in the
            fit or export.

    Raises:
        ConfigError: There is no such engine, or a package is missing.
        ExportError: The export has another SHA-256, or its files are not what they were.
        RunError: The folder is neither a run nor an export.

    Example:
        >>> inspector = mvdefect.load("runs/first")
        >>> inspector.name, len(inspector.predict(["part.png", numpy.zeros((200, 300, 3), numpy.uint8)]))
        ('first', 2)
    """
    from mvdefect.prediction.inspectors import Inspector, InspectorPlace

    place = InspectorPlace(
        _find_place(inspector),
        engine,
        sha256=expect_sha256,
        max_megapixels=max_megapixels,
        mm_per_px=mm_per_px,
    )
    return Inspector(place)


def predict(inspector: Run, images: Any, *, heatmaps: bool = False, regions: bool = False) -> list[Answer]:
    """Inspect images once; to inspect more of them later, `load` the inspector and keep it.

    Args:
        inspector: As for `load`.
        images: As for `Inspector.predict`.
        heatmaps: Whether to say where defects are seen, as a heatmap and as regions.
        regions: Whether to say it as regions alone, boxes in pixels of each image.

    Example:
        >>> answers = mvdefect.predict("runs/first", ["part.png", pathlib.Path("images/good")])
        >>> sorted({type(answer.probability) for answer in answers}, key=str)
        [<class 'float'>]
    """
    return load(inspector).predict(images, heatmaps=heatmaps, regions=regions)


def export(
    run: Run,
    out: Place = "saved_models",
    *,
    formats: Sequence[str] = ("savedmodel",),
    quantize: str = "float32",
    max_flips: float = 0.01,
    name: str | None = None,
    version: int | None = None,
    mm_per_px: float | None = None,
) -> Exported:
    """Write the inspector of a run for TF Serving and other runtimes, compared with the run before it stands.

    Args:
        run: A finished run, or its folder.
        out: Where exports go; this one goes to `<out>/<name>/<version>`.
        formats: Any of savedmodel, openvino, onnx, litert.
        quantize: Precision of all formats but the SavedModel: float32, int8, or bfloat16 for openvino.
        max_flips: Share of the test images whose verdict may differ from the run's, 0 to 1.
        name: Of the model; None: that of the run.
        version: Number of the version; None: one more than the last.
        mm_per_px: Millimetres of a pixel of the images, for the sizes of suspicious regions; None: as in the
            fit.

    Raises:
        ConfigError: A format or precision is not known, or they do not go together.
        ExportError: It says something else than the run, or cannot be loaded; nothing is left then.

    Example:
        >>> mvdefect.export("runs/first", name="washers").path.parent.name
        'washers'
    """
    from pathlib import Path

    from mvdefect.core.runtime import load_tensorflow

    load_tensorflow()
    from mvdefect.exporting.export import ExportSettings, export_run

    settings = ExportSettings(tuple(formats), quantize, max_flips, name, version, mm_per_px)
    return export_run(Path(_find_place(run)), Path(_name_place(out, "out")), settings)


def _find_place(run: Run) -> str:
    """Return the folder of a run, or whatever else names an inspector."""
    return _name_place(getattr(run, "path", run), "run")


def _name_places(images: Place | Sequence[Place]) -> tuple[str, ...]:
    """Return one source or several as text."""
    several = images if isinstance(images, list | tuple) else [images]
    return tuple(_name_place(image, "images") for image in several)


def _name_place(place: object, name: str) -> str:
    if not isinstance(place, str | PathLike):
        from mvdefect.core.errors import ArgumentTypeError

        raise ArgumentTypeError(f"{name} must be a str or a pathlib.Path. Received: {type(place).__name__}")
    return str(place)
