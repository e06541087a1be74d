"""Who may import whom: a room imports only from rooms below it, and no import runs in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import mvdefect

PACKAGE = Path(mvdefect.__file__).parent
ROOT = PACKAGE.parent
ROWS = (
    {"__main__"},
    {"cli"},
    {"tuning", "grid"},
    {"server", "prediction", "exporting", "baselines"},
    {"workflow", "client"},
    {"inspector", "report"},
    {"audit"},
    {"training", "evaluation", "pretraining"},
    {"models", "drawing"},
    {"data"},
    {"runs"},
    {"config"},
    {"core"},
)
ROW_OF = {room: number for number, rooms in enumerate(ROWS) for room in rooms}
LOOSE = {"__init__", "__main__", "config", "runs"}
LONGEST = 500


def name_module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    name_module(path): path
    for package in (PACKAGE, ROOT / "tuning")
    for path in sorted(package.rglob("*.py"))
}


def list_imports(path: Path) -> Iterator[str]:
    """Yield the full names of the modules of this project that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


IMPORTS = {
    name: {other for other in list_imports(path) if other in MODULES and other != name}
    for name, path in MODULES.items()
}


def find_room(name: str) -> str:
    parts = name.split(".")
    return parts[0] if parts[0] == "tuning" or len(parts) == 1 else parts[1]


def test_every_room_is_in_the_plan() -> None:
    assert {find_room(name) for name in MODULES} - {"mvdefect"} == set(ROW_OF)


def test_few_modules_are_loose() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == LOOSE


def test_a_room_imports_only_from_rows_below_it() -> None:
    for name, others in IMPORTS.items():
        room = find_room(name)
        if room == "mvdefect":
            continue  # the public API, which imports nothing heavy before it is used
        for other in others - ({"mvdefect"} if room == "cli" else set()):
            assert find_room(other) == room or ROW_OF[find_room(other)] > ROW_OF[room], f"{name} -> {other}"


def test_no_import_runs_in_a_circle() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_only_the_command_line_imports_click() -> None:
    for name, path in MODULES.items():
        if find_room(name) != "cli":
            assert "import click" not in path.read_text(), path


def test_tuning_is_reached_within_its_command_alone() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        lines = path.read_text().splitlines()
        found = [line for line in lines if "tuning" in line and line.strip().startswith(("from ", "import "))]
        assert not found or path == PACKAGE / "cli" / "tune.py"
        assert all(line.startswith("    ") for line in found), "imported before it is needed"


def test_evaluation_needs_no_tensorflow() -> None:
    for path in (PACKAGE / "evaluation").glob("*.py"):
        text = path.read_text()
        assert "tensorflow" not in text
        assert "keras" not in text


def test_files_keep_to_a_size_that_can_be_read() -> None:
    for path in MODULES.values():
        assert len(path.read_text().splitlines()) <= LONGEST, path
