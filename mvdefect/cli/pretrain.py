"""The command that makes weights without ImageNet."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdefect.cli.flags import ASSIGNMENTS, CONFIG, SettingsCommand, setting
from mvdefect.cli.work import PATH, show_messages

if TYPE_CHECKING:
    from mvdefect.pretraining.card import Card


EXIT_DIFFERS = 1


pretrain_setting = partial(setting, model="mvdefect.pretraining.settings:PretrainConfig")


@click.command(cls=SettingsCommand)
@pretrain_setting("backbone", "--backbone")
@pretrain_setting("photographs", "--photographs")
@pretrain_setting("weights", "--weights")
@pretrain_setting("image_size_px", "--image-size")
@pretrain_setting("steps", "--steps")
@pretrain_setting("surfaces", "--surfaces")
@pretrain_setting("learning_rate", "--learning-rate")
@pretrain_setting("seed", "--seed")
@pretrain_setting("precision", "--precision")
@ASSIGNMENTS
@CONFIG
@click.option("--until", type=click.IntRange(1), metavar="STEP", help="Stop there; the same command goes on.")
@click.option("--workers", type=click.IntRange(1), help="Processes that draw. Default: one a core.")
@click.option("--half/--full", default=True, show_default=True, help="Store weights as float16 or float32.")
@click.option("--out", type=PATH, help="The weights file. Default: <backbone>.weights.h5.")
@click.option("--verify", type=PATH, metavar="FILE", help="Instead: see whether this file's card holds.")
@click.option("--overwrite", is_flag=True, help="Replace weights that are there.")
@click.pass_obj
def pretrain(
    debug: bool,
    /,
    config_path: Path | None,
    assignments: tuple[str, ...],
    out: Path | None,
    verify: Path | None,
    **settings: Any,
) -> None:
    """Make weights to start from, where ImageNet's cannot be had or may not be used.

    A backbone learns from surfaces that are drawn while it learns, and from faults planted in them; or, with
    --photographs, from photographs of a product, whatever is on them. Beside the weights goes a card that
    says how they were made. An interrupted training goes on with the same command.

    \b
    Examples:
      mvdefect pretrain --backbone mobilenetv2 --out own.weights.h5
      mvdefect pretrain --photographs photographs --weights texture --steps 2000 --out line.weights.h5
      mvdefect fit --data photographs --backbone efficientnetb0 --weights line.weights.h5 --run runs/adapted
      mvdefect pretrain --verify line.weights.h5
    """
    show_messages()
    options = {name: settings.pop(name) for name in ("until", "workers", "half", "overwrite")}
    if verify is not None:
        _verify(verify, options["workers"], debug)
        return
    from mvdefect.core.runtime import load_backend
    from mvdefect.pretraining.settings import load_pretraining

    config = load_pretraining(config_path, settings, assignments)
    place = out or Path(f"{config.backbone}.weights.h5")
    load_backend(debug)
    from mvdefect.pretraining.pretrain import PretrainOptions
    from mvdefect.pretraining.pretrain import pretrain as make_weights

    card = make_weights(config, place, PretrainOptions(**options))
    if card is not None:
        _show(card, place)


def _verify(weights: Path, workers: int | None, debug: bool) -> None:
    from mvdefect.core.runtime import load_backend

    load_backend(debug)
    from mvdefect.pretraining.verify import verify_card

    found = verify_card(weights, workers)
    click.echo(f"{found.steps} steps repeated, largest difference of a loss {found.largest_difference:.1e}")
    if not found.same_file:
        click.echo("the file is not the one that the card was written for")
    if not found.holds:
        sys.exit(EXIT_DIFFERS)


def _show(card: Card, place: Path) -> None:
    click.echo(f"{place}: {card.backbone}, {card.images} views of drawn surfaces, loss {card.last_loss:.4f}")
    for name, value in card.figures.items():
        click.echo(f"  {name:24} {value:.3f}")
