"""Where weights come from, and what is said when they cannot be had."""

from __future__ import annotations

from pathlib import Path
from urllib.error import URLError

import keras
import numpy as np
import pytest

from mvdefect.core.errors import WeightsError
from mvdefect.models import weights as weights_module
from mvdefect.models.backbones import BACKBONES, find_backbone
from mvdefect.models.weights import TEXTURE_WEIGHTS, find_weights, list_texture_backbones, load_weights
from mvdefect.pretraining.card import hash_file, read_card


@pytest.fixture
def empty_keras_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("MVDEFECT_OFFLINE")
    return tmp_path / "models"


def refuse(_: object) -> None:
    print("Downloading data")
    raise URLError("no route to host")


@pytest.mark.parametrize("name", sorted(name for name, spec in BACKBONES.items() if spec.imagenet_file))
def test_without_network_and_cache_the_way_out_is_told(
    name: str, empty_keras_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[object] = []
    monkeypatch.setattr(weights_module, "download_imagenet", lambda one: (tried.append(one), refuse(one)))
    spec = find_backbone(name)
    with pytest.raises(WeightsError) as caught:
        find_weights(spec, "imagenet")
    assert len(tried) == 1
    message = str(caught.value)
    assert f"put the file {spec.imagenet_file} into {empty_keras_home}" in message
    assert "--weights PATH" in message
    assert "--weights none" in message
    assert ("--weights texture" in message) == (name in list_texture_backbones())
    assert "\n" not in message
    assert capsys.readouterr().out == ""


def test_imagenet_weights_come_from_the_cache(
    empty_keras_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the kind that Keras publishes (HDF5) is used where Keras keeps it; no network is asked."""
    monkeypatch.setattr(weights_module, "download_imagenet", lambda _: pytest.fail("asked the network"))
    spec = find_backbone("mobilenetv2")
    source, target = spec.build((64, 64), None), spec.build((64, 64), None)
    empty_keras_home.mkdir()
    source.save(empty_keras_home / spec.imagenet_file)
    load_weights(target, spec, find_weights(spec, "imagenet"))
    assert all(np.array_equal(a, b) for a, b in zip(source.get_weights(), target.get_weights(), strict=True))


def test_weights_from_a_file(tmp_path: Path) -> None:
    spec = find_backbone("small_cnn")
    source, target = spec.build((64, 64), None), spec.build((96, 96), None)
    source.save_weights(tmp_path / "mine.weights.h5")
    load_weights(target, spec, find_weights(spec, str(tmp_path / "mine.weights.h5")))
    assert all(np.array_equal(a, b) for a, b in zip(source.get_weights(), target.get_weights(), strict=True))


@pytest.mark.parametrize("other", ["resnet50", "efficientnetb0", "densenet121", "small_cnn"])
def test_weights_of_another_architecture(other: str, tmp_path: Path) -> None:
    path = tmp_path / "other.weights.h5"
    BACKBONES[other].build((64, 64), None).save_weights(path)
    spec = find_backbone("mobilenetv2")
    with pytest.raises(WeightsError, match=r"do not fit mobilenetv2 .* another architecture"):
        load_weights(spec.build((64, 64), None), spec, path)


@pytest.mark.parametrize("name", list_texture_backbones())
def test_texture_weights_are_part_of_the_package(name: str) -> None:
    """They are small, are those of their card, fit, and give features that tell pictures apart."""
    spec, card = find_backbone(name), read_card(TEXTURE_WEIGHTS / f"{name}.weights.h5")
    path = find_weights(spec, "texture")
    assert path is not None
    assert card.backbone == name
    assert card.sha256 == hash_file(path)
    assert card.licence.startswith("Apache-2.0")
    assert len(card.first_losses) == 200
    network = spec.build((64, 64), None)
    load_weights(network, spec, path)
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    features = np.asarray(network(spec.preprocess(pictures), training=False))
    assert np.isfinite(features).all()
    assert features.std() > 1e-3


def test_texture_weights_fit_into_ten_megabytes_and_efficientnetb0_is_among_them() -> None:
    assert "efficientnetb0" in list_texture_backbones()
    assert sum(path.stat().st_size for path in TEXTURE_WEIGHTS.iterdir()) < 10e6


def test_texture_weights_of_another_backbone_are_to_be_made(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match="mvdefect pretrain --backbone small_cnn --out small_cnn.weights.h5"
    ):
        find_weights(find_backbone("small_cnn"), "texture")


def test_damaged_weights(tmp_path: Path) -> None:
    path = tmp_path / "bad.weights.h5"
    path.write_bytes(b"x" * 100)
    spec = find_backbone("small_cnn")
    with pytest.raises(WeightsError, match="damaged"):
        load_weights(spec.build((64, 64), None), spec, path)


def test_what_is_plain_is_said_before_any_work(tmp_path: Path) -> None:
    spec = find_backbone("mobilenetv2")
    assert find_weights(spec, "none") is None
    with pytest.raises(
        WeightsError, match=r"imagenet, texture, none, or the path of a file. Received: .*no such file"
    ):
        find_weights(spec, str(tmp_path / "nothing.h5"))
    (tmp_path / "weights.txt").write_text("x")
    with pytest.raises(WeightsError, match=r"ends in \.weights\.h5 or \.h5"):
        find_weights(spec, str(tmp_path / "weights.txt"))
    with pytest.raises(WeightsError, match="small_cnn has no imagenet weights"):
        find_weights(find_backbone("small_cnn"), "imagenet")


@pytest.mark.parametrize("name", ["published.h5", "saved.weights.h5"])
def test_efficientnet_sees_colours_as_it_did_when_it_learned(name: str, tmp_path: Path) -> None:
    """The published file has standard deviations as variances; Keras divides by their root again."""
    spec, path = find_backbone("efficientnetb0"), tmp_path / name
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    source, network = spec.build((64, 64), None), spec.build((64, 64), None)
    find_normalisation(source).set_weights([mean, std, np.array(0)])
    (source.save_weights if name.endswith(".weights.h5") else source.save)(path)
    load_weights(network, spec, path)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype(np.float32)
    seen = keras.Model(network.input, find_normalisation(network).output)(pixels)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(seen), (pixels / 255 - mean) / std, atol=1e-4)
    network.save_weights(tmp_path / "again.weights.h5")
    load_weights(source, spec, tmp_path / "again.weights.h5")
    for before, after in zip(network.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def find_normalisation(network: keras.Model) -> keras.layers.Normalization:
    (found,) = (one for one in network.layers if isinstance(one, keras.layers.Normalization))
    return found


def test_real_imagenet_weights_see_more_than_random_ones(mobilenet_weights: Path) -> None:
    spec = find_backbone("mobilenetv2")
    network = spec.build((64, 64), None)
    before = network.get_weights()[0].copy()
    load_weights(network, spec, mobilenet_weights)
    assert not np.array_equal(network.get_weights()[0], before)
