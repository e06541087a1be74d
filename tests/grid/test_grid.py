"""A benchmark's grid: what is in it, what it makes of it, and what an interrupt costs."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import yaml

from mvdefect.baselines import run as run_module
from mvdefect.core.errors import ConfigError, InUseError
from mvdefect.core.locks import hold
from mvdefect.grid.page import describe_grid, write_grid_report
from mvdefect.grid.results import COLUMNS, ResultRow, read_results, summarise, write_results
from mvdefect.grid.run import run_benchmark
from mvdefect.grid.settings import list_cells, make_config, read_grid
from mvdefect.workflow import fit as fit_module

CONFIGS = Path(__file__).parents[2] / "configs"


def write_grid(folder: Path, data: Path, **changes: object) -> Path:
    tree = {
        "data": [str(data)],
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
        "settings": {"image_size_px": 64, "stages": [{"epochs": 1}], "batch_size": 16},
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
    )


@pytest.mark.slow
def test_every_cell_is_measured_once_and_a_second_call_measures_nothing(
    parts_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, out = write_grid(tmp_path, parts_root), tmp_path / "out"
    rows = run_benchmark(grid, out)
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

    from mvdefect.data.groups.grouping import group_records
    from mvdefect.data.scan import scan_images
    from mvdefect.data.sources.folders import read_records
    from mvdefect.data.splits.protocols import draw_plans

    scan = scan_images(read_records(parts_root))
    (plan,) = draw_plans(scan, group_records(scan), "random", 42)
    ids, labels = [record.id for record in scan.records], [record.label for record in scan.records]
    train, rest, _, left = train_test_split(ids, labels, test_size=0.2, stratify=labels, random_state=42)
    _, test = train_test_split(rest, test_size=0.5, stratify=left, random_state=42)
    assert {row.id for row in plan.select("train")} == set(train)
    assert {row.id for row in plan.select("test")} == set(test)
    assert (plan.protocol, plan.seed) == ("random", 42)
