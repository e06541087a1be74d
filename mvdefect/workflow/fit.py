"""From a folder of photographs to a trained, measured inspector: the line of flow, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.errors import ContractError
from mvdefect.core.progress import logger, show_phase
from mvdefect.core.runtime import describe_environment, seed_everything, set_precision, share_batches
from mvdefect.data.resolution import find_network_shrink, list_scales
from mvdefect.evaluation.evaluate import Evaluation
from mvdefect.evaluation.members import members_to_json
from mvdefect.evaluation.operating_point import OperatingPoint
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.features import Trunk, load_trunk, share_trunk
from mvdefect.models.heads import choose_head
from mvdefect.models.normality import save_normality
from mvdefect.report.report import write_report
from mvdefect.runs import RunFolder, make_run, write_json
from mvdefect.training.fit import TrainingJob
from mvdefect.training.folds import train_folds
from mvdefect.training.predictions import measure_latency
from mvdefect.training.stages import Stage, plan_stages
from mvdefect.workflow.explain import draw_heatmaps, explain_part
from mvdefect.workflow.folds import Folds, count_folds, make_folds
from mvdefect.workflow.frozen import learn_frozen
from mvdefect.workflow.job import FitJob, check_contract, check_job
from mvdefect.workflow.members import (
    Inspector,
    gives_up,
    has_classifier,
    is_fine_tuned,
    join_inspector,
    tell_first_figures,
)
from mvdefect.workflow.outcome import FinishedRun, list_judged_parts, settle_outcome
from mvdefect.workflow.photographs import (
    FIT_NEEDS,
    Needs,
    Photographs,
    log_plan,
    logging_to,
    prepare_photographs,
    settle_size,
    write_plan,
)


def fit_inspector(
    config: FitConfig, run: Path | None = None, overwrite: bool = False, needs: Needs = FIT_NEEDS
) -> FinishedRun:
    """Check what a fit needs, and run it; see `check_job` and `run_job`."""
    return run_job(check_job(config, run, overwrite, needs))


def run_job(job: FitJob) -> FinishedRun:
    """Train an inspector, choose its threshold, measure it on the test part, and write the report.

    If train has no defective image there is no classifier: the distance from good images decides. An
    interrupted fit resumes when it is called again with the same settings.

    Raises:
        MvdefectError: Of its many kinds, for whatever is wrong with images, settings or weights.
    """
    spec, config = find_backbone(job.config.backbone), settle_size(job.config, job.records)
    plan_stages(config, spec)  # before anything slow: a stage may be too deep
    seed_everything(config.seed, config.deterministic)
    policy = set_precision(config.precision)
    with share_batches(config.devices):
        with show_phase("Building the network"):
            scales = list_scales(config.size_px)
            trunks = [load_trunk(spec, config.size_px, job.weights, one) for one in scales if job.weights]
        photographs = prepare_photographs(job.records, config, job.planned, job.needs)
        count = count_folds(config, photographs.plan, is_pretrained=job.weights is not None)
        stages = plan_stages(config, spec, len(photographs.plan.select("train")))
        explicit = tuple(StageConfig(**asdict(stage)) for stage in stages)
        config = photographs.note_bits(config).model_copy(update={"folds": count, "stages": explicit})
        judged = list_judged_parts(count)
        check_contract(config, [row for part in judged for row in photographs.plan.select(part)])
        run = replace(job, config=config).find_place(photographs.plan.digest)
        with make_run(run, config, photographs.plan.digest, job.overwrite) as folder, logging_to(folder.log):
            write_plan(photographs, folder)
            log_plan(photographs.plan)
            logger.info("%s, weights: %s, %s", spec.describe, config.weights, policy)
            folds = make_folds(photographs.get_sources(), config)
            inspector = _learn(trunks, stages, config, folds, job.weights, folder)
            evaluation, unmet = _measure(inspector, config, photographs, folder)
            write_json(folder.environment, describe_environment())
            with show_phase("Writing the report"):
                write_report(folder, evaluation)
    if unmet is not None:
        raise unmet
    return FinishedRun(RunFolder(run), evaluation)


def _learn(
    trunks: Sequence[Trunk],
    stages: tuple[Stage, ...],
    config: FitConfig,
    folds: Folds,
    weights: Path | None,
    folder: RunFolder,
) -> Inspector:
    """Fit what is solved, train the network, and choose what makes the logit.

    From random weights there are no features before the network has learned some.
    """
    spec, is_trained = find_backbone(config.backbone), has_classifier(folds)
    shrink = find_network_shrink(config)
    frozen, networks = None, None
    if trunks:
        frozen = learn_frozen(trunks, folds, config, is_trained)
        tell_first_figures(frozen, folds)
        is_trained = is_trained and is_fine_tuned(config, folds)

    def build() -> Any:
        with show_phase("Building the network"):
            seed_everything(config.seed, config.deterministic)
            return build_classifier(spec, config.size_px, choose_head(config), config.taps, weights, shrink)

    def is_in_vain(network: Any) -> bool:
        return frozen is not None and gives_up(frozen, folds, config.batch_size, network)

    if is_trained:
        job = TrainingJob(spec, stages, config, folds.whole, folds.parts["val"], folder)
        networks = train_folds(build, job, tuple(zip(folds.train, folds.held_out, strict=True)), is_in_vain)
    if frozen is None:
        learned = networks.separate()[0] if networks else build()
        frozen = learn_frozen([share_trunk(learned, spec)], folds, config, False)
    return join_inspector(frozen, networks, folds, config)


def _measure(
    inspector: Inspector, config: FitConfig, photographs: Photographs, folder: RunFolder
) -> tuple[Evaluation, ContractError | None]:
    """Choose the operating point on validation, evaluate on test, and keep all of it.

    Without a classifier the novelty decides, and its maps are the heatmaps.

    Returns:
        What was measured; and what is wrong with the contract, if it cannot be met: the run then has the
        threshold by F1.
    """
    plan, sources = photographs.plan, photographs.get_sources()
    classifier, features, normality = inspector.classifier, inspector.features, inspector.normality
    with show_phase("Saving the network"):
        if classifier is not None:
            classifier.save(folder.model)
        features.save(folder.features)
        save_normality(normality, folder.normality)
        write_json(folder.members, members_to_json(inspector.members))
    with show_phase("Measuring the time per image"):
        write_json(folder.latency, measure_latency(classifier, features, normality))

    def explain(point: OperatingPoint) -> None:
        maps = draw_heatmaps(point, classifier, features, normality, sources["test"])
        explain_part(maps, sources["test"], photographs.scan, config.resize, folder, point)

    with show_phase("Choosing the threshold, drawing heatmaps and measuring the test images"):
        shares = photographs.scan.defect_shares
        return settle_outcome(folder, config, plan, inspector.scores, shares, explain)
