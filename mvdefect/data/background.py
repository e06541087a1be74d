"""What belongs to the product and what is background, learned from good images that lie alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import Mask, Pixels

Floats = NDArray[np.float32]

FEWEST_IMAGES = 5
DISTINCT = 0.75  # share of the variance of colours that product and background explain (Otsu, 1979)
CONTRAST = 8.0  # of both in L*a*b*, where 2.3 is just noticeable
MISSED = 0.1  # share of the product that half of the images may not show
OVERFLOW = 0.02  # of the product, by which half of the images may reach beyond its margin
SMALLEST_SHARE, LARGEST_SHARE = 0.03, 0.9  # of the image that can be the product
BORDER = 0.03  # of a side: what lies there shows the background
RARE = 0.15  # share of images up to which a pixel is background, though it looks like the product in these
MARGIN = 0.03  # of the longer side, by which the product is grown
LEVELS = 256


@dataclass(frozen=True)
class Product:
    """What good images say of where the product lies.

    Attributes:
        mask: bool (height, width); None: it could not be told from its background.
        reason: Why not, in one phrase; or how alike the images lie.
    """

    mask: Mask | None
    reason: str


def find_product(images: Pixels, inside: Mask, defects: Mask) -> Product:
    """Tell the product from its background, if all images agree on it.

    The colour of the background is that of the border of the median image, in which what changes from image
    to image blurs. A pixel of an image is background if its colour is near that, by Otsu's threshold (1979)
    on the distances in the median image. The product is what most images show in one place; in half of them
    at least it must be there as a whole, and not reach beyond where one in seven shows it, with a margin.

    Args:
        images: Good images, uint8 RGB (n, height, width, 3).
        inside: Where they are, and not the padding of a letterbox, bool (height, width).
        defects: Where defects of training images lie, bool (height, width): this always counts.

    Returns:
        The product with a margin, its holes filled.
    """
    if len(images) < FEWEST_IMAGES:
        return Product(None, f"{FEWEST_IMAGES} good images are needed, and train has {len(images)}")
    colours = np.stack([cv2.cvtColor(image, cv2.COLOR_RGB2LAB) for image in images]).astype(np.float32)
    middle = np.median(colours, axis=0)
    border = inside & ~_shrink(inside, max(1, round(BORDER * min(inside.shape))))
    ground = np.median(middle[border], axis=0)
    distances = np.linalg.norm(middle - ground, axis=-1)
    limit, explained, contrast = _split(distances[inside])
    if explained < DISTINCT or contrast < CONTRAST:
        return Product(None, "no product stands out from a background of one colour")
    margin_px = max(1, round(MARGIN * max(inside.shape)))
    each = [_fill_holes((np.linalg.norm(image - ground, axis=-1) > limit) & inside) for image in colours]
    shares = np.mean(each, axis=0)
    seen = _fill_holes(shares > 0.5)
    if seen.sum() < SMALLEST_SHARE * inside.sum():
        return Product(None, "good images have too little in common to be a product that lies alike")
    grown = _grow(_fill_holes(shares > RARE), margin_px)
    missed, beyond = np.median([_compare(one, seen, grown) for one in each], axis=0)
    if missed > MISSED or beyond > OVERFLOW:
        return Product(
            None,
            f"the product does not lie alike: half of the images miss {missed:.0%} of what most show, or "
            f"reach {beyond:.0%} beyond",
        )
    mask = (grown | _grow(defects, margin_px)) & inside
    if mask.sum() > LARGEST_SHARE * inside.sum():
        return Product(None, "the product fills the image")
    return Product(mask, f"{len(images)} good images show the product in one place")


def _compare(own: Mask, seen: Mask, grown: Mask) -> tuple[float, float]:
    """Return which share of the product an image misses, and by which its product reaches beyond the margin.

    What does not touch the product is something else.
    """
    count, pieces = cv2.connectedComponents(own.astype(np.uint8))
    touching = np.isin(pieces, np.setdiff1d(np.unique(pieces[seen]), [0])) if count > 1 else own
    area = float(seen.sum())
    return float((seen & ~own).sum()) / area, float((touching & ~grown).sum()) / area


def _split(distances: Floats) -> tuple[float, float, float]:
    """Return Otsu's threshold, the share of the variance that it explains, and the distance of both means."""
    largest = max(float(distances.max()), 1.0)
    levels = (distances / largest * (LEVELS - 1)).astype(np.uint8)
    level, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    limit = (level + 1) / (LEVELS - 1) * largest
    near, far = distances[distances <= limit], distances[distances > limit]
    if not len(near) or not len(far) or not distances.var():
        return limit, 0.0, 0.0
    gap = float(far.mean() - near.mean())
    between = len(near) * len(far) / len(distances) ** 2 * gap**2
    return limit, between / float(distances.var()), gap


def _grow(mask: Mask, by_px: int) -> Mask:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _make_disc(by_px)) > 0)


def _shrink(mask: Mask, by_px: int) -> Mask:
    eroded = cv2.erode(
        mask.astype(np.uint8), _make_disc(by_px), borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    return np.asarray(eroded > 0)


def _make_disc(radius_px: int) -> Pixels:
    side = 2 * radius_px + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _fill_holes(mask: Mask) -> Mask:
    """Fill what the outlines of the larger pieces enclose; pieces under a hundredth of all are dropped."""
    pieces, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    areas = [cv2.contourArea(piece) for piece in pieces]
    large = [piece for piece, area in zip(pieces, areas, strict=True) if area >= 0.01 * sum(areas)]
    filled = cv2.drawContours(np.zeros(mask.shape, np.uint8), large, -1, 1, cv2.FILLED)
    return np.asarray(filled > 0)
