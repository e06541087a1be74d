"""The baselines: what each is, and what it learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mvdefect.core.errors import ConfigError, describe_unknown_name


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
