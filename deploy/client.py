#!/usr/bin/env python3
"""A client for an inspector in twenty lines: photographs go to TensorFlow Serving or `mvdefect serve`.

    python client.py http://localhost:8501/v1/models/inspector washer.png bolt.jpg

It needs the standard library alone, so it can be copied to where the photographs are. It asks once and
waits ten seconds; `mvdefect predict` asks again, sends batches and goes on after an interrupt.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.error
import urllib.request

TIMEOUT_S = 10


def inspect(url: str, paths: list[str]) -> list[dict[str, object]]:
    """Return what the inspector says of each photograph: label, probability, novelty and more."""
    instances = []
    for path in paths:
        with open(path, "rb") as stream:  # noqa: PTH123 (an example for everybody)
            instances.append({"image_bytes": {"b64": base64.b64encode(stream.read()).decode()}})
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("MVDEFECT_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    body = json.dumps({"instances": instances}).encode()
    request = urllib.request.Request(f"{url}:predict", body, headers)  # noqa: S310 (the user's own address)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        return json.load(answer)["predictions"]


def main(url: str, *paths: str) -> None:
    """Print a line a photograph: name, label and probability, with tabs between them."""
    try:
        answers = inspect(url, list(paths))
    except urllib.error.HTTPError as error:
        sys.exit(f"{url}: {error.code}: {error.read().decode(errors='replace')}")
    except OSError as error:
        sys.exit(f"{url}: {error}")
    for path, answer in zip(paths, answers, strict=True):
        print(path, answer["label"], f"{answer['probability']:.4f}", sep="\t")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(f"usage: {sys.argv[0]} URL PHOTOGRAPH...")
    main(*sys.argv[1:])
