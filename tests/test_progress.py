"""What a long step shows, with a terminal and without one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from mvdefect.core import progress
from mvdefect.core.progress import show_phase, show_steps, track

MUTED = """
import os, time
from mvdefect.core.progress import show_phase, show_steps
from mvdefect.core.runtime import muted_stderr
with show_phase("Loading"), muted_stderr():
    os.write(2, b"native chatter")
    time.sleep(0.3)
with show_steps("Outer", 2) as advance, show_steps("Inner", None):
    advance(2)
    time.sleep(0.3)
"""


def test_a_terminal_shows_a_bar_even_while_native_messages_are_muted() -> None:
    parent, child = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", MUTED], stderr=child, env={**os.environ, "TERM": "xterm"}):
        os.close(child)
        shown = b""
        while piece := _read(parent):
            shown += piece
    os.close(parent)
    assert [name in shown for name in (b"Loading", b"Outer", b"Inner", b"100%")] == [True] * 4
    assert b"native chatter" not in shown


def _read(file: int) -> bytes:
    try:
        return os.read(file, 65536)
    except OSError:  # the other end is closed
        return b""


def test_without_a_terminal_a_long_step_logs_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with show_steps("training", 9) as advance:
        for _ in range(3):
            advance(2)
    assert messages == ["training: 6 of 9, 3 s left"]
    with show_steps("training", 9) as advance:
        next(clock), next(clock)
        advance(2)
    with show_steps("Inspecting images", None) as advance:
        advance(3)
        next(clock), next(clock)
        advance(3)
    assert messages[1:] == ["training: 2 of 9", "Inspecting images: 6 so far"]
    assert list(track("abc", "Reading", 3)) == ["a", "b", "c"]


def test_without_a_terminal_a_phase_is_a_line(messages: list[str]) -> None:
    with show_phase("Writing the report"), show_steps("quick", 1) as advance:
        advance()
    assert messages == ["Writing the report"]
    assert progress.HEARTBEAT_S <= 5
