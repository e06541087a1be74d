"""The folder of a search: one search at a time, begun with these settings or with none."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from mvdefect.errors import RunExistsError
from mvdefect.paths import write_text
from tuning.settings import SearchConfig, dump_search

SEARCH = "search.yaml"
LOCK = "lock"
MAY_CHANGE = ("trials", "minutes", "patience", "refits")  # a search can be prolonged


@contextmanager
def claim_folder(out: Path, search: SearchConfig, overwrite: bool, is_worker: bool) -> Iterator[None]:
    """Make the folder of a search, or go on with the one that is there, and let no other search in.

    Args:
        out: The folder.
        search: The settings.
        overwrite: Whether a search with other settings is removed.
        is_worker: Whether this is one of several processes that share the folder; the chief made it.

    Raises:
        RunExistsError: Something else is there, a search with other settings, or one that is running.
    """
    if is_worker:
        yield
        return
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
