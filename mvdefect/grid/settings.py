"""A benchmark's grid: from one YAML file to the cells that are run, one figure a cell."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from mvdefect.config import FitConfig, apply_settings
from mvdefect.core.errors import ConfigError, describe_unknown_name
from mvdefect.core.settings import Settings, read_yaml

POOLED = "all"
SEPARATOR = "+"  # between the parts of a cell's name
QUICK = "quick"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")  # ${NAME}, or ${NAME:-what it is where it is not set}


class SourceChoice(Settings):
    """A source under a name of its own."""

    name: str = Field(min_length=1, description="in tables and names of cells")
    path: str = Field(min_length=1, description="as after --data")
    settings: dict[str, Any] = Field(
        default_factory=dict, description="settings of a fit, for this source alone"
    )


class ProtocolChoice(Settings):
    """A protocol, with what it takes."""

    name: str
    k: int | None = Field(default=None, description="label-budget, few-labels: defective images in train")
    n: int | None = Field(default=None, description="kfold: number of folds")
    seed: int | None = Field(default=None, description="of the draw; null: that of the cell")
    plans: int | None = Field(
        default=None, ge=1, description="how many of its plans per seed, the next seed the next; null: all"
    )
    categories: Literal["each", "pooled"] | None = Field(
        default=None, description="for this protocol alone; null: as the grid says"
    )
    data: tuple[str, ...] = Field(default=(), description="sources for this protocol alone; empty: all")
    methods: tuple[str, ...] = Field(default=(), description="for this protocol alone; empty: all")

    def __str__(self) -> str:
        number = self.k if self.k is not None else self.n
        return self.name if number is None else f"{self.name}-{number}"


class Pace(Settings):
    """How long a method takes, in seconds, for the estimate before anything is measured."""

    start: float = Field(default=0, ge=0, description="whatever the images")
    learned: float = Field(default=0, ge=0, description="per image of train and val")
    tested: float = Field(default=0, ge=0, description="per image of test")


class Grid(Settings):
    """What a benchmark measures: every method on every category, protocol and seed."""

    data: tuple[SourceChoice, ...] = Field(
        min_length=1, description="sources, as after --data; or name, path and settings of each"
    )
    categories: Literal["each", "pooled"] = Field(
        default="each", description="each product for itself, or all of a source together"
    )
    only: tuple[str, ...] = Field(default=(), description="products to use; empty: all")
    protocols: tuple[ProtocolChoice, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1)
    methods: dict[str, dict[str, Any]] = Field(
        min_length=1, description="name -> settings of a fit; `baseline: NAME` for a baseline"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="settings that all methods share")
    default: str = Field(default="", description="method that is held against all baselines of the grid")
    learn: int | None = Field(
        default=None, ge=1, description="images of train and val that are used at most; null: all"
    )
    seconds: dict[str, Pace] = Field(default_factory=dict, description="how long each method takes")
    quick: dict[str, Any] = Field(default_factory=dict, description="keys that --quick replaces")

    @field_validator("data", mode="before")
    @classmethod
    def _name_sources(cls, value: Any) -> Any:
        """Take a source alone for one that is called after its folder."""
        sources = value if isinstance(value, list | tuple) else [value]
        return [
            {"name": Path(one).name if "/" in one else one, "path": one} if isinstance(one, str) else one
            for one in sources
        ]


@dataclass(frozen=True)
class Cell:
    """One figure to measure, or several, where a protocol draws several plans.

    Attributes:
        source: What it is measured on.
        category: A product of it, or `POOLED`.
        protocol: How its plans are drawn.
        method: Name in the grid.
        seed: Of draw and method.
        turn: The place of the seed among those of the grid; a protocol of few plans takes others in each.
    """

    source: SourceChoice
    category: str
    protocol: ProtocolChoice
    method: str
    seed: int
    turn: int = 0

    @property
    def name(self) -> str:
        """A name that can be a folder's."""
        return self._join(self.method)

    @property
    def draw_name(self) -> str:
        """What its plans are called, which are those of all methods."""
        return self._join()

    def _join(self, *method: str) -> str:
        parts = (self.source.name, self.category, str(self.protocol), *method, f"seed{self.seed}")
        return SEPARATOR.join(re.sub(r"[^A-Za-z0-9_.-]", "-", part) for part in parts)

    def list_turns(self, count: int) -> list[int]:
        """Return which of so many plans are measured, in their order."""
        taken = min(self.protocol.plans or count, count)
        return sorted((self.turn * taken + number) % count for number in range(taken))


def read_grid(path: Path, quick: bool = False) -> Grid:
    """Read a grid; `${NAME}` and `${NAME:-DEFAULT}` in it are environment variables.

    Args:
        path: A YAML file.
        quick: Take what the key `quick` replaces.

    Raises:
        ConfigError: The file cannot be read, a key or value is not allowed, a variable is not set, or there
            is no `quick`.
    """
    tree = read_yaml(path, "grid")
    if quick:
        replaced = tree.get(QUICK)
        if not isinstance(replaced, dict):
            raise ConfigError(f"the grid {path} has no key {QUICK}, which says what --quick leaves out")
        tree = {**tree, **replaced}
    try:
        grid = Grid.model_validate(_expand(tree))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"the grid {path}: {where}: {first['msg']}. Received: {first['input']!r}. "
            f"Allowed keys: {', '.join(Grid.model_fields)}"
        ) from error
    except (ConfigError, RecursionError) as error:
        raise ConfigError(f"the grid {path}: {error}") from error
    _check_names(grid, path)
    return grid


def _expand(tree: Any) -> Any:
    """Return a tree with environment variables in place of their names."""
    if isinstance(tree, dict):
        return {key: _expand(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_expand(value) for value in tree]
    return VARIABLE.sub(_read_variable, tree) if isinstance(tree, str) else tree


def _read_variable(found: re.Match[str]) -> str:
    name, default = found.groups()
    value = os.environ.get(name) or default
    if value is None:
        raise ConfigError(f"the environment variable {name} is not set")
    return value


def _check_names(grid: Grid, path: Path) -> None:
    """Refuse unknown names and settings before hours of work."""
    for name in grid.methods:
        if SEPARATOR in name:
            raise ConfigError(f"the grid {path}: a method's name must have no {SEPARATOR}. Received: {name}")
        for source in grid.data:
            make_config(grid, name, source)
    sources = [source.name for source in grid.data]
    methods = list(grid.methods)
    named = [("method", name, methods) for protocol in grid.protocols for name in protocol.methods]
    named += [("method", name, methods) for name in (*grid.seconds, *filter(None, [grid.default]))]
    named += [("source", name, sources) for protocol in grid.protocols for name in protocol.data]
    for kind, name, known in named:
        if name not in known:
            raise ConfigError(f"the grid {path}: " + describe_unknown_name(kind, name, known))
    if grid.default and not list_baselines(grid):
        raise ConfigError(f"the grid {path}: default is held against baselines, and no method is one")


def list_baselines(grid: Grid) -> tuple[str, ...]:
    """Return the methods that the default of a grid is held against."""
    return tuple(
        name
        for name, settings in grid.methods.items()
        if name != grid.default and settings.get("baseline") is not None
    )


def make_config(grid: Grid, method: str, source: SourceChoice | None = None) -> FitConfig:
    """Return the settings of a method, on one source.

    Raises:
        ConfigError: A setting has an unknown name or a value that is not allowed.
    """
    own = source.settings if source else {}
    return apply_settings({**grid.settings, **own, **grid.methods[method]})


def list_cells(grid: Grid, categories: Mapping[str, tuple[str, ...]]) -> Iterator[Cell]:
    """Yield the cells of a grid, in its order.

    Args:
        grid: The grid.
        categories: The products of each source, by its name; a source that is not in it has no cells.
    """
    for source in grid.data:
        for protocol in grid.protocols if source.name in categories else ():
            if protocol.data and source.name not in protocol.data:
                continue
            is_pooled = (protocol.categories or grid.categories) == "pooled"
            for category in (POOLED,) if is_pooled else categories[source.name]:
                seeds = (protocol.seed,) if protocol.seed is not None else grid.seeds
                for turn, seed in enumerate(seeds):
                    for method in protocol.methods or grid.methods:
                        yield Cell(source, category, protocol, method, seed, turn)
