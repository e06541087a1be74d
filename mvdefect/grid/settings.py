"""A benchmark's grid: from one YAML file to the cells that are run, one figure a cell."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from mvdefect.config import FitConfig, apply_settings
from mvdefect.core.errors import ConfigError, describe_unknown_name
from mvdefect.core.settings import Settings, read_yaml

POOLED = "all"
SEPARATOR = "+"  # between the parts of a cell's name


class ProtocolChoice(Settings):
    """A protocol, with what it takes."""

    name: str
    k: int | None = Field(default=None, description="label-budget: defective images a type in train")
    n: int | None = Field(default=None, description="kfold: number of folds")
    seed: int | None = Field(default=None, description="of the draw; null: that of the cell")
    categories: Literal["each", "pooled"] | None = Field(
        default=None, description="for this protocol alone; null: as the grid says"
    )
    methods: tuple[str, ...] = Field(default=(), description="for this protocol alone; empty: all")

    def __str__(self) -> str:
        number = self.k if self.k is not None else self.n
        return self.name if number is None else f"{self.name}-{number}"


class Grid(Settings):
    """What a benchmark measures: every method on every category, protocol and seed."""

    data: tuple[str, ...] = Field(min_length=1, description="sources, as after --data")
    categories: Literal["each", "pooled"] = Field(
        default="each", description="each product for itself, or all of a source together"
    )
    only: tuple[str, ...] = Field(default=(), description="products to use; empty: all")
    protocols: tuple[ProtocolChoice, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: dict[str, dict[str, Any]] = Field(
        min_length=1, description="name -> settings of a fit; `baseline: NAME` for a baseline"
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="settings that all methods share")


@dataclass(frozen=True)
class Cell:
    """One figure to measure, or several, where a protocol draws several plans."""

    data: str
    category: str
    protocol: ProtocolChoice
    method: str
    seed: int

    @property
    def name(self) -> str:
        """A name that can be a folder's."""
        source = Path(self.data).name if "/" in self.data else self.data
        parts = (source, self.category, str(self.protocol), self.method, f"seed{self.seed}")
        return SEPARATOR.join(re.sub(r"[^A-Za-z0-9_.-]", "-", part) for part in parts)


def read_grid(path: Path) -> Grid:
    """Read a grid.

    Raises:
        ConfigError: The file cannot be read, or a key or value is not allowed.
    """
    try:
        grid = Grid.model_validate(read_yaml(path, "grid"))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ConfigError(
            f"the grid {path}: {where}: {first['msg']}. Received: {first['input']!r}. "
            f"Allowed keys: {', '.join(Grid.model_fields)}"
        ) from error
    for name in grid.methods:
        if SEPARATOR in name:
            raise ConfigError(f"the grid {path}: a method's name must have no {SEPARATOR}. Received: {name}")
        make_config(grid, name)  # an unknown setting is told before hours of work
    for protocol in grid.protocols:
        for name in set(protocol.methods) - set(grid.methods):
            raise ConfigError(f"the grid {path}: " + describe_unknown_name("method", name, grid.methods))
    return grid


def make_config(grid: Grid, method: str) -> FitConfig:
    """Return the settings of a method.

    Raises:
        ConfigError: A setting has an unknown name or a value that is not allowed.
    """
    return apply_settings({**grid.settings, **grid.methods[method]})


def list_cells(grid: Grid, categories: dict[str, tuple[str, ...]]) -> Iterator[Cell]:
    """Yield the cells of a grid, in its order.

    Args:
        grid: The grid.
        categories: The products of each source.
    """
    for data in grid.data:
        for protocol in grid.protocols:
            is_pooled = (protocol.categories or grid.categories) == "pooled"
            for category in (POOLED,) if is_pooled else categories[data]:
                for seed in (protocol.seed,) if protocol.seed is not None else grid.seeds:
                    for method in protocol.methods or grid.methods:
                        yield Cell(data, category, protocol, method, seed)
