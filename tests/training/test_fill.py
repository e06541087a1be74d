"""Filling stores together: what each would have computed alone, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from mvdefect.config import AugmentConfig
from mvdefect.data.pipeline import Source
from mvdefect.models.backbones import find_backbone
from mvdefect.models.classifier import HEAD, build_classifier, cut_classifier, replace_head
from mvdefect.models.heads import HeadSettings
from mvdefect.training import activations
from mvdefect.training import activations as fill
from mvdefect.training.activations import ActivationStore, FrozenPart, ViewSettings, fill_stores

VIEWS = ViewSettings(3, 0, AugmentConfig())
CASES = [  # kind and pooling of the head, taps, depth
    ("pooled", "avg", 2, 0),
    ("pooled", "avg_max", 2, 0),
    ("pooled", "avg", 1, 0),
    ("patch", "avg", 2, 0),
    ("patch", "avg", 1, 1),
    ("pooled", "avg", 2, 2),
]


def make_stores(
    backbone: str, folder: Path, source: Source, views: ViewSettings | None = VIEWS, dtype: str = "float32"
) -> list[ActivationStore]:
    """Make an empty store of each case, all of one backbone."""
    spec = find_backbone(backbone)
    keras.utils.set_random_seed(0)
    first = build_classifier(spec, (64, 64), HeadSettings(), 2, None)
    stores = []
    for number, (kind, pooling, taps, depth_blocks) in enumerate(CASES):
        model = replace_head(first, spec, HeadSettings(kind, pooling), taps)
        cut = cut_classifier(model, spec, depth_blocks, model.get_layer(HEAD))
        assert cut is not None
        stores.append(ActivationStore(folder / str(number), FrozenPart(cut), source, views, dtype))
    return stores


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None]]:
    """How many stores each pass of a test was for, and which slot."""
    noted: list[tuple[int, int | None]] = []
    compute: Callable[..., None] = activations.compute_entries

    def note(stores: list[ActivationStore], slot: int | None, run: object) -> None:
        noted.append((len(stores), slot))
        compute(stores, slot, run)

    monkeypatch.setattr(activations, "compute_entries", note)
    monkeypatch.setattr(fill, "compute_entries", note)
    return noted


@pytest.mark.parametrize("backbone", ["small_cnn", "mobilenetv2"])
def test_stores_hold_what_they_would_have_computed_alone(
    sources: dict[str, Source], tmp_path: Path, backbone: str, passes: list[tuple[int, int | None]]
) -> None:
    source = sources["val"]
    together = make_stores(backbone, tmp_path / "together", source)
    fill_stores(together, [None, 1])
    assert passes == [(len(CASES), None), (len(CASES), 1)]
    for store, other in zip(make_stores(backbone, tmp_path / "alone", source), together, strict=True):
        for slot in (None, 1):
            for expected, found in zip(store.open_slot(slot), other.open_slot(slot), strict=True):
                assert expected.shape == found.shape
                assert np.allclose(expected, found, rtol=1e-5, atol=1e-6)
    assert passes[2:] == [(1, None), (1, 1)] * len(CASES)  # what was filled is opened as it is
    names = [sorted(path.name for path in (tmp_path / how / "2").iterdir()) for how in ("together", "alone")]
    assert names[0] == names[1]


def test_what_is_there_is_not_touched_and_what_is_damaged_is_mended(
    sources: dict[str, Source], tmp_path: Path, passes: list[tuple[int, int | None]]
) -> None:
    stores = make_stores("small_cnn", tmp_path, sources["val"], dtype="float16")
    stores[1].open_slot(0)
    before = (tmp_path / "1" / "slot-0000.0.npy").stat()
    fill_stores(stores, [0])
    assert passes[1:] == [(len(CASES) - 1, 0)]
    after = (tmp_path / "1" / "slot-0000.0.npy").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    (tmp_path / "4" / "slot-0000.0.npy").unlink()
    del passes[:]
    fill_stores(stores, [0])
    fill_stores(stores, [0])
    assert passes == [(1, 0)]


def test_layers_that_cuts_share_run_once(
    sources: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = make_stores("small_cnn", tmp_path, sources["val"])
    layer = stores[0].frozen.cut.frozen.get_layer(index=2).get_layer("block1a_conv")
    calls, call = [], layer.call
    monkeypatch.setattr(layer, "call", lambda *a, **k: calls.append(1) or call(*a, **k))
    fill_stores(stores, [None, 0, 1])
    assert len(calls) == 1  # when the model of all cuts is traced, which all slots share


def test_stores_of_one_folder_count_as_one(
    sources: dict[str, Source], tmp_path: Path, passes: list[tuple[int, int | None]]
) -> None:
    store = make_stores("small_cnn", tmp_path, sources["val"])[3]
    fill_stores([store, replace(store)], [0])
    assert passes == [(1, 0)]


def test_an_interrupted_pass_leaves_no_entry(sources: dict[str, Source], tmp_path: Path) -> None:
    stores = make_stores("small_cnn", tmp_path, sources["val"])

    def stop(pixels: object) -> list[np.ndarray]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        activations.compute_entries(stores, 0, stop)
    assert not [path for path in tmp_path.rglob("*") if path.suffix]  # but for locks


def test_only_stores_that_belong_together_are_filled_together(
    sources: dict[str, Source], tmp_path: Path
) -> None:
    stores = make_stores("small_cnn", tmp_path / "a", sources["val"])
    with pytest.raises(ValueError, match="of one source and the same views"):
        fill_stores([stores[0], replace(stores[1], source=sources["train"])], [0])
    with pytest.raises(ValueError, match="of one source and the same views"):
        fill_stores([stores[0], replace(stores[1], views=None)], [None])
    others = make_stores("small_cnn", tmp_path / "b", sources["val"])
    with pytest.raises(ValueError, match="cuts of 2 backbones and 2 scalings"):
        fill_stores([stores[0], others[1]], [0])
    plain = make_stores("small_cnn", tmp_path / "c", sources["val"], None)
    with pytest.raises(ValueError, match="slot must be None. Received: 2"):
        fill_stores(plain, [2])
