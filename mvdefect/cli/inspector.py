"""The commands that make an inspector and measure it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mvdefect.cli.work import PATH, show_messages, start_work


@click.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN [RUN ...]")
@click.option(
    "--out", type=PATH, default=Path("report.html"), show_default=True, help="Where the HTML file goes."
)
@click.option(
    "--markdown", type=PATH, help="Also write Markdown there, with its pictures in figures/ beside it."
)
def report(runs: tuple[Path, ...], out: Path, markdown: Path | None) -> None:
    """Write the report that a quality engineer signs: one HTML file that needs no network.

    The first RUN is the inspector; the others, baselines for example, are what it is compared with. All must
    be of the same split plan.

    \b
    Examples:
      mvdefect report runs/first
      mvdefect report runs/first runs/handcrafted runs/majority --out report.html --markdown report.md
    """
    show_messages()
    from mvdefect.report.report import compare_runs

    compare_runs(runs, out, markdown)
    click.echo(f"report        {out}")
    if markdown is not None:
        click.echo(f"markdown      {markdown}")


if TYPE_CHECKING:
    from mvdefect.evaluation.evaluate import Evaluation


@click.command()
@click.option("--data", help="Folder of photographs, CSV manifest, MVTec AD's archive, or mvtec_ad:bottle.")
@click.option("--split", type=PATH, help="Split plan of `mvdefect data split`. Default: closed-set, drawn.")
@click.option("--group-pattern", metavar="REGEX", help="What in an id names what belongs together.")
@click.option("--category", "categories", multiple=True, help="Product to use; repeatable. Default: all.")
@click.option("--backbone", help="resnet50, efficientnetb0, densenet121, mobilenetv2 or small_cnn.")
@click.option("--weights", help="imagenet, texture, none, or the path of a weights file.")
@click.option("--image-size", type=int, help="Working size in pixels; a multiple of 32.")
@click.option("--unfreeze-depth", type=int, help="Blocks that learn in the last stage; 0: head only.")
@click.option("--epochs", type=int, help="Epochs of the last stage.")
@click.option("--head", help="pooled, or patch: scores every position, and its map is the heatmap.")
@click.option("--views", type=int, help="Views of each image in training; 0: new ones in every epoch.")
@click.option("--activation-budget-gb", type=float, help="Disk space for activations of frozen blocks.")
@click.option("--verdict", help="classifier, combined (weighs novelty too; default), or either of the two.")
@click.option("--threshold", help="f1, 'min-recall 0.99', 'max-fpr 0.01', 'cost 1:20', or a probability.")
@click.option("--prevalence", type=float, help="Share of defective products on the line, as in 0.005.")
@click.option("--review-budget", type=float, help="Share of images, the least certain, for a person.")
@click.option("--batch-size", type=int, help="Images a batch.")
@click.option("--seed", type=int, help="Seed of the split and of the training.")
@click.option("--precision", help="auto, float32, mixed_bfloat16 or mixed_float16.")
@click.option("--devices", type=int, help="GPUs, or parts of the processor, that share each batch.")
@click.option(
    "--deterministic/--no-deterministic",
    default=None,
    help="Only operations that always give the same result (default), or the fastest.",
)
@click.option("--skip-broken", is_flag=True, default=None, help="Leave unreadable files out.")
@click.option("--config", "config_path", type=PATH, help="YAML file with settings; flags override it.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Any setting; repeatable.")
@click.option("--run", type=PATH, help="Where the run goes. Default: runs/<data>-<backbone>-seed<seed>.")
@click.option("--overwrite", is_flag=True, help="Replace a finished run of that name.")
@click.pass_obj
def fit(
    debug: bool,
    /,
    config_path: Path | None,
    assignments: tuple[str, ...],
    run: Path | None,
    overwrite: bool,
    **flags: Any,
) -> None:
    """Train an inspector and measure it honestly.

    Photographs are split 60/20/20 with near-duplicates kept together; the threshold is chosen on the
    validation part; the figures are those of the test part. An interrupted fit goes on when the same
    command is given again.

    \b
    Examples:
      mvdefect fit --data photographs --backbone densenet121
      mvdefect fit --data photographs --config configs/resnet50.yaml --seed 1 --run runs/resnet-1
      mvdefect fit --data photographs --backbone mobilenetv2 --weights FILE --epochs 30 --run runs/mobile
      mvdefect fit --data photographs --set augment.flip=false --set patience=12 --run runs/unmirrored
      mvdefect fit --data photographs --split plans/closed-set.csv --run runs/planned
      mvdefect fit --data photographs --head patch --verdict either --run runs/patch
      mvdefect fit --data photographs --threshold 'min-recall 0.95' --prevalence 0.005 --run runs/line
    """
    from mvdefect.config import load_config

    overrides = {
        "data": flags["data"],
        "split": None if flags["split"] is None else str(flags["split"]),
        "group_pattern": flags["group_pattern"],
        "categories": list(flags["categories"]) or None,
        "backbone": flags["backbone"],
        "weights": flags["weights"],
        "image_size_px": flags["image_size"],
        "stages.-1.depth_blocks": flags["unfreeze_depth"],
        "stages.-1.epochs": flags["epochs"],
        "head": flags["head"],
        "views": flags["views"],
        "activation_budget_gb": flags["activation_budget_gb"],
        "verdict": flags["verdict"],
        "threshold": flags["threshold"],
        "prevalence": flags["prevalence"],
        "review_budget": flags["review_budget"],
        "precision": flags["precision"],
        "devices": flags["devices"],
        "deterministic": flags["deterministic"],
        "batch_size": flags["batch_size"],
        "seed": flags["seed"],
        "skip_broken": flags["skip_broken"],
    }
    config = load_config(config_path, overrides, assignments)
    if config.baseline is not None:
        raise click.UsageError(
            f"these are settings of a baseline: mvdefect baseline {config.baseline} takes them"
        )
    from mvdefect.data.sources.opening import name_source

    source = name_source(config.data) if config.data else "run"
    name = f"{source}-{config.backbone}-seed{config.seed}"
    workflow = start_work(debug, config.devices)
    finished = workflow.fit_inspector(config, run or Path("runs") / name, overwrite)
    show_evaluation(finished.evaluation, finished.path)
    say_where(finished.folder)


@click.command()
@click.argument("run", type=PATH)
@click.option("--split", type=PATH, help="Another plan, whose test images the run must have tested on.")
@click.option("--threshold", help="f1, 'min-recall 0.99', 'max-fpr 0.01', 'cost 1:20', or a probability.")
@click.option("--verdict", help="classifier, combined, or either.")
@click.option("--prevalence", type=float, help="Share of defective products on the line, as in 0.005.")
@click.option("--review-budget", type=float, help="Share of images, the least certain, for a person.")
@click.option("--save", is_flag=True, help="Let the run keep this threshold, verdict and so on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def evaluate(run: Path, split: Path | None, save: bool, as_json: bool, **changes: Any) -> None:
    """Measure a finished RUN on its test part, with 95% intervals.

    With another threshold, verdict, prevalence or review budget the operating point is chosen anew, on the
    run's validation part; the run keeps its own unless `--save` is given.

    \b
    Examples:
      mvdefect evaluate runs/first
      mvdefect evaluate runs/first --json
      mvdefect evaluate runs/first --threshold 'min-recall 0.9' --prevalence 0.005
      mvdefect evaluate runs/first --threshold 'cost 1:20' --review-budget 0.05 --save
    """
    from mvdefect.evaluation.evaluate import evaluate_run, evaluation_to_json
    from mvdefect.workflow.outcome import change_operating_point

    given = {name: value for name, value in changes.items() if value is not None}
    if split is not None and given:
        raise click.UsageError("--split measures the operating point that the run has: give no other with it")
    evaluation = change_operating_point(run, given, save) if given or save else evaluate_run(run, split)
    if save:
        from mvdefect.report.report import write_report
        from mvdefect.runs import open_run

        write_report(open_run(run), evaluation)
    if as_json:
        click.echo(json.dumps(evaluation_to_json(evaluation), indent=2))
    else:
        show_evaluation(evaluation, run)


@click.command()
@click.option("--out", type=PATH, default=Path("mvdefect-demo"), show_default=True, help="Where all goes.")
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
    """Print the tables of a run, its notes, and what they mean."""
    from rich.console import Console

    from mvdefect.report.sheets import make_evaluation_tables
    from mvdefect.report.wording import describe_verdict

    console = Console(soft_wrap=False)
    for table in make_evaluation_tables(evaluation, f"{kind} {run}"):
        console.print(table)
    for note in evaluation.notes:
        console.print(f"Note: {note}", markup=False)
    console.print(describe_verdict(evaluation), markup=False)


def say_where(folder: Any) -> None:
    """Print where a run and its report lie."""
    click.echo(f"run           {folder.path}")
    click.echo(f"report        {folder.report}")
