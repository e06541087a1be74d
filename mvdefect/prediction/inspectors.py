"""Whatever inspects photographs, by the one word that names it: a run, an export, or a server's address."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from mvdefect.client.addresses import is_url, parse_address
from mvdefect.client.retries import Patience
from mvdefect.core.errors import ConfigError, RunError, list_some
from mvdefect.core.runtime import load_tensorflow
from mvdefect.inspector.answers import Engine
from mvdefect.inspector.engines import choose_engine, open_engine
from mvdefect.inspector.places import MANIFEST, find_export
from mvdefect.runs import PARTIAL_SUFFIX, RunFolder, open_run, read_json


@dataclass(frozen=True)
class Inspector:
    """What is to inspect photographs.

    Attributes:
        place: The folder of a run or an export, or an address.
        engine: Which of an export's engines; None: the fastest that can run here.
        patience: How long a server is waited for.
    """

    place: str
    engine: str | None = None
    patience: Patience = field(default_factory=Patience)

    def from_anywhere(self) -> Inspector:
        """Return the same with an absolute path, for a process in another folder."""
        return self if is_url(self.place) else replace(self, place=str(Path(self.place).absolute()))


def open_inspector(inspector: Inspector, verbose: bool = False) -> Engine:
    """Return what inspects photographs; TensorFlow is loaded only where it is needed.

    Args:
        inspector: What is wanted.
        verbose: Let the messages of TensorFlow's native code through.

    Raises:
        ConfigError: The address is none, there is no such engine, or a package is missing.
        ExportError: The export cannot be loaded.
        RunError: The folder is neither a run nor an export.
    """
    check_inspector(inspector)
    if not is_url(inspector.place):
        return open_engine(Path(inspector.place), inspector.engine, verbose)
    if not parse_address(inspector.place).is_rest:
        load_tensorflow(verbose)  # tensorflow-serving-api would, with all that it has to say
    from mvdefect.client.client import open_client

    return open_client(inspector.place, inspector.patience)


def name_inspector(inspector: Inspector) -> str:
    """Return what an inspector is called in rows: the name of a run or model, and its version if it has one.

    The same export has the same name here and behind an address that names its version.

    Raises:
        ConfigError: The address is none.
    """
    if is_url(inspector.place):
        address = parse_address(inspector.place)
        return address.name if address.version is None else f"{address.name}/{address.version}"
    export = find_export(Path(inspector.place))
    if export is None:
        return Path(inspector.place).resolve().name
    manifest = read_json(export / MANIFEST)
    return f"{manifest['name']}/{manifest['version']}"


def check_inspector(inspector: Inspector) -> None:
    """See whether this can be an inspector, without opening it.

    Raises:
        ConfigError: The address is none, or there is no such engine.
        ExportError: Nothing that runs the export is installed.
        RunError: The folder is neither a run nor an export.
    """
    place, name = inspector.place, inspector.engine
    export = None if is_url(place) else find_export(Path(place))
    if export is not None:
        choose_engine(read_json(export / MANIFEST), name)
        return
    if is_url(place):
        parse_address(place)
    else:
        _check_run(Path(place))
    if name is not None:
        raise ConfigError(f"only an export has engines to choose from. Received: {name} of {place}")


def _check_run(place: Path) -> None:
    """Make sure that a folder is a finished run, and say what may be meant where it is none."""
    if not place.is_dir() and not place.with_name(f"{place.name}{PARTIAL_SUFFIX}").is_dir():
        raise RunError(f"there is no run and no export {place}")
    held = [path.name for path in sorted(place.glob("*")) if find_export(path) is not None]
    if held and not RunFolder(place).is_finished:
        raise RunError(f"{place} holds the exports {list_some(held, 5)}; name one: {place / held[0]}")
    open_run(place)
