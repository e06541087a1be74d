"""What a fit checks before anything slow begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mvdefect.config import FitConfig
from mvdefect.core.errors import ContractError, RunExistsError
from mvdefect.data.images import choose_decoding
from mvdefect.data.records import Labelled, Record
from mvdefect.data.scan import refuse_broken
from mvdefect.data.sources.opening import name_sources, resolve_sources
from mvdefect.data.splits.plan import SplitPlan
from mvdefect.evaluation.contracts import parse_contract
from mvdefect.models.backbones import find_backbone
from mvdefect.models.choice import choose_network
from mvdefect.models.weights import find_weights
from mvdefect.runs import RunFolder, check_run_is_free, name_run
from mvdefect.workflow.photographs import FIT_NEEDS, Needs, find_records, read_plan_for_fit, require_data
from mvdefect.workflow.region import check_region

RUNS = Path("runs")
NEED_DEFECTS = ("min-recall", "cost")


@dataclass(frozen=True)
class FitJob:
    """A fit that can begin.

    Attributes:
        config: The settings; source, backbone and weights are named.
        records: The images, none of them opened.
        planned: The split plan that the settings name; None: one is drawn.
        weights: The file that the backbone's weights come from; None: random ones.
        run: Where the run goes; None: `name_run` finds a place once the split plan is known.
        overwrite: Whether a finished run there may be replaced.
        needs: What the images must offer.
    """

    config: FitConfig
    records: tuple[Record, ...]
    planned: SplitPlan | None
    weights: Path | None
    run: Path | None
    overwrite: bool
    needs: Needs = FIT_NEEDS

    def find_place(self, split_digest: str) -> Path:
        """Return where the run goes; without a name of its own it is named after its images.

        Raises:
            RunExistsError: This very run is there already.
        """
        if self.run is not None:
            return self.run
        name = name_sources(require_data(self.config))
        place = name_run(RUNS / (name or "run"), self.config, split_digest, self.overwrite)
        if RunFolder(place).is_finished and not self.overwrite:
            raise RunExistsError(
                f"{place} was made from these images with these settings: see {RunFolder(place).report}. "
                "--overwrite makes it again"
            )
        return place


def check_job(
    config: FitConfig, run: Path | None = None, overwrite: bool = False, needs: Needs = FIT_NEEDS
) -> FitJob:
    """Check all that a fit needs, without loading TensorFlow (but to download weights) or reading all images.

    Args:
        config: All settings; `config.data` is needed.
        run: Where the run directory goes; None: `runs/<images>`, or `runs/<images>-2` and so on if that is
            another run's.
        overwrite: Replace a finished run there, once the new one is finished.
        needs: What the images must offer.

    Raises:
        MvdefectError: Of its many kinds, for whatever is wrong with settings, data, weights or `run`.
    """
    parse_contract(config.contract, config.require)
    source = require_data(config)
    planned = read_plan_for_fit(config.split, needs, config.seed) if config.split else None
    check_run_is_free(run or RUNS / "new", overwrite)
    records = find_records(config, needs)
    check_contract(config, records)
    if not config.skip_broken:
        refuse_broken(records, choose_decoding(config))
    config = check_region(config, records)
    config = choose_network(config).model_copy(update={"data": resolve_sources(source)})
    weights = find_weights(find_backbone(config.backbone), config.weights)
    return FitJob(config, records, planned, weights, run, overwrite, needs)


def check_contract(config: FitConfig, images: Iterable[Labelled]) -> None:
    """Refuse a contract that needs defective images to choose a threshold by, before any training.

    Args:
        config: With the contract.
        images: From which the threshold will be chosen.

    Raises:
        ContractError: None of them is defective.
    """
    wanted = parse_contract(config.contract, config.require)
    if wanted.kind in NEED_DEFECTS and not any(image.label for image in images):
        raise ContractError(
            f"{wanted} needs defective images to choose a threshold by, and there is none in val; "
            "'max-fpr 0.05' needs good ones alone"
        )
