"""The card of a weights file: how it was made, so that it can be made again, and what it can do."""

from __future__ import annotations

import hashlib
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
from pydantic import BaseModel, ConfigDict, ValidationError

from mvdefect.core.errors import WeightsError
from mvdefect.core.files import write_text
from mvdefect.core.version import __version__
from mvdefect.models.weights import WEIGHTS_SUFFIX
from mvdefect.pretraining.settings import PretrainConfig

CARD_SUFFIX = ".json"
OWN_WEIGHTS = ("none", "texture")
OWN_LICENCE = "Apache-2.0: drawn images alone, no photograph and no other weights went in"
OTHER_LICENCE = "that of the weights that it started from, and of the photographs"


class Card(BaseModel):
    """What stands beside a weights file.

    Attributes:
        backbone: Its name, as on the command line.
        sha256: Of the weights file.
        command: What makes it again.
        config: All settings.
        photographs: How many went in; 0: all was drawn.
        images: How many views were learned from.
        first_losses: Of the first steps, by which a repetition is told to be one.
        last_loss: Mean of the last steps.
        figures: Measured on batches that were not learned from.
        versions: Of what it was made with.
        licence: Who may use it for what.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    sha256: str
    command: str
    config: PretrainConfig
    photographs: int
    images: int
    first_losses: tuple[float, ...]
    last_loss: float
    figures: dict[str, float]
    versions: dict[str, str]
    licence: str


def name_card(weights: Path) -> Path:
    """Return where the card of a weights file lies."""
    return weights.with_name(weights.name.removesuffix(WEIGHTS_SUFFIX) + CARD_SUFFIX)


def write_card(card: Card, weights: Path) -> None:
    """Write the card beside its weights file."""
    write_text(name_card(weights), card.model_dump_json(indent=2) + "\n")


def read_card(weights: Path) -> Card:
    """Read the card beside a weights file.

    Raises:
        WeightsError: There is none, or it is damaged.
    """
    path = name_card(weights)
    try:
        return Card.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise WeightsError(f"the card {path} of {weights.name} is missing or damaged") from error


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_command(config: PretrainConfig, out: Path) -> str:
    """Return the command that makes a weights file: all that differs from the defaults."""
    plain = PretrainConfig().model_dump(mode="json")
    changed = [
        f"--set {shlex.quote(f'{name}={_spell(value)}')}"
        for name, value in config.model_dump(mode="json").items()
        if value != plain[name] and name != "backbone"
    ]
    return " ".join(["mvdefect pretrain", f"--backbone {config.backbone}", *changed, f"--out {out.name}"])


def list_versions() -> dict[str, str]:
    """Return the versions that decide the result."""
    backend = keras.backend.backend()
    names = {"keras": "keras", "numpy": "numpy", "opencv": "opencv-python-headless", backend: backend}
    return {"mvdefect": __version__, **{key: metadata.version(name) for key, name in names.items()}}


def choose_licence(config: PretrainConfig) -> str:
    """Return whose the weights are."""
    return OWN_LICENCE if config.photographs is None and config.weights in OWN_WEIGHTS else OTHER_LICENCE


def _spell(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {weight}" for key, weight in value.items()) + "}"
    return str(value)
