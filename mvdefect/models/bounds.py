"""Bounds for files of networks, checked before Keras takes the memory that they ask for."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import h5py

from mvdefect.core.files import UNREADABLE_ZIP, parse_json

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MAX_CONFIG_BYTES, MAX_MODEL_BYTES = 2**24, 2**31
MAX_NUMBERS = 2**29  # of all layers together; ResNet50, counted as here, has a quarter of it
MAX_SIDE_PX = 2**14
SMALL_BYTES, MAX_PACKING = 2**20, 100  # of an array of weights, and by how much it may be packed
WIDTHS = (
    "filters",
    "units",
    "output_dim",
    "input_dim",
    "num_heads",
    "key_dim",
    "depth_multiplier",
    "projection_dim",
)


def check_model(path: Path) -> None:
    """Make sure that a `.keras` file asks for no more than an inspector can need.

    Raises:
        ValueError: It asks for more, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {one.filename: one.file_size for one in archive.infolist()}
            if sum(sizes.values()) > MAX_MODEL_BYTES or sizes[CONFIG] > MAX_CONFIG_BYTES:
                raise ValueError(f"it unpacks to {sum(sizes.values()):,} bytes")
            tree, weights = parse_json(archive.read(CONFIG)), archive.read(WEIGHTS)
        _check_layers(list(_list_configs(tree)))
    except UNREADABLE_ZIP as error:
        raise ValueError(str(error) or type(error).__name__) from error
    check_weights(io.BytesIO(weights))


def check_weights(file: Path | IO[bytes]) -> None:
    """Make sure that the arrays of a weights file are as large as the file says, and not only by name.

    Raises:
        ValueError: One is not, or the file is damaged.
    """

    def check(name: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset):
            wanted, stored = found.size * found.dtype.itemsize, found.id.get_storage_size()
            if wanted > MAX_MODEL_BYTES or wanted > max(SMALL_BYTES, MAX_PACKING * stored):
                raise ValueError(f"{name} asks for {wanted:,} bytes, and {stored:,} are there")

    try:
        with h5py.File(file, "r") as opened:
            opened.visititems(check)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(str(error)) from error


def _list_configs(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield the settings of every layer, whatever it lies in."""
    if isinstance(tree, dict):
        if isinstance(tree.get("config"), dict):
            yield tree["config"]
        for below in tree.values():
            yield from _list_configs(below)
    elif isinstance(tree, list):
        for below in tree:
            yield from _list_configs(below)


def _check_layers(configs: list[dict[str, Any]]) -> None:
    """Bound what layers make of one another: each is taken to see as many channels as the widest has.

    A filter of a grouped convolution sees the channels of its group alone.
    """
    widest = max((_multiply(config, WIDTHS) for config in configs), default=1)
    numbers = sum(
        _multiply(config, WIDTHS) * _multiply_kernel(config) * -(-widest // _multiply(config, ("groups",)))
        for config in configs
        if any(name in config for name in (*WIDTHS, "kernel_size"))
    )
    if numbers > MAX_NUMBERS:
        raise ValueError(f"its layers ask for {numbers:,} numbers; {MAX_NUMBERS:,} are allowed")
    side = max((size for config in configs for size in _list_numbers(config.get("batch_shape"))), default=1)
    if side > MAX_SIDE_PX:
        raise ValueError(f"it wants images of {side:,} pixels a side; {MAX_SIDE_PX:,} are allowed")


def _multiply(config: dict[str, Any], names: tuple[str, ...]) -> int:
    return math.prod(max(1, number) for name in names for number in _list_numbers(config.get(name)))


def _multiply_kernel(config: dict[str, Any]) -> int:
    size = config.get("kernel_size")
    return _multiply({"kernel_size": [size] * 2 if isinstance(size, int) else size}, ("kernel_size",))


def _list_numbers(value: Any) -> list[int]:
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int)]
