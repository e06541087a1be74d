"""The baseline from before deep learning: hand-made descriptors and a support vector machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import graycomatrix, graycoprops, hog, local_binary_pattern

from mvdefect.baselines.feature_svm import FOLDS, GAMMA_FACTORS, PENALTIES, FeatureSVM
from mvdefect.baselines.pictures import iterate_pictures
from mvdefect.core.errors import ConfigError, describe_unknown_name
from mvdefect.core.parallel import map_in_threads
from mvdefect.data.images import Pixels

Vector = NDArray[np.float32]

HOG_SIZE_PX = 128
HOG_CELL_PX = 16
ORIENTATIONS = 9
LBP_RINGS = ((8, 1), (16, 2), (24, 3))  # neighbours, radius in pixels
GLCM_LEVELS = 32
GLCM_DISTANCES_PX = (1, 2, 4)
GLCM_ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
GLCM_PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation", "ASM")
COLOUR_BINS = 16
GRADIENT_QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.99, 1.0)


def describe_hog(image: Pixels) -> Vector:
    """Return a histogram of edge directions a cell (HOG; Dalal & Triggs, 2005).

    On the grey picture at 128 pixels: cells of 16, blocks of 2 × 2 cells with L2-Hys, 9 directions.
    """
    shrunk = cv2.resize(_to_grey(image), (HOG_SIZE_PX, HOG_SIZE_PX), interpolation=cv2.INTER_AREA)
    cell = (HOG_CELL_PX, HOG_CELL_PX)
    return np.asarray(hog(shrunk, ORIENTATIONS, cell, (2, 2), block_norm="L2-Hys"), np.float32)


def describe_lbp(image: Pixels) -> Vector:
    """Return how often each local pattern occurs (LBP; Ojala, Pietikäinen & Mäenpää, 2002).

    Uniform patterns whatever their rotation, on three rings; the histogram of each ring adds to 1. The
    border is repeated outwards, or it would look like an edge.
    """
    grey = _to_grey(image)
    found = []
    for neighbours, radius in LBP_RINGS:
        padded = np.pad(grey, radius, "edge")
        codes = local_binary_pattern(padded, neighbours, radius, "uniform").astype(np.int64)
        codes = codes[radius:-radius, radius:-radius]
        found.append(np.bincount(codes.ravel(), minlength=neighbours + 2) / codes.size)
    return np.concatenate(found).astype(np.float32)


def describe_glcm(image: Pixels) -> Vector:
    """Return how grey levels follow each other (GLCM; Haralick, Shanmugam & Dinstein, 1973).

    Six properties of the co-occurrence of 32 grey levels at 1, 2 and 4 pixels: of each the mean over four
    angles, then the range over them.
    """
    grey = _to_grey(image) // (256 // GLCM_LEVELS)
    matrix = graycomatrix(
        grey, GLCM_DISTANCES_PX, GLCM_ANGLES, levels=GLCM_LEVELS, symmetric=True, normed=True
    )
    by_angle = np.stack([graycoprops(matrix, name) for name in GLCM_PROPERTIES])
    return np.concatenate([by_angle.mean(axis=2).ravel(), np.ptp(by_angle, axis=2).ravel()]).astype(
        np.float32
    )


def describe_colour(image: Pixels) -> Vector:
    """Return a histogram of 16 bins of each of red, green and blue, then their means and deviations.

    Each histogram adds to 1; means and deviations are shares of the full range.
    """
    pixels = image.reshape(-1, 3)
    bins = pixels // (256 // COLOUR_BINS)
    counts = [np.bincount(bins[:, channel], minlength=COLOUR_BINS) / len(pixels) for channel in range(3)]
    shares = pixels / 255
    return np.concatenate([*counts, shares.mean(axis=0), shares.std(axis=0)]).astype(np.float32)


def describe_gradient(image: Pixels) -> Vector:
    """Return how strong edges are, and which way they go.

    Of the Sobel gradient of grey levels from 0 to 1: mean, deviation and quantiles of its magnitude, a
    histogram of its directions weighted by magnitude (9 bins from 0 to 180 degrees, adding to 1 unless
    all is flat), and mean and deviation of the absolute Laplacian.
    """
    grey = _to_grey(image).astype(np.float32) / 255
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 4, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 4
    magnitude = np.hypot(across, down)
    angle = np.mod(np.arctan2(down, across), np.pi)
    bins = np.minimum((angle / np.pi * ORIENTATIONS).astype(np.int64), ORIENTATIONS - 1)
    directions = np.bincount(bins.ravel(), magnitude.ravel(), ORIENTATIONS)
    laplacian = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    strengths = [magnitude.mean(), magnitude.std(), *np.quantile(magnitude, GRADIENT_QUANTILES)]
    shares = directions / max(directions.sum(), np.finfo(np.float32).tiny)
    return np.array([*strengths, *shares, laplacian.mean(), laplacian.std()], np.float32)


DESCRIPTORS: dict[str, Callable[[Pixels], Vector]] = {
    "hog": describe_hog,
    "lbp": describe_lbp,
    "glcm": describe_glcm,
    "colour": describe_colour,
    "gradient": describe_gradient,
}


def describe_picture(image: Pixels, names: Iterable[str] = tuple(DESCRIPTORS)) -> Vector:
    """Return several descriptors of a picture, one behind the other.

    Args:
        image: uint8 RGB of shape (height, width, 3).
        names: Names of `DESCRIPTORS`.

    Returns:
        float32 of shape (d,); d does not depend on the picture.
    """
    return np.concatenate([DESCRIPTORS[name](image) for name in names])


def _to_grey(image: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


class HandcraftedClassifier(FeatureSVM):
    """An SVM on hand-made descriptors; see `mvdefect.baselines.handcrafted`.

    Args:
        descriptors: Names of those that are used.
        penalties: See `FeatureSVM`, as for all that follows.
        gamma_factors: The same.
        folds: The same.
        seed: The same.
        n_jobs: The same.
    """

    def __init__(
        self,
        descriptors: tuple[str, ...] = tuple(DESCRIPTORS),
        penalties: tuple[float, ...] = PENALTIES,
        gamma_factors: tuple[float, ...] = GAMMA_FACTORS,
        folds: int = FOLDS,
        seed: int = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.descriptors = descriptors
        super().__init__(penalties, gamma_factors, folds, seed, n_jobs)

    def _prepare(self, pictures: Pixels) -> None:  # noqa: ARG002, others build a network for their size
        if not self.descriptors:
            raise ConfigError(
                f"descriptors must name one at least of {', '.join(DESCRIPTORS)}. Received: none"
            )
        for name in self.descriptors:
            if name not in DESCRIPTORS:
                raise ConfigError(describe_unknown_name("descriptor", name, DESCRIPTORS))

    def _describe(self, pictures: Pixels) -> NDArray[np.float32]:
        single = chain.from_iterable(iterate_pictures(pictures))
        return np.stack(list(map_in_threads(partial(describe_picture, names=self.descriptors), single)))
