"""What commands share: messages on stderr, and TensorFlow set up before it is needed."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)


def show_messages() -> None:
    """Send the library's messages to stderr."""
    from rich.console import Console
    from rich.logging import RichHandler

    from mvdefect.progress import logger

    for handler in [handler for handler in logger.handlers if isinstance(handler, RichHandler)]:
        logger.removeHandler(handler)
    logger.addHandler(RichHandler(console=Console(stderr=True), show_path=False, log_time_format="%X"))
    logger.setLevel(logging.INFO)
    logger.propagate = False  # libraries give the root logger handlers of their own
    warnings.filterwarnings("ignore", module="PIL")  # on files that end as errors of ours or not at all


def start_work(debug: bool, devices: int = 1) -> Any:
    """Set up messages and TensorFlow on so many devices, and return the library's main module."""
    show_messages()
    from mvdefect.backend import load_tensorflow

    load_tensorflow(verbose=debug, devices=devices)
    from mvdefect import workflow

    return workflow
