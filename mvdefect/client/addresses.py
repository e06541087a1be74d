"""Addresses of servers that speak as TensorFlow Serving does, by REST or by gRPC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from mvdefect.core.errors import ConfigError

REST, GRPC = ("http", "https"), ("grpc", "grpcs")
PREDICT = ":predict"
TOKEN = "MVDEFECT_TOKEN"  # noqa: S105 (the name of a variable)
URL = re.compile(r"^([A-Za-z][A-Za-z0-9+.]*)://")
REST_PATH = re.compile(r"/v1/models/(?P<name>[^/:]+)(/(versions/(?P<version>\d+)|labels/[^/:]+))?$")
GRPC_PATH = re.compile(r"^/(?P<name>[^/:]+)(/(?P<version>\d+))?$")
ALLOWED = (
    "the address of an inspector must be http://HOST:8501/v1/models/NAME, with /versions/N or without, or "
    "grpc://HOST:8500/NAME, with /N or without (also https and grpcs)"
)


@dataclass(frozen=True)
class Address:
    """Where a server offers a model.

    Attributes:
        scheme: http, https, grpc or grpcs.
        host: Host and port.
        name: Of the model.
        version: Its number; None: the server chooses.
        path: As it was given, for REST.
    """

    scheme: str
    host: str
    name: str
    version: int | None
    path: str

    @property
    def is_rest(self) -> bool:
        """Whether it is asked by REST."""
        return self.scheme in REST

    @property
    def is_private(self) -> bool:
        """Whether what is sent there is encrypted."""
        return self.scheme in ("https", "grpcs")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path}"


def is_url(place: str) -> bool:
    """Whether a place is an address and no folder."""
    return URL.match(place) is not None


def parse_address(url: str) -> Address:
    """Read the address of a server.

    Args:
        url: As TensorFlow Serving's REST has it, whatever a proxy puts before `/v1`, or for gRPC host, name
            and version.

    Raises:
        ConfigError: It is none of these, or holds a password.
    """
    parts = urlsplit(url.rstrip("/").removesuffix(PREDICT))
    scheme = parts.scheme.lower()
    if "@" in parts.netloc:
        raise ConfigError(f"{ALLOWED}; a token belongs in the variable {TOKEN}, not in the address")
    path = {**dict.fromkeys(REST, REST_PATH), **dict.fromkeys(GRPC, GRPC_PATH)}.get(scheme)
    found = path.search(parts.path) if path is not None else None
    if found is None or not _has_port(parts.netloc, scheme) or parts.query or parts.fragment:
        raise ConfigError(f"{ALLOWED}. Received: {url}")
    version = None if found["version"] is None else int(found["version"])
    return Address(scheme, parts.netloc, found["name"], version, parts.path)


def _has_port(netloc: str, scheme: str) -> bool:
    """Whether a host is named, and a port where there is no usual one."""
    try:
        parts = urlsplit(f"//{netloc}")
        port = parts.port
        return bool(parts.hostname) and (scheme in REST or port is not None)
    except ValueError:
        return False
