"""From an image to the working size: by area where it shrinks, linearly where it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mvdefect.config import ResizeMethod, Size

Pixels = NDArray[np.uint8]


def resize_image(image: Pixels, size_px: Size, method: ResizeMethod = "letterbox") -> Pixels:
    """Bring an image to the working size.

    Args:
        image: uint8 RGB of shape (height, width, 3), or grey of shape (height, width).
        size_px: Height and width of the result.
        method: "letterbox" keeps the aspect ratio and pads with black, centred; "stretch" does not.

    Returns:
        uint8 of shape (*size_px, 3) or size_px, averaged over the area of a pixel where
        the image shrinks, and interpolated linearly where it grows.
    """
    height, width = image.shape[:2]
    new_height, new_width = _fit_size(height, width, size_px, method)
    shrinks = new_height * new_width < height * width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(image, (new_width, new_height), interpolation=interpolation)
    canvas = np.zeros((*size_px, *image.shape[2:]), np.uint8)
    canvas[_centre(new_height, new_width, size_px)] = resized
    return canvas


def resize_mask(mask: NDArray[np.bool_], size_px: Size, method: ResizeMethod = "letterbox") -> Pixels:
    """Bring a mask to the working size.

    Args:
        mask: bool of shape (height, width).
        size_px: Height and width of the result.
        method: As for `resize_image`.

    Returns:
        uint8 of shape size_px, 255 wherever any part of a pixel was defective, so that a
        hairline scratch does not vanish, and 0 elsewhere.
    """
    grey = resize_image(mask.astype(np.uint8) * np.uint8(255), size_px, method)
    return np.where(grey > 0, 255, 0).astype(np.uint8)


def mark_photograph(
    height: int, width: int, size_px: Size, method: ResizeMethod = "letterbox"
) -> NDArray[np.bool_]:
    """Tell the photograph from its padding, once it is at working size.

    Args:
        height: Of the photograph as it was, in pixels.
        width: Of the photograph as it was, in pixels.
        size_px: Height and width of the result.
        method: As for `resize_image`.

    Returns:
        bool of shape size_px, false where `resize_image` pads.
    """
    marked = np.zeros(size_px, bool)
    marked[place_image(height, width, size_px, method)] = True
    return marked


def place_image(
    height: int, width: int, size_px: Size, method: ResizeMethod = "letterbox"
) -> tuple[slice, slice]:
    """Return the rows and columns that an image takes at working size, without its padding.

    Args:
        height: Of the image as it was, in pixels.
        width: Of the image as it was, in pixels.
        size_px: Height and width of the result.
        method: As for `resize_image`.
    """
    return _centre(*_fit_size(height, width, size_px, method), size_px)


def _fit_size(height: int, width: int, size_px: Size, method: ResizeMethod) -> tuple[int, int]:
    if method == "stretch":
        return size_px
    scale = min(size_px[0] / height, size_px[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _centre(height: int, width: int, size_px: Size) -> tuple[slice, slice]:
    top, left = (size_px[0] - height) // 2, (size_px[1] - width) // 2
    return slice(top, top + height), slice(left, left + width)
