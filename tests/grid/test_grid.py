"""A benchmark's grid: what is in it, what it makes of it, and what an interrupt costs."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mvdefect import cli
from mvdefect.baselines import handcrafted as handcrafted_module
from mvdefect.baselines import run as run_module
from mvdefect.config import apply_settings
from mvdefect.core.errors import ConfigError, InUseError, LayoutError, WeightsError
from mvdefect.core.locks import hold
from mvdefect.data.groups.grouping import group_records
from mvdefect.data.scan import scan_images
from mvdefect.data.sources.folders import read_records
from mvdefect.data.splits.plan import read_split_plan
from mvdefect.data.splits.protocols import draw_plans
from mvdefect.grid.forecast import describe_forecast, forecast
from mvdefect.grid.page import describe_grid, write_grid_report
from mvdefect.grid.results import COLUMNS, ResultRow, read_results, summarise, write_results
from mvdefect.grid.run import plan_work, run_benchmark
from mvdefect.grid.settings import Grid, list_cells, make_config, read_grid
from mvdefect.grid.standing import find_standings
from mvdefect.workflow import fit as fit_module

CONFIGS = Path(__file__).parents[2] / "configs"


def write_grid(folder: Path, data: object, **changes: object) -> Path:
    tree = {
        "data": data if isinstance(data, list) else [str(data)],
        "categories": "each",
        "only": ["washer", "fabric"],
        "protocols": [
            {"name": "closed-set"},
            {"name": "random", "seed": 42, "categories": "pooled", "methods": ["majority"]},
        ],
        "seeds": [0],
        "methods": {
            "cnn": {"backbone": "small_cnn", "weights": "none", "head": "patch"},
            "majority": {"baseline": "majority"},
        },
        "settings": {"resolution": 64, "stages": [{"epochs": 1}], "batch_size": 16},
        **changes,
    }
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def make_row(method: str, seed: int, roc_auc: float, category: str = "nut", trouble: str = "") -> ResultRow:
    cell = f"data+{category}+closed-set+{method}+seed{seed}"
    figures = dict.fromkeys(COLUMNS, 0.5) | {"roc_auc": roc_auc}
    return ResultRow(
        cell=cell,
        data="data",
        category=category,
        protocol="closed-set",
        plan=cell,
        method=method,
        seed=seed,
        digest="d",
        images=10,
        defective=5,
        roc_auc_low=0.4,
        roc_auc_high=1.0,
        seconds=1.0,
        trouble=trouble,
        figures=figures,
        weighted_accuracy=0.5,
    )


@pytest.mark.slow
def test_every_cell_is_measured_once_and_a_second_call_measures_nothing(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, out = write_grid(tmp_path, parts_root, default="cnn"), tmp_path / "out"
    rows = run_benchmark(grid, out)
    (standing,) = find_standings(rows, "cnn", ["majority"], out)
    cnn = [row.figures["roc_auc"] for row in rows if row.method == "cnn"]
    assert (standing.figures, standing.baseline, standing.baseline_roc_auc) == (2, "majority", 0.5)
    assert standing.difference.value == pytest.approx(sum(cnn) / 2 - 0.5)
    assert [(row.category, row.method, row.trouble) for row in rows] == [
        ("fabric", "cnn", ""),
        ("fabric", "majority", ""),
        ("washer", "cnn", ""),
        ("washer", "majority", ""),
        ("all", "majority", ""),
    ]
    assert len({row.digest for row in rows if row.category == "washer"}) == 1  # all on one plan
    with (out / "results.csv").open() as stream:
        stored = list(csv.DictReader(stream))
    assert [float(row["roc_auc"]) for row in stored] == [row.figures["roc_auc"] for row in rows]
    assert rows[1].figures["roc_auc"] == 0.5
    assert (rows[-1].protocol, rows[-1].seed, rows[-1].images) == ("random", 42, 8)  # a tenth of all

    def refuse(*_: object) -> None:
        raise AssertionError("what is finished is run again")

    monkeypatch.setattr(fit_module, "fit_inspector", refuse)
    monkeypatch.setattr(run_module, "run_baseline", refuse)
    assert run_benchmark(grid, out) == rows
    page = write_grid_report(rows, grid, out).read_text()
    assert f"{rows[0].figures['roc_auc']:.3f}" in page
    assert "http" not in page.replace("http-equiv", "")


def test_what_fails_is_told_and_the_rest_goes_on(parts_root: Path, tmp_path: Path) -> None:
    protocols = [{"name": "official"}, {"name": "closed-set"}]
    grid = write_grid(
        tmp_path, parts_root, protocols=protocols, only=["washer"], methods={"m": {"baseline": "majority"}}
    )
    failed, sound = run_benchmark(grid, tmp_path / "out")
    assert "majority learns from good and defective images" in failed.trouble
    assert math.isnan(failed.figures["roc_auc"])
    assert sound.trouble == ""
    assert failed.trouble in describe_grid([failed, sound])
    assert read_results(tmp_path / "out")[1] == sound


def test_two_benchmarks_do_not_share_a_folder(parts_root: Path, tmp_path: Path) -> None:
    protocols = [{"name": "closed-set"}]
    grid = write_grid(tmp_path, parts_root, protocols=protocols, methods={"m": {"baseline": "majority"}})
    out = tmp_path / "out"
    out.mkdir()
    with hold(out / "results.csv"), pytest.raises(InUseError, match="is being written by process"):
        run_benchmark(grid, out)
    assert list(out.iterdir()) == []


def test_means_and_spread_by_hand() -> None:
    rows = [
        make_row("a", 0, 0.8),
        make_row("a", 0, 0.6, category="bolt"),
        make_row("a", 1, 0.9),
        make_row("a", 1, 0.9, category="bolt"),
        make_row("b", 0, math.nan, trouble="no"),
    ]
    first, second = summarise(rows)
    assert (first.method, first.measured, first.failed) == ("a", 4, 0)
    assert first.means["roc_auc"] == pytest.approx(0.8)  # of 0.7 and 0.9
    assert first.spread["roc_auc"] == pytest.approx(0.2 / math.sqrt(2))
    assert (second.measured, second.failed) == (0, 1)
    assert "| a | 4 | 0.800 ± 0.141 |" in describe_grid(rows)
    assert "not defined" in describe_grid(rows)


def test_results_survive_the_file(tmp_path: Path) -> None:
    rows = (make_row("a, with a comma", 0, 0.8, trouble="two\nlines"), make_row("b", 1, 0.25))
    write_results(tmp_path, rows)
    assert read_results(tmp_path) == rows
    assert read_results(tmp_path / "elsewhere") == ()


def test_null_in_a_grid_means_null(tmp_path: Path) -> None:
    methods = {"plain": {"ema": None, "stages.0.epochs": 3}}
    path = write_grid(tmp_path, tmp_path, methods=methods, protocols=[{"name": "closed-set"}])
    config = make_config(read_grid(path), "plain")
    assert config.ema is None
    assert config.stages[0].epochs == 3


def test_other_settings_are_measured_anew(parts_root: Path, tmp_path: Path) -> None:
    common = {"protocols": [{"name": "closed-set"}], "only": ["washer"]}
    methods = {"m": {"baseline": "one-class", "backbone": "small_cnn", "weights": "none"}}
    grid = write_grid(tmp_path, parts_root, methods=methods, **common)
    (before,) = run_benchmark(grid, tmp_path / "out")
    methods["m"]["one_class"] = "gaussian"
    (after,) = run_benchmark(write_grid(tmp_path, parts_root, methods=methods, **common), tmp_path / "out")
    assert before.trouble == after.trouble == ""
    assert before.figures != after.figures


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": {"cnn": {"backbon": "small_cnn"}}}, "Did you mean 'backbone'"),
        ({"protocols": [{"name": "closed-set", "methods": ["svm"]}]}, "unknown method 'svm'"),
        ({"methods": {"a+b": {}}}, "must have no [+]"),
        ({"seed": 3}, "seed: Extra inputs are not permitted.*Allowed keys: data, categories"),
        ({"categories": "some"}, "categories: Input should be 'each' or 'pooled'.*Received: 'some'"),
    ],
)
def test_a_wrong_grid_is_told_before_anything_runs(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_grid(write_grid(tmp_path, tmp_path, **changes))


def test_the_grid_of_mvtec_ad_has_the_protocols_that_figures_are_published_under() -> None:
    from mvdefect.baselines.registry import find_baseline
    from mvdefect.models.backbones import find_backbone
    from mvdefect.models.choice import name_network

    grid = read_grid(CONFIGS / "mvtec_ad.yaml")
    cells = list(list_cells(grid, {"mvtec_ad": ("bottle", "screw")}))
    assert len({cell.name for cell in cells}) == len(cells)
    by_protocol = {str(cell.protocol) for cell in cells}
    assert by_protocol == {
        "random", "closed-set", "label-budget-1", "label-budget-10", "unseen-type", "official"
    }  # fmt: skip
    pooled = [cell for cell in cells if cell.protocol.name == "random"]
    assert {(cell.category, cell.seed) for cell in pooled} == {("all", 42)}
    for method in grid.methods:
        config = name_network(make_config(grid, method))
        find_backbone(config.backbone)
        if config.baseline:
            find_baseline(config.baseline)


def test_a_random_split_is_that_of_scikit_learn(parts_root: Path) -> None:
    """Stratified by label alone, 80/10/10, and its note says what is torn apart."""
    from sklearn.model_selection import train_test_split

    scan = scan_images(read_records(parts_root))
    (plan,) = draw_plans(scan, group_records(scan), "random", 42)
    ids, labels = [record.id for record in scan.records], [record.label for record in scan.records]
    train, rest, _, left = train_test_split(ids, labels, test_size=0.2, stratify=labels, random_state=42)
    _, test = train_test_split(rest, test_size=0.5, stratify=left, random_state=42)
    assert {row.id for row in plan.select("train")} == set(train)
    assert {row.id for row in plan.select("test")} == set(test)
    assert (plan.protocol, plan.seed) == ("random", 42)


def read_changed(folder: Path, data: object, **changes: object) -> Grid:
    return read_grid(write_grid(folder, data, **{"protocols": [{"name": "closed-set"}], **changes}))


def test_a_path_is_named_after_its_folder_and_a_source_has_own_settings(tmp_path: Path) -> None:
    own = {"name": "tiles", "path": "/data/magnetic_tile", "settings": {"group_pattern": "x", "seed": 5}}
    grid = read_changed(tmp_path, ["/data/parts", own], settings={"seed": 4, "resolution": 64})
    assert [source.name for source in grid.data] == ["parts", "tiles"]
    configs = [make_config(grid, "cnn", source) for source in grid.data]
    assert [(one.group_pattern, one.seed, one.resolution) for one in configs] == [
        ("", 4, 64),
        ("x", 5, 64),
    ]


def test_environment_variables_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/here")
    monkeypatch.delenv("ELSEWHERE", raising=False)
    data = ["${PLACE}/parts", "${ELSEWHERE:-../there}/tiles"]
    assert [one.path for one in read_changed(tmp_path, data).data] == ["/here/parts", "../there/tiles"]
    with pytest.raises(ConfigError, match="the environment variable ELSEWHERE is not set"):
        read_changed(tmp_path, ["${ELSEWHERE}/tiles"])


def test_a_grid_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("data: &a [*a]\nprotocols: []\n")
    with pytest.raises(ConfigError, match="recursion"):
        read_grid(path)


def test_quick_replaces_keys(tmp_path: Path) -> None:
    path = write_grid(tmp_path, tmp_path, seeds=[0, 1, 2], quick={"seeds": [7], "learn": 40})
    assert (read_grid(path).seeds, read_grid(path).learn) == ((0, 1, 2), None)
    assert (read_grid(path, quick=True).seeds, read_grid(path, quick=True).learn) == ((7,), 40)
    with pytest.raises(ConfigError, match="has no key quick"):
        read_grid(write_grid(tmp_path, tmp_path), quick=True)


def test_a_protocol_of_few_plans_takes_others_with_each_seed(tmp_path: Path) -> None:
    protocols = [
        {"name": "kfold", "n": 5, "plans": 2, "categories": "pooled"},
        {"name": "unseen-type", "categories": "pooled", "data": ["b"]},
    ]
    grid = read_changed(
        tmp_path,
        ["x/a", "x/b"],
        protocols=protocols,
        seeds=[3, 4, 5],
        methods={"m": {"baseline": "majority"}},
    )
    cells = list(list_cells(grid, {"a": ("nut",), "b": ("nut",)}))
    assert [cell.list_turns(5) for cell in cells[:3]] == [[0, 1], [2, 3], [0, 4]]
    assert [cell.list_turns(1) for cell in cells[:3]] == [[0]] * 3
    assert {cell.source.name for cell in cells if cell.protocol.name == "unseen-type"} == {"b"}
    assert [cell.source.name for cell in list_cells(grid, {"b": ("nut",)})] == ["b"] * 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocols": [{"name": "closed-set", "data": ["tile"]}]}, "unknown source 'tile'"),
        ({"default": "ccn"}, "unknown method 'ccn'. Did you mean 'cnn'"),
        ({"default": "cnn", "methods": {"cnn": {}, "other": {}}}, "no method is one"),
        ({"seconds": {"svm": {"start": 1}}}, "unknown method 'svm'"),
        ({"protocols": [{"name": "closed-set", "plans": 0}]}, "plans: Input should be greater"),
        ({"quick": {"seeds": []}, "seeds": []}, "seeds: .*at least 1"),
    ],
)
def test_names_in_a_grid_are_checked(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read_changed(tmp_path, ["x/tiles"], **changes)


def test_a_source_that_is_not_there_is_skipped_and_told(parts_root: Path, tmp_path: Path) -> None:
    data = [{"name": "gone", "path": str(tmp_path / "gone")}, {"name": "parts", "path": str(parts_root)}]
    path = write_grid(tmp_path, data, protocols=[{"name": "closed-set"}])
    work = plan_work(path)
    assert {cell.source.name for cell in work.cells} == {"parts"}
    (line,) = work.skipped
    assert line.startswith("gone is skipped: ")
    assert str(tmp_path / "gone") in line
    assert f"- {line}" in describe_grid([make_row("a", 0, 0.8)], skipped=work.skipped)
    with pytest.raises(LayoutError, match="no source is there; gone is skipped"):
        plan_work(write_grid(tmp_path, data[:1]))


def test_weights_that_are_not_there_are_told_before_anything_runs(parts_root: Path, tmp_path: Path) -> None:
    methods = {"m": {"backbone": "mobilenetv2", "weights": str(tmp_path / "gone.h5")}}
    path = write_grid(tmp_path, parts_root, methods=methods, protocols=[{"name": "closed-set"}])
    with pytest.raises(WeightsError, match="gone.h5 .no such file"):
        plan_work(path)


def test_the_forecast_by_hand(parts_root: Path, tmp_path: Path) -> None:
    """A product has 20 good images and 20 of 4 types; 80% of what is not counted out are learned from."""
    protocols = [{"name": "kfold", "n": 4, "plans": 3}, {"name": "label-budget", "k": 2}]
    paces = {"cnn": {"start": 10, "learned": 2, "tested": 1}}
    path = write_grid(
        tmp_path, parts_root, protocols=protocols, only=["washer"], seeds=[0, 1], seconds=paces, learn=10
    )
    work = plan_work(path)
    folds, budget = forecast(work.grid, [c for c in work.cells if c.method == "cnn"], work.records)
    assert (folds.figures, folds.seconds) == (6, 6 * (10 + 2 * 10 + 8))
    assert (budget.figures, budget.seconds) == (2, 2 * (10 + 2 * (10 + 8) + 16))
    every = work.forecast(tmp_path / "none")
    assert math.isnan(every[0].seconds)  # nothing says how long majority takes
    lines = describe_forecast([folds, budget])
    assert lines[0] == "parts, kfold-4: 6 figures by 1 method, about 4 min"
    assert lines[-1] == "in all: 8 figures, about 6 min"


def test_the_command_prints_the_plan_and_stops(
    parts_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paces = {"m": {"start": 30}}
    path = write_grid(
        tmp_path,
        parts_root,
        protocols=[{"name": "closed-set"}],
        methods={"m": {"baseline": "majority"}},
        seconds=paces,
        quick={"only": ["fabric"]},
    )
    for flags, said in (([], "2 figures, about 1 min"), (["--quick"], "1 figure, about 1 min")):
        with pytest.raises(SystemExit) as ended:
            cli.main(["benchmark", str(path), "--out", str(tmp_path / "out"), "--plan", *flags])
        assert not ended.value.code
        assert capsys.readouterr().out.splitlines()[-1] == f"in all: {said}"
    assert not (tmp_path / "out").exists()


def test_what_is_measured_replaces_the_estimate(parts_root: Path, tmp_path: Path) -> None:
    methods = {"m": {"baseline": "majority"}}
    path = write_grid(
        tmp_path,
        parts_root,
        protocols=[{"name": "closed-set"}],
        only=["washer"],
        methods=methods,
        seeds=[0, 1],
    )
    work, out = plan_work(path), tmp_path / "out"
    (before,) = work.forecast(out)
    row = replace(
        make_row("m", 0, 0.5), cell=work.cells[0].name, plan=work.cells[0].name, data="parts", seconds=90.0
    )
    write_results(out, [row])
    (after,) = work.forecast(out)
    assert math.isnan(before.seconds)
    assert (after.figures, after.finished, after.seconds) == (2, 1, 90.0)
    assert describe_forecast([after])[-1] == "in all: 2 figures (1 finished), about 2 min"


def test_each_seed_has_a_fold_of_its_own_and_images_are_described_once(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = []

    def count(picture: np.ndarray, names: object) -> np.ndarray:
        described.append(picture.tobytes())
        return picture.reshape(-1)[::997].astype(np.float32)

    monkeypatch.setattr(handcrafted_module, "describe_picture", count)
    monkeypatch.setattr(run_module, "write_report", lambda *_: None)
    path = write_grid(
        tmp_path,
        parts_root,
        protocols=[{"name": "kfold", "n": 4, "plans": 1}],
        only=["washer"],
        methods={"m": {"baseline": "handcrafted"}},
        seeds=[0, 1],
        learn=24,
    )
    rows = run_benchmark(path, tmp_path / "out")
    assert [row.trouble for row in rows] == ["", ""]
    assert [row.protocol for row in rows] == ["kfold 1 of 4", "kfold 2 of 4"]
    assert [row.plan.rpartition("+")[2] for row in rows] == ["kfold-1-of-4", "kfold-2-of-4"]
    assert len(described) == len(set(described)) <= 40
    for row in rows:
        plan = read_split_plan(tmp_path / "out" / "runs" / row.plan / "split_plan.csv")
        assert len(plan.select("train")) + len(plan.select("val")) == pytest.approx(24, abs=2)
        assert len(plan.select("test")) == pytest.approx(10, abs=1)


def test_the_grids_of_real_images_hold_what_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MVDEFECT_SHARED", raising=False)
    real, quick = (read_grid(CONFIGS / "real.yaml", quick) for quick in (False, True))
    names = ("tiles", "kolektor-sdd", "aitex", "elpv")
    asked = {
        f"{name}, {protocol}"
        for name in names
        for protocol in ("kfold-5", *map("label-budget-{}".format, (1, 3, 10, 30)))
    }
    asked |= {"tiles, unseen-type", "elpv, unseen-type"}
    cells = list(list_cells(real, dict.fromkeys(names, ("x",))))
    by_default = [cell for cell in cells if cell.method == "default"]
    assert {f"{cell.source.name}, {cell.protocol}" for cell in by_default} == asked
    assert len(by_default) == 3 * len(asked)
    assert make_config(real, "default", real.data[0]) == apply_settings(real.settings)
    few = list(list_cells(quick, dict.fromkeys(names, ("x",))))
    assert {cell.seed for cell in few} == {0}
    assert len(few) < len(cells) / 5
    elpv = read_grid(CONFIGS / "elpv.yaml")
    draws = [
        cell for cell in list_cells(elpv, {"elpv": ("x",), "elpv-all": ("x",)}) if cell.method == "default"
    ]
    assert Counter(str(cell.protocol) for cell in draws) == {
        **{f"few-labels{kind}-{k}": 10 for kind in ("", "-unseen") for k in (10, 1)},
        "random-75": 1,
    }
