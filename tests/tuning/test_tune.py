"""`mvdefect tune` from end to end: real trainings beside a closed test part; all else on quick trials."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from mvdefect import cli
from mvdefect.config import FitConfig, load_config
from mvdefect.core.errors import InUseError, MvdefectError, RunExistsError, SearchError, SplitError
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.folders import read_records
from mvdefect.data.splits.plan import read_split_plan, write_split_plan
from mvdefect.data.splits.protocols import assign_closed_set
from mvdefect.runs import open_run
from tests.tuning.fakes import RUNS, be_killed, find_a_wrong_setting, fit_instantly, read_table, score_trial
from tuning.choice import confirm as confirm_module
from tuning.choice.confirm import confirm_choice
from tuning.nested import tune_nested
from tuning.search.claim import claim_folder, list_changes, wait_for_chief
from tuning.settings import SearchConfig
from tuning.tune import TuneOptions, tune_inspector

SETTINGS = {
    "backbone": "small_cnn",
    "weights": "none",
    "resolution": 64,
    "batch_size": 16,
    "stages": [{"epochs": 1}],
    "tensorboard": False,
}
QUICK = TuneOptions(function=score_trial)


@pytest.fixture
def plan_path(parts_root: Path, tmp_path: Path) -> Path:
    scan = scan_images(read_records(parts_root))
    path = tmp_path / "plan.csv"
    write_split_plan(assign_closed_set(scan, group_records(scan), 0), path)
    return path


def make_search(parts_root: Path, **changes: object) -> SearchConfig:
    settings = {**SETTINGS, "data": str(parts_root)}
    given = {"settings": settings, "strategy": "random", "trials": 4, "refits": {"best": 2, "seeds": 2}}
    return SearchConfig.model_validate({**given, **changes})


def tune(search: SearchConfig, out: Path, options: TuneOptions = QUICK):  # type: ignore[no-untyped-def]
    summary = tune_inspector(search, out, options)
    assert summary is not None
    return summary


@pytest.mark.slow
def test_the_command_searches_with_the_test_part_closed_and_its_choice_can_be_fitted(
    parts_root: Path, plan_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The photographs of the test part are no photographs any more while the search runs."""
    root, out = tmp_path / "parts", tmp_path / "search"
    shutil.copytree(parts_root, root)
    closed = [row.id for row in read_split_plan(plan_path).select("test")]
    for name in closed:
        (root / name).write_bytes(b"closed")
    arguments = ["--data", str(root), "--split", str(plan_path), "--out", str(out), "--trials", "2"]
    one = {"settings": SETTINGS, "refits": {"best": 1, "seeds": 1, "folds": 1}, "strategy": "random"}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(one))
    with pytest.raises(SystemExit) as ended:
        cli.main(["tune", *arguments, "--config", str(tmp_path / "one.yaml")])
    said = capsys.readouterr()
    assert not ended.value.code, said.err
    assert "2 trials. The search ended: all 2 trials are done." in said.out
    assert f"mvdefect fit --config {out / 'best.yaml'}" in said.out
    rows = read_table(out / "trials.csv")
    assert [row["status"] for row in rows] == ["completed"] * 2
    assert all(0 <= float(row["val_roc_auc"]) <= 1 for row in rows)
    assert len(read_table(out / "leaderboard.csv")) == 2
    assert (out / "report.html").stat().st_size > 10_000

    for name in closed:
        shutil.copy(parts_root / name, root / name)
    with pytest.raises(SystemExit) as ended:
        cli.main(["fit", "--config", str(out / "best.yaml"), "--run", str(tmp_path / "run")])
    assert not ended.value.code
    fitted = load_config(open_run(tmp_path / "run").config, {})
    assert fitted.model_copy(update={"split": None, "folds": None}) == load_config(
        out / "best.yaml", {"split": None}
    ).model_copy(update={"split": None})
    assert read_split_plan(open_run(tmp_path / "run").split_plan).digest == read_split_plan(plan_path).digest


def test_what_is_recommended_is_in_best_yaml(parts_root: Path, tmp_path: Path) -> None:
    summary = tune(make_search(parts_root), tmp_path / "out")
    board = summary.leaderboard
    assert board is not None
    best = load_config(tmp_path / "out" / "best.yaml", {})
    chosen = board.find(board.recommended).values
    assert best.dropout == pytest.approx(chosen.get("dropout", 0.2))
    assert best.split == (tmp_path / "out" / "split_plan.csv").resolve()
    assert all(stage.learning_rate is not None for stage in best.stages)
    assert summary.confirmations == ()
    assert not (tmp_path / "out" / "confirm").exists()


def test_the_same_command_goes_on_and_other_settings_are_refused(parts_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = tune(make_search(parts_root), out)
    assert tune(make_search(parts_root), out).leaderboard == first.leaderboard
    longer = tune(make_search(parts_root, trials=5), out)
    assert longer.trials[:4] == first.trials
    other = make_search(parts_root, space={"dropout": [0.1, 0.2]})
    with pytest.raises(RunExistsError, match=r"other settings \(space\)"):
        tune(other, out)
    assert len(read_table(out / "trials.csv")) == 5
    assert len(tune(other, out, TuneOptions(overwrite=True, function=score_trial)).trials) == 4


def test_the_same_command_with_overwrite_goes_on(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUNS, str(tmp_path / "marks"))
    for _ in range(2):
        tune(make_search(parts_root), tmp_path / "out", TuneOptions(overwrite=True, function=score_trial))
    assert len((tmp_path / "marks").read_text().splitlines()) == 4 + 3 * 2 * 3  # candidates, seeds, folds


def test_another_plan_under_the_same_name_is_refused(
    parts_root: Path, plan_path: Path, tmp_path: Path
) -> None:
    """Or photographs of the first test part would be searched on."""
    search = make_search(parts_root, settings={**SETTINGS, "data": str(parts_root), "split": str(plan_path)})
    tune(search, tmp_path / "out")
    scan = scan_images(read_records(parts_root))
    write_split_plan(assign_closed_set(scan, group_records(scan), 5), plan_path)
    with pytest.raises(RunExistsError, match="begun with another split plan"):
        tune(search, tmp_path / "out")


def test_refits_on_other_folds_are_other_refits(parts_root: Path, tmp_path: Path) -> None:
    boards = []
    for folds in (3, 2):
        search = make_search(parts_root, refits={"best": 1, "seeds": 1, "folds": folds})
        boards.append(tune(search, tmp_path / "out").leaderboard)
    assert [len(board.candidates[0].refits) for board in boards] == [3, 2]
    assert len(list((tmp_path / "out" / "refits").iterdir())) == 2 * 3 + 2 * 2


def test_other_weights_under_the_same_name_are_another_search(tmp_path: Path) -> None:
    search, weights = SearchConfig(), tmp_path / "weights.h5"
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        if content == b"two":
            assert list_changes(tmp_path / "out", search, {"resnet50": weights})
            break
        with claim_folder(tmp_path / "out", search, {"resnet50": weights}, False):
            assert not list_changes(tmp_path / "out", search, {"resnet50": weights})


def test_a_start_that_was_killed_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".search.yaml.lock").write_text("")
    (tmp_path / ".123.search.yaml").write_text("half")
    with claim_folder(tmp_path, SearchConfig(), {}, False):
        assert (tmp_path / "search.yaml").is_file()


def test_a_worker_with_other_settings_than_the_chief_stops(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tune(make_search(parts_root), tmp_path / "out")
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "tuner0")
    with pytest.raises(SearchError, match=r"the chief searches with other settings \(space\)"):
        tune(make_search(parts_root, space={"taps": 1}), tmp_path / "out")


def test_a_folder_of_something_else_is_left_alone(parts_root: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(RunExistsError, match="is no search of mvdefect"):
        tune(make_search(parts_root), tmp_path, TuneOptions(overwrite=True, function=score_trial))
    assert (tmp_path / "letter.txt").read_text() == "dear"


def test_two_searches_do_not_share_a_folder(parts_root: Path, tmp_path: Path) -> None:
    search = make_search(parts_root)
    with (
        claim_folder(tmp_path / "out", search, {}, False),
        pytest.raises(InUseError, match="is being written by process"),
    ):
        tune(search, tmp_path / "out")


def test_a_worker_without_a_chief_says_so(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match="the chief has begun no search in"):
        wait_for_chief(tmp_path / "out", 0.01)


def test_the_test_part_is_opened_last_and_only_on_request(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm_module, "fit_run", fit_instantly)
    options = TuneOptions(confirm=5, function=score_trial)
    (found,) = tune(make_search(parts_root), tmp_path / "out", options).confirmations
    assert found.seeds == (0, 1, 2, 3, 4)
    assert len(found.tuned) == len(found.default) == 5
    assert found.difference.low > 0
    assert found.verdict == "The tuned configuration beats the default."
    assert found.verdict in (tmp_path / "out" / "report.html").read_text()


def test_the_default_is_not_compared_with_itself(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm_module, "fit_run", fit_instantly)
    search = make_search(parts_root, space={"dropout": [0.55, 0.6]})
    summary = tune(search, tmp_path / "out", TuneOptions(confirm=2, function=score_trial))
    assert summary.leaderboard is not None
    assert summary.leaderboard.recommended == "default"
    assert summary.confirmations == ()
    assert not (tmp_path / "out" / "confirm").exists()


def test_another_choice_is_confirmed_by_runs_of_its_own(
    plan_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that was prolonged may choose otherwise."""
    monkeypatch.setattr(confirm_module, "fit_run", fit_instantly)
    default = FitConfig(split=plan_path)
    for dropout in (0.5, 0.4):
        confirm_choice(default.model_copy(update={"dropout": dropout}), default, 1, tmp_path)
    found = [open_run(path) for path in (tmp_path / "confirm").iterdir() if path.is_dir()]
    assert sorted(load_config(run.config, {}).dropout for run in found) == [0.2, 0.4, 0.5]


def test_a_nested_search_tests_every_photograph_once(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirm_module, "fit_run", fit_instantly)
    search = make_search(parts_root, trials=2, refits={"best": 1, "seeds": 1})
    found = tune_nested(search, tmp_path, QUICK, 2)
    assert [one.name for one in found] == ["fold 1", "fold 2", "all folds"]
    tested = [
        row.id
        for path in sorted((tmp_path / "plans").glob("*.csv"))
        for row in read_split_plan(path).select("test")
    ]
    assert sorted(tested) == sorted(record.id for record in read_records(parts_root))
    mean = (found[0].difference.value + found[1].difference.value) / 2
    assert found[2].difference.value == pytest.approx(mean)
    assert [row["name"] for row in read_table(tmp_path / "nested.csv")] == [
        "fold 1",
        "fold 2",
        *["all folds"] * 2,
    ]


@pytest.mark.parametrize(
    ("function", "said"),
    [(be_killed, "no trial completed: its process was killed"), (find_a_wrong_setting, "goes from 0 to 4")],
)
def test_where_nothing_completes_the_reason_is_told(
    parts_root: Path, tmp_path: Path, function: object, said: str
) -> None:
    with pytest.raises(SearchError, match=said):
        tune(make_search(parts_root), tmp_path / "out", TuneOptions(function=function))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data": None}, "data is needed"),
        ({"backbone": "vgg"}, "unknown backbone 'vgg'"),
        ({"threshold": "best"}, "best"),
        ({"data": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_settings_leave_nothing_behind(
    parts_root: Path, tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    search = make_search(parts_root, settings={**SETTINGS, "data": str(parts_root), **settings})
    with pytest.raises(MvdefectError, match=said):
        tune(search, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_plan_whose_val_has_no_defective_photograph_is_refused(
    parts_root: Path, plan_path: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    plan = read_split_plan(plan_path)
    rows = tuple(replace(row, part="train") if row.part == "val" and row.label else row for row in plan.rows)
    write_split_plan(replace(plan, rows=rows), plan_path)
    search = make_search(parts_root, settings={**SETTINGS, "data": str(parts_root), "split": str(plan_path)})
    with pytest.raises(SplitError, match="no defective image in val"):
        tune(search, tmp_path / "out")
