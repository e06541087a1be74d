"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
PREFIX = "mvdefect_"


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            f"{PREFIX}requests", "Requests that were answered.", ("route", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            f"{PREFIX}request_seconds",
            "From the first byte of a request to the last of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.refusals = Counter(
            f"{PREFIX}refusals", "Requests that were turned down.", ("kind",), registry=self.registry
        )
        self.photographs = Counter(
            f"{PREFIX}photographs", "Photographs by verdict.", ("label",), registry=self.registry
        )
        self.dropped = Counter(
            f"{PREFIX}dropped", "Photographs nobody waited for any longer.", registry=self.registry
        )
        self.batch_size = Histogram(
            f"{PREFIX}batch_size", "Photographs in a batch.", buckets=SIZES, registry=self.registry
        )
        self.engine_seconds = Histogram(
            f"{PREFIX}engine_seconds", "Of the engine on a batch.", buckets=SECONDS, registry=self.registry
        )
        self.corrections = Counter(
            f"{PREFIX}corrections", "Photographs marked as wrong.", ("label",), registry=self.registry
        )

    def watch(self, name: str, words: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when it is asked for."""
        Gauge(f"{PREFIX}{name}", words, registry=self.registry).set_function(read)

    def format(self) -> bytes:
        """Return all of it as Prometheus reads it."""
        return generate_latest(self.registry)
