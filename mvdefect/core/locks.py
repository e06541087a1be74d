"""One process at a time: a lock on a place where something is made."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from mvdefect.core.errors import InUseError


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Let no other process make the same file or folder at the same time.

    The lock is the operating system's, on a hidden file beside it, which is removed at the end. A process
    that is killed gives the lock back.

    Args:
        path: What is made. It need not be there; the folder that it is in must be.

    Raises:
        InUseError: Another process holds it. The message says which one, and since when.
    """
    lock = path.with_name(f".{path.name}.lock")
    with _open_locked(lock, path) as stream:
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M:%S}")
        stream.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _open_locked(lock: Path, path: Path) -> TextIO:
    while True:
        stream = lock.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with stream:
                stream.seek(0)
                holder = stream.read() or "another process"
            raise InUseError(f"{path} is being written by {holder}; wait for it, or name another") from None
        except OSError:
            return stream  # the file system knows no locks
        if _is_still_there(lock, stream):
            return stream
        stream.close()  # its holder has removed it since


def _is_still_there(lock: Path, stream: TextIO) -> bool:
    try:
        return os.path.samestat(lock.stat(), os.fstat(stream.fileno()))
    except FileNotFoundError:
        return False
