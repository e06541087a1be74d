"""Inspecting photographs: whatever they come in, one row each, also after a kill."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from mvdefect.cli import main
from mvdefect.core.errors import ConfigError, InUseError, LayoutError, RunError
from mvdefect.core.locks import hold
from mvdefect.data.splits.plan import PARTS, read_split_plan
from mvdefect.evaluation.regions import SuspiciousRegion
from mvdefect.inspector import photographs as photographs_module
from mvdefect.inspector.answers import Answer
from mvdefect.inspector.engines import open_engine
from mvdefect.inspector.photographs import Photograph, find_photograph, list_photographs
from mvdefect.prediction.familiar import FamiliarImages
from mvdefect.prediction.inspectors import InspectorPlace, check_inspector, name_inspector, open_inspector
from mvdefect.prediction.predict import Tally, inspect_photographs, write_to_file, write_to_stream
from mvdefect.prediction.rows import format_heading, format_row, make_row, read_done, read_verdict_rows
from mvdefect.prediction.watch import watch_folder
from mvdefect.runs import RunFolder, read_predictions, read_run_config


def answer_by_size(files: Sequence[bytes], _with_heatmaps: bool = False) -> list[Answer]:
    """An engine without a network: files of odd length are defective."""
    return [Answer("defective" if len(file) % 2 else "good", len(file) % 2 * 0.9, 1.0) for file in files]


def encode_png(size_px: int) -> bytes:
    image = np.full((size_px, size_px), size_px, np.uint8)
    return cv2.imencode(".png", image)[1].tobytes()


def names(sources: Sequence[str], lines: Sequence[str] = ()) -> list[str]:
    return [found.name for found in list_photographs(sources, lines)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    for name in ("b.png", "a.jpg", "notes.txt", ".hidden.png", "below/c.bmp"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def test_photographs_are_found_wherever_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert names(["."]) == ["a.jpg", "b.png", "below/c.bmp"]
    assert names(["*.png", "notes.txt"]) == ["b.png", "notes.txt"]
    assert names(["**/*.bmp"]) == ["below/c.bmp"]
    assert names(["-"], ["b.png\n", "\n", "below\n"]) == ["b.png", "below/c.bmp"]
    with zipfile.ZipFile("all.zip", "w") as archive:
        archive.write("b.png", "x/b.png")
        archive.writestr("readme.txt", "no picture")
    (found,) = list_photographs(["all.zip"])
    assert (found.name, found.read()) == ("all.zip/x/b.png", b"b.png")
    for source, said in (("nothing.png", "there is no image"), ("*.gif", "no file fits the pattern")):
        with pytest.raises(LayoutError, match=said):
            names([source])
    (folder / "broken.zip").write_bytes(b"x")
    with pytest.raises(LayoutError, match="is damaged"):
        names(["broken.zip"])


def test_a_table_names_images(folder: Path) -> None:
    """Each once, in its order, with or without labels; what is not there is a row that says so."""
    table = folder / "table.csv"
    table.write_text("No;filename;verdict\n1;b.png;ng\n2;below\\c.bmp;ok\n3;gone.png;ok\n4;b.png;ng\n")
    expected = [str(folder / name) for name in ("b.png", "below/c.bmp", "gone.png")]
    assert names([str(table)]) == expected
    assert names(["-"], [str(table)]) == [str(table)]
    (folder / "paths.tsv").write_text("path\nb.png\n")
    assert names([str(folder / "paths.tsv")]) == expected[:1]
    table.write_text("a,b\n1,2\n")
    with pytest.raises(LayoutError, match="expected a table with a column path. Received: a, b"):
        names([str(table)])


def test_images_that_a_run_was_made_with_are_counted(finished_run: Path, exported: Path) -> None:
    run, source = RunFolder(finished_run), Path(read_run_config(RunFolder(finished_run)).data[0])
    plan = read_split_plan(run.split_plan)
    files = {part: [(source / row.id).read_bytes() for row in plan.select(part)] for part in PARTS}
    engine = FamiliarImages(answer_by_size, str(finished_run))
    assert engine(files["test"]) == answer_by_size(files["test"])
    assert engine.describe() == ""
    engine(files["train"][:3] + files["val"][:2] + files["test"])
    assert "3 that this run trained on and 2 that this run chose its threshold by" in engine.describe()
    other = FamiliarImages(answer_by_size, str(exported))
    other(files["train"])
    assert other.describe() == ""


def test_rows_keep_their_order_and_trouble_is_told(folder: Path) -> None:
    (folder / "empty.png").write_bytes(b"")
    photographs = [Photograph(name, folder / name) for name in ("b.png", "gone.png", "empty.png", "a.jpg")]
    rows = list(inspect_photographs(answer_by_size, photographs, 3))
    assert [row.file for row in rows] == ["b.png", "gone.png", "empty.png", "a.jpg"]
    assert [row.label for row in rows] == ["defective", "unreadable", "unreadable", "defective"]
    assert "No such file" in rows[1].error
    assert rows[2].error == "the file is empty"
    assert rows[1].needs_review
    assert not rows[1].defective


def write_damaged_archive(path: Path) -> None:
    """Every way of packing, each damaged in the middle; one encrypted, one packed otherwise, one large."""
    content = np.random.default_rng(0).integers(0, 9, 5000).astype(np.uint8).tobytes()
    ways = {"stored": 0, "deflate": 8, "bzip2": 12, "lzma": 14, "encrypted": 8, "unknown": 8, "large": 8}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("0-first.png", b"first")
        for name, way in ways.items():
            archive.writestr(f"{name}.png", content, way)
        archive.writestr("z-last.png", b"last")
        members = {one.filename[:-4]: one for one in archive.infolist()}
    damaged = bytearray(path.read_bytes())
    for name in ("stored", "deflate", "bzip2", "lzma"):
        middle = members[name].header_offset + 40 + members[name].compress_size // 2
        damaged[middle : middle + 8] = b"damaged!"

    def change(name: str, offset: int, value: bytes) -> None:
        begin = damaged.rindex(f"{name}.png".encode()) - 46  # of its entry in the directory
        damaged[begin + offset : begin + offset + len(value)] = value

    change("encrypted", 8, b"\1\0")
    change("unknown", 10, b"\x63\0")
    change("large", 24, (2**32 - 2).to_bytes(4, "little"))
    path.write_bytes(damaged)


def test_a_member_that_cannot_be_unpacked_is_a_row_and_costs_the_others_nothing(tmp_path: Path) -> None:
    write_damaged_archive(tmp_path / "all.zip")
    rows = list(inspect_photographs(answer_by_size, list_photographs([str(tmp_path / "all.zip")]), 4))
    found = {Path(row.file).stem: row for row in rows}
    assert len(found) == 9
    assert {name for name, row in found.items() if not row.error} == {"0-first", "z-last"}
    assert all("cannot be unpacked: " in row.error for row in rows if row.error)
    assert all(row.label == "unreadable" for row in rows if row.error)
    assert "at most 536,870,912 bytes are read. Received: 4,294,967,294" in found["large"].error
    assert "encrypted" in found["encrypted"].error


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs_module, "MAX_MEMBERS", 3)
    write_damaged_archive(tmp_path / "all.zip")
    with pytest.raises(LayoutError, match="may hold 3 files; .* Received: 9 in"):
        names([str(tmp_path / "all.zip")])


def test_memory_holds_a_batch_at_a_time(folder: Path) -> None:
    taken = []

    def coming():
        for number in range(10**9):
            taken.append(number)
            yield Photograph(str(number), folder / "b.png")

    rows = inspect_photographs(answer_by_size, coming(), 4)
    for _ in range(6):
        next(rows)
    assert len(taken) == 8


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        (["good", "good"], 0),
        (["good", "defective"], 1),
        (["defective", "unreadable"], 2),
        (["review"], 2),
        ([], 2),
    ],
)
def test_the_exit_code_tells_a_line_controller(labels: list[str], code: int) -> None:
    tally = Tally()
    for label in labels:
        tally.add(label)
    assert tally.exit_code == code


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_row_that_a_kill_cut_in_two_is_written_again(folder: Path, kind: str) -> None:
    out = folder / "out" / "rows.txt"
    photographs = [Photograph(f"{number}, 'x'", folder / "b.png") for number in range(9)]

    def inspect(coming):
        return inspect_photographs(answer_by_size, coming, 2)

    write_to_file(inspect, photographs, out, kind)
    whole = out.read_bytes()
    for length in range(0, len(whole), 7):
        out.write_bytes(whole[:length])
        tally = write_to_file(inspect, photographs, out, kind)
        assert out.read_bytes() == whole
        assert sum(tally.counts.values()) == 9  # of all, whoever inspected them
        assert tally.exit_code == 1
    tally = write_to_file(inspect, photographs, out, kind)
    assert (tally.known, tally.exit_code) == (9, 1)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_photograph_under_an_old_name_has_a_row_of_its_own(
    folder: Path, kind: str, messages: list[str]
) -> None:
    out = folder / "rows"

    def inspect() -> Tally:
        photographs = list_photographs([str(folder / "b.png"), str(folder / "a.jpg"), str(folder / "b.png")])
        return write_to_file(
            lambda coming: inspect_photographs(answer_by_size, coming, 2), photographs, out, kind
        )

    assert inspect().known == 0
    assert inspect().known == 2
    assert "holds 2 rows; photographs of the same name, size and time are not inspected again" in messages[-1]
    (folder / "b.png").write_bytes(b"a later one")
    assert inspect().known == 1
    os.utime(folder / "b.png", (0, 0))
    tally = inspect()
    assert (tally.known, sum(tally.counts.values())) == (1, 2)  # the rows of what is no more do not count
    done, _ = read_done(out, kind)
    assert [name for name, _, _ in done].count(str(folder / "b.png")) == 3
    assert find_photograph(folder / "b.png").key in done


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_name_that_is_not_utf8_is_escaped(tmp_path: Path, kind: str) -> None:
    (tmp_path / "line").mkdir()
    names_given = [os.fsdecode(name) for name in (b"caf\xe9.png", b"\xff\xfe.png", "café.png".encode())]
    for name in names_given:
        (tmp_path / "line" / name).write_bytes(encode_png(4))
    pattern, out = str(tmp_path / "line" / "*.png"), tmp_path / "rows"
    expected = {"caf\\xe9.png", "\\xff\\xfe.png", "café.png"}
    for sources in ([str(tmp_path / "line")], [pattern], ["-"], ["-"]):
        photographs = list_photographs(sources, [str(tmp_path / "line" / name) for name in names_given])
        write_to_file(lambda coming: inspect_photographs(answer_by_size, coming, 2), photographs, out, kind)
        done, _ = read_done(out, kind)
        assert {Path(name).name for name, _, _ in done} == expected
        assert len(done) == 3


def test_a_file_is_written_by_one_at_a_time(folder: Path) -> None:
    out = folder / "out" / "rows.csv"
    out.parent.mkdir()
    with hold(out), pytest.raises(InUseError, match="rows.csv is being written by process"):
        write_to_file(lambda coming: inspect_photographs(answer_by_size, coming, 2), [], out, "csv")
    assert list(out.parent.iterdir()) == []


def test_a_file_of_something_else_is_left_alone(folder: Path) -> None:
    path = folder / "notes.txt"
    path.write_text("dear diary\n")
    for kind in ("csv", "jsonl"):
        with pytest.raises(ConfigError, match="holds no rows of verdicts"):
            read_done(path, kind)
    assert path.read_text() == "dear diary\n"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_of_two_inspectors_do_not_mix(folder: Path, kind: str) -> None:
    out = folder / "rows"
    photograph = find_photograph(folder / "b.png")
    row = make_row(photograph, Answer("good", 0.25, 1.5), inspector="parts/1")
    out.write_text(format_heading(kind) + format_row(row, kind))
    assert read_done(out, kind, "parts/1")[0] == {photograph.key: "good"}
    with pytest.raises(ConfigError, match="holds rows of the inspector parts/1, not of parts/2"):
        read_done(out, kind, "parts/2")


def test_what_is_no_inspector_is_told(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run and no export"):
        check_inspector(InspectorPlace(str(tmp_path / "frist")))
    with pytest.raises(RunError, match="holds the exports parts; name one: .*parts"):
        check_inspector(InspectorPlace(str(exported.parent.parent)))


def test_an_inspector_has_a_name(exported: Path, finished_run: Path) -> None:
    places = {
        str(exported): "parts/1",
        str(exported.parent): "parts/1",
        str(finished_run): finished_run.name,
        "http://line:8501/v1/models/parts/versions/1": "parts/1",
        "grpc://line:8500/parts": "parts",
    }
    assert {place: name_inspector(InspectorPlace(place)) for place in places} == places


def test_a_time_that_no_calendar_has_ends_nothing() -> None:
    assert Photograph("a", Path(), modified_ns=2**62 * 10**9).modified.startswith("9999-12-31T23:59:59.")
    assert Photograph("a", Path(), modified_ns=-1).modified == "1969-12-31T23:59:59.999999999Z"
    assert Photograph("a", Path()).modified == ""


def test_rows_are_what_csv_and_json_readers_expect() -> None:
    photograph = Photograph('a "b", c.png', Path(), size_bytes=7, modified_ns=1_700_000_000_123_456_789)
    row = make_row(photograph, Answer("good", 0.25, 1.5, mean_novelty=0.5))
    assert json.loads(format_row(row, "jsonl"))["probability"] == 0.25
    (fields,) = csv.reader(io.StringIO(format_row(row, "csv")))
    assert fields == [
        'a "b", c.png',
        "good",
        "false",
        "false",
        "0.25",
        "1.5",
        "0.5",
        "",
        "",
        "",
        "7",
        "2023-11-14T22:13:20.123456789Z",
        "",
    ]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_regions_are_told_in_rows_and_read_again(kind: str, tmp_path: Path) -> None:
    region = SuspiciousRegion(4, 5, 30, 20, 500, 2.5, 9, 8)
    photographs = [Photograph(name, Path()) for name in ("a.png", "b.png", "c.png", "d.png")]
    told = [(region, region.scale(0.1)), (region,), (), None]
    rows = [
        make_row(one, Answer("defective", 0.9, 1.5, mean_novelty=0.5, regions=regions))
        for one, regions in zip(photographs, told, strict=True)
    ]
    path = tmp_path / f"rows.{kind}"
    path.write_text(format_heading(kind) + "".join(format_row(row, kind) for row in rows))
    assert list(read_verdict_rows(path, kind)) == rows
    with path.open(newline="") as stream:
        trees = list(csv.DictReader(stream)) if kind == "csv" else [json.loads(line) for line in stream]
    cells = [tree["regions"] for tree in trees]
    found = [json.loads(cell) if cell else None for cell in cells] if kind == "csv" else cells
    box = {"x": 4, "y": 5, "width": 30, "height": 20, "area": 500, "peak": 2.5, "peak_x": 9, "peak_y": 8}
    assert found == [[box, {**box, "width_mm": 3.0, "height_mm": 2.0, "area_mm2": 5.0}], [box], [], None]


def test_rows_have_regions_of_runs_and_not_of_servers(
    finished_run: Path, parts_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(next((parts_root / "washer" / "test").glob("*/000.png")))
    found = {}
    for flags in ((), ("--no-regions",), ("--mm-per-px", "0.5")):
        with pytest.raises(SystemExit):
            main(["predict", str(finished_run), image, "--format", "jsonl", "--exit-zero", *flags])
        found[flags] = json.loads(capsys.readouterr().out)["regions"]
    assert found["--no-regions",] is None
    plain, sized = found[()], found["--mm-per-px", "0.5"]
    assert [one["x"] for one in plain] == [one["x"] for one in sized]
    assert all(one["width_mm"] == one["width"] / 2 for one in sized)
    assert not any("width_mm" in one for one in plain)
    with pytest.raises(ConfigError, match="mm_per_px must be above 0. Received: mm_per_px=-1"):
        InspectorPlace(str(finished_run), mm_per_px=-1)


def test_a_watched_folder_gives_each_file_once_and_none_half_written(tmp_path: Path) -> None:
    whole, another = encode_png(40), encode_png(41)
    (tmp_path / "first.png").write_bytes(whole)
    (tmp_path / "old.png").write_bytes(b"broken")
    os.utime(tmp_path / "old.png", (0, 0))
    looks = []

    def pass_time(_: float) -> None:
        looks.append(len(looks))
        if len(looks) == 2:
            (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
            (tmp_path / "empty.png").write_bytes(b"")
            (tmp_path / "slow.png").write_bytes(whole[: len(whole) // 2])
        if len(looks) == 7:  # a camera that was slow: in between nothing was written in several looks
            (tmp_path / "slow.png").write_bytes(whole)
        if len(looks) == 12:  # a camera that begins its numbers again
            (tmp_path / "first.png").write_bytes(another)
        if len(looks) > 40:
            raise KeyboardInterrupt

    found = []

    def take_all() -> None:
        started = time.time()
        clock = lambda: started + len(looks) / 2  # noqa: E731
        for photograph in watch_folder(tmp_path, sleep=pass_time, clock=clock):
            found.append((photograph.path.name, len(photograph.read()), len(looks)))

    with pytest.raises(KeyboardInterrupt):
        take_all()
    assert found[:3] == [("first.png", len(whole), 1), ("old.png", 6, 1), ("slow.png", len(whole), 8)]
    assert found[3] == ("first.png", len(another), 13)
    late = {name: (length, look) for name, length, look in found[4:]}
    assert {name: length for name, (length, _) in late.items()} == {
        "broken.png": len(whole) // 2,
        "empty.png": 0,
    }
    assert all(20 <= look <= 24 for _, look in late.values())
    with pytest.raises(LayoutError, match="must be a folder"):
        watch_folder(tmp_path / "nowhere")


def test_a_share_that_cannot_be_read_for_a_moment_ends_no_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    (tmp_path / "part.png").write_bytes(encode_png(40))
    scan, failures = os.scandir, [errno.EIO, errno.ESTALE]

    def fail_twice(place: str) -> object:
        if failures:
            raise OSError(failures.pop(), "the share is away", place)
        return scan(place)

    monkeypatch.setattr(os, "scandir", fail_twice)
    found = next(watch_folder(tmp_path, sleep=lambda _: None))
    assert found.path == tmp_path / "part.png"
    assert messages == [f"{tmp_path}: the share is away; trying again"] * 2


@pytest.mark.parametrize("place", ["finished_run", "exported"])
def test_run_and_export_say_what_was_said(
    place: str, finished_run: Path, request: pytest.FixtureRequest
) -> None:
    from mvdefect.runs import read_run_config

    root = Path(read_run_config(RunFolder(finished_run)).data[0])
    expected = [row for row in read_predictions(RunFolder(finished_run)) if row.split == "test"][:6]
    engine = open_engine(request.getfixturevalue(place))
    answers = engine([(root / row.id).read_bytes() for row in expected])
    assert [answer.label for answer in answers] == [row.verdict for row in expected]
    np.testing.assert_allclose(
        [one.probability for one in answers], [row.probability for row in expected], atol=1e-4
    )


def test_the_last_version_is_taken_and_nothing_else(exported: Path, tmp_path: Path) -> None:
    from mvdefect.inspector.places import find_export

    assert find_export(exported.parent) == exported
    with pytest.raises(RunError, match="a run is a folder"):
        open_engine(tmp_path)


def test_the_engine_is_chosen(exported: Path, finished_run: Path, tmp_path: Path) -> None:
    chosen = InspectorPlace(str(exported), "savedmodel")
    assert len(open_inspector(chosen)([b"no photograph"])) == 1
    with pytest.raises(ConfigError, match="the export has the engines savedmodel. Received: onnx"):
        open_inspector(InspectorPlace(str(exported), "onnx"))
    for place in (str(finished_run), "http://line:8501/v1/models/parts"):
        with pytest.raises(ConfigError, match="only an export has engines to choose from. Received: onnx"):
            check_inspector(InspectorPlace(place, "onnx"))
    with pytest.raises(RunError):
        check_inspector(InspectorPlace(str(tmp_path)))


def test_the_command(
    finished_run: Path, parts_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photographs = parts_root / "washer" / "test"
    out, overlays = tmp_path / "rows.jsonl", tmp_path / "overlays"
    flags = ["--format", "jsonl", "--out", str(out), "--overlays", str(overlays), "--exit-zero"]
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(finished_run), str(photographs), *flags])
    assert ended.value.code == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    files = sorted(str(path) for path in photographs.rglob("*.png"))
    assert sorted(row["file"] for row in rows) == files
    shown = cv2.imread(str(next(overlays.glob("*.png"))))
    assert len(list(overlays.glob("*.png"))) == len(files)
    assert shown.shape == (64, 64, 3)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(finished_run), str(photographs), "--format", "jsonl", "--out", str(out)])
    said = [row["label"] for row in rows]
    assert ended.value.code == (2 if "review" in said else int("defective" in said))
    assert f"{len(files)} of them had their row already" in capsys.readouterr().err
    assert {row["inspector"] for row in rows} == {finished_run.name}
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(finished_run), str(tmp_path / "empty")])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "name an inspector and images"),
        (["--watch", "x"], "needs --out"),
        (["nothing.png"], "no image"),
    ],
)
def test_what_makes_no_sense_is_said(
    flags: list[str], said: str, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(finished_run), *flags])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


KILLED = """
import sys, time
from pathlib import Path
from mvdefect.inspector.photographs import list_photographs
from mvdefect.prediction.predict import inspect_photographs, write_to_file
from mvdefect.prediction.watch import watch_folder
from tests.prediction.test_predict import answer_by_size

def slowly(files, _with_heatmaps):
    time.sleep(0.002)
    return answer_by_size(files)

source, out = sys.argv[1:3]
coming = watch_folder(Path(source), 0.01) if sys.argv[3] == "watch" else list_photographs([source])
size = 1 if sys.argv[3] == "watch" else 4  # a batch that is not full would wait for ever
write_to_file(lambda photographs: inspect_photographs(slowly, photographs, size), coming, Path(out), "csv")
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["files", "watch"])
def test_after_kills_every_file_has_exactly_one_row(tmp_path: Path, how: str) -> None:
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number in range(1000):
        (photographs / f"{number:04}.png").write_bytes(encode_png(number % 5 + 1))
    out, root = tmp_path / "rows.csv", Path(__file__).parents[2]
    for attempt in range(40):
        command = [sys.executable, "-c", KILLED, str(photographs), str(out), how]
        process = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
        deadline = time.monotonic() + (30 if attempt > 3 else 1.0 + 0.15 * attempt)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
            if out.is_file() and out.read_bytes().count(b"\n") == 1001:
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        if out.is_file() and out.read_bytes().count(b"\n") == 1001:
            break
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert sorted(row["file"] for row in rows) == sorted(str(path) for path in photographs.iterdir())


def test_what_is_not_this_product_is_noted_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(files: Sequence[bytes], with_heatmaps: bool = False) -> list[Answer]:
        return [Answer("defective", 0.9, 99.0, is_foreign=number == 0) for number in range(len(files))]

    photographs = [find_photograph(folder / name) for name in ("a.jpg", "b.png")]
    rows = list(inspect_photographs(answer, photographs, 2))
    assert [row.note for row in rows] == ["not this product", ""]
    assert [row.label for row in rows] == ["defective", "defective"]
    tally = write_to_stream(iter(rows), "jsonl")
    assert (tally.foreign, tally.exit_code) == (1, 2)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["note"] == "not this product"
