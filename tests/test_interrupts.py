"""A Ctrl-C is heard even where something swallows it, and what cleans up after it is left alone."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from mvdefect.cli.work import insist_on_interrupts


def be_interrupted() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


class Swallows:
    """Python ignores what is raised in a destructor."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_was_swallowed_comes_again() -> None:
    ends = time.monotonic() + 10

    def work() -> None:
        Swallows()
        while time.monotonic() < ends:
            time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt), insist_on_interrupts(0.05):
        work()
    assert time.monotonic() < ends


def test_what_cleans_up_is_not_disturbed() -> None:
    done = []

    def work() -> None:
        try:
            be_interrupted()
        finally:
            time.sleep(0.2)
            done.append("checkpoint")

    with pytest.raises(KeyboardInterrupt), insist_on_interrupts(0.02):
        work()
    assert done == ["checkpoint"]


def test_afterwards_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)]
    with pytest.raises(KeyboardInterrupt), insist_on_interrupts(0.02):
        be_interrupted()
    time.sleep(0.1)  # nothing comes any longer
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGALRM)] == before


def test_other_threads_have_no_signals() -> None:
    found = []

    def work() -> None:
        with insist_on_interrupts():
            found.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == ["done"]


def test_an_error_that_a_library_makes_of_an_interrupt_is_one() -> None:
    def trace() -> None:
        try:
            be_interrupted()
        except KeyboardInterrupt:
            raise RuntimeError("in user code") from None

    with pytest.raises(KeyboardInterrupt), insist_on_interrupts():
        trace()


def test_an_error_without_an_interrupt_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="in user code"), insist_on_interrupts():
        raise RuntimeError("in user code")
