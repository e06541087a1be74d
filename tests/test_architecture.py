"""Who may import whom: a room imports only from rooms below it."""

from __future__ import annotations

import ast
from pathlib import Path

import mvdefect

PACKAGE = Path(mvdefect.__file__).parent
TUNING = PACKAGE.parent / "tuning"
ABOVE_TUNING = {"cli", "benchmark", "demo", "baselines"}
ROWS = (
    {"__main__"},
    {"cli"},
    {"benchmark", "demo"},
    {"baselines", "serving"},
    {"workflow"},
    {"preparation"},
    {"explain", "outcome", "report"},
    {"audit"},
    {"training", "evaluation", "pretraining"},
    {"models", "data"},
    {"backend", "environment"},
    {"runs"},
    {"grid", "results"},
    {"config"},
    {"tables"},
    {"assignments", "paths", "parallel", "progress"},
    {"errors"},
)
ROW_OF = {room: number for number, rooms in enumerate(ROWS) for room in rooms}


def list_imports(path: Path) -> list[str]:
    """Return the full names of the modules of mvdefect that a file imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.append(node.module)
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.split(".")[0] == "mvdefect" and "." in name]


def find_room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def test_every_room_is_in_the_plan() -> None:
    rooms = {find_room(path) for path in PACKAGE.rglob("*.py")} - {"__init__"}
    assert rooms == set(ROW_OF)


def test_a_room_imports_only_from_rows_below_it() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        room = find_room(path)
        if room == "__init__":
            continue
        for name in list_imports(path):
            other = name.split(".")[1]
            assert other == room or ROW_OF[other] > ROW_OF[room], f"{path.name} imports {name}"


def test_only_the_command_line_imports_click() -> None:
    for path in [*PACKAGE.rglob("*.py"), *TUNING.rglob("*.py")]:
        if path.is_relative_to(TUNING) or find_room(path) != "cli":
            assert "import click" not in path.read_text(), path


def test_tuning_is_reached_within_its_command_alone() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = path.read_text().splitlines()
        found = [line for line in lines if "tuning" in line and line.strip().startswith(("from ", "import "))]
        assert not found or path == PACKAGE / "cli" / "tune.py"
        assert all(line.startswith("    ") for line in found), "imported before it is needed"


def test_tuning_imports_nothing_from_above_it() -> None:
    for path in sorted(TUNING.rglob("*.py")):
        assert not {name.split(".")[1] for name in list_imports(path)} & ABOVE_TUNING, path


def test_evaluation_needs_no_tensorflow() -> None:
    for path in (PACKAGE / "evaluation").glob("*.py"):
        text = path.read_text()
        assert "tensorflow" not in text
        assert "keras" not in text


def test_files_keep_to_a_size_that_can_be_read() -> None:
    for path in [*PACKAGE.rglob("*.py"), *TUNING.rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 400, path
