"""Options that are settings: each has the type and the description of its field."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

import click

from mvdefect.cli.work import PATH
from mvdefect.core.runtime import OFFLINE

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

    from mvdefect.core.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])

CONFIG = click.option(
    "--config", "config_path", type=PATH, help="YAML file of settings, which flags override."
)
ASSIGNMENTS = click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting by its key; repeatable."
)

OFFLINE_FLAG = click.option(
    "--offline",
    is_flag=True,
    expose_value=False,
    callback=lambda _context, _option, value: os.environ.setdefault(OFFLINE, "1") if value else None,
    help=f"Do not try to download weights. Or set {OFFLINE}=1.",
)


class SettingsCommand(click.Command):
    """A command with `setting` options, looked up when it is used itself: a list of commands needs none."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the options, those of settings looked up."""
        self.params = [one.look_up() if isinstance(one, _Setting) else one for one in self.params]
        return super().get_params(ctx)


def setting(
    key: str,
    *names: str,
    model: str = "mvdefect.config:FitConfig",
    prefix: str = "",
    text: str = "",
    metavar: str | None = None,
    with_default: bool = True,
) -> Callable[[Function], Function]:
    """Add an option to a `SettingsCommand`, which receives its value by the dotted key; None: not given.

    Args:
        key: Of the field, as in "stages.-1.epochs".
        names: Of the option.
        model: Where the settings are that have the field.
        prefix: Where these settings stand among those of the command, as in "settings.".
        text: What the help says, if not what the field says of itself.
        metavar: What the help calls the value, if not by its type.
        with_default: Whether the help tells the default.
    """

    def look_up() -> click.Option:
        field, default = _find_field(resolve_name(model), key)
        words = _describe_type(field.annotation)
        told = [text or field.description, "Repeatable." if "multiple" in words else None]
        told += [_describe_default(default) if with_default else None]
        words |= {"metavar": metavar} if metavar else {}
        option = click.Option(names, help=" ".join(filter(None, told)), **words)
        option.name = prefix + key
        return option

    return click.option(*names, cls=_Setting, look_up=look_up)


class _Setting(click.Option):
    """Stands for an option until it is looked up."""

    def __init__(self, names: Sequence[str], look_up: Callable[[], click.Option]) -> None:
        super().__init__(names)
        self.look_up = look_up


def _find_field(model: type[Settings], key: str) -> tuple[FieldInfo, Any]:
    """Return the field at a dotted key, and its default."""
    from mvdefect.core.settings import find_model

    *parents, name = key.split(".")
    default: Any = model()
    for part in [*parents, name]:
        default = default[int(part)] if isinstance(default, tuple) else getattr(default, part)
    return find_model(model, parents).model_fields[name], default


def _describe_default(value: Any) -> str | None:
    if isinstance(value, bool) or value in (None, "", ()):
        return None
    return f"Default: {f'{value:g}' if isinstance(value, float) else value}."


def _describe_type(annotation: Any) -> dict[str, Any]:
    """Return what click is told of the type of a field."""
    inner = get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):  # the first, where one of them is a Literal
        return _describe_type(next(one for one in inner if one is not NoneType))
    if get_origin(annotation) is Literal:  # a wrong choice is told where all wrong settings are told
        return {"type": type(inner[0]), "metavar": f"[{'|'.join(map(str, inner))}]"}
    if get_origin(annotation) is tuple:
        return {"multiple": True, "callback": lambda _context, _option, values: list(values) or None}
    if annotation is bool:
        return {"is_flag": True, "default": None}
    return {"type": click.Path() if annotation is Path else annotation}
