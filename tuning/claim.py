"""The folder of a search: one search at a time, begun with these settings or with none."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mvdefect.errors import RunExistsError, SearchError
from mvdefect.paths import write_text
from tuning.settings import SearchConfig, dump_search

SEARCH = "search.yaml"
PLAN = "split_plan.csv"
LOCK = "lock"
WAIT_SECONDS = 600.0
MAY_CHANGE = ("trials", "minutes", "patience", "refits")  # a search can be prolonged


@contextmanager
def claim_folder(out: Path, search: SearchConfig, overwrite: bool) -> Iterator[None]:
    """Make the folder of a search, or go on with the one that is there, and let no other search in.

    Args:
        out: The folder.
        search: The settings.
        overwrite: Whether a search with other settings is removed.

    Raises:
        RunExistsError: Something else is there, a search with other settings, or one that is running.
    """
    if out.exists() and any(out.iterdir()) and not (out / SEARCH).is_file():
        raise RunExistsError(f"{out} exists and is no search of mvdefect, so it is left alone; name another")
    out.mkdir(parents=True, exist_ok=True)
    with (out / LOCK).open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunExistsError(f"another process is searching in {out}") from error
        _check_settings(out, search, overwrite)
        write_text(out / SEARCH, dump_search(search))
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


def _check_settings(out: Path, search: SearchConfig, overwrite: bool) -> None:
    if not (out / SEARCH).is_file():
        return
    changed = _list_changes((out / SEARCH).read_text(encoding="utf-8"), search)
    if not changed and not overwrite:
        return
    if not overwrite:
        raise RunExistsError(
            f"the search {out} was begun with other settings ({', '.join(changed)}). "
            "Name another with --out, or replace it with --overwrite"
        )
    for path in out.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def _list_changes(text: str, search: SearchConfig) -> list[str]:
    """Name the settings that are not what they were; what cannot be read is another search."""
    try:
        before: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        before = None
    after = search.model_dump(mode="json")
    if not isinstance(before, dict):
        return [SEARCH]
    return [key for key in after if key not in MAY_CHANGE and before.get(key) != after[key]]
