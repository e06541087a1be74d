"""The baselines: what each is, and what it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mvdefect.config import FitConfig, StageConfig
from mvdefect.core.errors import ConfigError, describe_unknown_name
from mvdefect.workflow.job import FitJob, check_job
from mvdefect.workflow.photographs import TO_BE_MEASURED, Needs

SCRATCH_LEARNING_RATE = 1e-3  # rates of backbones are for weights that know something already


@dataclass(frozen=True)
class Baseline:
    """Something simpler that an inspector has to beat.

    Attributes:
        name: As on the command line.
        learner: "estimator", which looks at each photograph as it is; "features", one on features of a
            frozen backbone; or "network", which is trained as an inspector is, but from random weights.
        needs_defective: Whether it learns from defective images too.
        describe: One line for people.
    """

    name: str
    learner: Literal["estimator", "features", "network"]
    needs_defective: bool
    describe: str

    @property
    def needs(self) -> Needs:
        """What the images must offer."""
        if self.needs_defective:
            reason = f"{self.name} learns from good and defective images, and chooses its threshold on val"
            return Needs(reason, (("train", 0), ("train", 1), *TO_BE_MEASURED))
        reason = f"{self.name} learns from good images, and chooses its threshold on val"
        return Needs(reason, (("train", 0), *TO_BE_MEASURED), takes_good_alone=True)


BASELINES = {
    baseline.name: baseline
    for baseline in (
        Baseline("majority", "estimator", True, "always names the class that most of train belongs to"),
        Baseline(
            "handcrafted", "estimator", True, "HOG, LBP, GLCM, colour and gradient statistics, and an SVM"
        ),
        Baseline("frozen-svm", "features", True, "an SVM on features of a backbone that does not learn"),
        Baseline("one-class", "features", False, "distance from good images; sees no defective one in train"),
        Baseline("scratch", "network", True, "a small CNN from random weights"),
        Baseline("scratch-backbone", "network", True, "the same backbone from random weights"),
    )
}


def find_baseline(name: str) -> Baseline:
    """Return the baseline of that name.

    Raises:
        ConfigError: There is none; the message names the nearest one and all that exist.
    """
    if name not in BASELINES:
        raise ConfigError(describe_unknown_name("baseline", name, BASELINES))
    return BASELINES[name]


def check_baseline(name: str, config: FitConfig, run: Path, overwrite: bool = False) -> FitJob:
    """Check all that a baseline needs, without loading TensorFlow or reading all images; see `check_job`.

    Raises:
        MvdefectError: Of its many kinds, for whatever is wrong with name, settings, data, weights or `run`.
    """
    baseline = find_baseline(name)
    return check_job(adapt_config(baseline, config), run, overwrite, baseline.needs)


def adapt_config(baseline: Baseline, config: FitConfig) -> FitConfig:
    """Return the settings that a baseline runs with.

    From random weights every block learns from the first epoch on, at a rate for that, and batch
    normalisation follows the photographs: it has nothing to keep. What always names the larger class
    needs no threshold but a half.
    """
    changes: dict[str, Any] = {"baseline": baseline.name}
    if baseline.name == "majority":
        changes["threshold"] = "0.5"
    if baseline.learner != "features":
        changes["weights"] = "none"
    if baseline.learner == "network":
        deep = [stage for stage in config.stages if stage.depth_blocks != 0]
        stages = deep or [StageConfig(epochs=sum(stage.epochs for stage in config.stages))]
        if baseline.name == "scratch":
            changes["backbone"] = "small_cnn"
        else:
            changes["bn_policy"] = "adapt"
            stages = [_set_rate(stage) for stage in stages]
        changes["stages"] = tuple(stage.model_copy(update={"depth_blocks": None}) for stage in stages)
    return config.model_copy(update=changes)


def _set_rate(stage: StageConfig) -> StageConfig:
    if stage.learning_rate is not None:
        return stage
    return stage.model_copy(update={"learning_rate": SCRATCH_LEARNING_RATE})
