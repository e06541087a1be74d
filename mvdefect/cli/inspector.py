"""The commands that make an inspector, measure it and report on it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mvdefect
from mvdefect.cli.flags import ASSIGNMENTS, CONFIG, OFFLINE_FLAG, SettingsCommand, setting
from mvdefect.cli.work import PATH, show_messages, start_work

if TYPE_CHECKING:
    from mvdefect.evaluation.evaluate import Evaluation

REQUIRE = click.option(
    "--require",
    metavar="TEXT",
    help="What the line needs, as in 'recall 0.95, false-alarms 0.05'. Default: that of the fit.",
)
EXIT_CODES = {"met": 0, "not met": 1, "too few": 3}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN [RUN ...]")
@click.option(
    "--out", type=PATH, default=Path("report.html"), show_default=True, help="Where the HTML file goes."
)
@click.option(
    "--markdown", type=PATH, help="Also write Markdown there, with its pictures in figures/ beside it."
)
@REQUIRE
def report(runs: tuple[Path, ...], out: Path, markdown: Path | None, require: str | None) -> None:
    """Write the report that a quality engineer signs: one HTML file that needs no network.

    The first RUN is the inspector; the others, baselines for example, are what it is compared with. All must
    be of the same split plan. A requirement is answered for the first RUN alone; one that is not that of its
    fit is marked as stated after the figures.

    \b
    Examples:
      mvdefect report runs/first
      mvdefect report runs/first runs/handcrafted runs/majority --out report.html --markdown report.md
      mvdefect report runs/first --require 'recall 0.95, false-alarms 0.05'
    """
    show_messages()
    from mvdefect.report.report import compare_runs

    evaluation = compare_runs(runs, out, markdown, require)
    if evaluation.requirement is not None:
        from mvdefect.report.requirement import describe_requirement

        click.echo(f"requirement   {describe_requirement(evaluation)}")
    click.echo(f"report        {out}")
    if markdown is not None:
        click.echo(f"markdown      {markdown}")


@click.command(cls=SettingsCommand)
@click.argument("images", nargs=-1)
@setting("data", "--data")
@setting("split", "--split")
@setting("protocol", "--protocol")
@setting("good", "--good", metavar="NAME")
@setting("label_pattern", "--label-pattern", metavar="REGEX")
@setting("group_pattern", "--group-pattern", metavar="REGEX")
@setting("part_pattern", "--part-pattern", metavar="REGEX")
@setting("categories", "--category")
@setting("backbone", "--backbone")
@setting("weights", "--weights")
@setting("resolution", "--resolution", metavar="auto|full|PIXELS")
@setting("megapixels", "--megapixels")
@setting("region", "--region", metavar="FILE|auto|none")
@setting(
    "stages.-1.depth_blocks",
    "--unfreeze-depth",
    text="Backbone blocks to unfreeze in the last stage (0: train the head only).",
)
@setting("stages.-1.epochs", "--epochs", text="Epochs of the last stage.")
@setting("head", "--head")
@setting("views", "--views")
@setting("activation_budget_gb", "--activation-budget-gb")
@setting("verdict", "--verdict")
@setting("require", "--require")
@setting("threshold", "--threshold")
@setting("prevalence", "--prevalence")
@setting("review_budget", "--review-budget")
@setting("batch_size", "--batch-size")
@setting("seed", "--seed")
@setting("precision", "--precision")
@setting("devices", "--devices")
@setting("deterministic", "--deterministic/--no-deterministic")
@setting("skip_broken", "--skip-broken")
@setting("bits", "--bits")
@setting("max_megapixels", "--max-megapixels")
@setting("mm_per_px", "--mm-per-px")
@CONFIG
@ASSIGNMENTS
@OFFLINE_FLAG
@click.option("--run", type=PATH, help="Output directory. Default: runs/IMAGES, or runs/IMAGES-2 and so on.")
@click.option("--overwrite", is_flag=True, help="Replace a finished run of that name.")
@click.option("--open", "is_opened", is_flag=True, help="Open the report in the browser.")
@click.pass_obj
def fit(
    debug: bool,
    /,
    images: tuple[str, ...],
    config_path: Path | None,
    assignments: tuple[str, ...],
    run: Path | None,
    overwrite: bool,
    is_opened: bool,
    **settings: Any,
) -> None:
    """Train an inspector and measure it honestly.

    IMAGES is the same as --data: a folder, a table (CSV) or an archive, or several. The images are split
    60/20/20 with near-duplicates kept together; the threshold is chosen on the validation part; the figures
    are those of the test part. With fewer than ten independent defective images, or none, it learns how good
    images look and rejects what is unlike them. An interrupted fit resumes when the same command is given
    again.

    Without --backbone and --weights it takes the ImageNet weights that are in Keras's cache, otherwise
    downloads those of DenseNet121, otherwise takes the texture weights of this package and EfficientNetB0.

    \b
    Examples:
      mvdefect fit photographs
      mvdefect fit photographs --backbone densenet121
      mvdefect fit --data photographs --config configs/resnet50.yaml --seed 1 --run runs/resnet-1
      mvdefect fit --data photographs --backbone mobilenetv2 --weights FILE --epochs 30 --run runs/mobile
      mvdefect fit --data photographs --set augment.flip=false --set patience=12 --run runs/unmirrored
      mvdefect fit --data photographs --split plans/closed-set.csv --run runs/planned
      mvdefect fit --data photographs --part-pattern '[0-9]+' --run runs/parts
      mvdefect fit --data photographs --head patch --verdict either --run runs/patch
      mvdefect fit --data photographs --require 'recall 0.95, false-alarms 0.05' --run runs/required
      mvdefect fit --data photographs --threshold 'min-recall 0.95' --prevalence 0.005 --run runs/line
    """
    from mvdefect.config import load_config

    if images:
        if settings["data"] is not None:
            told = ", ".join(settings["data"])
            raise click.UsageError(f"name the images once. Received: {', '.join(images)}, and --data {told}")
        settings["data"] = list(images)
    config = load_config(config_path, settings, assignments)
    if config.baseline is not None:
        raise click.UsageError(
            f"these are settings of a baseline: mvdefect baseline {config.baseline} takes them"
        )
    show_messages()
    from mvdefect.workflow.job import check_job

    job = check_job(config, run, overwrite)
    start_work(debug, config.devices)
    from mvdefect.workflow.fit import run_job

    finished = run_job(job)
    show_evaluation(finished.evaluation, finished.path)
    say_where(finished.folder)
    say_next(finished.folder)
    if is_opened:
        click.launch(str(finished.folder.report))


@click.command(cls=SettingsCommand)
@click.argument("run", type=PATH)
@click.option("--split", type=PATH, help="Another plan, whose test images the run must have tested on.")
@setting("threshold", "--threshold", with_default=False)
@setting("verdict", "--verdict", with_default=False)
@setting("prevalence", "--prevalence", with_default=False)
@setting("review_budget", "--review-budget", with_default=False)
@REQUIRE
@click.option("--save", is_flag=True, help="Let the run keep this threshold, verdict and so on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 whatever the answer to --require is.")
def evaluate(
    run: Path,
    split: Path | None,
    require: str | None,
    save: bool,
    as_json: bool,
    exit_zero: bool,
    **changes: Any,
) -> None:
    """Measure a finished RUN on its test part, with 95% intervals.

    With another threshold, verdict, prevalence or review budget the operating point is chosen anew, on the
    run's validation part; the run keeps its own unless `--save` is given.

    With --require the exit code is 0 if the requirement is met, 1 if it is not, 3 if there are too few images
    to say, and 2 if something went wrong. One that is not that of the fit is marked as stated after the
    figures; the threshold stays, unless --threshold requirement is given as well.

    \b
    Examples:
      mvdefect evaluate runs/first
      mvdefect evaluate runs/first --json
      mvdefect evaluate runs/first --require 'recall 0.95, false-alarms 0.05' --exit-zero
      mvdefect evaluate runs/first --threshold 'min-recall 0.9' --prevalence 0.005
      mvdefect evaluate runs/first --threshold 'cost 1:20' --review-budget 0.05 --save
    """
    evaluation = mvdefect.evaluate(run, split=split, require=require, save=save, **changes)
    if as_json:
        from mvdefect.evaluation.evaluate import evaluation_to_json

        click.echo(json.dumps(evaluation_to_json(evaluation), indent=2))
    else:
        show_evaluation(evaluation, run)
    if require is not None and evaluation.requirement is not None and not exit_zero:
        click.get_current_context().exit(EXIT_CODES[evaluation.requirement.answer])


@click.command()
@click.option("--out", type=PATH, default=Path("mvdefect-demo"), show_default=True, help="Output directory.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier demo.")
@click.pass_obj
def demo(debug: bool, /, out: Path, overwrite: bool) -> None:
    """Draw parts, train an inspector of them and measure it: no data and no network needed.

    \b
    Example:
      mvdefect demo --out somewhere
    """
    start_work(debug)
    from mvdefect.workflow.demo import WEIGHTS_NOTE, run_demo

    finished = run_demo(out, overwrite)
    show_evaluation(finished.evaluation, finished.path)
    click.echo(WEIGHTS_NOTE)
    click.echo(f"photographs   {out / 'data'}")
    say_where(finished.folder)


def show_evaluation(evaluation: Evaluation, run: Path, kind: str = "Inspector") -> None:
    """Print what a run came to: the answer in sentences, then the tables and notes that it rests on."""
    from rich.console import Console

    from mvdefect.report.requirement import describe_question, describe_requirement
    from mvdefect.report.sheets import make_evaluation_tables
    from mvdefect.report.verdict import list_faults
    from mvdefect.report.wording import describe_verdict

    console = Console(soft_wrap=False)
    answer = describe_requirement(evaluation)
    decisive = evaluation.decisive
    faults = [f"{headline}. {details}" for headline, details in list_faults(decisive)]
    for sentences in filter(None, (answer, *faults, describe_verdict(decisive))):
        console.print(sentences, markup=False, highlight=False)
    for table in make_evaluation_tables(evaluation, f"{kind} {run}"):
        console.print(table)
    for note in evaluation.notes:
        console.print(f"Note: {note}", markup=False)
    if not answer and kind == "Inspector":
        click.echo(describe_question("evaluate", run).replace("`", ""))


def say_where(folder: Any) -> None:
    """Print where a run and its report lie."""
    click.echo(f"run           {folder.path}")
    click.echo(f"report        {folder.report}")


def say_next(folder: Any) -> None:
    """Print the commands that a finished run is for."""
    run = shlex.quote(str(folder.path))
    click.echo(f"next          open {folder.report.absolute().as_uri()} in a browser")
    click.echo(f"              mvdefect predict {run} IMAGES")
    click.echo(f"              mvdefect export {run}")
