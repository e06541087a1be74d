"""Operating point: where 'defective' begins, what chose it, and on which images; never on the test part."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from mvdefect.core.errors import ConfigError, ContractError, RunError
from mvdefect.data.parts import Usual
from mvdefect.data.records import GOOD
from mvdefect.evaluation.bootstrap import Bools, Floats
from mvdefect.evaluation.calibration import (
    SMALLEST_NOVELTY,
    Calibration,
    fit_combination,
    fit_distance,
    fit_temperature,
)
from mvdefect.evaluation.contracts import (
    NO_PROMISE,
    Choice,
    Contract,
    choose_threshold,
    find_upper_threshold,
    parse_contract,
)
from mvdefect.evaluation.pooling import Pooling

DEFECTIVE, REVIEW, NOT_THIS_PRODUCT = "defective", "review", "not this product"
VERDICTS = ("classifier", "novelty", "combined", "either")
HELD_OUT = "train and val, each image held out in turn"
MAX_FALSE_ALARM_RATE = 0.05
MAX_NOVEL_RATE = 0.02
MEAN_NOVELTY, FOREIGN = "mean_novelty", "foreign"  # thresholds from which on an image shows no such product
FOREIGN_NUMBERS = {MEAN_NOVELTY: "mean novelty", FOREIGN: "novelty"}  # what each is on; 0.1.0 had no mean
FOREIGN_MARGIN = 1.2
MAX_ODD = 0.005  # share of what was seen that may show another product
MIN_SEEN = 20  # images, defective ones included, below which nothing is said of other products


@dataclass(frozen=True)
class Judged:
    """What the images of a part were found to be.

    Attributes:
        labels: True for defective, (n,).
        groups: Code of the group of each image, (n,).
        logits: The classifier's, float64 (n,), or None without a classifier.
        novelty: Distance from good images, float64 (n,), or None where nothing measures it.
        mean_novelty: The same as a mean over the image, (n,), likewise.
    """

    labels: Bools
    groups: NDArray[np.int64]
    logits: Floats | None
    novelty: Floats | None
    mean_novelty: Floats | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """Where 'defective' begins.

    Attributes:
        contract: What the threshold was chosen by.
        part: The part that it was chosen on.
        achieved: What the contract's figure came to on that part.
        guarantee: What holds on fresh images, or what it would take to know.
        verdict: Which of the verdicts is in use.
        classifier: Makes the score of the classifier alone; of no use where none was trained.
        combined: Makes the score of classifier and novelty together; None where there is none.
        thresholds: By verdict ("classifier", "combined", "novelty"), each on its own scale; and
            "mean_novelty", from which on an image is called 'not this product' as well, which changes no
            verdict. Where no mean was measured it is "foreign", on the novelty.
        review: Lowest and highest score of the grey zone, in which a person decides; None: there is none.
        novelty: Makes the score of the novelty where no classifier was trained; otherwise None.
        by_part: What judges parts that several images show; None: each image is a part.
    """

    contract: str
    part: str
    achieved: float
    guarantee: str
    verdict: str
    classifier: Calibration
    combined: Calibration | None
    thresholds: dict[str, float]
    review: tuple[float, float] | None = None
    novelty: Calibration | None = None
    by_part: PartPoint | None = None

    @property
    def calibration(self) -> Calibration:
        """Makes the score in use."""
        made = {"combined": self.combined, "novelty": self.novelty}.get(self.verdict)
        return made or self.classifier

    @property
    def score(self) -> float:
        """The threshold on the score in use."""
        if self.novelty is not None:
            return float(self.novelty.score(None, np.array(self.thresholds["novelty"])))
        return self.thresholds["combined" if self.verdict == "combined" else "classifier"]

    @property
    def probability(self) -> float:
        """The same as a probability."""
        return float(expit(self.score))

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The verdicts that can be reached."""
        known = [name for name in ("classifier", "novelty", "combined") if name in self.thresholds]
        return (*known, "either") if {"classifier", "novelty"} <= set(known) else tuple(known)

    @property
    def foreign(self) -> tuple[str, float] | None:
        """What tells that an image shows another product; see `find_foreign_limit`."""
        return find_foreign_limit(self.thresholds)

    def find_foreign(self, novelty: Floats, mean_novelty: Floats | None) -> Bools:
        """Return which images show another product, (n,); none if what tells it is not measured."""
        name, limit = self.foreign or ("", 0.0)
        values = {MEAN_NOVELTY: mean_novelty, FOREIGN: novelty}.get(name)
        if values is None:
            return np.zeros(len(novelty), bool)
        return np.asarray(values >= limit, bool)

    def find_scores(self, logits: Floats | None, novelty: Floats | None) -> Floats:
        """Return the scores that the verdict in use is reached on, (n,)."""
        return self.calibration.score(logits, novelty)

    def find_novel(self, novelty: Floats | None) -> Bools | None:
        """Return which images are rejected for their novelty whatever their score; None: that is never so."""
        if self.verdict != "either" or novelty is None or "novelty" not in self.thresholds:
            return None
        return np.asarray(novelty >= self.thresholds["novelty"], bool)

    def find_defective(
        self, logits: Floats | None, novelty: Floats | None, verdict: str | None = None
    ) -> Bools:
        """Return which images are called defective, whatever the grey zone.

        Args:
            logits: One an image, (n,), or None without a classifier.
            novelty: One an image, (n,), or None where nothing measures it.
            verdict: One of `verdicts`; None: the one in use.
        """
        verdict = verdict or self.verdict
        if verdict == "combined" and self.combined is not None:
            return self.combined.score(logits, novelty) >= self.thresholds["combined"]
        if verdict == "novelty" and novelty is not None:
            return np.asarray(novelty >= self.thresholds["novelty"], bool)
        found = self.classifier.score(logits) >= self.thresholds["classifier"]
        if verdict == "classifier" or novelty is None:
            return found
        return np.asarray(found | (novelty >= self.thresholds["novelty"]), bool)

    def decide(self, logits: Floats | None, novelty: Floats | None) -> NDArray[np.str_]:
        """Return 'good', 'defective' or, in the grey zone, 'review' for each image."""
        verdicts = np.where(self.find_defective(logits, novelty), DEFECTIVE, GOOD)
        if self.review is None:
            return verdicts
        scores = self.find_scores(logits, novelty)
        grey = (scores >= self.review[0]) & (scores < self.review[1])
        if self.verdict == "either" and novelty is not None:
            grey &= novelty < self.thresholds["novelty"]
        return np.where(grey, REVIEW, verdicts)


@dataclass(frozen=True)
class PartPoint:
    """Where a part that several images show begins to be defective.

    Attributes:
        pooling: Makes one score of those of its images.
        point: The operating point on that score; contract and grey zone are of parts.
        usual: What most parts show, so that a missing image can be told.
    """

    pooling: Pooling
    point: OperatingPoint
    usual: Usual = field(default_factory=Usual)


def choose_operating_point(
    judged: Judged,
    part: str,
    contract: str = "f1",
    verdict: str = "combined",
    prevalence: float | None = None,
    review_budget: float = 0.0,
    require: str | None = None,
) -> OperatingPoint:
    """Calibrate scores and choose thresholds on one part.

    Where it has no defective image, nothing can be calibrated or weighed, and `f1` becomes the lowest
    threshold at which at most 5% of the good images are rejected. Without a classifier the verdict is by
    novelty, and a fixed probability counts from that threshold, which is 0.5.

    Args:
        judged: What its images were found to be.
        part: Name of the part, for the record.
        contract: See `mvdefect.evaluation.contracts`.
        verdict: "classifier", "combined", or "either".
        prevalence: Share of defective products on the line, for the contract `cost`.
        review_budget: Share of the images that a person may be asked about, the least certain ones.
        require: What the line needs, for the contract `requirement`.

    Raises:
        ConfigError: A contract or verdict has no form that is known.
        ContractError: The contract cannot be met; it names the best that can be reached.
    """
    if verdict not in VERDICTS:
        raise ConfigError(f"verdict must be one of {', '.join(VERDICTS)}. Received: verdict={verdict}")
    wanted = parse_contract(contract, require)
    if wanted.kind in ("f1", "requirement") and wanted.needs_defective and not judged.labels.any():
        wanted = Contract("max-fpr", MAX_FALSE_ALARM_RATE)
    if judged.logits is None:
        return _choose_by_novelty(judged, part, wanted, prevalence, review_budget)
    classifier = fit_temperature(judged.labels, judged.logits)
    combined = None
    scores = {"classifier": classifier.score(judged.logits)}
    if judged.novelty is not None:
        combined = fit_combination(judged.labels, judged.logits, judged.novelty)
    if combined is not None:
        scores["combined"] = combined.score(judged.logits, judged.novelty)
    thresholds: dict[str, float] = {}
    if judged.novelty is not None:
        thresholds["novelty"] = find_upper_threshold(judged.novelty[~judged.labels], MAX_NOVEL_RATE)
    used = verdict if verdict in scores or (verdict == "either" and thresholds) else "classifier"
    decisive = "combined" if used == "combined" else "classifier"
    for name, found in scores.items():
        if name != decisive:  # shown beside the verdict in use; it need not meet the contract
            with suppress(ContractError):
                thresholds[name] = _choose(wanted, judged, found, prevalence).threshold
    deciding = scores[decisive]
    if used == "either" and judged.novelty is not None:  # what is novel is rejected at any threshold
        novel = judged.novelty >= thresholds["novelty"]
        deciding = np.where(novel, deciding.max() + 1, deciding)
    choice = _choose(wanted, judged, deciding, prevalence)
    thresholds[decisive] = choice.threshold
    return OperatingPoint(
        contract=str(wanted),
        part=part,
        achieved=choice.achieved,
        guarantee=choice.guarantee,
        verdict=used,
        classifier=classifier,
        combined=combined,
        thresholds=thresholds,
        review=_find_grey_zone(scores[decisive], choice.threshold, review_budget),
    )


def find_foreign_limit(thresholds: Mapping[str, float]) -> tuple[str, float] | None:
    """Return the name of the threshold from which on an image shows another product, and its value.

    See `FOREIGN_NUMBERS` for what it is on; None: nothing is said of other products.
    """
    return next(((name, thresholds[name]) for name in FOREIGN_NUMBERS if name in thresholds), None)


def add_foreign_threshold(point: OperatingPoint, seen: Judged) -> OperatingPoint:
    """Choose the mean novelty from which on an image is called 'not this product'.

    A defect is local, another product is unlike everywhere. The threshold lies 1.2 times as far above the
    median of all training and validation images as the largest of them, defective ones included and one in
    200 left out: beyond everything that is known of the product. If no mean was measured, as in runs of
    0.1.0, it is 1.2 times their largest novelty.

    Args:
        point: An operating point.
        seen: What all training and validation images were found to be.

    Returns:
        The same with the threshold "mean_novelty", or "foreign"; without it, where fewer than 20 images were
        seen, or good ones alone: then a defect may lie as far from them as another product.
    """
    kept = {name: value for name, value in point.thresholds.items() if name not in FOREIGN_NUMBERS}
    if point.novelty is None and len(seen.labels) >= MIN_SEEN:
        means, novelty = seen.mean_novelty, seen.novelty
        if means is not None and (limit := choose_foreign_limit(means)) > np.median(means):
            kept[MEAN_NOVELTY] = limit
        elif means is None and novelty is not None and novelty.max() > 0:
            kept[FOREIGN] = FOREIGN_MARGIN * float(novelty.max())
    return replace(point, thresholds=kept)


def choose_foreign_limit(seen: Floats) -> float:
    """Return what lies 1.2 times as far above the median as the largest, of images' mean novelty, (n,).

    One image in 200 is left out of account: it may show something else itself, and would hide all else.
    """
    usual = float(np.median(seen))
    largest = float(np.sort(seen)[-1 - int(MAX_ODD * len(seen))])
    return usual + FOREIGN_MARGIN * (largest - usual)


def _choose_by_novelty(
    judged: Judged, part: str, wanted: Contract, prevalence: float | None, review_budget: float
) -> OperatingPoint:
    """Choose the threshold where no classifier was trained."""
    if judged.novelty is None:
        raise RunError("neither a classifier nor the novelty judged these images")
    distances = np.log(np.maximum(judged.novelty, SMALLEST_NOVELTY))
    usual = Contract("max-fpr", MAX_FALSE_ALARM_RATE) if wanted.kind == "fixed" else wanted
    choice = _choose(usual, judged, distances, prevalence)
    calibration = fit_distance(judged.novelty[~judged.labels], float(np.exp(choice.threshold)))
    scores, threshold = calibration.score(None, judged.novelty), 0.0
    if wanted.kind == "fixed":
        choice = _choose(wanted, judged, scores, prevalence)
        threshold = choice.threshold
    distance = (threshold - calibration.bias) / calibration.novelty_weight
    return OperatingPoint(
        contract=str(wanted),
        part=part,
        achieved=choice.achieved,
        guarantee=_describe_basis(judged, scores >= threshold, wanted, choice),
        verdict="novelty",
        classifier=Calibration(),
        combined=None,
        thresholds={"novelty": float(np.exp(distance))},
        review=_find_grey_zone(scores, threshold, review_budget),
        novelty=calibration,
    )


def _describe_basis(judged: Judged, rejected: Bools, wanted: Contract, choice: Choice) -> str:
    """Say what a threshold on the novelty rests on, and what follows for fresh good images.

    A fresh image is as likely to have any rank among those that the threshold was chosen on as another, so
    that it is rejected with a chance of at most (rejected + 1) / (count + 1); groups count once.
    """
    good = ~judged.labels
    count, beyond = (len(np.unique(judged.groups[good & which])) for which in (good, rejected))
    basis = f"chosen on {good.sum()} good images held out of training"
    if wanted.kind == "max-fpr" and NO_PROMISE in choice.guarantee:
        basis += f"; about {(beyond + 1) / (count + 1):.0%} of fresh ones are expected to be rejected"
    return f"{basis}; {choice.guarantee}" if choice.guarantee else basis


def _choose(contract: Contract, judged: Judged, scores: Floats, prevalence: float | None) -> Choice:
    return choose_threshold(contract, judged.labels, scores, judged.groups, prevalence)


def operating_point_to_json(point: OperatingPoint) -> dict[str, Any]:
    """Return the operating point as a tree for JSON, with the threshold in use."""
    tree = {**asdict(point), "score": point.score, "probability": point.probability}
    if point.by_part is None:
        del tree["by_part"]
    else:
        tree["by_part"]["point"] = operating_point_to_json(point.by_part.point)
    return tree


def parse_operating_point(tree: Mapping[str, Any]) -> OperatingPoint:
    """Read what `operating_point_to_json` returned.

    Raises:
        RunError: Something is missing or of another kind.
    """
    fields = {name: value for name, value in tree.items() if name not in ("score", "probability")}
    try:
        fields["classifier"] = Calibration(**fields["classifier"])
        for name in ("combined", "novelty"):
            fields[name] = Calibration(**fields[name]) if fields.get(name) else None
        fields["review"] = tuple(fields["review"]) if fields["review"] else None
        fields["by_part"] = _parse_part_point(fields["by_part"]) if fields.get("by_part") else None
        return OperatingPoint(**fields)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunError(f"the operating point is damaged, or of an older version: {error!r}") from error


def _parse_part_point(tree: Mapping[str, Any]) -> PartPoint:
    pooling, usual = dict(tree["pooling"]), tree["usual"]
    pooling["calibration"] = Calibration(**pooling["calibration"])
    pooling["scales"] = {view: (float(a), float(b)) for view, (a, b) in pooling["scales"].items()}
    return PartPoint(
        Pooling(**pooling),
        parse_operating_point(tree["point"]),
        Usual(tuple(usual["views"]), int(usual["images"])),
    )


def _find_grey_zone(scores: Floats, threshold: float, budget: float) -> tuple[float, float] | None:
    """Find the zone about the threshold that holds at most a share of the images."""
    count = int(budget * len(scores) + 1e-9)
    if not count:
        return None
    distances = np.abs(scores - threshold)
    width = find_upper_threshold(-distances, count / len(scores))
    return threshold + width, threshold - width  # the width is negative
