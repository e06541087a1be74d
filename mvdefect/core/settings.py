"""The one reader of settings: defaults < YAML file < flags < `--set`, checked by a pydantic model.

A setting has a dotted key, as `stages.1.epochs` in a tree of mappings and lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from mvdefect.core.errors import ConfigError, describe_unknown_name, join_lines


class Settings(BaseModel):
    """Settings that nobody changes once they are made, and that allow no unknown name.

    Attributes:
        kind: What an error calls one of them.
        hints: What an error adds about a name that is none of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: ClassVar[str] = "setting"
    hints: ClassVar[dict[str, str]] = {}


Model = TypeVar("Model", bound=Settings)


def read_yaml(path: Path | None, kind: str = "configuration", names: str = "settings") -> dict[str, Any]:
    """Read a file of settings; no file and an empty one hold none.

    Args:
        path: A YAML file, or none.
        kind: What an error calls the file.
        names: What an error says that the file maps to values.

    Raises:
        ConfigError: It is missing, not YAML, or no mapping.
    """
    if path is None:
        return {}
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"the {kind} {path} cannot be read: {join_lines(error)}") from error
    tree = {} if tree is None else tree
    if not isinstance(tree, dict):
        raise ConfigError(f"the {kind} {path} must map {names} to values. Received: {tree!r}")
    return tree


def list_changes(overrides: Mapping[str, Any], assignments: Sequence[str] = ()) -> list[tuple[str, Any]]:
    """Return what flags and then `--set` change, by dotted key.

    Args:
        overrides: Values of flags by dotted key, as in {"stages.1.epochs": 20}; None means 'not given'.
        assignments: "key=value" strings; the value is read as YAML.

    Raises:
        ConfigError: An assignment is none.
    """
    given = [(key, value) for key, value in overrides.items() if value is not None]
    return given + [parse_assignment(assignment) for assignment in assignments]


def load_settings(model: type[Model], file: Mapping[str, Any], changes: Iterable[tuple[str, Any]]) -> Model:
    """Build settings: defaults < what a file holds < changes.

    Args:
        model: What the settings are checked by; it has a default for each.
        file: What `read_yaml` returned.
        changes: By dotted key, the last one having the last word; here None means null.

    Raises:
        ConfigError: A key is unknown (the nearest one is named), or a value is not allowed.
    """
    mappings = {name for name, field in model.model_fields.items() if get_origin(field.annotation) is dict}
    given = {name: value for name, value in file.items() if value is not None or name not in mappings}
    tree = _merge(model().model_dump(mode="json"), given)
    for key, value in changes:
        name, _, entry = key.partition(".")
        if not entry or name not in mappings:
            assign(tree, key, value)
        elif isinstance(tree[name], dict):
            tree[name][entry] = value
    return validate_settings(model, tree)


def validate_settings(model: type[Model], tree: Mapping[str, Any]) -> Model:
    """Check a tree of settings.

    Raises:
        ConfigError: It names each bad key, what is allowed and what came.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(model, item) for item in error.errors())) from error


def dump_settings(settings: Settings) -> str:
    """Return settings as YAML that reads as the same."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)


def find_model(model: type[Settings], path: Iterable[str | int]) -> type[Settings]:
    """Return the model of the entry at a path, as that of a stage at ("stages", 1)."""
    for name in path:
        if name in model.model_fields:
            annotation = model.model_fields[str(name)].annotation
            inner = [annotation, *get_args(annotation)]
            model = next(one for one in inner if isinstance(one, type) and issubclass(one, Settings))
    return model


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree with the entries of another on top; lists are replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        nested = isinstance(merged.get(key), dict) and isinstance(value, dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _describe(model: type[Settings], item: ErrorDetails) -> str:
    key = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        *parents, last = item["loc"]
        allowed = find_model(model, parents).model_fields
        return describe_unknown_name(model.kind, str(last), allowed) + model.hints.get(str(last), "")
    message = item["msg"].removeprefix("Value error, ")
    if not key:  # of several settings together; the message names them
        return message
    if item["type"] == "dict_type":
        message = "must map names to values"
    return f"{key}: {message[0].lower()}{message[1:]}. Received: {key}={item['input']!r}"


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
    except (ValueError, RecursionError, yaml.YAMLError) as error:
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
