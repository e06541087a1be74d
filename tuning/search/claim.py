"""The folder of a search: one search at a time, begun with these settings or with none."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mvdefect.core.errors import RunExistsError, SearchError
from mvdefect.core.files import write_text
from mvdefect.core.locks import hold
from tuning.settings import SearchConfig, dump_search

SEARCH = "search.yaml"
PLAN = "split_plan.csv"
HASHES = "weights.json"
WAIT_SECONDS = 600.0
MAY_CHANGE = ("trials", "minutes", "patience", "refits")  # a search can be prolonged


@contextmanager
def claim_folder(
    out: Path, search: SearchConfig, weights: Mapping[str, Path | None], overwrite: bool
) -> Iterator[None]:
    """Make the folder of a search, or go on with the one that is there, and let no other search in.

    Args:
        out: The folder.
        search: The settings.
        overwrite: Whether a search with other settings is removed.
        weights: Weights file of each backbone, None for random ones.

    Raises:
        InUseError: Another process is searching there.
        RunExistsError: Something else is there, or a search with other settings.
    """
    if _holds_something_else(out):
        raise RunExistsError(f"{out} exists and is no search of mvdefect, so it is left alone; name another")
    out.mkdir(parents=True, exist_ok=True)
    with hold(out / SEARCH):
        changed = list_changes(out, search, weights)
        if changed and not overwrite:
            raise RunExistsError(
                f"the search {out} was begun with other settings ({', '.join(changed)}). "
                "Name another with --out, or replace it with --overwrite"
            )
        if changed:
            _remove_all(out)
        write_text(out / SEARCH, dump_search(search))
        write_text(out / HASHES, _hash_weights(weights))
        yield


def wait_for_chief(out: Path, seconds: float = WAIT_SECONDS) -> None:
    """Wait until the chief of a search on several machines has made its folder and settled its plan.

    Args:
        out: The folder.
        seconds: How long.

    Raises:
        SearchError: It has not.
    """
    until = time.monotonic() + seconds
    while not (out / PLAN).is_file():
        if time.monotonic() > until:
            raise SearchError(f"the chief has begun no search in {out}, which all machines must see")
        time.sleep(min(1.0, seconds))


def list_changes(out: Path, search: SearchConfig, weights: Mapping[str, Path | None]) -> list[str]:
    """Name what is not as it was when the search in a folder began; nothing where none has.

    Args:
        out: The folder.
        search: The settings now.
        weights: Weights file of each backbone now.
    """
    if not (out / SEARCH).is_file():
        return []
    try:
        before: Any = yaml.safe_load((out / SEARCH).read_text(encoding="utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError):
        before = None
    if not isinstance(before, dict):
        return [SEARCH]
    after = search.model_dump(mode="json")
    changed = [key for key in after if key not in MAY_CHANGE and before.get(key) != after[key]]
    kept = out / HASHES
    if kept.is_file() and kept.read_bytes() != _hash_weights(weights).encode():
        changed.append("the content of a weights file")
    return changed


def _holds_something_else(out: Path) -> bool:
    """Whether there are files, but no search; what a start that was killed leaves does not count."""
    if not out.exists() or (out / SEARCH).is_file():
        return False
    return any(not path.name.startswith(".") for path in out.iterdir())


def _hash_weights(weights: Mapping[str, Path | None]) -> str:
    """Return the hash of each weights file, as JSON: its content counts, not its name."""
    hashes = {
        name: None if path is None else hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in sorted(weights.items())
    }
    return json.dumps(hashes, indent=2) + "\n"


def _remove_all(out: Path) -> None:
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != SEARCH and not path.name.startswith("."):  # replaced next: a kill leaves a search
            path.unlink()
