"""Requests by REST, in the dialect of TensorFlow Serving; TensorFlow is not needed.

See https://www.tensorflow.org/tfx/serving/api_rest: a POST to `<model>:predict`, files in base 64.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from mvdefect.client.addresses import PREDICT, Address
from mvdefect.client.answers import read_answers
from mvdefect.client.retries import RefusedError
from mvdefect.core.errors import ConfigError
from mvdefect.core.files import parse_json
from mvdefect.inspector.answers import BYTES, EXPLAIN, Answer

BODY_BYTES = 16 << 20
PART_BYTES = 1 << 16
MAY_PASS = (429, 502, 503, 504)
TOO_LARGE = 413
SHOWN = 200  # characters of what a server complains of


class RestSender:
    """Sends requests to one address, over connections that stay open.

    Args:
        address: The server's.
        token: Sent as a bearer token.

    Attributes:
        largest_bytes: What the photographs of a request may have together, so that its body stays below
            16 MiB.

    Raises:
        ConfigError: The package `requests` is missing.
    """

    largest_bytes = (BODY_BYTES - PART_BYTES) * 3 // 4

    def __init__(self, address: Address, token: str | None) -> None:
        try:
            import requests
            from urllib3.exceptions import HTTPError
        except ImportError as error:
            raise ConfigError(f"requests is needed: pip install 'mvdefect[client]' ({error})") from error
        self._requests, self._broken = requests, HTTPError
        self._url = f"{address}{PREDICT}"
        self._session = requests.Session()
        self._token = token

    def __call__(self, files: Sequence[bytes], signature: str, timeout_s: float) -> list[Answer]:
        """Return what the server says of files.

        Raises:
            RefusedError: It says nothing, or something that an inspector would not.
        """
        body = write_request(files, signature)
        try:
            status, headers, content = self._post(body, timeout_s)
        except self._requests.exceptions.InvalidURL as error:
            raise RefusedError(f"the address is no good: {error}") from error
        except self._requests.exceptions.SSLError as error:
            raise RefusedError(f"its certificate is not trusted: {_shorten(str(error))}") from error
        except (self._requests.RequestException, self._broken, TimeoutError) as error:
            raise RefusedError(f"it does not answer: {_name_fault(error)}", may_pass=True) from error
        if status != 200:
            raise RefusedError(
                f"it answers {status}: {_read_complaint(content)}",
                may_pass=status in MAY_PASS,
                pause_s=read_retry_after(headers.get("Retry-After")),
                is_too_large=status == TOO_LARGE,
            )
        return read_answers(_read_predictions(content), len(files), signature == EXPLAIN)

    def _post(self, body: bytes, timeout_s: float) -> tuple[int, Any, bytes]:
        """Send a body, and read the answer until a deadline: requests' own timeout is one a part."""
        ends = time.monotonic() + timeout_s
        with self._session.post(
            self._url,
            data=body,
            headers={"Content-Type": "application/json"},
            auth=self._sign,
            timeout=timeout_s,
            stream=True,
            allow_redirects=False,
        ) as response:
            parts = []
            while part := response.raw.read1(PART_BYTES, decode_content=True):
                parts.append(part)
                if time.monotonic() > ends:
                    raise TimeoutError(f"its answer was not whole after {timeout_s:.0f} seconds")
            return response.status_code, response.headers, b"".join(parts)

    def _sign(self, request: Any) -> Any:
        """Add the token; a function of its own also keeps a password for this host in `.netrc` out."""
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def write_request(files: Sequence[bytes], signature: str) -> bytes:
    """Return the body of a request."""
    instances = [{BYTES: {"b64": base64.b64encode(file).decode("ascii")}} for file in files]
    return json.dumps({"signature_name": signature, "instances": instances}).encode("ascii")


def read_retry_after(value: str | None) -> float | None:
    """Return the seconds of a header Retry-After, which has a number or a date; None: it says nothing."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max((date - datetime.now(UTC)).total_seconds(), 0.0)


def _read_predictions(content: bytes) -> list[dict[str, Any]]:
    try:
        found = parse_json(content)["predictions"]
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise ValueError("its predictions are no list of named outputs")
    except (ValueError, KeyError, TypeError) as error:
        raise RefusedError(f"its answer is not that of an inspector: {_shorten(repr(content))}") from error
    return found


def _read_complaint(content: bytes) -> str:
    try:
        return _shorten(str(parse_json(content)["error"]))
    except (ValueError, KeyError, TypeError):
        return _shorten(content.decode("utf-8", "replace")) or "without a word"


def _name_fault(error: Exception) -> str:
    """Return the innermost cause: `requests` wraps what the system said in what it was doing."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    return _shorten(getattr(seen, "strerror", None) or str(seen) or type(seen).__name__)


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[:SHOWN]}…"
