"""Every command in the documentation is run, on small pictures and for one epoch."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from mvdefect import cli
from mvdefect.baselines import frozen as frozen_module
from mvdefect.baselines import run as baseline_module
from mvdefect.client import client as client_module
from mvdefect.config import FitConfig, StageConfig
from mvdefect.data.beam import make_pipeline
from mvdefect.data.pipeline import Source
from mvdefect.drawing.data_set import write_parts
from mvdefect.exporting import export as export_module
from mvdefect.exporting.cost import Cost
from mvdefect.exporting.fresh_process import Saying
from mvdefect.grid import run as grid_module
from mvdefect.inspector import graph as graph_module
from mvdefect.inspector.answers import Answer
from mvdefect.prediction import distributed as distributed_module
from mvdefect.server import run as server_module
from mvdefect.training import folds as folds_module
from mvdefect.workflow import demo as demo_module
from mvdefect.workflow import fit as fit_module
from mvdefect.workflow import job as job_module
from mvdefect.workflow import members as members_module
from tests.conftest import write_image
from tests.tuning.fakes import fit_instantly, score_trial
from tuning import tune as tune_module
from tuning.choice import confirm as confirm_module
from tuning.space.space import TABLE
from tuning.tune import TuneOptions

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHRINK = [
    "--resolution",
    "64",
    "--batch-size",
    "16",
    "--set",
    "stages=[{epochs: 1}]",
    "--set",
    "backbone=small_cnn",
]


SHRINK_TUNE = ["--resolution", "64", "--trials", "3", "--strategy", "random"]
SHRINK_BASELINE = ["--resolution", "64", "--set", "stages=[{epochs: 1}]", "--set", "backbone=small_cnn"]


SHRINK_PRETRAIN = ["--image-size", "64", "--workers", "1", "--set", "backbone=small_cnn"]
SHRINK_PRETRAIN += ["--set", "steps=2", "--set", "surfaces=2", "--set", "weights=none"]


EXACT = Cost(1, 0, None, None, 1, 0.0, 0)
MAKERS = {"fit", "baseline", "tune", "pretrain", "benchmark", "demo", "predict", "report"}
SHRUNK = {"fit": SHRINK, "tune": SHRINK_TUNE, "baseline": SHRINK_BASELINE, "pretrain": SHRINK_PRETRAIN}


def list_commands(text: str) -> list[str]:
    """Return the commands of mvdefect in the indented blocks of a page, continued lines joined."""
    joined = text.replace("\\\n", " ")
    return [
        match.strip() for match in re.findall(r"^ {2,}(?:\.venv/bin/)?(mvdefect .*)$", joined, re.MULTILINE)
    ]


def test_every_file_that_the_documents_name_is_there() -> None:
    for page in PAGES:
        for name in re.findall(r"`([a-z_]+/[a-z_/]*\.py)`", page.read_text()):
            assert any((root / name).is_file() for root in (ROOT, ROOT / "mvdefect")), f"{page.name}: {name}"


def list_help_commands() -> list[str]:
    def list_pages(command: click.Command, name: str) -> list[str]:
        context = click.Context(command, info_name=name)
        names = command.list_commands(context) if isinstance(command, click.Group) else ()
        inner = [(name, command.get_command(context, name)) for name in names]
        return [
            command.get_help(context),
            *(page for child, below in inner for page in list_pages(below, child)),
        ]

    return [command for page in list_pages(cli.commands, "mvdefect") for command in list_commands(page)]


def list_config_commands() -> list[str]:
    headers = [path.read_text() for path in sorted((ROOT / "configs").glob("*.yaml"))]
    return [
        match
        for text in headers
        for match in re.findall(r"(mvdefect (?:fit|tune|benchmark|demo)[^)\n]*)", text)
    ]


def predict_well(_model: object, source: Source, _batch_size: int) -> np.ndarray:
    """Score as an inspector does that has learned: one epoch of a few pictures meets no contract."""
    return 4.0 * source.labels - 2 + np.random.default_rng(0).normal(0, 1, source.count)


def answer_good(files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
    """Answer as a server would that is not there."""
    return [Answer("good", 0.1, 1.0, np.zeros((8, 8), np.float32) if with_heatmaps else None)] * len(files)


def make_direct_pipeline(beam: Any, *_: object) -> Any:
    """Return a pipeline of this process, whichever engine was asked for; nothing faster is downloaded."""
    return make_pipeline(beam, "DirectRunner", ["--prism_location=/nonexistent/prism"], "local")


def say_nothing(_: Path, engines: Sequence[str], *__: object) -> AbstractContextManager[list[Saying]]:
    """Stand for a fresh process that has loaded engines."""
    return nullcontext([Saying({}, [], 1.0)] * len(engines))


@dataclass
class SavedOnce:
    """Writes the first graph that it is given; all others are copies of it."""

    save: Callable[[Any, Path], None]
    kept: Path

    def __call__(self, graph: Any, path: Path) -> None:
        if not self.kept.exists():
            self.save(graph, self.kept)
        shutil.copytree(self.kept, path, dirs_exist_ok=True)


@dataclass
class Workshop:
    """A folder with everything that the documentation speaks of; each command is run in it once."""

    place: Path
    done: set[str] = field(default_factory=set)

    def run(self, commands: list[str]) -> None:
        for command in commands:
            if command in self.done:
                continue
            arguments = shlex.split(command)[1:]
            self._free_place(arguments)
            more = ["--overwrite"] if arguments[:2] == ["data", "split"] else SHRUNK.get(arguments[0], [])
            if arguments[0] == "fit" and "--run" not in arguments:
                more = [*more, "--overwrite"]  # at this size several commands have the same settings
            with pytest.raises(SystemExit) as ended:
                cli.main([*arguments, *more])
            assert not ended.value.code, command
            self.done.add(command)

    def _free_place(self, arguments: list[str]) -> None:
        """Remove what a command of another page has made where this one makes its own."""
        if arguments[:2] == ["data", "synth"]:
            shutil.rmtree(self.place / arguments[2], ignore_errors=True)
        if arguments[0] not in MAKERS or "--overwrite" in arguments:
            return
        for option in ("--run", "--out"):
            if option in arguments:
                made = self.place / arguments[arguments.index(option) + 1]
                shutil.rmtree(made, ignore_errors=True) if made.is_dir() else made.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """One for all pages."""
    with open_workshop(tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


@contextmanager
def open_workshop(place: Path) -> Iterator[Workshop]:
    """Nothing is downloaded; epochs and reports are left out of fits, all else is done."""
    parts = write_parts(place / "photographs", good=12, defective_per_type=4, size_px=64)
    for name in ("magnetic_tile", "FOLDER", "corrections"):
        (place / name).symlink_to(parts)
    (place / "configs").symlink_to(ROOT / "configs")
    for name in ("mobilenetv2.weights.h5", "mobilenetv2_imagenet_notop.weights.h5", "FILE"):
        (place / name).write_bytes(b"")
    (place / "token.txt").write_text("a secret")
    write_image(place / "mask.png", np.full((64, 64), 255, np.uint8))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        replace_what_is_slow_or_not_there(patch)
        yield Workshop(place)


def replace_what_is_slow_or_not_there(patch: pytest.MonkeyPatch) -> None:
    tiny = FitConfig(backbone="small_cnn", weights="none", resolution=64, stages=(StageConfig(epochs=1),))
    for room in (members_module, folds_module):
        patch.setattr(room, "predict_logits", predict_well)
    patch.setattr(folds_module, "train_classifier", lambda model, *_: model)
    patch.setattr(fit_module, "measure_latency", lambda *_: {})
    patch.setattr(graph_module, "save_graph", SavedOnce(graph_module.save_graph, Path(".graph").absolute()))
    for room in (fit_module, baseline_module):
        patch.setattr(room, "write_report", lambda *_: None)
    for room in (job_module, frozen_module, tune_module, grid_module):
        patch.setattr(room, "find_weights", lambda *_: None)
    patch.setattr(export_module, "ask_afresh", say_nothing)
    patch.setattr(export_module, "measure_cost", lambda *_: EXACT)
    patch.setattr(client_module, "open_client", lambda *_: answer_good)
    patch.setattr(distributed_module, "make_pipeline", make_direct_pipeline)
    patch.setattr(server_module, "run_app", lambda *_: None)
    patch.setattr(tune_module, "TuneOptions", partial(TuneOptions, function=score_trial))
    patch.setattr(confirm_module, "fit_run", fit_instantly)
    patch.setattr(
        demo_module, "make_demo_config", lambda data: tiny.model_copy(update={"data": (str(data),)})
    )
    patch.setattr(
        demo_module,
        "write_parts",
        lambda root: write_parts(root, good=12, defective_per_type=4, size_px=64),
    )


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page(page: Path, workshop: Workshop) -> None:
    workshop.run(list_commands(page.read_text()))


def leave_out_documented(commands: list[str]) -> list[str]:
    """Leave out what a page has run already, unless it makes a folder or file that another one takes."""
    known = {command for page in PAGES for command in list_commands(page.read_text())}
    new = [command for command in commands if command not in known]

    def is_needed(command: str) -> bool:
        made = re.findall(r"--(?:run|out) (\S+)", command)
        return any(name in other for name in made for other in new)

    return [command for command in commands if command not in known or is_needed(command)]


@pytest.mark.slow
def test_the_commands_of_the_help(tmp_path: Path) -> None:
    commands = leave_out_documented(list(dict.fromkeys(list_help_commands())))
    assert len(commands) >= 30
    orders = (
        (" data ",),
        (" tune ", " pretrain "),
        (" fit ", " baseline "),
        (" export ",),
        (" predict ", " serve "),
        (" evaluate ", " report ", " benchmark ", " demo "),
    )
    with open_workshop(tmp_path) as own:
        for kinds in orders:  # plans, runs, what needs them
            own.run([one for one in commands if any(kind in f"{one} " for kind in kinds)])
        assert own.done == set(commands)


def test_the_commands_in_the_headers_of_the_configurations_name_their_file() -> None:
    commands = list_config_commands()
    assert len(commands) >= 5
    for command in commands:
        for name in re.findall(r"configs/\S+\.yaml", command):
            assert (ROOT / name).is_file()


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_settings_page_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for name in FitConfig.model_fields:
        assert f"`{name}" in page, name


def test_the_page_on_searching_lists_every_name_of_the_space() -> None:
    page = (ROOT / "docs" / "tuning.md").read_text()
    for name in TABLE:
        assert f"`{name}`" in page, name
