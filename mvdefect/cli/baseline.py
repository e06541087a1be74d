"""The command that runs something simpler on the same photographs, to be beaten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mvdefect.cli.inspector import say_where, show_evaluation
from mvdefect.cli.work import PATH, start_work


@click.command()
@click.argument("name")
@click.option("--data", help="Folder of photographs, CSV manifest, MVTec AD's archive, or mvtec_ad:bottle.")
@click.option("--split", type=PATH, help="Split plan of `mvdefect data split`. Default: closed-set, drawn.")
@click.option("--category", "categories", multiple=True, help="Product to use; repeatable. Default: all.")
@click.option("--backbone", help="Of frozen-svm, one-class and scratch-backbone.")
@click.option(
    "--weights", help="Of frozen-svm and one-class: imagenet, texture, none, or the path of a file."
)
@click.option("--image-size", type=int, help="Working size in pixels; a multiple of 32.")
@click.option("--kind", help="Of one-class: padim, memory_bank or gaussian.")
@click.option("--threshold", help="f1, 'min-recall 0.99', 'max-fpr 0.01', 'cost 1:20', or a probability.")
@click.option("--prevalence", type=float, help="Share of defective products on the line, as in 0.005.")
@click.option("--review-budget", type=float, help="Share of images, the least certain, for a person.")
@click.option("--seed", type=int, help="Seed of the split and of the baseline.")
@click.option("--skip-broken", is_flag=True, default=None, help="Leave unreadable files out.")
@click.option("--config", "config_path", type=PATH, help="YAML file with settings; flags override it.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable.")
@click.option("--run", type=PATH, help="Where the run goes. Default: runs/<data>-<name>-seed<seed>.")
@click.option("--overwrite", is_flag=True, help="Replace a finished run of that name.")
@click.pass_obj
def baseline(
    debug: bool,
    /,
    name: str,
    config_path: Path | None,
    assignments: tuple[str, ...],
    run: Path | None,
    overwrite: bool,
    **flags: Any,
) -> None:
    """Measure something simpler than an inspector, in the same way, on the same split plan.

    \b
    NAME is one of
      majority          always names the class that most of train belongs to
      handcrafted       HOG, LBP, GLCM, colour and gradient statistics, and an SVM
      frozen-svm        an SVM on features of a backbone that does not learn
      one-class         distance from good images; sees no defective one in train
      scratch           a small CNN from random weights
      scratch-backbone  the same backbone from random weights

    \b
    Examples:
      mvdefect baseline majority --data photographs --run runs/majority
      mvdefect baseline handcrafted --data photographs --split plans/closed-set.csv --run runs/hog
      mvdefect baseline frozen-svm --data photographs --backbone mobilenetv2 --weights FILE --run runs/frozen
      mvdefect baseline one-class --data photographs --kind memory_bank --weights FILE --run runs/one-class
      mvdefect baseline scratch --data photographs --set patience=12 --run runs/scratch
    """
    from mvdefect.baselines.registry import find_baseline
    from mvdefect.config import load_config

    find_baseline(name)
    overrides = {
        "data": flags["data"],
        "split": None if flags["split"] is None else str(flags["split"]),
        "categories": list(flags["categories"]) or None,
        "backbone": flags["backbone"],
        "weights": flags["weights"],
        "image_size_px": flags["image_size"],
        "one_class": flags["kind"],
        "threshold": flags["threshold"],
        "prevalence": flags["prevalence"],
        "review_budget": flags["review_budget"],
        "seed": flags["seed"],
        "skip_broken": flags["skip_broken"],
    }
    config = load_config(config_path, overrides, assignments)
    from mvdefect.data.sources.opening import name_source

    source = name_source(config.data) if config.data else "run"
    start_work(debug, config.devices)
    from mvdefect.baselines.run import run_baseline

    place = run or Path("runs") / f"{source}-{name}-seed{config.seed}"
    finished = run_baseline(name, config, place, overwrite)
    show_evaluation(finished.evaluation, finished.path, "Baseline")
    say_where(finished.folder)
