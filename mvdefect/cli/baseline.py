"""The command that runs something simpler on the same photographs, to be beaten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mvdefect.cli.flags import ASSIGNMENTS, CONFIG, OFFLINE_FLAG, SettingsCommand, setting
from mvdefect.cli.inspector import say_where, show_evaluation
from mvdefect.cli.work import PATH, show_messages, start_work


@click.command(cls=SettingsCommand)
@click.argument("name")
@setting("data", "--data")
@setting("split", "--split")
@setting("protocol", "--protocol")
@setting("good", "--good", metavar="NAME")
@setting("label_pattern", "--label-pattern", metavar="REGEX")
@setting("part_pattern", "--part-pattern", metavar="REGEX")
@setting("categories", "--category")
@setting("backbone", "--backbone", text="Backbone of frozen-svm, one-class and scratch-backbone.")
@setting(
    "weights", "--weights", text="Weights of frozen-svm and one-class: imagenet, texture, none, or a file."
)
@setting("resolution", "--resolution", metavar="auto|full|PIXELS")
@setting("region", "--region", metavar="FILE|auto|none")
@setting("megapixels", "--megapixels")
@setting("one_class", "--kind", text="Score of one-class; padim: for parts that lie alike.")
@setting("threshold", "--threshold")
@setting("prevalence", "--prevalence")
@setting("review_budget", "--review-budget")
@setting("seed", "--seed")
@setting("skip_broken", "--skip-broken")
@CONFIG
@ASSIGNMENTS
@OFFLINE_FLAG
@click.option("--run", type=PATH, help="Output directory. Default: runs/<data>-<name>-seed<seed>.")
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
    **settings: Any,
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
    from mvdefect.baselines.registry import check_baseline, find_baseline
    from mvdefect.config import load_config
    from mvdefect.data.sources.opening import name_sources

    find_baseline(name)
    config = load_config(config_path, settings, assignments)
    place = run or Path("runs") / f"{name_sources(config.data)}-{name}-seed{config.seed}"
    show_messages()
    job = check_baseline(name, config, place, overwrite)
    start_work(debug, config.devices)
    from mvdefect.baselines.run import run_baseline_job

    finished = run_baseline_job(job)
    show_evaluation(finished.evaluation, finished.path, "Baseline")
    say_where(finished.folder)
