"""Apache Beam as tests use it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

# DirectRunner first looks for a faster engine, which it would download; nothing is there to be found.
DIRECT = ("DirectRunner", ("--prism_location=/nonexistent/prism",))
# The way to Flink and Spark: the pipeline goes to a job server, and workers ask back for their work.
PORTABLE = ("PortableRunner", ("--job_endpoint=embed", "--environment_type=LOOPBACK"))
MARKS = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:apache_beam.*"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Beam leaves sockets to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def quiet_beam() -> Iterator[None]:
    """Keep Beam from talking; imported by a module of tests, it is for all of them."""
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("apache_beam").setLevel(logging.NOTSET)
