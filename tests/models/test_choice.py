"""Which backbone and weights are taken where none are named."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from urllib.error import URLError

import pytest

from mvdefect.config import FitConfig
from mvdefect.core.errors import WeightsError
from mvdefect.core.runtime import OFFLINE
from mvdefect.models import weights as weights_module
from mvdefect.models.backbones import BACKBONES, BackboneSpec, find_backbone
from mvdefect.models.choice import choose_network, name_network
from mvdefect.models.weights import find_weights


@pytest.fixture
def keras_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv(OFFLINE)
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def choose(**given: str) -> tuple[str, str]:
    config = choose_network(FitConfig(**given))
    return config.backbone, config.weights


@pytest.mark.parametrize(
    ("cached", "taken"),
    [
        (["mobilenetv2"], "mobilenetv2"),
        (["mobilenetv2", "resnet50"], "resnet50"),
        (["mobilenetv2", "densenet121"], "densenet121"),
        (["convnext_tiny"], "convnext_tiny"),
        (["convnext_tiny", "efficientnetv2b0"], "efficientnetv2b0"),
    ],
)
def test_weights_in_the_cache_come_first(
    keras_models: Path,
    monkeypatch: pytest.MonkeyPatch,
    messages: list[str],
    cached: list[str],
    taken: str,
) -> None:
    monkeypatch.setattr(weights_module, "download_imagenet", lambda _: pytest.fail("asked the network"))
    for name in cached:
        (keras_models / BACKBONES[name].imagenet_file).write_bytes(b"weights")
    assert choose() == (taken, "imagenet")
    assert messages == [
        f"backbone {taken}: ImageNet weights, found in Keras's cache (--backbone and --weights name others)"
    ]


def test_the_network_comes_next(keras_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(spec: BackboneSpec) -> None:
        (keras_models / spec.imagenet_file).write_bytes(b"weights")

    monkeypatch.setattr(weights_module, "download_imagenet", download)
    assert choose() == ("densenet121", "imagenet")
    assert find_weights(find_backbone("densenet121"), "imagenet").is_file()


@pytest.mark.usefixtures("keras_models")
def test_texture_weights_come_last(monkeypatch: pytest.MonkeyPatch, messages: list[str]) -> None:
    def refuse(_: BackboneSpec) -> None:
        raise URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(weights_module, "download_imagenet", refuse)
    assert choose() == ("efficientnetb0", "texture")
    assert "cannot be downloaded ([Errno -2] Name or service not known)" in messages[-1]


@pytest.mark.usefixtures("keras_models")
def test_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch, messages: list[str]) -> None:
    monkeypatch.setattr(weights_module, "download_imagenet", lambda _: pytest.fail("asked the network"))
    monkeypatch.setenv(OFFLINE, "1")
    assert choose() == ("efficientnetb0", "texture")
    assert "working offline" in messages[-1]


@pytest.mark.usefixtures("keras_models")
def test_a_silent_firewall_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a name server nor a server that accepts and says nothing holds it for longer."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(weights_module, "PUBLISHED", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        monkeypatch.setattr(weights_module, "DOWNLOAD_TIMEOUT_S", 0.2)
        started = time.monotonic()
        with pytest.raises(WeightsError, match="timed out|no answer within 0.2 seconds"):
            find_weights(find_backbone("mobilenetv2"), "imagenet")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"backbone": "densenet121"}, ("densenet121", "imagenet")),
        ({"backbone": "mobilenetv2"}, ("mobilenetv2", "imagenet")),
        ({"backbone": "small_cnn"}, ("small_cnn", "none")),
        ({"weights": "imagenet"}, ("densenet121", "imagenet")),
        ({"weights": "none"}, ("densenet121", "none")),
        ({"weights": "texture"}, ("efficientnetb0", "texture")),
        ({"weights": "mine.h5"}, ("densenet121", "mine.h5")),
        ({"backbone": "resnet50", "weights": "none"}, ("resnet50", "none")),
    ],
)
def test_what_was_given_is_never_replaced(given: dict[str, str], named: tuple[str, str]) -> None:
    assert choose(**given) == named


def test_a_search_keeps_its_meaning_whatever_is_there() -> None:
    config = name_network(FitConfig())
    assert (config.backbone, config.weights) == ("densenet121", "imagenet")
