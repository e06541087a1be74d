"""The activation store: computed once, checked, made anew when damaged, and within its budget."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from mvdefect.config import AugmentConfig
from mvdefect.data.pipeline import Source, Views, make_inference_batches, make_view_batches
from mvdefect.data.views import list_views
from mvdefect.models.backbones import BACKBONES
from mvdefect.models.classifier import HEAD, build_classifier, cut_classifier
from mvdefect.models.heads import HeadSettings
from mvdefect.training import activations
from mvdefect.training.activations import (
    ActivationStore,
    FrozenPart,
    ViewSettings,
    compute_entries,
    count_image_bytes,
    name_store,
)
from mvdefect.training.budget import hold_store, make_room

SPEC = BACKBONES["small_cnn"]
VIEWS = ViewSettings(4, 0, AugmentConfig())
PATCH = HeadSettings("patch")


@pytest.fixture(scope="module")
def source(sources: dict[str, Source]) -> Source:
    return sources["train"]


def build(seed: int = 0, depth_blocks: int = 1, head: HeadSettings = PATCH, taps: int = 2) -> FrozenPart:
    keras.utils.set_random_seed(seed)
    model = build_classifier(SPEC, (64, 64), head, taps, None)
    cut = cut_classifier(model, SPEC, depth_blocks, model.get_layer(HEAD))
    assert cut is not None
    return FrozenPart(cut)


@pytest.fixture(scope="module")
def frozen() -> FrozenPart:
    return build()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The entries that are computed while a test runs."""
    names: list[str] = []

    def note(stores: list[ActivationStore], slot: int | None, run: object) -> None:
        names.extend(store.find_entry(slot).name for store in stores)
        compute_entries(stores, slot, run)

    monkeypatch.setattr(activations, "compute_entries", note)
    return names


def make_store(folder: Path, frozen: FrozenPart, source: Source, dtype: str = "float32") -> ActivationStore:
    return ActivationStore(folder, frozen, source, VIEWS, dtype)


@pytest.mark.parametrize("depth_blocks", [0, 1, 3])
def test_a_slot_holds_what_the_frozen_part_makes_of_its_views(
    source: Source, tmp_path: Path, depth_blocks: int
) -> None:
    frozen = build(depth_blocks=depth_blocks)
    store = make_store(tmp_path / "store", frozen, source)
    for slot in (None, 0, 3):
        if slot is None:
            batches = make_inference_batches(source, 7)
        else:
            shown = list_views(source.count, slot, VIEWS.seed, VIEWS.count)
            views = Views(np.arange(source.count), shown, VIEWS.seed, VIEWS.augment)
            batches = make_view_batches(source, views, 7)
        pixels = np.concatenate(list(batches.as_numpy_iterator()))
        expected = keras.tree.flatten(frozen.cut.frozen.predict(pixels, verbose=0))
        found = store.open_slot(slot)
        assert len(found) == len(expected) == len(frozen.cut.names)
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(found, expected, strict=True))
        assert all(isinstance(array, np.memmap) for array in found)
    size_bytes = sum(file.stat().st_size for file in store.folder.glob("*.npy"))
    assert 0 < size_bytes - 3 * store.bytes_per_slot < 3 * len(frozen.cut.names) * 256  # headers


def test_an_entry_is_computed_once(
    source: Source, frozen: FrozenPart, tmp_path: Path, computed: list[str]
) -> None:
    store = make_store(tmp_path, frozen, source)
    first = np.array(store.open_slot(1)[0])
    store.open_slot(1)
    again = make_store(tmp_path, frozen, source).open_slot(1)[0]
    assert computed == ["slot-0001"]
    assert np.array_equal(first, again)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip_a_bit, cut_short, empty, Path.unlink])
@pytest.mark.parametrize("suffix", [".0.npy", ".json"])
def test_a_damaged_entry_is_computed_again(
    source: Source, frozen: FrozenPart, tmp_path: Path, computed: list[str], damage: object, suffix: str
) -> None:
    if damage is flip_a_bit and suffix == ".json":
        pytest.skip("a note is shorter than that")
    whole = np.array(make_store(tmp_path, frozen, source).open_slot(2)[0])
    damage(tmp_path / f"slot-0002{suffix}")
    mended = make_store(tmp_path, frozen, source).open_slot(2)[0]
    assert computed == ["slot-0002"] * 2
    assert np.array_equal(mended, whole)


def test_float16_rounds_and_saturates(source: Source, frozen: FrozenPart, tmp_path: Path) -> None:
    exact = make_store(tmp_path / "a", frozen, source).open_slot(0)[0]
    rounded = make_store(tmp_path / "b", frozen, source, "float16").open_slot(0)[0]
    assert rounded.dtype == np.float16
    assert np.allclose(exact, rounded, rtol=2**-11, atol=1e-6)
    store = make_store(tmp_path / "c", frozen, source, "float16")
    compute_entries([store], 0, lambda pixels: [np.full((len(pixels), *exact.shape[1:]), 1e6, np.float32)])
    assert np.all(store.open_slot(0)[0] == 65504)


def test_the_frozen_part_is_traced_and_hashed_once_for_all_slots_and_parts(
    sources: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen, traced = build(), []
    below = frozen.cut.frozen.call
    monkeypatch.setattr(frozen.cut.frozen, "call", lambda *a, **k: traced.append(1) or below(*a, **k))
    digests = [name_store(frozen, sources[part], None, "float32") for part in ("train", "val")]
    assert len(set(digests)) == 2
    assert not traced
    for run in (1, 2):
        train = make_store(tmp_path / "train", frozen, sources["train"])
        val = ActivationStore(tmp_path / "val", frozen, sources["val"], None, "float32")
        assert [len(store.open_slot(None)[0]) for store in (train, val)] == [
            sources[part].count for part in ("train", "val")
        ], run
        for slot in range(3):
            train.open_slot(slot)
        assert len(traced) == 1
    again = build()
    monkeypatch.setattr(activations, "trace_frozen", None)  # whole entries need no network
    make_store(tmp_path / "train", again, sources["train"]).open_slot(2)


def test_images_as_they_are_have_a_store_without_views(
    source: Source, frozen: FrozenPart, tmp_path: Path
) -> None:
    store = ActivationStore(tmp_path / "plain", frozen, source, None, "float32")
    expected = make_store(tmp_path / "views", frozen, source).open_slot(None)[0]
    assert np.array_equal(store.open_slot(None)[0], expected)
    with pytest.raises(ValueError, match="slot must be None. Received: 0"):
        store.open_slot(0)


def test_the_name_tells_apart_all_that_decides_the_activations(source: Source, frozen: FrozenPart) -> None:
    rows = source.plan.rows
    of_other_content = replace(source.plan, rows=(replace(rows[0], sha256="0" * 64, part="train"), *rows[1:]))
    light = VIEWS.augment.model_copy(update={"brightness": 0.2})
    names = [
        name_store(frozen, source, VIEWS, "float16"),
        name_store(frozen, source, VIEWS, "float32"),
        name_store(frozen, source, replace(VIEWS, count=5), "float16"),
        name_store(frozen, source, replace(VIEWS, seed=1), "float16"),
        name_store(frozen, source, replace(VIEWS, augment=light), "float16"),
        name_store(frozen, replace(source, part="val"), VIEWS, "float16"),
        name_store(frozen, replace(source, plan=of_other_content), VIEWS, "float16"),
        name_store(frozen, replace(source, store=replace(source.store, key="other")), VIEWS, "float16"),
        name_store(build(seed=1), source, VIEWS, "float16"),
        name_store(build(depth_blocks=2), source, VIEWS, "float16"),
        name_store(frozen, source, None, "float16"),
        *(
            name_store(build(0, 0, HeadSettings("pooled", pooling), taps), source, VIEWS, "float16")
            for pooling in ("avg", "avg_max")
            for taps in (1, 2)
        ),
    ]
    assert len(set(names)) == len(names)
    assert name_store(build(), source, VIEWS, "float16") == names[0]


def test_what_a_head_with_pooling_needs_is_a_vector(source: Source) -> None:
    model = build_classifier(SPEC, (64, 64), HeadSettings("pooled"), 2, None)
    cut = cut_classifier(model, SPEC, 0, model.get_layer(HEAD))
    assert cut is not None
    assert count_image_bytes(cut, "float16") == 2 * (48 + 64)


def fill(folder: Path, size_bytes: int, used: float) -> Path:
    folder.mkdir(parents=True)
    (folder / "slot-0000.0.npy").write_bytes(bytes(size_bytes))
    os.utime(folder, (used, used))
    return folder


def test_old_activations_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path))
    root = tmp_path / "activations"
    oldest, old, new = (fill(root / name, 400, used) for name, used in (("b", 10), ("c", 20), ("a", 30)))
    assert make_room({"mine": 500}, 1.4e-6)
    assert [folder.exists() for folder in (oldest, old, new)] == [False, True, True]
    assert make_room({"a": 500, "mine": 500}, 1e-6)  # what it needs itself stays
    assert [folder.exists() for folder in (old, new)] == [False, True]


def test_a_store_that_another_training_holds_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path))
    root = tmp_path / "activations"
    held, free = (fill(root / name, 400, used) for name, used in (("a", 10), ("b", 20)))
    hold_store(held)
    os.utime(held, (10, 10))
    assert make_room({"mine": 500}, 5e-7)
    assert [folder.exists() for folder in (held, free)] == [True, False]


def test_a_store_that_was_removed_is_made_and_held_again(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    hold_store(folder)
    shutil.rmtree(folder)
    hold_store(folder)
    assert folder.is_dir()


def test_too_small_a_budget_removes_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path))
    kept = fill(tmp_path / "activations" / "a", 400, 10)
    assert not make_room({"mine": 1001}, 1e-6)
    assert kept.exists()
    assert "activation_budget_gb is 1e-06" in messages[-1]


def test_a_full_disk_rules_it_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path))
    assert not make_room({"mine": 10**18}, 1e12)


def test_opening_notes_the_use(source: Source, frozen: FrozenPart, tmp_path: Path) -> None:
    make_store(tmp_path, frozen, source).open_slot(0)
    os.utime(tmp_path, (10, 10))
    make_store(tmp_path, frozen, source).open_slot(0)
    assert tmp_path.stat().st_mtime > 10
