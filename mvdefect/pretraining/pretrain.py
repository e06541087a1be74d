"""Pre-training: a backbone learns from drawn surfaces and their faults, or from unlabelled photographs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import keras
import numpy as np
from scipy.special import logsumexp

from mvdefect.core.errors import ConfigError, MvdefectError, RunError, RunExistsError
from mvdefect.core.files import UNREADABLE_NPZ, replace_file
from mvdefect.core.parallel import count_cores
from mvdefect.core.progress import logger, show_steps
from mvdefect.core.runtime import TENSORFLOW, seed_everything
from mvdefect.drawing.surface_defects import FAULTS
from mvdefect.models.backbones import find_backbone
from mvdefect.models.freezing import BACKBONE
from mvdefect.models.weights import WEIGHTS_SUFFIX, find_weights, load_weights
from mvdefect.pretraining.card import (
    Card,
    choose_licence,
    hash_file,
    list_versions,
    write_card,
    write_command,
)
from mvdefect.pretraining.network import LOSSES, build_pretrainer
from mvdefect.pretraining.scenes import VIEWS, count_numbers
from mvdefect.pretraining.settings import PretrainConfig
from mvdefect.pretraining.stream import Batch, iterate_batches, list_photographs

SUFFIX = ".unfinished.npz"


SMALL = 4096  # arrays up to so many numbers stay as they are: statistics of normalisation need their range
FIRST_SHARE = 0.05  # of the peak rate, at the first step
SAVE_SECONDS = 120.0
TELL_STEPS = 100
FIRST_LOSSES = 200
LAST_LOSSES = 200
HELD_OUT_BATCHES = 16


def name_checkpoint(out: Path) -> Path:
    """Return where the checkpoint of a weights file lies."""
    return out.with_name(out.name + SUFFIX)


def write_checkpoint(out: Path, config: PretrainConfig, model: Any, losses: list[float]) -> None:
    """Write all that is needed to go on, whole or not at all; one loss stands for each step done."""
    arrays = {
        f"{kind}_{index}": keras.ops.convert_to_numpy(variable)
        for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables))
        for index, variable in enumerate(variables)
    }
    with replace_file(name_checkpoint(out)) as partial, partial.open("wb") as stream:
        np.savez(stream, config=np.array(config.model_dump_json()), losses=np.array(losses), **arrays)


def read_checkpoint(out: Path, config: PretrainConfig, model: Any) -> list[float]:
    """Put back what `write_checkpoint` wrote, and return the losses so far; none without a checkpoint.

    Raises:
        ConfigError: It was written under other settings.
        RunError: It is damaged.
    """
    path = name_checkpoint(out)
    if not path.is_file():
        return []
    try:
        with np.load(path) as arrays:
            if str(arrays["config"]) != config.model_dump_json():
                raise ConfigError(
                    f"{path} is of a pre-training with other settings; remove it, or choose another --out"
                )
            for kind, variables in (("model", model.variables), ("optimizer", model.optimizer.variables)):
                for index, variable in enumerate(variables):
                    variable.assign(arrays[f"{kind}_{index}"])
            return [float(loss) for loss in arrays["losses"]]
    except ConfigError:
        raise
    except UNREADABLE_NPZ as error:
        raise RunError(f"the checkpoint {path} is damaged; remove it to begin again ({error})") from error


def write_weights(network: Any, path: Path, half: bool) -> None:
    """Write the weights of a network as Keras's `load_weights` reads them, whole or not at all.

    Args:
        network: A Keras model.
        path: Ends in `.weights.h5`.
        half: Store arrays of more than 4,096 numbers as float16; loading makes them float32 again.
    """
    with TemporaryDirectory(dir=path.parent, prefix=".weights-") as folder, replace_file(path) as partial:
        full = Path(folder) / path.name
        network.save_weights(full)
        if not half:
            full.replace(partial)
            return
        with h5py.File(full) as source, h5py.File(partial, "w") as target:
            _copy_halved(source, target)


def _copy_halved(source: h5py.Group, target: h5py.Group) -> None:
    target.attrs.update(source.attrs)
    for name, found in source.items():
        if isinstance(found, h5py.Group):
            _copy_halved(found, target.create_group(name))
            continue
        values = found[()]
        is_large = values.dtype == np.float32 and values.size > SMALL
        kept = values.astype(np.float16) if is_large else values
        packing = {"compression": "gzip", "shuffle": True} if is_large else {}
        target.create_dataset(name, data=kept, **packing).attrs.update(found.attrs)


class PretrainingDivergedError(MvdefectError, ArithmeticError):
    """The loss became infinite or no number."""


@dataclass(frozen=True)
class PretrainOptions:
    """What does not change the result.

    Attributes:
        until: Stop after so many steps, to go on another time; None: go through.
        overwrite: Replace weights that are there.
        workers: Processes that draw; None: one a core.
        half: Store weights as float16, which halves the file.
    """

    until: int | None = None
    overwrite: bool = False
    workers: int | None = None
    half: bool = True


def pretrain(config: PretrainConfig, out: Path, options: PretrainOptions | None = None) -> Card | None:
    """Pre-train a backbone and write its weights and a card, or go on where an interrupt stopped.

    Args:
        config: The settings.
        out: The weights file, ending in `.weights.h5`; the card goes beside it.
        options: The rest.

    Returns:
        The card, or None where `until` came first.

    Raises:
        ConfigError: A setting is not allowed, or an interrupted training had other ones.
        PretrainingDivergedError: The loss is no finite number.
        RunExistsError: `out` exists, and `overwrite` is off.
        WeightsError: The weights to start from cannot be had.
    """
    options = options or PretrainOptions()
    check_out(out, options.overwrite)
    photographs = list_photographs(config.photographs)
    model = build_model(config)
    losses = read_checkpoint(out, config, model)
    if losses:
        logger.info("going on after step %d of an interrupted pre-training", len(losses))
    last = min(config.steps, options.until or config.steps)
    workers = options.workers or count_cores()
    batches = iterate_batches(config, photographs, range(len(losses), last), workers)
    train_steps(model, config, batches, losses, last, out)
    if last < config.steps:
        logger.info("stopped after step %d of %d; the same command goes on", last, config.steps)
        return None
    unseen = range(config.steps, config.steps + HELD_OUT_BATCHES)
    figures = measure_answers(model, iterate_batches(config, photographs, unseen, workers))
    write_weights(model.get_layer(BACKBONE), out, options.half)
    card = Card(
        backbone=config.backbone,
        sha256=hash_file(out),
        command=write_command(config, out),
        config=config,
        photographs=len(photographs),
        images=config.steps * config.surfaces * VIEWS,
        first_losses=tuple(losses[:FIRST_LOSSES]),
        last_loss=float(np.mean(losses[-LAST_LOSSES:])),
        figures=figures,
        versions=list_versions(),
        licence=choose_licence(config),
    )
    write_card(card, out)
    name_checkpoint(out).unlink(missing_ok=True)
    return card


def check_out(out: Path, overwrite: bool) -> None:
    """Refuse a place for weights that cannot be written to, before any work is done.

    Raises:
        ConfigError: The name does not end in `.weights.h5`.
        RunExistsError: There are weights already.
    """
    if not out.name.endswith(WEIGHTS_SUFFIX):
        raise ConfigError(f"the weights file must end in {WEIGHTS_SUFFIX}. Received: {out}")
    if out.exists() and not overwrite:
        raise RunExistsError(f"{out} exists; give --overwrite, or another --out")
    out.parent.mkdir(parents=True, exist_ok=True)


def build_model(config: PretrainConfig) -> Any:
    """Build and compile the network; the same settings give the same weights to start from."""
    spec = find_backbone(config.backbone)
    weights = find_weights(spec, config.weights)
    seed_everything(config.seed)
    keras.config.set_dtype_policy(config.precision)
    targets = config.list_targets()
    answers = {
        "recipe": config.recipes,
        "rotation": 4,
        "contrast": 0,
        "layout": count_numbers(config.image_size_px),
    }
    counts = {name: answers.get(name, len(FAULTS) + 1) for name in targets}
    model = build_pretrainer(spec, config.image_size_px, counts)
    if weights is not None:
        load_weights(model.get_layer(BACKBONE), spec, weights)
    model.compile(
        make_optimizer(config),
        loss={name: LOSSES[name] for name in targets},
        loss_weights=targets,
        jit_compile=keras.backend.backend() != TENSORFLOW,  # on a processor XLA is slower
    )
    model.optimizer.build(model.trainable_variables)
    return model


def make_optimizer(config: PretrainConfig) -> keras.optimizers.Optimizer:
    """Make AdamW (Loshchilov & Hutter, 2019) whose rate rises, then falls to 0 as a cosine."""
    rising = max(1, round(config.warmup * config.steps))
    rate = keras.optimizers.schedules.CosineDecay(
        FIRST_SHARE * config.learning_rate,
        max(1, config.steps - rising),
        alpha=0.0,
        warmup_target=config.learning_rate,
        warmup_steps=rising,
    )
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def train_steps(
    model: Any, config: PretrainConfig, batches: Iterable[Batch], losses: list[float], last: int, out: Path
) -> None:
    """Learn from batches; append the loss of each, and leave a checkpoint now and then and whenever it ends.

    Raises:
        PretrainingDivergedError: The loss is no finite number; the last checkpoint stays.
    """
    saved = time.monotonic()
    try:
        with show_steps("Pre-training", last - len(losses)) as advance:
            for batch in batches:
                losses.append(_check_loss(take_step(model, config, batch), len(losses)))
                advance()
                if len(losses) % TELL_STEPS == 0:
                    logger.info("step %d: loss %.4f", len(losses), np.mean(losses[-TELL_STEPS:]))
                if time.monotonic() - saved > SAVE_SECONDS:
                    write_checkpoint(out, config, model, losses)
                    saved = time.monotonic()
    except BaseException as error:
        is_whole = int(model.optimizer.iterations) == len(losses)  # else a step was cut in two
        if is_whole and not isinstance(error, PretrainingDivergedError):
            write_checkpoint(out, config, model, losses)
        raise
    write_checkpoint(out, config, model, losses)


def take_step(model: Any, config: PretrainConfig, batch: Batch) -> float:
    """Learn from one batch and return its loss."""
    known = batch.answers  # the contrast of views is compared with nothing, but Keras wants to have something
    answers = {name: known.get(name, known["recipe"]) for name in config.list_targets()}
    found = model.train_on_batch(batch.pixels, answers, return_dict=True)
    model.reset_metrics()  # or the next loss would be a mean over both
    return float(found["loss"])


def _check_loss(loss: float, step: int) -> float:
    if not np.isfinite(loss):
        raise PretrainingDivergedError(f"the loss of step {step} is {loss}; a lower learning_rate may help")
    return loss


def measure_answers(model: Any, batches: Iterable[Batch]) -> dict[str, float]:
    """Measure what the network answers about batches that it has not learned from.

    Returns:
        `<question>_accuracy` of whole pictures; `cells_found` and `cells_wrong`: the shares of faulty and
        of flawless cells in which it holds some fault to be likelier than none; `layout_error`: the mean
        squared difference, about 1 for always saying the mean.
    """
    hits: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        for name, answer in model.predict_on_batch(batch.pixels).items():
            if name == "position":
                sees, truth = logsumexp(answer[..., 1:], axis=-1) > answer[..., 0], batch.answers[name]
                hits.setdefault("cells_found", []).append(sees[truth > 0])
                hits.setdefault("cells_wrong", []).append(sees[truth == 0])
            elif name == "layout":
                hits.setdefault("layout_error", []).append((answer - batch.answers[name]) ** 2)
            elif name in batch.answers:
                right = np.argmax(answer, axis=-1) == batch.answers[name]
                hits.setdefault(f"{name}_accuracy", []).append(right)
    return {name: float(np.concatenate(found).mean()) for name, found in sorted(hits.items())}
