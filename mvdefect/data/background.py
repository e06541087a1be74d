"""What belongs to the product and what is background, learned from good images that lie alike."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mvdefect.data.images import Mask, Pixels

Floats = NDArray[np.float32]

FEWEST_IMAGES = 5
ALIKE = 0.6  # correlation with the median image, from which on images lie alike
DISTINCT = 0.75  # share of the variance of colours that product and background explain (Otsu, 1979)
CONTRAST = 8.0  # of both in L*a*b*, where 2.3 is just noticeable
AGREEING_PRODUCT, AGREEING_BACKGROUND = 0.85, 0.6  # mean share of images that see a pixel as the median does
SMALLEST_SHARE, LARGEST_SHARE = 0.03, 0.9  # of the image that can be the product
BORDER = 0.03  # of a side: what lies there shows the background
MARGIN = 0.04  # of the longer side, by which the product is grown
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

    The median of images that lie alike shows the product, and what changes from image to image blurs. A pixel
    is background if its colour is near that of the border, by Otsu's threshold on the distances (1979) of the
    median image; each image then says the same of its own pixels, and most have to agree.

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
    seen = (distances > limit) & inside
    if explained < DISTINCT or contrast < CONTRAST:
        return Product(None, "no product stands out from a background")
    if border.any() and seen[border].mean() > 0.5:
        return Product(None, "the product reaches the border of the image on most sides")
    each = np.linalg.norm(colours - ground, axis=-1) > limit
    shares = each.mean(axis=0)
    seen &= shares > 0.5
    if not SMALLEST_SHARE * inside.sum() <= seen.sum():
        return Product(None, "what all images have in common is too small for a product")
    alike = float(np.median([_correlate(image, middle, _grow(seen, 1) & inside) for image in colours]))
    product, background = float(shares[seen].mean()), float(1 - shares[inside & ~seen].mean())
    if alike < ALIKE or product < AGREEING_PRODUCT or background < AGREEING_BACKGROUND:
        return Product(None, f"good images do not lie alike (correlation with their median {alike:.2f})")
    grown = _grow(_fill_holes(seen), max(1, round(MARGIN * max(inside.shape))))
    mask = (grown | _grow(defects, max(1, round(MARGIN * max(inside.shape))))) & inside
    if mask.sum() > LARGEST_SHARE * inside.sum():
        return Product(None, "the product fills the image")
    return Product(mask, f"good images lie alike (correlation with their median {alike:.2f})")


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


def _correlate(image: Floats, middle: Floats, where: Mask) -> float:
    """Correlate brightness of an image and the median image at the product and its outline."""
    first, second = (one[..., 0][where] - one[..., 0][where].mean() for one in (image, middle))
    lengths = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / lengths if lengths else 0.0


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
