"""A file of a network that asks for absurd sizes is refused in one line, before memory is taken."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from mvdefect.core.errors import RunError, WeightsError
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import load_classifier
from mvdefect.models.weights import load_weights


def change_config(source: Path, out: Path, change: Callable[[str], str]) -> Path:
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(out, "w") as written:
        for member in given.infolist():
            content = given.read(member)
            if member.filename == "config.json":
                content = change(content.decode()).encode()
            written.writestr(member, content)
    return out


def replace_number(name: str, number: int) -> Callable[[str], str]:
    def change(text: str) -> str:
        tree = json.loads(text, object_hook=replace)
        return json.dumps(tree)

    def replace(found: dict[str, Any]) -> dict[str, Any]:
        if isinstance(found.get(name), list):
            found[name] = [number if isinstance(one, int) else one for one in found[name]]
        elif name in found:
            found[name] = number
        return found

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replace_number("filters", 2_000_000), "its layers ask for .* numbers; 536,870,912 are allowed"),
        (replace_number("kernel_size", 30_000), "its layers ask for .* numbers"),
        (replace_number("batch_shape", 10**6), "it wants images of 1,000,000 pixels a side; 16,384"),
        (lambda _: '{"a":' * 100_000, "nested too deeply"),
        (lambda _: "[]", "cannot be loaded: "),
        (lambda _: " " * 2**25, "it unpacks to "),
    ],
)
def test_absurd_models_are_refused(
    finished_run: Path, tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    path = change_config(finished_run / "model.keras", tmp_path / "model.keras", change)
    started = time.process_time()
    with pytest.raises(RunError, match=said) as refused:
        load_classifier(path)
    assert "\n" not in str(refused.value)
    assert time.process_time() - started < 10


def test_an_honest_model_is_loaded(finished_run: Path, tmp_path: Path) -> None:
    path = change_config(finished_run / "model.keras", tmp_path / "model.keras", lambda text: text)
    assert load_classifier(path).input.shape == (None, 64, 64, 3)


@pytest.mark.parametrize("shape", [(10**6, 10**6), (200, 200, 30)])
def test_arrays_that_are_not_there_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path, spec = tmp_path / "bomb.weights.h5", find_backbone("small_cnn")
    with h5py.File(path, "w") as file:
        chunks = tuple(min(side, 100) for side in shape)
        file.create_dataset("layers/conv/vars/0", shape=shape, dtype="f4", chunks=chunks, compression="gzip")
    with pytest.raises(WeightsError, match="layers/conv/vars/0 asks for .* bytes, and 0 are there"):
        load_weights(spec.build((64, 64), None), spec, path)
