"""The exceptions of mvdefect. Each says what is allowed and what came.

All derive from `MvdefectError`, so that a caller can catch everything that this package raises on
purpose with one `except`, and from the fitting built-in, so that it need not know this module.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class MvdefectError(Exception):
    """Base of every error that mvdefect raises on purpose."""


class LayoutError(MvdefectError, ValueError):
    """The data folder is missing, empty, or laid out in no known way."""


class UnlabelledError(LayoutError):
    """There are images, but nothing says which of them are good."""


class ImageError(MvdefectError, ValueError):
    """One or more files are not images that can be read."""


class SplitError(MvdefectError, ValueError):
    """The records cannot be divided as the protocol asks, or a stored plan is damaged."""


class ConfigError(MvdefectError, ValueError):
    """A setting has an unknown name or a value that is not allowed."""


class ArgumentTypeError(MvdefectError, TypeError):
    """A function was given something of a type that it does not take."""


class ContractError(MvdefectError, ValueError):
    """A threshold cannot do what its contract asks."""


class WeightsError(MvdefectError, ValueError):
    """Weights cannot be had, or belong to another architecture."""


class InUseError(MvdefectError, BlockingIOError):
    """Another process is making the same file or folder."""


class RunError(MvdefectError, ValueError):
    """A run directory is missing, unfinished, damaged, or not what the command expects."""


class SearchError(MvdefectError, RuntimeError):
    """A search cannot go on, or found nothing; what it has so far is kept."""


class ExportError(MvdefectError, RuntimeError):
    """An export cannot be made or used, or does not say what its run says; nothing half-done is left."""


class ServerError(MvdefectError, ConnectionError):
    """A server that inspects photographs cannot be reached, refuses, or answers what no inspector says."""


class RunExistsError(RunError, FileExistsError):
    """The run directory is taken; nothing was changed."""


def describe_unknown_name(kind: str, received: str, allowed: Iterable[str]) -> str:
    """Say that a name is unknown, which one was probably meant, and which ones exist.

    Args:
        kind: What the name is a name of, as in "backbone".
        received: The name that came.
        allowed: The names that exist; they are listed in sorted order.
    """
    names = sorted(allowed)
    received = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in received)
    nearest = difflib.get_close_matches(received, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return f"unknown {kind} '{received}'.{hint} Allowed: {', '.join(names)}."


def join_lines(error: BaseException) -> str:
    """Return what an error says in one line; the name of its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def list_some(items: Sequence[str], limit: int = 10, separator: str = ", ") -> str:
    """Join the first `limit` items in one line, and count the rest."""
    more = [f"and {len(items) - limit} more"] if len(items) > limit else []
    return separator.join([*items[:limit], *more])
