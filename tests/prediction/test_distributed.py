"""Inspecting with Apache Beam: the file that a local call writes, byte for byte."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from mvdefect.cli import main
from mvdefect.core.errors import ConfigError
from mvdefect.inspector.photographs import Photograph, list_photographs
from mvdefect.prediction import batch_plan as beam_plan
from mvdefect.prediction import distributed as beam
from mvdefect.prediction import distributed as distributed_module
from mvdefect.prediction.batch_plan import open_plan
from mvdefect.prediction.distributed import Work, inspect_with_beam, read_options
from mvdefect.prediction.inspectors import InspectorPlace
from mvdefect.prediction.predict import inspect_photographs, write_to_file
from mvdefect.prediction.rows import VerdictRow
from tests.beam_engines import DIRECT, MARKS, PORTABLE, quiet_beam  # noqa: F401 (a fixture for all)
from tests.prediction.test_predict import answer_by_size

pytest.importorskip("apache_beam")
pytestmark = MARKS

WORK = Work(InspectorPlace("runs/x"), *DIRECT, batch_size=4)
FAILING = "photographs/013.png"


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder: forty files, an archive, an empty file and one that is gone."""
    monkeypatch.chdir(tmp_path)
    Path("photographs").mkdir()
    for number in range(40):
        Path(f"photographs/{number:03}.png").write_bytes(b"x" * (number + 1))
    Path("photographs/007.png").write_bytes(b"")
    Path("photographs/009.png").unlink()
    Path("photographs/009.png").symlink_to("nowhere")
    with zipfile.ZipFile("more.zip", "w") as archive:
        archive.writestr('in/"a", b.png', b"xyz")
    return tmp_path


@pytest.fixture
def _by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the inspector is called, it answers by size; workers are threads of this process."""
    monkeypatch.setattr(beam, "check_inspector", lambda _: None)
    monkeypatch.setattr(distributed_module, "open_inspector", lambda *_: answer_by_size)
    monkeypatch.setattr(beam_plan, "BATCHES_PER_LIST", 3)


def list_line() -> list[Photograph]:
    names = [f"photographs/{number:03}.png" for number in range(40)]
    return [Photograph(name, Path(name)) for name in names] + list(list_photographs(["more.zip"]))


def inspect_locally(out: Path, kind: str, size: int = 4) -> bytes:
    def inspect(coming: Iterable[Photograph]) -> Iterator[VerdictRow]:
        return inspect_photographs(answer_by_size, coming, size, inspector="x")

    write_to_file(inspect, list_line(), out, kind, "x")
    return out.read_bytes()


def count_asked(monkeypatch: pytest.MonkeyPatch, fails: bool = False) -> list[int]:
    """Note how many photographs are asked about; the engine may fail at one."""
    asked: list[int] = []

    def answer(files: Sequence[bytes], with_heatmaps: bool = False) -> list[object]:
        if fails and any(len(file) == 14 for file in files):
            raise OSError("the cable fell out")
        asked.append(len(files))
        return list(answer_by_size(files))

    monkeypatch.setattr(distributed_module, "open_inspector", lambda *_: answer)
    return asked


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.usefixtures("_by_size")
def test_rows_are_those_of_a_local_call_byte_for_byte(line: Path, kind: str) -> None:
    local = inspect_locally(Path("local"), kind)
    tally = inspect_with_beam(WORK, list_line(), Path("out/beam"), kind)
    assert Path("out/beam").read_bytes() == local
    assert local.count(b"No such file or directory: 'photographs/009.png'") == 1
    assert tally.counts == {"defective": 21, "good": 18, "unreadable": 2}
    assert tally.exit_code == 2
    assert [path.name for path in Path("out").iterdir()] == ["beam"]


@pytest.mark.usefixtures("_by_size")
def test_an_interrupted_call_goes_on(line: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local, out = inspect_locally(Path("local"), "csv"), Path("beam.csv")
    with monkeypatch.context() as patch:
        first = count_asked(patch, fails=True)
        with pytest.raises(ConfigError, match=r"DirectRunner did not finish .*the cable fell out") as caught:
            inspect_with_beam(WORK, list_line(), out, "csv")
    assert "\n" not in str(caught.value)
    assert not out.exists()
    second = count_asked(monkeypatch)
    inspect_with_beam(WORK, list_line(), out, "csv")
    assert out.read_bytes() == local
    assert sum(first) + sum(second) == 39
    assert 0 < len(second) < 11


@pytest.mark.usefixtures("_by_size")
def test_rows_that_are_there_are_neither_repeated_nor_lost(
    line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = inspect_locally(Path("local"), "csv"), Path("beam.csv")
    out.write_bytes(whole[:300])  # as a kill leaves it
    with monkeypatch.context() as patch:
        patch.setattr(beam, "run_pipeline", lambda *_: None)  # workers that see another folder
        with pytest.raises(ConfigError, match="batches have no rows in .*each worker must see"):
            inspect_with_beam(WORK, list_line(), out, "csv")
    inspect_with_beam(WORK, list_line()[:30], out, "csv")
    inspect_with_beam(WORK, list_line(), out, "csv")
    assert out.read_bytes() == whole
    tally = inspect_with_beam(WORK, list_line(), out, "csv")
    assert tally.known == sum(tally.counts.values()) == 41
    assert out.read_bytes() == whole


@pytest.mark.usefixtures("_by_size")
def test_rows_of_an_interrupted_call_are_kept_where_photographs_came(
    line: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path("beam.csv")
    with monkeypatch.context() as patch:
        count_asked(patch, fails=True)
        with pytest.raises(ConfigError, match="the cable fell out"):
            inspect_with_beam(WORK, list_line()[:-1], out, "csv")
    inspect_with_beam(WORK, list_line(), out, "csv")
    local = inspect_locally(Path("local"), "csv")
    assert sorted(out.read_bytes().splitlines()) == sorted(local.splitlines())


def test_a_folder_of_something_else_is_left_alone(line: Path) -> None:
    folder = Path("beam.csv.parts")
    folder.mkdir()
    (folder / "diary.txt").write_text("dear diary")
    with pytest.raises(ConfigError, match="must be new, or of an interrupted call"):
        open_plan(Path("beam.csv"), "csv")
    assert (folder / "diary.txt").read_text() == "dear diary"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--runner", "DirectRunner"], "--runner needs --out"),
        (["--runner", "thread", "--out", "x.csv"], "runner must be 'local' or a runner"),
        (["--beam-option", "a=b"], "needs a --runner"),
        (["--runner", "DirectRunner", "--out", "x.csv", "--beam-option", "=b"], "must be KEY=VALUE"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    flags: list[str], said: str, exported: Path, line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(exported), "photographs", *flags])
    assert ended.value.code == 2
    (told,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("Error")]
    assert said in told
    assert not list(line.glob("x.csv*"))


def test_options_reach_beam_as_it_wants_them() -> None:
    assert read_options(["a=b", "--c=d=e", "streaming"]) == ("--a=b", "--c=d=e", "--streaming")


@pytest.mark.parametrize(("runner", "options"), [DIRECT, PORTABLE], ids=["direct", "portable"])
def test_the_command_on_an_engine_writes_what_it_writes_alone(
    runner: str,
    options: tuple[str, ...],
    exported: Path,
    parts_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "photographs").symlink_to(parts_root / "washer" / "test")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "gone.png").symlink_to("nowhere")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(next((parts_root / "washer").rglob("*.png")), "in/one.png")
    monkeypatch.chdir(tmp_path)
    names = "photographs\nbroken.png\nmore.zip\n"
    codes = []
    for out, flags in (("local", []), ("engine", ["--runner", runner])):
        monkeypatch.setattr("sys.stdin", io.StringIO(names))
        more = [part for option in options for part in ("--beam-option", option)] if flags else []
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    "predict",
                    str(exported),
                    "-",
                    "--batch-size",
                    "7",
                    "--out",
                    f"{out}.csv",
                    *flags,
                    *more,
                    "--overlays",
                    out,
                ]
            )
        codes.append(ended.value.code)
    assert codes == [2, 2]
    assert Path("engine.csv").read_bytes() == Path("local.csv").read_bytes()
    names_of = [sorted(path.name for path in Path(out).iterdir()) for out in ("local", "engine")]
    assert names_of[0] == names_of[1]
    assert len(names_of[0]) >= 10
