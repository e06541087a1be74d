"""tf.data: any order, any view, and masks at a coarse resolution."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mvdefect.config import AugmentConfig
from mvdefect.core.errors import ImageError
from mvdefect.data.images import decode_image
from mvdefect.data.pipeline import (
    Source,
    Views,
    make_inference_batches,
    make_view_batches,
    read_masks,
)
from mvdefect.data.resizing import resize_image
from tests.conftest import read_stored


def test_inference_follows_the_order_of_the_plan(sources: dict[str, Source], parts_root: Path) -> None:
    source = sources["val"]
    batches = list(make_inference_batches(source, 7))
    assert [len(batch) for batch in batches[:-1]] == [7] * (len(batches) - 1)
    images = np.concatenate([batch.numpy() for batch in batches])
    assert len(images) == source.count
    for row, image in zip(source.plan.select("val"), images, strict=True):
        assert np.array_equal(image, resize_image(decode_image((parts_root / row.id).read_bytes()), (64, 64)))


def test_parts_share_no_image_and_leave_none_out(sources: dict[str, Source]) -> None:
    assert sum(source.count for source in sources.values()) == 80


def test_any_order_can_be_read(sources: dict[str, Source]) -> None:
    source = sources["train"]
    plain = np.concatenate(list(make_inference_batches(source, 16).as_numpy_iterator()))
    indices = np.random.default_rng(0).integers(0, source.count, 100)
    views = Views(indices, np.zeros(100, np.int64), 0, AugmentConfig())
    found = np.concatenate(list(make_view_batches(source, views, 16).as_numpy_iterator()))
    assert np.array_equal(found, plain[indices])


def test_a_view_is_the_same_wherever_it_comes(sources: dict[str, Source]) -> None:
    source = sources["train"]
    indices, numbers = np.arange(source.count), np.arange(source.count) % 8
    order = np.random.default_rng(0).permutation(source.count)
    first, again = (
        np.concatenate(list(make_view_batches(source, Views(i, v, 3, AugmentConfig()), size)))
        for i, v, size in ((indices, numbers, 16), (indices[order], numbers[order], 5))
    )
    assert np.array_equal(first[order], again)


def test_masks_keep_the_smallest_defect(sources: dict[str, Source]) -> None:
    source = sources["train"]
    masks = read_masks(source, (16, 16))
    stored = read_stored(source.store)
    for row, coarse in zip(source.rows, masks, strict=True):
        rows, columns = np.nonzero(stored[row.id]["mask"][..., 0])
        assert {*zip(rows // 4, columns // 4, strict=True)} == {*zip(*np.nonzero(coarse), strict=True)}
        assert coarse.any() == (row.label == 1)


def test_an_image_that_the_store_lacks_is_named(sources: dict[str, Source]) -> None:
    source = sources["train"]
    gone = replace(source.plan, rows=(replace(source.plan.rows[0], id="gone.png", part="train"),))
    with pytest.raises(ImageError, match=r"1 image\(s\) .* gone.png"):
        make_inference_batches(Source(source.store, gone, "train"), 4)


def test_any_user_of_tfds_can_read_the_store(sources: dict[str, Source]) -> None:
    source = sources["val"]
    stored = read_stored(source.store)
    ours = np.concatenate(list(make_inference_batches(source, 16).as_numpy_iterator()))
    assert all(
        np.array_equal(stored[row.id]["image"], image) for row, image in zip(source.rows, ours, strict=True)
    )
