"""Where the weights of a backbone come from: ImageNet, drawn textures, nowhere, or a file."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from http.client import HTTPException
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from mvdefect.core.errors import WeightsError
from mvdefect.core.runtime import OFFLINE
from mvdefect.models.backbones import IMAGENET_STD_RGB, BackboneSpec
from mvdefect.models.bounds import check_weights

IMAGENET_STD = tuple(std / 255 for std in IMAGENET_STD_RGB)  # of colours in [0, 1]
DOWNLOAD_TIMEOUT_S = 5.0
PUBLISHED = "https://storage.googleapis.com/tensorflow/keras-applications/"
TEXTURE_WEIGHTS = Path(__file__).parent / "texture"
WEIGHTS_SUFFIX = ".weights.h5"


def find_weights(spec: BackboneSpec, weights: str) -> Path | None:
    """Find the file that the weights of a backbone come from, before any other work is done.

    Args:
        spec: The backbone.
        weights: "imagenet" (from Keras's cache, or downloaded into it), "texture" (learned from drawn
            surfaces, part of this package), "none" (random, as built), or the path of a `.weights.h5` or
            `.h5` file of the same architecture without its top.

    Returns:
        The file, or None for random weights.

    Raises:
        WeightsError: The file cannot be had.
    """
    if weights == "none":
        return None
    if weights == "imagenet":
        return _find_imagenet_file(spec)
    if weights == "texture":
        return _find_texture_file(spec)
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(
            "weights must be imagenet, texture, none, or the path of a file. "
            f"Received: {weights} (no such file)"
        )
    if path.suffix != ".h5":
        raise WeightsError(f"a weights file ends in .weights.h5 or .h5. Received: {path}")
    return path


def load_weights(network: Any, spec: BackboneSpec, path: Path) -> None:
    """Fill a freshly built backbone from a file.

    Args:
        network: What `spec.build` returned.
        spec: The backbone.
        path: What `find_weights` returned.

    Raises:
        WeightsError: The file is damaged or belongs to another architecture.
    """
    try:
        check_weights(path)
        network.load_weights(path)
    except Exception as error:  # h5py, Keras and NumPy each raise errors of their own
        raise WeightsError(
            f"the weights {path} do not fit {spec.name} without its top: they are damaged or belong to "
            f"another architecture ({shorten_error(error)})"
        ) from error
    _mend_normalisation(network)


def _mend_normalisation(network: Any) -> None:
    """Let an EfficientNet of Keras normalise its input as it did when it learned ImageNet.

    Its published file holds standard deviations as variances. Keras makes up for that by a further layer,
    which is there only if Keras downloads the weights itself.
    """
    import keras
    import numpy as np

    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            stored = keras.ops.convert_to_numpy(layer.adapt_variance)
            if np.allclose(stored, IMAGENET_STD, rtol=1e-3):
                layer.adapt_variance.assign(stored**2)
                layer.finalize_state()


def find_cached_imagenet(spec: BackboneSpec) -> Path | None:
    """Return the ImageNet weights of a backbone in Keras's cache; None if they are not there."""
    path = keras_models_dir() / spec.imagenet_file
    return path if spec.imagenet_file and path.is_file() else None


def _find_imagenet_file(spec: BackboneSpec) -> Path:
    if not spec.imagenet_file:
        raise WeightsError(f"{spec.name} has no imagenet weights; use --weights none, or the path of a file")
    if (cached := find_cached_imagenet(spec)) is not None:
        return cached
    path = keras_models_dir() / spec.imagenet_file
    try:
        if os.environ.get(OFFLINE):
            raise ConnectionError("working offline")
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints; stdout belongs to data
            download_imagenet(spec)
    except Exception as error:  # whatever the network stack says, the way out is the same
        raise WeightsError(
            f"the imagenet weights of {spec.name} are not on this machine and cannot be downloaded "
            f"({shorten_error(error)}). Either put the file {spec.imagenet_file} into {path.parent}, or "
            f"use --weights PATH with that file or your own, or {_offer_texture(spec)}--weights none to "
            "start from random weights"
        ) from error
    return path


def list_texture_backbones() -> tuple[str, ...]:
    """Return the names of the backbones whose texture weights are part of this package."""
    return tuple(
        sorted(path.name.removesuffix(WEIGHTS_SUFFIX) for path in TEXTURE_WEIGHTS.glob(f"*{WEIGHTS_SUFFIX}"))
    )


def _find_texture_file(spec: BackboneSpec) -> Path:
    path = TEXTURE_WEIGHTS / f"{spec.name}{WEIGHTS_SUFFIX}"
    if not path.is_file():
        raise WeightsError(
            f"this package has texture weights of {', '.join(list_texture_backbones())}, not of {spec.name}. "
            f"`mvdefect pretrain --backbone {spec.name} --out {path.name}` makes them; --weights {path.name} "
            "then takes them"
        )
    return path


def _offer_texture(spec: BackboneSpec) -> str:
    if spec.name in list_texture_backbones():
        return "--weights texture for those of this package, which are learned from drawn surfaces, or "
    return ""


def keras_models_dir() -> Path:
    """Return the folder in which Keras looks for the weights that it publishes."""
    home = os.environ.get("KERAS_HOME") or Path.home() / ".keras"
    return Path(home) / "models"


def download_imagenet(spec: BackboneSpec) -> None:
    """Let Keras download the ImageNet weights of a backbone into its cache and check their hash.

    The only function that reaches for the network.

    Raises:
        OSError: The server cannot be reached within `DOWNLOAD_TIMEOUT_S`, or a read takes longer.
    """
    _reach_server()
    default_timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_S)  # also bounds each read, so a dead line ends
    try:
        spec.build((224, 224), "imagenet")
    finally:
        socket.setdefaulttimeout(default_timeout)


def _reach_server() -> None:
    """Ask for the server's head in a thread: a name server or a firewall that is silent ignores timeouts."""
    failures: list[Exception] = [TimeoutError(f"no answer within {DOWNLOAD_TIMEOUT_S:g} seconds")]

    def ask() -> None:
        try:
            urlopen(Request(PUBLISHED, method="HEAD"), timeout=DOWNLOAD_TIMEOUT_S).close()
        except HTTPError:
            failures.clear()  # the server is there; it has no page at this address
        except (OSError, HTTPException, ValueError) as error:
            failures[:] = [error]
        else:
            failures.clear()

    thread = Thread(target=ask, daemon=True)
    thread.start()
    thread.join(DOWNLOAD_TIMEOUT_S)
    if failures:
        raise failures[0]


def shorten_error(error: BaseException) -> str:
    """Return the first line of what an error says."""
    lines = str(error.reason if isinstance(error, URLError) else error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
