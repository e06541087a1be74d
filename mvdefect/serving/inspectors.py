"""Whatever inspects photographs, by the one word that names it: a run, an export, or a server's address."""

from __future__ import annotations

from pathlib import Path

from mvdefect.backend import load_tensorflow
from mvdefect.runs import open_run
from mvdefect.serving.addresses import is_url, parse_address
from mvdefect.serving.engines import Engine, find_export, open_engine
from mvdefect.serving.retries import Patience


def open_inspector(place: str, patience: Patience | None = None, verbose: bool = False) -> Engine:
    """Return what inspects photographs; TensorFlow is loaded only where it is needed.

    Args:
        place: The folder of a run or an export, or an address.
        patience: How long a server is waited for.
        verbose: Let the messages of TensorFlow's native code through.

    Raises:
        ConfigError: The address is none, or a package is missing.
        ExportError: The export cannot be loaded.
        RunError: The folder is neither a run nor an export.
    """
    if is_url(place):
        if not parse_address(place).is_rest:
            load_tensorflow(verbose)  # tensorflow-serving-api would, with all that it has to say
        from mvdefect.serving.client import open_client

        return open_client(place, patience)
    return open_engine(Path(place), verbose=verbose)


def check_inspector(place: str) -> None:
    """See whether a place can be an inspector, without opening it.

    Raises:
        ConfigError: The address is none.
        RunError: The folder is neither a run nor an export.
    """
    if is_url(place):
        parse_address(place)
    elif find_export(Path(place)) is None:
        open_run(Path(place))
