"""Work spread over the processor's cores, with results in order and memory bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

MIN_ITEMS_FOR_PROCESSES = 200

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0))


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, computed by one thread a core.

    At most four results a thread wait to be taken, however many items there are. Threads serve where
    the work releases Python's lock, as decoding, hashing and resizing do.
    """
    threads = count_cores()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def map_in_processes(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order, computed by one process a core.

    Processes serve where work consists of many small steps, between which threads would wait for Python's
    lock. They are new ones, and need about two seconds to begin: few items are worked on right here, and
    all of them where the system lacks what processes need.

    Args:
        function: Can be sent to another process, as can its items.
        items: What is worked on.
    """
    if count_cores() == 1 or len(items) < MIN_ITEMS_FOR_PROCESSES:
        yield from map(function, items)
        return
    from joblib import Parallel, delayed

    try:
        pool = Parallel(n_jobs=count_cores(), return_as="generator")
        results = pool(delayed(function)(item) for item in items)
    except OSError:  # no shared memory
        results = map(function, items)
    yield from results
