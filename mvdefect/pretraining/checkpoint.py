"""What an unfinished pre-training leaves to go on from: one file beside the weights that are to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from mvdefect.errors import ConfigError, RunError
from mvdefect.paths import UNREADABLE_NPZ, replace_file
from mvdefect.pretraining.settings import PretrainConfig

SUFFIX = ".unfinished.npz"


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
