"""Settings by dotted key: `stages.1.epochs=20` in a tree of mappings and lists."""

from __future__ import annotations

from typing import Any

import yaml

from mvdefect.core.errors import ConfigError, describe_unknown_name


def merge_trees(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return a tree with the entries of another on top; lists are replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = merge_trees(merged[key], value) if nested else value
    return merged


def parse_assignment(assignment: str) -> tuple[str, Any]:
    """Read "key=value", the value being YAML.

    Raises:
        ConfigError: It is nothing of that kind.
    """
    key, equals, value = assignment.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes key=value, as in --set stages.1.epochs=30. Received: {assignment!r}")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {assignment}: the value is not YAML: {error}") from error


def assign(tree: Any, key: str, value: Any) -> None:
    """Set the entry at a dotted key; list entries go by number, -1 being the last.

    Raises:
        ConfigError: There is no such entry; the nearest one is named.
    """
    *parents, last = key.split(".")
    for depth, name in enumerate([*parents, last]):
        where = ".".join(key.split(".")[:depth])
        index: Any
        if isinstance(tree, list):
            index = _parse_index(name, tree, where)
        elif isinstance(tree, dict) and name in tree:
            index = name
        else:
            allowed = (
                [f"{where}.{entry}" if where else entry for entry in tree] if isinstance(tree, dict) else []
            )
            raise ConfigError(describe_unknown_name("setting", key, allowed))
        if depth == len(parents):
            tree[index] = value
        tree = tree[index]


def _parse_index(name: str, entries: list[Any], where: str) -> int:
    if name.lstrip("-").isdigit() and -len(entries) <= int(name) < len(entries):
        return int(name)
    raise ConfigError(f"{where} has the entries 0 to {len(entries) - 1}. Received: {where}.{name}")
