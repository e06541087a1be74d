"""A server as an engine: batches become requests that are small enough, and their answers one list."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mvdefect.client.addresses import TOKEN, Address, parse_address
from mvdefect.client.answers import Send
from mvdefect.client.retries import Deadline, Patience, RefusedError, keep_asking
from mvdefect.core.progress import logger
from mvdefect.inspector.answers import DEFAULT, EXPLAIN, UNREADABLE, Answer, Engine

LARGEST_COUNT = 64  # photographs of a request; servers that batch have such a limit of their own


def open_client(url: str, patience: Patience | None = None) -> Engine:
    """Return an engine that asks a server; a token in the variable MVDEFECT_TOKEN is sent along.

    Nothing is sent before the first photograph.

    Args:
        url: See `mvdefect.client.addresses.parse_address`.
        patience: How long a server is waited for.

    Raises:
        ConfigError: The address is none, or the packages of the extra `client` are missing.
    """
    address, token = parse_address(url), os.environ.get(TOKEN) or None
    if token is not None and not address.is_private:
        logger.warning("%s is not encrypted, and neither is the token of %s on its way there", address, TOKEN)
    return partial(_inspect, _make_sender(address, token), str(address), patience or Patience())


def _make_sender(address: Address, token: str | None) -> Send:
    if address.is_rest:
        from mvdefect.client.rest import RestSender

        return RestSender(address, token)
    from mvdefect.client.grpc import GrpcSender

    return GrpcSender(address, token)


def _inspect(
    send: Send, who: str, patience: Patience, files: Sequence[bytes], with_heatmaps: bool = False
) -> list[Answer]:
    signature = EXPLAIN if with_heatmaps else DEFAULT
    deadline = Deadline(time.monotonic() + patience.timeout_s)
    answers: list[Answer] = []
    for chosen in divide_files(files, send.largest_bytes):
        answers += _ask(partial(send, signature=signature), chosen, deadline, patience, who)
    return answers


def _ask(
    send: Callable[..., list[Answer]],
    files: Sequence[bytes],
    deadline: Deadline,
    patience: Patience,
    who: str,
) -> list[Answer]:
    """Ask about files together; by halves where the server finds them too many."""
    try:
        return keep_asking(lambda left_s: send(files, timeout_s=left_s), deadline, patience, who)
    except RefusedError as error:
        if len(files) == 1:
            return [Answer(UNREADABLE, None, None, error=f"too large for the server: {error}")]
    middle = len(files) // 2
    first = _ask(send, files[:middle], deadline, patience, who)
    return first + _ask(send, files[middle:], deadline, patience, who)


def divide_files(files: Sequence[bytes], largest_bytes: int) -> Iterator[Sequence[bytes]]:
    """Yield files in their order, 64 at a time or as many as have no more bytes together; one at least."""
    start, total = 0, 0
    for number, file in enumerate(files):
        is_full = number - start == LARGEST_COUNT or total + len(file) > largest_bytes
        if number > start and is_full:
            yield files[start:number]
            start, total = number, 0
        total += len(file)
    if files:
        yield files[start:]
