"""The command that draws photographs of parts and their defects."""

from __future__ import annotations

from pathlib import Path

import click

from mvdefect.cli.work import PATH, show_messages


@click.command()
@click.argument("out", type=PATH)
@click.option("--category", "categories", multiple=True, help="What to draw; repeatable. Default: all nine.")
@click.option("--defect-type", "defect_types", multiple=True, help="Which defects; repeatable. Default: all.")
@click.option("--good", type=int, default=120, show_default=True, help="Good photographs a category.")
@click.option("--defective", type=int, default=30, show_default=True, help="Photographs a defect type.")
@click.option("--size", type=int, default=256, show_default=True, help="Height and width in pixels.")
@click.option("--defect-size", type=float, default=1.0, show_default=True, help="Scales lengths.")
@click.option("--defect-contrast", type=float, default=1.0, show_default=True, help="Scales visibility.")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, another data set.")
@click.option("--plant", multiple=True, metavar="FAULT=VALUE", help="A fault to plant; repeatable.")
def synth(
    out: Path,
    categories: tuple[str, ...],
    defect_types: tuple[str, ...],
    good: int,
    defective: int,
    size: int,
    defect_size: float,
    defect_contrast: float,
    seed: int,
    plant: tuple[str, ...],
) -> None:
    """Draw photographs of parts and their defects, with exact masks, in MVTec AD's layout.

    \b
    Categories: brushed_metal, connector, fabric, grid, nut, pill, speckle, washer, wood.
    Faults: near-duplicates=N, exact-duplicates=N, conflicts=N, broken=N, wrong-masks=N,
    exif-rotated=N, shortcut=border|brightness|category|compression|size. What was
    planted is listed in planted.json.

    \b
    Examples:
      mvdefect data synth drawn --category nut --category wood --good 20 --defective 5
      mvdefect data synth faulty --category pill --size 128 --plant near-duplicates=10 --plant shortcut=size
    """
    show_messages()
    from mvdefect.data.synthetic.catalogue import PARTS
    from mvdefect.data.synthetic.faults import parse_faults
    from mvdefect.data.synthetic.write import write_parts

    write_parts(
        out,
        seed=seed,
        good=good,
        defective_per_type=defective,
        size_px=size,
        categories=categories or tuple(sorted(PARTS)),
        defect_types=defect_types,
        defect_size=defect_size,
        defect_contrast=defect_contrast,
        faults=parse_faults(plant),
    )
    click.echo(f"photographs   {out}")
