"""Pre-training: it learns, it repeats, it goes on after an interrupt, and its weights can be used."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from mvdefect.cli import main
from mvdefect.core.errors import ConfigError, ImageError, LayoutError, RunError, RunExistsError, WeightsError
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import build_classifier
from mvdefect.models.heads import HeadSettings
from mvdefect.pretraining import pretrain as module
from mvdefect.pretraining.card import hash_file, name_card, read_card
from mvdefect.pretraining.pretrain import PretrainOptions, name_checkpoint, pretrain
from mvdefect.pretraining.settings import PretrainConfig
from mvdefect.pretraining.stream import cut_surface, draw_batch, list_photographs
from mvdefect.pretraining.verify import verify_card

TINY = PretrainConfig(
    backbone="small_cnn", image_size_px=64, recipes=8, surfaces=4, steps=12, learning_rate=3e-3
)
ALONE = PretrainOptions(workers=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pretraining") / "tiny.weights.h5"
    pretrain(TINY, out, ALONE)
    return out


def test_the_card_says_how_the_weights_were_made(made: Path) -> None:
    card = read_card(made)
    assert card.config == TINY
    assert card.sha256 == hash_file(made)
    assert card.images == 12 * 4 * 3
    assert len(card.first_losses) == 12
    assert card.licence.startswith("Apache-2.0")
    figures = {"defect_type_accuracy", "recipe_accuracy", "cells_found", "cells_wrong", "layout_error"}
    assert figures == set(card.figures)
    assert not name_checkpoint(made).exists()
    assert {path.name for path in made.parent.iterdir()} == {made.name, name_card(made).name}


def test_it_repeats(made: Path) -> None:
    found = verify_card(made, workers=2)
    assert found.holds
    assert found.steps == 12
    assert found.largest_difference <= 1e-3


def test_another_seed_is_another_training(made: Path) -> None:
    card = read_card(made)
    other = card.model_copy(update={"config": card.config.model_copy(update={"seed": 1})})
    kept = name_card(made).read_text()
    try:
        name_card(made).write_text(other.model_dump_json())
        assert not verify_card(made, workers=1).holds
    finally:
        name_card(made).write_text(kept)


def test_a_fit_takes_the_weights(made: Path) -> None:
    spec = find_backbone("small_cnn")
    model = build_classifier(spec, (96, 96), HeadSettings(), 2, made)
    kernel = model.get_layer("backbone").get_layer("block1a_conv").kernel
    with h5py.File(made) as file:
        stored: list[np.ndarray] = []
        file.visititems(
            lambda _, found: (
                stored.append(found[()]) if getattr(found, "shape", None) == kernel.shape else None
            )
        )
    assert any(np.allclose(kernel, values) for values in stored)


def test_large_arrays_are_halved_and_come_back_as_float32(tmp_path: Path, made: Path) -> None:
    full = tmp_path / "full.weights.h5"
    pretrain(TINY, full, replace(ALONE, half=False))
    assert made.stat().st_size < 0.7 * full.stat().st_size
    networks = []
    for path in (made, full):
        network = find_backbone("small_cnn").build((64, 64), None)
        network.load_weights(path)
        networks.append(network)
    for half, whole in zip(*(network.get_weights() for network in networks), strict=True):
        assert half.dtype == np.float32
        np.testing.assert_allclose(half, whole, rtol=1e-3, atol=1e-6)


def test_it_goes_on_after_an_interrupt(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, take = tmp_path / "again.weights.h5", module.take_step

    def interrupt(model, config, batch):
        if model.optimizer.iterations == 5:
            raise KeyboardInterrupt
        return take(model, config, batch)

    monkeypatch.setattr(module, "take_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pretrain(TINY, out, ALONE)
    assert not out.exists()
    monkeypatch.setattr(module, "take_step", take)
    assert pretrain(TINY, out, replace(ALONE, until=8)) is None
    card = pretrain(TINY, out, ALONE)
    np.testing.assert_allclose(card.first_losses, read_card(made).first_losses, rtol=1e-4)


def test_other_settings_do_not_go_on(tmp_path: Path) -> None:
    out = tmp_path / "x.weights.h5"
    pretrain(TINY, out, replace(ALONE, until=2))
    with pytest.raises(ConfigError, match="other settings"):
        pretrain(TINY.model_copy(update={"seed": 3}), out, ALONE)
    name_checkpoint(out).write_bytes(b"broken")
    with pytest.raises(RunError, match="is damaged; remove it"):
        pretrain(TINY, out, ALONE)


def test_weights_are_not_overwritten_by_accident(made: Path, tmp_path: Path) -> None:
    before = made.read_bytes()
    with pytest.raises(RunExistsError, match="--overwrite"):
        pretrain(TINY, made, ALONE)
    assert made.read_bytes() == before
    with pytest.raises(ConfigError, match="must end in .weights.h5"):
        pretrain(TINY, tmp_path / "x.h5", ALONE)


def test_a_loss_that_is_no_number_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "take_step", lambda *_: float("nan"))
    out = tmp_path / "x.weights.h5"
    with pytest.raises(module.PretrainingDivergedError, match="the loss of step 0 is nan"):
        pretrain(TINY, out, ALONE)
    assert not name_checkpoint(out).exists()


def test_it_learns(tmp_path: Path) -> None:
    """Two recipes are soon told apart in pictures that it has never seen."""
    config = TINY.model_copy(update={"steps": 80, "recipes": 2, "targets": {"recipe": 1.0}})
    card = pretrain(config, tmp_path / "x.weights.h5", PretrainOptions(workers=2))
    assert card.figures == {"recipe_accuracy": pytest.approx(1, abs=0.1)}
    assert card.last_loss < card.first_losses[0]


def test_a_cell_is_faulty_where_some_fault_is_likelier_than_none() -> None:
    """Eleven kinds of fault share one half of the weight, so none of them need be the likeliest answer."""
    batch = draw_batch(TINY, (), 0)
    position = batch.answers["position"]

    class Undecided:
        def predict_on_batch(self, _: np.ndarray) -> dict[str, np.ndarray]:
            logits = np.zeros((*position.shape, 12), np.float32)
            logits[..., 0] = np.where(position > 0, 1.0, 3.0)  # log of eleven is 2.4
            return {"position": logits}

    assert module.measure_answers(Undecided(), [batch]) == {"cells_found": 1.0, "cells_wrong": 0.0}


def test_photographs_need_no_labels(parts_root: Path, tmp_path: Path) -> None:
    config = TINY.model_copy(update={"photographs": str(parts_root), "steps": 2})
    card = pretrain(config, tmp_path / "x.weights.h5", ALONE)
    assert card.photographs == len(list_photographs(str(parts_root)))
    assert not any("ground_truth" in path.parts for path in list_photographs(str(parts_root)))
    assert "rotation_accuracy" in card.figures
    assert card.licence.startswith("that of the weights")


def test_photographs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="must name a folder"):
        list_photographs(str(tmp_path / "nowhere"))
    with pytest.raises(LayoutError, match="no photographs below"):
        list_photographs(str(tmp_path))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="1 of 1 files cannot be read: .*broken.png"):
        list_photographs(str(tmp_path))


def test_a_cut_is_part_of_the_photograph(parts_root: Path) -> None:
    surface = cut_surface(list_photographs(str(parts_root))[0], np.random.default_rng(0), 77)
    assert surface.canvas.shape == (77, 77, 3)
    assert 0 <= surface.canvas.min() <= surface.canvas.max() <= 1


def test_a_damaged_card_is_named(made: Path, tmp_path: Path) -> None:
    lonely = tmp_path / "lonely.weights.h5"
    lonely.write_bytes(made.read_bytes())
    with pytest.raises(WeightsError, match="the card .*lonely.json of lonely.weights.h5 is missing"):
        verify_card(lonely)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x.weights.h5"
    flags = [
        "--backbone",
        "small_cnn",
        "--image-size",
        "64",
        "--surfaces",
        "2",
        "--steps",
        "3",
        "--workers",
        "1",
    ]
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *flags, "--set", "recipes=4", "--out", str(out)])
    assert ended.value.code == 0
    assert "small_cnn, 18 views of drawn surfaces" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--verify", str(out), "--workers", "1"])
    assert ended.value.code == 0
    assert "3 steps repeated" in capsys.readouterr().out
    out.write_bytes(out.read_bytes() + b"x")
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", "--verify", str(out), "--workers", "1"])
    assert ended.value.code == 1
    assert "not the one that the card was written for" in capsys.readouterr().out
    assert json.loads(name_card(out).read_text())["config"]["recipes"] == 4
    assert keras.config.dtype_policy().name == "float32"
