"""What a server may be asked, and where it listens."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

MEGA = 1_000_000


@dataclass(frozen=True)
class Limits:
    """What a server accepts; all that is beyond is refused with a reason.

    Attributes:
        max_upload_mb: Largest body of a request, in megabytes.
        max_megapixels: Largest photograph, by what its header says.
        requests_per_second: Of one client, on average; 0: any number.
        queue_length: Photographs that may wait for the engine.
        deadline_seconds: From a request that is whole to its answer.
        receive_seconds: For a client to send the whole of its headers, and again of its body.
        batch_size: Photographs that the engine is asked about together.
        batch_wait_ms: How long it waits at most for clients that were there a moment ago.
        max_connections: Open at a time.
        max_connections_per_address: Of these, from one address.
        max_json_values: Numbers, strings, lists and objects in a request; whatever its size in bytes.
        corrections_waiting: Corrections that may wait to be written.
    """

    max_upload_mb: float = 32.0
    max_megapixels: float = 40.0
    requests_per_second: float = 200.0
    queue_length: int = 256
    deadline_seconds: float = 10.0
    receive_seconds: float = 10.0
    batch_size: int = 32
    batch_wait_ms: float = 5.0
    max_connections: int = 512
    max_connections_per_address: int = 384
    max_json_values: int = 2_000_000
    corrections_waiting: int = 16

    @property
    def max_bytes(self) -> int:
        """Largest body of a request."""
        return int(self.max_upload_mb * MEGA)

    @property
    def max_pixels(self) -> int:
        """Largest photograph."""
        return int(self.max_megapixels * MEGA)

    @property
    def max_bytes_at_once(self) -> int:
        """Of all bodies that are held in memory at a time."""
        return max(8 * self.max_bytes, 256 * MEGA)


@dataclass(frozen=True)
class ServerSettings:
    """How a server is run.

    Attributes:
        host: The address to listen on.
        port: The port; 0: any that is free.
        corrections: The folder for photographs that were marked as wrong.
        token: What clients have to show; "": nothing.
        hosts: Names by which clients call this machine, beside its own and all addresses; "*": any.
        limits: What it accepts.
    """

    host: str = "127.0.0.1"
    port: int = 8501
    corrections: Path = Path("corrections")
    token: str = ""
    hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def is_local(self) -> bool:
        """Whether this machine alone can reach it."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")
