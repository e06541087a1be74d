"""Parts in predict: one verdict of several images, what is missing, and the table."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from mvdefect import cli
from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.errors import ConfigError
from mvdefect.data.parts import Usual
from mvdefect.evaluation.calibration import Calibration
from mvdefect.evaluation.operating_point import OperatingPoint, PartPoint
from mvdefect.evaluation.parts import judge_parts
from mvdefect.evaluation.pooling import Pooling
from mvdefect.inspector.answers import UNREADABLE_ANSWER, Answer
from mvdefect.inspector.parts import ImageOfPart, PartJudge
from mvdefect.prediction.parts import check_parts_file, find_known_parts, judge_rows, write_part_rows
from mvdefect.prediction.rows import VerdictRow, format_heading, format_row, read_verdict_rows
from mvdefect.runs import RunFolder, read_predictions
from tests.conftest import make_once, write_views

POINT = OperatingPoint("f1", "val", 1.0, "", "classifier", Calibration(), None, {"classifier": 0.0})


def make_judge(pattern: str = r"SN\d+", kind: str = "mean", verdict: str = "classifier") -> PartJudge:
    usual = Usual(("side", "top"), 2)
    part_point = PartPoint(Pooling(kind), replace(POINT, review=(-0.2, 0.2)), usual)  # type: ignore[arg-type]
    thresholds = {"classifier": 0.0, "novelty": 9.0}
    return PartJudge(replace(POINT, verdict=verdict, thresholds=thresholds, by_part=part_point), pattern)


def say(score: float, novelty: float = 1.0) -> Answer:
    """What an engine says, whose probability has the digits of a float32."""
    return Answer("good", float(np.float32(expit(score))), novelty)


def test_a_part_has_one_verdict_whatever_its_images_have() -> None:
    answers = {"SN1_top.png": say(3), "SN1_side.png": say(-1), "SN2_top.png": say(1), "SN2_side.png": say(-3)}
    first, second = make_judge().judge_all(answers.items())
    assert (first.part_id, first.label, first.images, first.missing) == ("SN1", "defective", 2, ())
    assert first.probability == pytest.approx(expit(1.0), abs=1e-6)
    assert (second.label, second.suspect) == ("good", "SN2_top.png")
    assert not second.needs_review


@pytest.mark.parametrize("score", [-70.0, -9.0, 0.3, 9.5])
def test_a_probability_in_float32_gives_the_score_back(score: float) -> None:
    (answer,) = make_judge().judge_all([("SN1_top.png", say(score))])
    assert answer.probability == pytest.approx(expit(score), rel=0.01)


def test_a_part_that_lacks_an_image_passes_only_under_review() -> None:
    (lacking,) = make_judge().judge_all([("SN1_top.png", say(-3))])
    assert (lacking.label, lacking.missing, lacking.needs_review) == ("good", ("side",), True)
    (rejected,) = make_judge().judge_all([("SN1_top.png", say(3))])
    assert (rejected.label, rejected.needs_review) == ("defective", False)


def test_what_cannot_be_read_is_counted() -> None:
    images = [
        ("SN1_top.png", say(-3)),
        ("SN1_side.png", UNREADABLE_ANSWER),
        ("SN2_top.png", UNREADABLE_ANSWER),
    ]
    first, second = make_judge().judge_all(images)
    assert (first.label, first.images, first.unreadable, first.needs_review) == ("good", 2, 1, True)
    assert (second.label, second.probability, second.suspect) == ("unreadable", None, "")


def test_the_grey_zone_is_that_of_parts() -> None:
    (answer,) = make_judge().judge_all([("SN1_top.png", say(1.1)), ("SN1_side.png", say(-1.0))])
    assert (answer.label, answer.needs_review) == ("review", True)


def test_either_rejects_a_part_with_a_novel_image() -> None:
    images = [("SN1_top.png", say(-5, 10.0)), ("SN1_side.png", say(-5))]
    assert make_judge(verdict="either").judge_all(images)[0].label == "defective"
    assert make_judge().judge_all(images)[0].label == "good"


def test_an_image_of_no_part_is_a_part_that_lacks_nothing() -> None:
    (answer,) = make_judge().judge_all([("other.png", say(-3))])
    assert (answer.part_id, answer.missing, answer.needs_review) == ("other.png", (), False)


def test_a_part_of_twenty_images_has_a_verdict() -> None:
    images = [ImageOfPart(f"{n}.png", f"shot{n}", say(-1)) for n in range(20)]
    assert make_judge().judge("SN1", images).label == "good"


def test_an_inspector_without_parts_says_so() -> None:
    with pytest.raises(ConfigError, match="fitted on images that are parts of their own"):
        PartJudge(POINT)


def make_row(file: str, score: float, label: str = "good") -> VerdictRow:
    return VerdictRow(file, label, False, False, float(expit(score)), 1.0, 0.5, inspector="x", size_bytes=3)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_rows_of_images_can_be_read_back(kind: str, tmp_path: Path) -> None:
    unreadable = VerdictRow("b,c.png", "unreadable", False, True, None, None, None, "broken")
    rows = [make_row("a.png", 1.0, "defective"), unreadable]
    text = format_heading(kind) + "".join(format_row(row, kind) for row in rows)
    (tmp_path / "rows").write_text(text)
    assert list(read_verdict_rows(tmp_path / "rows", kind)) == rows


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_the_table_of_parts(kind: str, tmp_path: Path) -> None:
    rows = [make_row("d/SN1_top.png", 3), make_row("SN2_top.png", -3), make_row("SN2_side.png", -3)]
    found = judge_rows(make_judge(), [*rows, make_row("zzz.png", -3)], {}, "x/1")
    assert found.describe() == (
        "3 parts: 1 defective, 2 good; 1 lack images: SN1 (side); 1 images belong to no part: zzz.png"
    )
    path = tmp_path / "parts"
    check_parts_file(path, kind)
    write_part_rows(found.rows, path, kind)
    check_parts_file(path, kind)  # one of ours may be replaced
    lines = path.read_text().splitlines()
    trees = list(csv.DictReader(lines)) if kind == "csv" else [json.loads(line) for line in lines]
    assert [tree["part_id"] for tree in trees] == ["SN1", "SN2", "zzz.png"]
    assert (trees[0]["missing"], str(trees[0]["images"]), trees[1]["inspector"]) == ("side", "1", "x/1")


@pytest.mark.parametrize(
    ("scores", "code"),
    [
        ({"SN1_top.png": -3, "SN1_side.png": -3}, 0),
        ({"SN1_top.png": 5, "SN1_side.png": 5}, 1),
        ({"SN1_top.png": 5, "SN2_top.png": -3}, 2),  # SN2 lacks a view
        ({}, 2),
    ],
)
def test_the_exit_code_is_that_of_the_parts(scores: dict[str, float], code: int) -> None:
    rows = [make_row(name, score) for name, score in scores.items()]
    assert judge_rows(make_judge(), rows, {}, "").exit_code == code


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text(format_heading("csv"))
    for kind in ("csv", "jsonl"):
        with pytest.raises(ConfigError, match="no table of parts"):
            check_parts_file(tmp_path / "rows.csv", kind)


def test_a_table_names_the_parts_of_its_images(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "P9_left.png"):
        (tmp_path / name).write_bytes(b"x")
    table = tmp_path / "table.csv"
    table.write_text("path,part_id,view\na.png,P7,top\nb.png,,\nmissing.png,P8,top\nP9_left.png,P9,\n")
    known = find_known_parts([str(table), str(tmp_path)])
    assert known == {
        str(tmp_path / "a.png"): ("P7", "top"),
        str(tmp_path / "P9_left.png"): ("P9", "left"),
    }
    (answer,) = make_judge("").judge_all([(str(tmp_path / "a.png"), say(-3))], known)
    assert (answer.part_id, answer.missing) == ("P7", ("side",))


@pytest.fixture(scope="module")
def parts_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of parts with two views each, of seconds."""
    from mvdefect.workflow.fit import fit_inspector

    def make(place: Path) -> None:
        config = FitConfig(
            data=write_views(place / "views"),
            part_pattern=r"SN\d+",
            resolution=64,
            backbone="small_cnn",
            weights="none",
            stages=(StageConfig(depth_blocks=0, epochs=1), StageConfig(epochs=1)),
        )
        fit_inspector(config, place / "run")

    return make_once(tmp_path_factory, "run_of_parts", make) / "run"


def predict(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(["predict", *map(str, arguments)])
    return int(left.value.code or 0), capsys.readouterr().err


def test_run_and_export_give_a_part_the_verdict_that_was_measured(
    parts_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mvdefect.evaluation.evaluate import evaluate_run, read_operating_point
    from mvdefect.exporting.export import ExportSettings, export_run

    evaluation = evaluate_run(parts_run)
    point = read_operating_point(RunFolder(parts_run))
    assert point.by_part is not None
    assert point.by_part.usual == Usual(("side", "top"), 2)
    rows = [row for row in read_predictions(RunFolder(parts_run)) if row.split == "test"]
    measured = {row.part_id: row for row in judge_parts(rows, point, point.by_part).pooled}
    assert evaluation.by_part is not None
    assert evaluation.by_part.images == len(measured)
    assert "Every figure of parts" in (parts_run / "report.html").read_text()

    exported = export_run(parts_run, tmp_path / "exports", ExportSettings(formats=("onnx",), name="p"))
    views = parts_run.parent / "views"
    for place, name in ((parts_run, "run"), (exported.path, "export")):
        table = tmp_path / f"{name}.csv"
        _, said = predict(capsys, place, views, "--out", tmp_path / f"{name}_rows.csv", "--parts", table)
        assert "36 parts" in said
        assert "SN01 (side)" in said
        with table.open() as stream:
            found = {row["part_id"]: row for row in csv.DictReader(stream)}
        for part_id, row in measured.items():
            assert found[part_id]["label"] == row.verdict
            assert float(found[part_id]["probability"]) == pytest.approx(row.probability, abs=1e-3)


def test_in_python_answers_become_parts(parts_run: Path) -> None:
    import mvdefect

    inspector = mvdefect.load(parts_run)
    files = sorted((parts_run.parent / "views").rglob("SN3*.png"))
    answers = {path.name: answer for path, answer in zip(files, inspector.predict(files), strict=True)}
    parts = inspector.judge_parts(answers)
    assert {part.part_id for part in parts} == {f"SN3{n}" for n in range(6)}
    assert all(part.images == 2 and not part.missing for part in parts)
    (whole,) = inspector.judge_parts(answers, part_pattern="SN")
    assert whole.images == 12


def test_predict_says_that_an_inspector_judges_parts(
    parts_run: Path, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = parts_run.parent / "views" / "good" / "SN00_top.png"
    assert "--parts FILE" in predict(capsys, parts_run, image, "--exit-zero")[1]
    assert "--parts FILE" not in predict(capsys, finished_run, image, "--exit-zero")[1]


def test_rows_on_stdout_make_the_same_table(
    parts_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = parts_run.parent / "views" / "dent"
    code, said = predict(capsys, parts_run, views, "--parts", tmp_path / "parts.jsonl", "--format", "jsonl")
    trees = [json.loads(line) for line in (tmp_path / "parts.jsonl").read_text().splitlines()]
    assert {tree["missing"] for tree in trees} == {"side"}
    assert code in {1, 2}
    assert "12 lack images" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--part-pattern", "x"), "--part-pattern needs --parts"),
        (("--parts", "p.csv", "--part-pattern", "["), "is no regular expression"),
    ],
)
def test_what_makes_no_sense_is_said(
    arguments: tuple[str, ...], message: str, parts_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = predict(capsys, parts_run, parts_run.parent / "views", *arguments)
    assert code == 2
    assert message in said


def test_a_server_and_a_watch_say_what_parts_need(
    parts_run: Path, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = ("--parts", tmp_path / "p.csv")
    assert "needs --inspector-json" in predict(capsys, "http://x:1/v1/models/m", "a.png", *parts)[1]
    watched = (parts_run, "--watch", tmp_path, "--out", tmp_path / "o.csv", *parts)
    assert "has no end" in predict(capsys, *watched)[1]
    assert "has no verdict of parts" in predict(capsys, finished_run, parts_run, *parts)[1]
