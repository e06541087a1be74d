"""The search space: which settings of a fit vary, within which limits, and when they matter at all.

In YAML each name maps to a list of values, to `{min: ..., max: ..., log: true}`, to one value that is fixed,
to `default` (the limits of `TABLE`), or to null (not searched: as in the settings). A setting that is not in
`TABLE` goes by its dotted key, as in `augment.flip: [true, false]`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from operator import attrgetter
from typing import Any

from mvdefect.config import FitConfig, Size, validate_config
from mvdefect.core.errors import ConfigError
from mvdefect.core.settings import assign
from mvdefect.data.resolution import Shares, Sizes, settle_resolution
from mvdefect.models.backbones import find_backbone
from mvdefect.training.stages import plan_stages
from tuning.records import Value
from tuning.space.domains import Choice, Domain, Range, read_choice, read_range

DEFAULT = "default"
CUTS = ("depth_blocks", "head", "pooling", "taps")  # what decides where the frozen part ends
STEPS = {"depth_blocks": 1, "resolution": 32, "views": 1, "taps": 1}  # of a range
NOT_SEARCHED = (
    *(
        "data",
        "split",
        "group_pattern",
        "part_pattern",
        "categories",
        "skip_broken",
        "near_duplicates",
        "seed",
    ),
    *("good", "label_pattern", "protocol"),
    *(
        "weights",
        "stages",
        "activation_budget_gb",
        "activation_dtype",
        "devices",
        "deterministic",
        "precision",
        "require",
    ),
    *("tensorboard", "one_class", "verdict", "threshold", "review_budget", "prevalence", "baseline"),
)
LAST_STAGE = ("depth_blocks", "learning_rate", "head_learning_rate", "block_decay", "epochs")


@dataclass(frozen=True)
class Condition:
    """A hyperparameter that must have one of some values for another to matter."""

    parent: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter.

    Attributes:
        name: Its name in the space.
        domain: Its values.
        conditions: When it matters: where all of them hold, the outermost first.
    """

    name: str
    domain: Domain
    conditions: tuple[Condition, ...] = ()


def name_setting(name: str) -> str:
    """Return the dotted key of the setting of a fit that a hyperparameter is."""
    return f"stages.-1.{name}" if name in LAST_STAGE else name


@dataclass(frozen=True)
class Known:
    """What is known of a hyperparameter before a search is read.

    Attributes:
        domain: Its limits; None: they depend on the backbone, or are what the settings say.
        is_searched: Whether it is searched unless told otherwise.
        needs: Another one, and what that must be for this one to matter.
    """

    domain: Domain | None
    is_searched: bool
    needs: tuple[str, Callable[[Any], bool]] | None = None


# Below the boundary a change means another run of the frozen part; so it is searched on request alone.
TABLE: Mapping[str, Known] = {
    "backbone": Known(None, False),
    "resolution": Known(Choice((160, 224, 288)), False),
    "views": Known(Choice((4, 8, 16)), False),
    "augment.flip": Known(Choice((True, False)), False),
    "augment.quarter_turns": Known(Choice((True, False)), False),
    "augment.brightness": Known(Choice((0.0, 0.08, 0.16)), False),
    "augment.contrast": Known(Choice((0.0, 0.15, 0.3)), False),
    "depth_blocks": Known(None, True),
    "learning_rate": Known(Range(1e-5, 1e-3, log=True), True, ("depth_blocks", lambda depth: depth > 0)),
    "block_decay": Known(Range(0.5, 1.0), True, ("depth_blocks", lambda depth: depth > 1)),
    "head_learning_rate": Known(Range(1e-4, 1e-2, log=True), True),
    "head": Known(Choice(("pooled", "patch")), True),
    "pooling": Known(Choice(("avg", "avg_max")), True, ("head", lambda head: head == "pooled")),
    "taps": Known(Choice((1, 2)), True),
    "dropout": Known(Range(0.0, 0.6), True),
    "weight_decay": Known(Range(1e-6, 1e-2, log=True), True),
    "label_smoothing": Known(Choice((0.0, 0.05, 0.1)), True),
    "loss": Known(Choice(("cross_entropy", "focal")), True),
}


@dataclass(frozen=True)
class SearchSpace:
    """What is searched, and the settings that are the same for all.

    Attributes:
        base: Settings of a fit, with what the space fixes.
        dimensions: What varies; a name comes once for each set of conditions under which it matters.
        weights: Backbone -> weights, for every one that may come.
        frames: Resolution -> working size, once the images are known.
    """

    base: FitConfig
    dimensions: tuple[Dimension, ...]
    weights: Mapping[str, str]
    frames: Mapping[Any, Size] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of what varies, in order."""
        return tuple(dict.fromkeys(dimension.name for dimension in self.dimensions))

    def list_values(self, name: str) -> tuple[Any, ...]:
        """Return all values that a setting may have; the base's, where it does not vary."""
        domains = [one.domain for one in self.dimensions if one.name == name]
        if domains:
            return tuple(value for domain in domains if isinstance(domain, Choice) for value in domain.values)
        return (_find_base_value(self.base, name),)

    def suit(self, sizes: Sizes, defects: Shares) -> SearchSpace:
        """Return the same space with the working sizes that suit images, by heights and widths (n, 2)."""
        values = (*self.list_values("resolution"), self.base.resolution)  # which the default has
        frames = {value: settle_resolution(value, sizes, defects, self.base.megapixels) for value in values}
        return replace(self, frames=frames)

    def describe_base(self) -> dict[str, Value]:
        """Return what the base has for hyperparameters, those alone that matter there."""
        values: dict[str, Value] = {}
        for one in self.dimensions:
            if all(values.get(condition.parent) in condition.values for condition in one.conditions):
                values[one.name] = _find_base_value(self.base, one.name)
        return values

    def list_cuts(self, config: FitConfig) -> list[FitConfig]:
        """Return settings that differ from others in where the frozen part ends: all that the space has."""
        names = [name for name in CUTS if name in self.names]
        domains = [dict.fromkeys(self.list_values(name)) for name in names]
        deepest = find_backbone(config.backbone).max_depth_blocks
        found = []
        for values in product(*domains):
            tree = config.model_dump(mode="json")
            for name, value in zip(names, values, strict=True):
                assign(tree, name_setting(name), value)
            if (tree["stages"][-1]["depth_blocks"] or 0) <= deepest:
                found.append(validate_config(tree))
        return found

    def configure(self, values: Mapping[str, Value]) -> FitConfig:
        """Return the settings of a fit for some values; what has none is as in the base.

        Raises:
            ConfigError: The values do not go together.
        """
        tree = self.base.model_dump(mode="json")
        for name in self.names:
            if name in values:
                assign(tree, name_setting(name), values[name])
        tree["weights"] = self.weights[tree["backbone"]]
        config = validate_config(tree)
        plan_stages(config, find_backbone(config.backbone))
        return config.model_copy(update={"resolution": self.frames.get(config.resolution, config.resolution)})


def make_space(base: FitConfig, named: Mapping[str, Any], weights: Mapping[str, str]) -> SearchSpace:
    """Read a search space.

    Args:
        base: Settings of a fit.
        named: What stands in YAML, by name.
        weights: Backbone -> weights.

    Raises:
        ConfigError: A name is unknown, a value is not allowed, or nothing is left to search.
    """
    tree = base.model_dump(mode="json")
    domains: dict[str, Domain | None] = {name: None for name, known in TABLE.items() if known.is_searched}
    for name, value in {**dict.fromkeys(domains, DEFAULT), **named}.items():
        domain = _read_domain(name, value)
        only = domain.values[0] if isinstance(domain, Choice) and len(domain.values) == 1 else None
        is_fixed = only is not None or (domain is None and value not in (None, DEFAULT))
        if is_fixed:
            assign(tree, name_setting(name), value if only is None else only)
        if is_fixed or value is None:
            domains.pop(name, None)
        else:
            domains[name] = domain
    backbones = _list_backbones(domains, tree)
    tree["backbone"] = tree["backbone"] if tree["backbone"] in backbones else backbones[0]
    for name in weights:
        find_backbone(name)
    files = {**dict.fromkeys(backbones, base.weights), **weights}
    tree["weights"] = files[tree["backbone"]]
    fixed = validate_config(tree)
    space = SearchSpace(fixed, tuple(_arrange(domains, fixed, backbones)), files)
    if not space.dimensions:
        raise ConfigError("nothing is left to search: every setting is fixed or dropped")
    _check_values(space)
    return space


def _list_backbones(domains: Mapping[str, Domain | None], tree: Mapping[str, Any]) -> tuple[str, ...]:
    domain = domains.get("backbone")
    names = domain.values if isinstance(domain, Choice) else (tree["backbone"],)
    for name in names:
        find_backbone(str(name))
    return tuple(map(str, names))


def _read_domain(name: str, value: Any) -> Domain | None:
    """Read what stands in YAML; None: a fixed value, or `default` where that depends on the backbone."""
    if name.split(".")[0] in NOT_SEARCHED:
        raise ConfigError(f"space.{name}: a trial cannot vary it; it belongs under `settings`")
    if value == DEFAULT:
        if name not in TABLE:
            allowed = ", ".join(TABLE)
            raise ConfigError(f"space.{name}: only these have limits of their own: {allowed}")
        return TABLE[name].domain
    known = TABLE[name].domain if name in TABLE else None
    if isinstance(value, dict):
        domain = read_range(name, value, isinstance(known, Range) and known.log)
        return domain.list_steps(STEPS[name]) if name in STEPS else domain
    if isinstance(value, Sequence) and not isinstance(value, str):
        return read_choice(name, value)
    return None


def _arrange(
    domains: Mapping[str, Domain | None], base: FitConfig, backbones: Sequence[str]
) -> list[Dimension]:
    """Put parents before those that depend on them, one dimension for each set of conditions."""
    order = sorted(
        domains, key=lambda name: (name not in TABLE, list(TABLE).index(name) if name in TABLE else 0)
    )
    arranged: list[Dimension] = []
    for name in order:
        if name == "depth_blocks":
            found = _arrange_depth(domains[name], base, backbones)
        else:
            found = _arrange_plain(name, domains[name], base, arranged)
        arranged += [
            one for one in found if not (isinstance(one.domain, Choice) and len(one.domain.values) < 2)
        ]
    return arranged


def _arrange_depth(domain: Domain | None, base: FitConfig, backbones: Sequence[str]) -> list[Dimension]:
    found = []
    for backbone in backbones:
        spec = find_backbone(backbone)
        usual = spec.max_depth_blocks if base.weights == "none" else spec.depth_blocks
        depths = domain.values if isinstance(domain, Choice) else tuple(range(usual + 1))
        if not all(type(depth) is int for depth in depths):
            raise ConfigError(f"space.depth_blocks takes whole numbers. Received: {list(depths)!r}")
        conditions = (Condition("backbone", (backbone,)),) if len(backbones) > 1 else ()
        found.append(Dimension("depth_blocks", Choice(depths), conditions))
    return found


def _arrange_plain(
    name: str, domain: Domain | None, base: FitConfig, before: Sequence[Dimension]
) -> list[Dimension]:
    if domain is None:
        return []
    needs = TABLE[name].needs if name in TABLE else None
    if needs is None:
        return [Dimension(name, domain)]
    parent, is_met = needs
    parents = [one for one in before if one.name == parent]
    if not parents:
        return [Dimension(name, domain)] if is_met(_find_base_value(base, parent)) else []
    found = []
    for one in parents:
        values = one.domain.values if isinstance(one.domain, Choice) else ()
        met = tuple(value for value in values if is_met(value))
        beside = (Condition(parent, met),) if len(met) < len(values) else ()
        if met:
            found.append(Dimension(name, domain, (*one.conditions, *beside)))
    return found


def _find_base_value(base: FitConfig, name: str) -> Any:
    if name in LAST_STAGE:
        return getattr(plan_stages(base, find_backbone(base.backbone))[-1], name)
    return attrgetter(name)(base)


def _check_values(space: SearchSpace) -> None:
    """Try every value of a choice and both ends of a range, so that no trial finds what could be told now."""
    for one in space.dimensions:
        ends = one.domain.values if isinstance(one.domain, Choice) else (one.domain.low, one.domain.high)
        needed = {condition.parent: condition.values[0] for condition in one.conditions}
        for value in ends:
            try:
                space.configure({**needed, one.name: value})
            except ConfigError as error:
                raise ConfigError(f"space.{one.name}: {error}") from error
