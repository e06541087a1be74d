"""What a long step shows, with a terminal and without one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from mvdefect.core import progress
from mvdefect.core.progress import _Heartbeat, show_phase, show_steps, track

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
    monkeypatch.setattr(progress, "HEARTBEAT_S", 0.05)
    with show_steps("Training", 9) as advance:
        wait_for(lambda: messages)
        with show_phase("Writing"):
            count = len(messages)
            wait_for(lambda: len(messages) > count)
        advance(2)
        advance(1)
        wait_for(lambda: messages[-1].startswith("Training: 3 of 9, 0 s left"))
    assert messages[0] == "Training: 0 s so far"
    assert set(messages[count:]) >= {"Writing: 0 s so far", "Training: 3 of 9, 0 s left"}
    assert list(track("abc", "Reading", 3)) == ["a", "b", "c"]


def wait_for(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_the_time_left_is_told_from_the_rate_since_the_first_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 100, 102, 104])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    steps = _Heartbeat("Training", 10)
    steps.advance(2)
    assert steps.describe(101) == "2 of 10"
    steps.advance(2)
    assert steps.describe(102) == "4 of 10, 6 s left"
    steps.total = None
    assert steps.describe(102) == "4 so far"


def test_without_a_terminal_a_phase_is_a_line(messages: list[str]) -> None:
    with show_phase("Writing the report"), show_steps("quick", 1) as advance:
        advance()
    assert messages == ["Writing the report"]
