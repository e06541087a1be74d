"""The guard: who may ask, how often and under which name; what every response carries; what is counted."""

from __future__ import annotations

import hmac
import ipaddress
import socket
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mvdefect.core.progress import logger
from mvdefect.server.intake import is_long
from mvdefect.server.metrics import Metrics
from mvdefect.server.refusals import Refusal, answer_refusal
from mvdefect.server.settings import ServerSettings

SMALLEST_BURST = 10.0
REMEMBERED = 10_000  # clients; who has not asked for longest is forgotten


CLIENT_GONE = 499
HEALTH = "/healthz"
GUARDED = ("/v1/", "/api/", "/metrics")  # all else is the page itself, which holds no secret
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
ROUTES = {
    "/": "page",
    "/metrics": "metrics",
    HEALTH: "healthz",
    "/api/inspect": "inspect",
    "/api/correct": "correct",
    "/api/region": "region",
}


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


class Guard:
    """Stands before an application.

    Args:
        app: What answers.
        settings: Token, names and limits.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self.app = app
        self.token = settings.token.encode()
        self.rates = RateLimit(settings.limits.requests_per_second)
        self.names = {"localhost", settings.host.lower(), socket.gethostname().lower()}
        self.names |= {name.lower() for name in settings.hosts}
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = CLIENT_GONE

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._answer(scope, receive, send_guarded)
        except ClientDisconnect:
            pass
        finally:
            route = name_route(scope["path"])
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.request_seconds.labels(route).observe(time.perf_counter() - started)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._admit(scope)
            await self.app(scope, receive, send)
        except Refusal as refusal:
            self.metrics.refusals.labels(refusal.kind).inc()
            await answer_refusal(refusal)(scope, receive, send)
        except ClientDisconnect:
            raise
        except Exception:
            logger.exception("a request failed")
            fault = Refusal(500, "the server failed; its log says why", "fault")
            await answer_refusal(fault)(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        try:
            if path != HEALTH or "host" in headers:  # who balances load gives no name
                self._check_host(headers)
            if path != HEALTH:
                self.rates.admit((scope.get("client") or ("",))[0])
            if path.startswith(GUARDED):
                self._check_token(headers)
            if scope["method"] not in ("GET", "HEAD"):
                check_origin(headers)
        except Refusal as refusal:
            refusal.closes = is_long(headers)  # its body was not read
            raise

    def _check_host(self, headers: Headers) -> None:
        """Refuse names that are not ours, by which a foreign page could have a browser speak to us."""
        name = find_host_name(headers.get("host", ""))
        if name not in self.names and "*" not in self.names and not is_address(name):
            raise Refusal(421, "this server does not go by that name; see --allow-host", "host")

    def _check_token(self, headers: Headers) -> None:
        if not self.token:
            return
        kind, _, shown = headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(shown.strip().encode("latin-1"), self.token)
        if kind.lower() != "bearer" or not same:
            raise Refusal(401, "this server asks for a token: Authorization: Bearer <token>", "token")


def check_origin(headers: Headers) -> None:
    """Refuse what a page of another origin makes a browser send.

    Raises:
        Refusal: It comes from another origin.
    """
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    _, _, place = (origin or "").partition("://")
    is_foreign = origin is not None and place != headers.get("host", "")
    if is_foreign or site not in ("none", "same-origin"):
        raise Refusal(403, "this comes from a page of another origin", "origin")


def find_host_name(host: str) -> str:
    """Return the name in a Host header, without its port, in small letters."""
    name = host.lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0].rstrip(".")


def is_address(name: str) -> bool:
    """Whether a name is an address, which no foreign page can make its own."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def name_route(path: str) -> str:
    """Return one of a few names for a path, since clients choose paths and metrics remember names."""
    if path.startswith("/v1/models/"):
        return "model"
    return ROUTES.get(path, "other")
