"""The commands about photographs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from mvdefect.data.splits.plan import read_split_plan
from mvdefect.drawing.data_set import write_parts
from mvdefect.workflow.photographs import read_plan_for_fit
from tests.conftest import make_surface, write_class_folders, write_image
from tests.test_cli import TINY, check_one_line, run

TINY_FIT = [*TINY, "--batch-size", "16", "--set", "stages=[{epochs: 1}]"]


def test_check_ends_with_1_if_there_is_an_error(
    tmp_path: Path, parts_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "check", parts_root) == 0
    assert "No error and no warning" in capsys.readouterr().out
    root = write_class_folders(tmp_path / "nut")
    (root / "good" / "000.png").write_bytes(b"")
    assert run("data", "check", root, "--json", "--html", tmp_path / "page.html") == 1
    tree = json.loads(capsys.readouterr().out)
    assert tree["findings"][0]["files"] == [["good/000.png", "the file is empty"]]
    assert (tmp_path / "page.html").is_file()


def test_check_of_nothing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "check", tmp_path / "nowhere") == 2
    check_one_line(capsys, "does not exist")


def test_names_that_are_not_utf8_are_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/data\xff/nut\xe4"))
    write_mvtec_ad_folders(root, b"d\xe9nt", b"caf\xe9")
    (root / "test" / "good" / os.fsdecode(b"broken\xe9.png")).write_bytes(b"")
    assert run("data", "check", root.parent, "--json", "--html", tmp_path / "page.html") == 1
    found = {one["code"]: one["files"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert found["unreadable-files"] == [["nut\\xe4/test/good/broken\\xe9.png", "the file is empty"]]
    assert "broken\\xe9.png" in (tmp_path / "page.html").read_text()
    assert run("data", "check", root) == 1
    capsys.readouterr()
    assert run("data", "split", root.parent, "--out", tmp_path) == 2
    check_one_line(capsys, "data\\xff/nut\\xe4/test/good/broken\\xe9.png: the file is empty")
    for data in (root, root.parent):
        command = ("data", "split", data, "--skip-broken", "--group-pattern", r"(\d)\.png", "--overwrite")
        assert run(*command, "--out", tmp_path / "plans") == 0
    plan = read_split_plan(tmp_path / "plans" / "closed-set.csv")
    assert {row.defect_type for row in plan.rows} == {"good", "d\\xe9nt"}
    assert {row.category for row in plan.rows} == {"nut\\xe4"}
    assert run("data", "verify", tmp_path / "plans" / "closed-set.csv", root.parent) == 0
    assert run("data", "prepare", root, "--resolution", 64, "--skip-broken") == 0


def write_mvtec_ad_folders(root: Path, defect_type: bytes, name: bytes) -> None:
    """Write a product as MVTec AD's tree; names are bytes, as a disk has them."""
    folders = (b"train/good", b"test/good", b"test/" + defect_type, b"ground_truth/" + defect_type)
    for seed, folder in enumerate(folders):
        is_mask = folder.startswith(b"ground")
        for number in range(12):
            file = name + b"%d" % number + (b"_mask.png" if is_mask else b".png")
            pixels = np.full((96, 96), 255, np.uint8) if is_mask else make_surface(100 * seed + number)
            write_image(root / os.fsdecode(folder) / os.fsdecode(file), pixels)


def test_plans_are_written_verified_and_never_replaced_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = write_class_folders(tmp_path / "nut"), tmp_path / "plans"
    assert run("data", "split", root, "--out", out) == 0
    assert run("data", "split", root, "--protocol", "kfold", "--n", 3, "--out", out) == 0
    names = ["closed-set", "kfold-1-of-3", "kfold-2-of-3", "kfold-3-of-3"]
    assert sorted(path.stem for path in out.glob("*.csv")) == names
    assert read_split_plan(out / "kfold-2-of-3.csv").protocol == "kfold 2 of 3"
    assert run("data", "verify", out / "closed-set.csv", root) == 0

    before = (out / "closed-set.csv").read_bytes()
    assert run("data", "split", root, "--out", out) == 0  # the same plan again
    capsys.readouterr()
    assert run("data", "split", root, "--seed", 1, "--out", out) == 2
    check_one_line(capsys, "exists and is another plan")
    assert (out / "closed-set.csv").read_bytes() == before
    assert run("data", "split", root, "--seed", 1, "--out", out, "--overwrite") == 0
    assert (out / "closed-set.csv").read_bytes() != before

    (root / "good" / "000.png").write_bytes((root / "good" / "001.png").read_bytes())
    (root / "good" / "002.png").unlink()
    capsys.readouterr()
    assert run("data", "verify", out / "closed-set.csv", root, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found == {"missing": ["good/002.png"], "changed": ["good/000.png"], "added": []}


def test_groups_can_be_named_by_a_pattern(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", good=20, defective=20)
    assert run("data", "split", root, "--group-pattern", r"/\d\d(\d)", "--out", tmp_path) == 0
    parts: dict[str, set[str]] = {}
    for row in read_split_plan(tmp_path / "closed-set.csv").rows:
        parts.setdefault(row.id[-5], set()).add(row.part)
    assert all(len(found) == 1 for found in parts.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--protocol", "kfolds"], "Did you mean 'kfold'?"),
        (["--protocol", "kfold"], "kfold needs n"),
        (["--k", "3"], "label-budget and few-labels need k"),
        (["--group-pattern", "["], "no regular expression"),
        (["--protocol", "official"], "official needs every image in one of MVTec AD's folders"),
        (["--protocol", "unseen-type"], "one defect type, dent"),
    ],
)
def test_what_cannot_be_split_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_class_folders(tmp_path / "nut")
    assert run("data", "split", root, "--out", tmp_path / "plans", *arguments) == 2
    check_one_line(capsys, message)
    assert not (tmp_path / "plans").exists()


def test_prepare_says_where_the_store_is(
    tmp_path: Path, parts_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "store"
    assert run("data", "prepare", parts_root, "--resolution", 64, "--out", out) == 0
    assert "images        80" in capsys.readouterr().out
    assert (out / "dataset_info.json").is_file()


def test_synth_plants_what_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--category", "nut", "--good", 12, "--defective", 3, "--size", 64]
    assert run("data", "synth", tmp_path / "drawn", *few, "--plant", "near-duplicates=2") == 0
    assert len(json.loads((tmp_path / "drawn" / "planted.json").read_text())["near_duplicates"]) == 2
    capsys.readouterr()
    assert run("data", "synth", tmp_path / "other", *few, "--plant", "near-duplicate=2") == 2
    check_one_line(capsys, "Did you mean 'near-duplicates'?")
    assert run("data", "synth", tmp_path / "other", *few, "--plant", "broken=many") == 2
    check_one_line(capsys, "broken takes a whole number")


def fit(root: Path, run_path: Path, *arguments: object) -> int:
    return run("fit", "--data", root, "--run", run_path, *TINY_FIT, *arguments)


@pytest.mark.slow
def test_a_plan_decides_who_trains_and_runs_are_measured_on_their_own_test_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_parts(tmp_path / "parts", good=20, defective_per_type=5, size_px=64, categories=("fabric",))
    plans = tmp_path / "plans"
    assert run("data", "split", root, "--protocol", "unseen-type", "--out", plans) == 0
    plan = plans / "unseen-type-fabric-hole.csv"
    assert fit(root, tmp_path / "run", "--split", plan) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["protocol"] == "unseen-type fabric/hole"
    assert metrics["split_digest"] == read_split_plan(plan).digest
    capsys.readouterr()
    assert run("evaluate", tmp_path / "run", "--split", plan, "--json") == 0
    assert json.loads(capsys.readouterr().out)["figures"] == metrics["figures"]
    assert run("evaluate", tmp_path / "run", "--split", plans / "unseen-type-fabric-crack.csv") == 2
    check_one_line(capsys, "images of its own test part alone")

    (root / "fabric" / "test" / "hole" / "000.png").unlink()
    (root / "fabric" / "ground_truth" / "hole" / "000_mask.png").unlink()
    assert fit(root, tmp_path / "other", "--split", plan) == 2
    check_one_line(capsys, "1 missing (fabric/test/hole/000.png)")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_label_budget_is_fitted_with_good_images_alone_in_validation(tmp_path: Path) -> None:
    root = write_parts(tmp_path / "parts", good=30, defective_per_type=5, size_px=64, categories=("fabric",))
    split = ("data", "split", root, "--protocol", "label-budget", "--k", 2, "--out", tmp_path)
    assert run(*split) == 0
    assert fit(root, tmp_path / "run", "--split", tmp_path / "label-budget-2.csv") == 0
    point = json.loads((tmp_path / "run" / "operating_point.json").read_text())
    assert point["contract"] == "max-fpr 0.05"
    assert point["achieved"] <= 0.05
    assert (tmp_path / "run" / "report.html").is_file()


def test_an_official_plan_can_be_fitted_on_good_images_alone(tmp_path: Path, parts_root: Path) -> None:
    assert run("data", "split", parts_root, "--protocol", "official", "--out", tmp_path) == 0
    drawn, taken = (read(tmp_path / "official.csv") for read in (read_split_plan, read_plan_for_fit))
    assert (taken.protocol, taken.select("test")) == ("official", drawn.select("test"))
    held = {part: {row.label for row in taken.select(part)} for part in ("train", "val")}
    assert held == {"train": {0}, "val": {0}}


@pytest.mark.slow
def test_a_manifest_is_fitted_on_the_parts_that_it_names(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", good=15, defective=15)
    lines = ["path,label,split"]
    for label, name in (("good", "good"), ("defective", "dent")):
        for number in range(15):
            part = ("train", "val", "test")[number % 3]
            lines.append(f"{name}/{number:03}.png,{label},{part}")
    (root / "photographs.csv").write_text("\n".join(lines))
    assert fit(root / "photographs.csv", tmp_path / "run") == 0
    plan = read_split_plan(tmp_path / "run" / "split_plan.csv")
    assert plan.protocol == "given"
    assert {row.id: row.part for row in plan.rows}["dent/004.png"] == "val"


@pytest.mark.parametrize("command", ["check", "split"])
def test_the_option_of_the_first_version_is_told_the_new_one(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("data", command, write_class_folders(tmp_path / "nut"), "--correlation", "0.9") == 2
    assert "Use --near-duplicates part, image or none" in " ".join(capsys.readouterr().err.split())


def test_what_is_kept_together_is_the_users_choice(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", good=14, defective=14)
    for number in range(4):
        write_image(root / "good" / f"9{number}.png", make_surface(3)[:, :: 1 - 2 * (number % 2)].copy())
    groups = {}
    for choice in ("part", "none"):
        out = tmp_path / choice
        assert run("data", "split", root, "--near-duplicates", choice, "--out", out) == 0
        rows = read_split_plan(out / "closed-set.csv").rows
        groups[choice] = len({row.group for row in rows if "/9" in row.id})
    assert groups == {"part": 1, "none": 2}  # two files are identical in any case


def test_a_table_of_what_was_read_can_be_used_in_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_class_folders(tmp_path / "nut")
    table = tmp_path / "tables" / "nut.csv"
    assert run("data", "manifest", root, "--out", table) == 0
    assert "24 images" in capsys.readouterr().out
    for source, place in ((root, "a"), (table, "b")):
        assert run("data", "split", source, "--out", tmp_path / place) == 0
    plans = [(tmp_path / place / "closed-set.csv").read_text() for place in ("a", "b")]
    assert plans[0] == plans[1]
    before = table.read_text()
    capsys.readouterr()
    assert run("data", "manifest", root, "--out", table) == 2
    check_one_line(capsys, "exists. Name another file with --out, or replace it with --overwrite")
    assert run("data", "manifest", root, "--out", table, "--good", "dent", "--overwrite") == 0
    assert table.read_text() != before


def test_a_table_without_labels_is_written_where_nothing_says_which_images_are_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "lot" / "7.png", make_surface(7))
    monkeypatch.chdir(tmp_path)
    assert run("data", "manifest", "lot") == 0
    shown = capsys.readouterr()
    assert shown.out == "path,label,defect_type,category,record_id\nlot/7.png,,,lot,7.png\n"
    assert "fill in the column label" in " ".join(shown.err.split())
    for source in (tmp_path / "gone", "lot --label-pattern (ok|ng)"):
        assert run("data", "manifest", *str(source).split()) == 2


def test_every_command_of_images_takes_several_and_what_says_which_are_good(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_class_folders(tmp_path / "nut")
    (root / "good").rename(root / "A-Ware")
    more = write_class_folders(tmp_path / "more", 0, 0)
    write_image(more / "dent" / "0.png", make_surface(70))
    options = ("--good", "A-Ware")
    for command in (
        ("data", "check"),
        ("data", "split", "--out", tmp_path),
        ("data", "prepare", "--resolution", 64),
    ):
        assert run(*command, root, more) == 2
        check_one_line(capsys, "--good NAME")
        assert run(*command, root, more, *options) == 0
        capsys.readouterr()
    plan = read_split_plan(tmp_path / "closed-set.csv")
    assert {"nut/A-Ware/000.png", "more/dent/0.png"} <= {row.id for row in plan.rows}
    assert run("data", "verify", tmp_path / "closed-set.csv", root, more, *options) == 0
    capsys.readouterr()
    for command in (("fit",), ("baseline", "majority")):
        data = ("--data", root, "--data", more)
        assert run(*command, *data, "--run", tmp_path / "run", *TINY[:4]) == 2
        check_one_line(capsys, "--good NAME")


def test_the_parts_of_folders_are_kept_if_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, part in enumerate(("train", "test")):
        for label in range(2):
            for image in range(15):
                name = f"{part}/{('good', 'dent')[label]}/{image}.png"
                write_image(tmp_path / "nut" / name, make_surface(100 * number + 50 * label + image))
    assert run("data", "split", tmp_path / "nut", "--out", tmp_path) == 0
    told = (
        "Note: the parts that the data names (30 in train, 30 in test) are not kept; --protocol given keeps"
    )
    assert told in " ".join(capsys.readouterr().out.split())
    baseline = ("baseline", "majority", "--data", tmp_path / "nut", "--protocol", "given")
    assert run(*baseline, "--run", tmp_path / "run") == 0
    plan = read_split_plan(tmp_path / "run" / "split_plan.csv")
    assert plan.protocol == "given"
    assert {row.id.partition("/")[0] for row in plan.select("test")} == {"test"}
    assert [len(plan.select(part)) for part in ("train", "val", "test")] == [24, 6, 30]
