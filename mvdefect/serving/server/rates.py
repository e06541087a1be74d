"""How often a client may ask: a bucket of tokens for each, which fills at a steady rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from mvdefect.serving.server.refusals import Refusal

SMALLEST_BURST = 10.0
REMEMBERED = 10_000  # clients; who has not asked for longest is forgotten


class RateLimit:
    """Counts what clients ask.

    Args:
        per_second: Requests of one client, on average; 0: any number.
        clock: Seconds.
    """

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_second = per_second
        self.burst = max(per_second, SMALLEST_BURST)
        self.clock = clock
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def admit(self, client: str) -> None:
        """Count a request.

        Raises:
            Refusal: The client asks too often.
        """
        if not self.per_second:
            return
        now = self.clock()
        left, since = self.buckets.pop(client, (self.burst, now))
        left = min(self.burst, left + (now - since) * self.per_second)
        admitted = left >= 1
        self.buckets[client] = (left - 1 if admitted else left, now)
        if len(self.buckets) > REMEMBERED:
            self.buckets.popitem(last=False)
        if not admitted:
            reason = f"a client may ask {self.per_second:g} times a second"
            raise Refusal(429, reason, "rate", (1 - left) / self.per_second)
