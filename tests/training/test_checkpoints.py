"""What an interrupted training leaves behind, whole or damaged."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from mvdefect.core.errors import RunError
from mvdefect.runs import RunFolder
from mvdefect.training.checkpoints import (
    STATE_FILE,
    Checkpoints,
    TrainingState,
    read_state,
    restore_variables,
    store_state,
)

DAMAGES = [b"", b"\xb5", b"[" * 200_000, b"{}", b"[1]", b'{"rows": [1], "best_score": 1}', b"9" * 5000]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run.partial")
    folder.checkpoint.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage[:8]))
def test_a_damaged_state_is_named(folder: RunFolder, damage: bytes) -> None:
    assert read_state(folder) == TrainingState()
    state = store_state(folder, TrainingState(stage=2))
    assert read_state(folder) == state
    (folder.checkpoint / STATE_FILE).write_bytes(damage)
    with pytest.raises(
        RunError, match=r"cannot continue because .*state.json is damaged .* remove .*run.partial"
    ):
        read_state(folder)


@pytest.mark.parametrize("damage", [b"", b"no archive", b"PK\x03\x04" + bytes(99)])
def test_damaged_variables_are_named(folder: RunFolder, damage: bytes) -> None:
    variables = [keras.Variable(np.arange(3.0))]
    kept = Checkpoints(folder, variables, 0)
    kept.keep_best()
    state = TrainingState(best_file="best-1.npz", last_file="epoch-1.npz")
    kept.write(state, keras.optimizers.SGD(), True)
    path = folder.checkpoint / state.best_file
    variables[0].assign(np.zeros(3))
    restore_variables(path, variables)
    assert variables[0].numpy().tolist() == [0, 1, 2]
    path.write_bytes(damage)
    with pytest.raises(RunError, match=rf"{path} is damaged .*; remove {folder.path} to start again"):
        restore_variables(path, variables)
