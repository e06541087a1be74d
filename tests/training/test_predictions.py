"""Predictions over a part, in its order."""

from __future__ import annotations

import numpy as np
import pytest

from mvdefect.data.pipeline import Source, make_inference_batches
from mvdefect.models.backbones import BACKBONES
from mvdefect.models.classifier import HEAD, build_classifier
from mvdefect.models.heads import HeadSettings
from mvdefect.training.predictions import predict_heatmaps, predict_logits


@pytest.mark.parametrize("batch_size", [4, 64])
def test_heatmaps_come_in_the_order_of_the_plan(sources: dict[str, Source], batch_size: int) -> None:
    """The mean of a map is the logit of its photograph, up to float16, and no two photographs are alike."""
    model = build_classifier(BACKBONES["small_cnn"], (64, 64), HeadSettings(), 2, None)
    found = predict_heatmaps(model, sources["test"], batch_size)
    logits = predict_logits(model, sources["test"], batch_size)
    assert found.shape == (sources["test"].count, 8, 8)
    assert found.dtype == np.float16
    assert logits.std() > 0.01
    assert np.allclose(found.astype(np.float64).mean((1, 2)), logits, atol=2e-3)
    first = next(iter(make_inference_batches(sources["test"], 1)))
    assert np.allclose(model(first)[0, 0], logits[0], atol=1e-4)


def test_what_float16_cannot_hold_stays_finite_and_in_order(sources: dict[str, Source]) -> None:
    model = build_classifier(BACKBONES["small_cnn"], (64, 64), HeadSettings(), 1, None)
    kernel = model.get_layer(HEAD).get_layer("logit").kernel
    kernel.assign(np.full(kernel.shape, 1e6))
    found = predict_heatmaps(model, sources["test"], 32)
    assert np.isfinite(found).all()
    assert found.max() == np.finfo(np.float16).max
