"""Whatever inspects photographs, by the one word that names it: a run, an export, or a server's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from mvdefect.client.addresses import is_url, parse_address
from mvdefect.client.retries import Patience
from mvdefect.core.errors import ConfigError, RunError, list_some
from mvdefect.core.runtime import load_tensorflow
from mvdefect.evaluation.regions import check_mm_per_px
from mvdefect.inspector.answers import Answer, Engine
from mvdefect.inspector.engines import choose_engine, open_engine, refuse_digest
from mvdefect.inspector.integrity import read_manifest
from mvdefect.inspector.parts import PartAnswer, read_part_judge
from mvdefect.inspector.photographs import read_images
from mvdefect.inspector.places import MANIFEST, View, find_export, read_view
from mvdefect.inspector.reading import find_answer_regions, read_image
from mvdefect.runs import PARTIAL_SUFFIX, RunFolder, open_inspector_run, read_json


@dataclass(frozen=True)
class InspectorPlace:
    """Where an inspector is to be found.

    Attributes:
        place: The folder of a run or an export, or an address.
        engine: Which of an export's engines; None: the fastest that can run here.
        patience: How long a server is waited for.
        sha256: What the `inspector.json` of an export must have; None: anything.
        max_megapixels: Of the largest image that is read; None: as when it was trained.
        mm_per_px: Millimetres of a pixel of the images, for the sizes of regions; None: as in the run or the
            export, or as a server has it.
        manifest: `inspector.json` of the export that a server serves, by which regions are found if the
            server finds none; None: not known.

    Raises:
        ConfigError: `mm_per_px` is not above 0.
    """

    place: str
    engine: str | None = None
    patience: Patience = field(default_factory=Patience)
    sha256: str | None = None
    max_megapixels: float | None = None
    mm_per_px: float | None = None
    manifest: Path | None = None

    def __post_init__(self) -> None:
        check_mm_per_px(self.mm_per_px)

    def from_anywhere(self) -> InspectorPlace:
        """Return the same with absolute paths, for a process in another folder."""
        manifest = None if self.manifest is None else self.manifest.absolute()
        place = self.place if is_url(self.place) else str(Path(self.place).absolute())
        return replace(self, place=place, manifest=manifest)


class Inspector:
    """An inspector that is open: asked again, it answers at once."""

    def __init__(self, place: InspectorPlace) -> None:
        """Open it; see `open_inspector`."""
        self.place, self.name = place, name_inspector(place)
        self._engine = open_inspector(place)

    def predict(
        self, images: Any, *, heatmaps: bool = False, regions: bool = False, batch_size: int = 32
    ) -> list[Answer]:
        """Inspect images.

        Args:
            images: The path of a file, folder, pattern or .zip archive (str or `pathlib.Path`); the bytes of
                an image file; pixels, uint8 of shape (height, width) or (height, width, 3), or a batch of
                them (n, height, width, 3), as an array or tensor; or any iterable of these, such as a list or
                a `tf.data.Dataset`.
            heatmaps: Whether to say where defects are seen, as a heatmap and as regions.
            regions: Whether to say it as regions: boxes in pixels of the image, as `Answer.regions`.
            batch_size: How many are asked about together.

        Returns:
            One answer an image, in their order; the label of one that cannot be read is "unreadable".

        Raises:
            ArgumentTypeError: An image is nothing of the above.
            LayoutError: A path does not exist.
        """
        coming = read_images(images)
        answers: list[Answer] = []
        while files := list(islice(coming, batch_size)):
            found = self._engine(files, heatmaps or regions)
            only_regions = regions and not heatmaps
            answers += [replace(answer, heatmap=None) for answer in found] if only_regions else found
        return answers

    def judge_parts(
        self, answers: Mapping[str, Answer], *, part_pattern: str | None = None
    ) -> list[PartAnswer]:
        """Reach one verdict of each part that several images show, if the inspector was fitted with parts.

        Args:
            answers: What `predict` said of images, by their names or paths, which tell part and view.
            part_pattern: What in a name names the part; None: as in the fit.

        Returns:
            One answer per part, by first appearance.

        Raises:
            ConfigError: It was fitted without parts, or it is a server, which does not tell its threshold.
            SplitError: `part_pattern` is no regular expression.
        """
        if is_url(self.place.place):
            raise ConfigError(f"parts are judged by a run or an export. Received: {self.place.place}")
        return read_part_judge(Path(self.place.place), part_pattern).judge_all(answers.items())


def open_inspector(inspector: InspectorPlace, verbose: bool = False) -> Engine:
    """Return what inspects photographs; TensorFlow is loaded only where it is needed.

    Args:
        inspector: What is wanted.
        verbose: Let the messages of TensorFlow's native code through.

    Raises:
        ConfigError: The address is none, there is no such engine, or a package is missing.
        ExportError: The export cannot be loaded.
        RunError: The folder is neither a run nor an export.
    """
    check_inspector(inspector)
    if not is_url(inspector.place):
        return open_engine(
            Path(inspector.place),
            inspector.engine,
            verbose,
            inspector.sha256,
            inspector.max_megapixels,
            inspector.mm_per_px,
        )
    if not parse_address(inspector.place).is_rest:
        load_tensorflow(verbose)  # tensorflow-serving-api would, with all that it has to say
    from mvdefect.client.client import open_client

    view = None if inspector.manifest is None else read_view(inspector.manifest)
    engine = open_client(inspector.place, inspector.patience)
    return partial(_ask_server, engine, view, inspector.mm_per_px)


def _ask_server(
    engine: Engine,
    view: View | None,
    mm_per_px: float | None,
    files: Sequence[bytes],
    with_heatmaps: bool = False,
) -> list[Answer]:
    """Ask a server; find regions that it does not, and give their sizes by the pixels of this camera."""
    answers = engine(files, with_heatmaps)
    if view is not None and view.rule is not None:
        answers = [
            find_answer_regions(answer, read_image(file, view).size_px, view)
            if answer.heatmap is not None and answer.regions is None
            else answer
            for answer, file in zip(answers, files, strict=True)
        ]
    if mm_per_px is None:
        return answers
    return [
        answer
        if answer.regions is None
        else replace(answer, regions=tuple(one.scale(mm_per_px) for one in answer.regions))
        for answer in answers
    ]


def name_inspector(inspector: InspectorPlace) -> str:
    """Return what an inspector is called in rows: the name of a run or model, and its version if it has one.

    The same export has the same name here and behind an address that names its version.

    Raises:
        ConfigError: The address is none.
    """
    if is_url(inspector.place):
        address = parse_address(inspector.place)
        return address.name if address.version is None else f"{address.name}/{address.version}"
    export = find_export(Path(inspector.place))
    if export is None:
        return Path(inspector.place).resolve().name
    manifest = read_json(export / MANIFEST)
    return f"{manifest.get('name', export.parent.name)}/{manifest.get('version', export.name)}"


def check_inspector(inspector: InspectorPlace) -> None:
    """See whether this can be an inspector, without opening it.

    Raises:
        ConfigError: The address is none, there is no such engine, or a SHA-256 is expected of no export.
        ExportError: Its SHA-256 is another one, or nothing that runs the export is installed.
        RunError: The folder is neither a run nor an export.
    """
    place, name = inspector.place, inspector.engine
    export = None if is_url(place) else find_export(Path(place))
    if export is not None:
        choose_engine(read_manifest(export, inspector.sha256), name)
        return
    refuse_digest(inspector.sha256, place)
    if is_url(place):
        if inspector.max_megapixels is not None:
            raise ConfigError(
                "how large an image may be is up to the server: `mvdefect serve --max-megapixels`"
            )
        parse_address(place)
    else:
        _check_run(Path(place))
    if name is not None:
        raise ConfigError(f"only an export has engines to choose from. Received: {name} of {place}")


def _check_run(place: Path) -> None:
    """Make sure that a folder is a finished run, and say what may be meant where it is none."""
    if not place.is_dir() and not place.with_name(f"{place.name}{PARTIAL_SUFFIX}").is_dir():
        raise RunError(f"there is no run and no export {place}")
    held = [path.name for path in sorted(place.glob("*")) if find_export(path) is not None]
    if held and not RunFolder(place).is_finished:
        raise RunError(f"{place} holds the exports {list_some(held, 5)}; name one: {place / held[0]}")
    open_inspector_run(place)
