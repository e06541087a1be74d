"""From the bytes of an image file to pixels at working size, in TensorFlow alone, so an export can hold it.

It does what `mvdefect.data.images` does with Pillow and OpenCV, in the same order and with the same rounding:
upright by EXIF, RGB, shrunk by averaging over areas, enlarged linearly in OpenCV's fixed-point numbers. A
pixel may differ by one grey level where an average falls between two of them.
"""

from __future__ import annotations

import tensorflow as tf

from mvdefect.data.images import ResizeMethod
from mvdefect.serving.orientation import JPEG_START, read_orientation, starts_with

FIXED_POINT_BITS = 11  # of a weight, in OpenCV's linear interpolation of 8-bit images
TINY_SHARE = 1e-3  # of a pixel, which OpenCV leaves out of an average


def decode_photograph(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a PNG, JPEG or BMP file.

    Args:
        encoded: A scalar string.

    Returns:
        uint8 RGB (height, width, 3), upright.

    Raises:
        tf.errors.InvalidArgumentError: It is none of these, or damaged.
    """
    is_jpeg = starts_with(encoded, JPEG_START)
    pixels = tf.cond(is_jpeg, lambda: _decode_jpeg(encoded), lambda: _decode_other(encoded))
    return turn_upright(pixels, read_orientation(encoded))


def _decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_other(encoded: tf.Tensor) -> tf.Tensor:
    decoded = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(decoded, (None, None, 3))


def turn_upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Mirror and turn pixels (height, width, 3) as an EXIF orientation asks."""
    flipped = tf.where(tf.reduce_any(orientation == [2, 4, 5, 7]), tf.reverse(pixels, [1]), pixels)
    turns = tf.gather([0, 0, 0, 2, 2, 1, 3, 3, 1], orientation)  # counter-clockwise, after mirroring
    return tf.ensure_shape(tf.image.rot90(flipped, turns), (None, None, 3))


def resize_photographs(pixels: tf.Tensor, size_px: int, method: ResizeMethod) -> tf.Tensor:
    """Bring photographs of one size to the working size, as `mvdefect.data.images.resize_image` does.

    Args:
        pixels: uint8 (n, height, width, 3).
        size_px: Height and width of the result.
        method: "letterbox" or "stretch".

    Returns:
        uint8 (n, size_px, size_px, 3).
    """
    shape = tf.shape(pixels)
    height, width = shape[1], shape[2]
    if method == "stretch":
        new_height, new_width = tf.constant(size_px), tf.constant(size_px)
    else:
        scale = size_px / tf.cast(tf.maximum(height, width), tf.float64)
        new_height, new_width = (_scale(length, scale) for length in (height, width))
    resized = tf.case(
        [
            (tf.logical_and(height == new_height, width == new_width), lambda: pixels),
            (
                tf.logical_and(height >= new_height, width >= new_width),
                lambda: _average_areas(pixels, new_height, new_width),
            ),
        ],
        default=lambda: _interpolate(pixels, new_height, new_width, new_height * new_width < height * width),
    )
    above, left = (size_px - new_height) // 2, (size_px - new_width) // 2
    padded = tf.image.pad_to_bounding_box(resized, above, left, size_px, size_px)
    return tf.ensure_shape(padded, (None, size_px, size_px, 3))


def _scale(length: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1, tf.cast(tf.round(tf.cast(length, tf.float64) * scale), tf.int32))


def _average_areas(pixels: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Shrink by averaging over the area that becomes a pixel, as OpenCV's INTER_AREA."""
    shape = tf.shape(pixels)
    floats = tf.cast(pixels, tf.float32)
    across = tf.einsum("xw,nhwc->nhxc", _weigh_areas(shape[2], width), floats)
    both = tf.einsum("yh,nhxc->nyxc", _weigh_areas(shape[1], height), across)
    is_halved = tf.logical_and(shape[1] == 2 * height, shape[2] == 2 * width)
    rounded = tf.where(is_halved, tf.floor(both + 0.5), tf.round(both))  # OpenCV rounds up when it halves
    return tf.cast(tf.clip_by_value(rounded, 0, 255), tf.uint8)


def _weigh_areas(length: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """Return the share of each of `length` pixels in each of `wanted` averages, float32 (wanted, length)."""
    scale = tf.cast(length, tf.float64) / tf.cast(wanted, tf.float64)
    starts = tf.cast(tf.range(wanted), tf.float64)[:, tf.newaxis] * scale
    ends = tf.minimum(starts + scale, tf.cast(length, tf.float64))
    places = tf.cast(tf.range(length), tf.float64)[tf.newaxis, :]
    covered = tf.clip_by_value(tf.minimum(ends, places + 1) - tf.maximum(starts, places), 0, 1)
    covered = tf.where(covered > TINY_SHARE, covered, 0)
    return tf.cast(covered / (ends - starts), tf.float32)


def _interpolate(pixels: tf.Tensor, height: tf.Tensor, width: tf.Tensor, by_area: tf.Tensor) -> tf.Tensor:
    """Enlarge linearly as OpenCV's INTER_LINEAR; or, where the area shrinks, as its INTER_AREA then does."""
    shape = tf.shape(pixels)
    values = tf.cast(pixels, tf.int32)
    column, right = _weigh_neighbours(shape[2], width, by_area)
    row, below = _weigh_neighbours(shape[1], height, by_area)
    # Beyond the border OpenCV drops the weight across, but not down.
    outside = tf.logical_or(column < 0, column >= shape[2] - 1)
    right = tf.where(outside, 0, right)
    across = _blend_columns(values, tf.clip_by_value(column, 0, shape[2] - 1), right)
    first, second = (
        tf.gather(across, tf.clip_by_value(place, 0, shape[1] - 1), axis=1) for place in (row, row + 1)
    )
    below = below[tf.newaxis, :, tf.newaxis, tf.newaxis]
    above = (1 << FIXED_POINT_BITS) - below
    total = _multiply_high(first, above) + _multiply_high(second, below)
    return tf.cast(tf.clip_by_value(tf.bitwise.right_shift(total + 2, 2), 0, 255), tf.uint8)


def _blend_columns(values: tf.Tensor, column: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    following = tf.minimum(column + 1, tf.shape(values)[2] - 1)
    weight = right[tf.newaxis, tf.newaxis, :, tf.newaxis]
    left = (1 << FIXED_POINT_BITS) - weight
    return tf.gather(values, column, axis=2) * left + tf.gather(values, following, axis=2) * weight


def _multiply_high(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.bitwise.right_shift(tf.bitwise.right_shift(values, 4) * weights, 16)


def _weigh_neighbours(
    length: tf.Tensor, wanted: tf.Tensor, by_area: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return, for each of `wanted` pixels, the first of two neighbours and the weight of the second."""
    scale = tf.cast(length, tf.float64) / tf.cast(wanted, tf.float64)
    places = tf.cast(tf.range(wanted), tf.float64)
    centred = tf.cast((places + 0.5) * scale - 0.5, tf.float32)
    first = tf.where(by_area, tf.floor(places * scale), tf.cast(tf.floor(centred), tf.float64))
    reach = tf.cast((places + 1) - (first + 1) / scale, tf.float32)
    share = tf.where(by_area, tf.where(reach <= 0, 0.0, reach - tf.floor(reach)), centred - tf.floor(centred))
    weight = tf.cast(tf.round(share * (1 << FIXED_POINT_BITS)), tf.int32)
    return tf.cast(first, tf.int32), weight


def read_photographs(encoded: tf.Tensor, size_px: int, method: ResizeMethod) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode image files and bring them to the working size; one that is broken costs the others nothing.

    Args:
        encoded: Strings, (n,).
        size_px: Height and width of the result.
        method: "letterbox" or "stretch".

    Returns:
        uint8 pixels (n, size_px, size_px, 3), black where a file is broken, and bool (n,): is it whole?
    """
    count = tf.size(encoded, out_type=tf.int64)

    def read(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number, resize_photographs(decode_photograph(encoded[number])[tf.newaxis], size_px, method)[0]

    blank = tf.data.Dataset.from_tensors(
        (tf.constant(-1, tf.int64), tf.zeros((size_px, size_px, 3), tf.uint8))
    )
    found = tf.data.Dataset.range(count).map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    whole = found.ignore_errors().concatenate(blank)  # so that there is one at least
    numbers, pixels = whole.batch(count + 1).get_single_element()
    numbers, pixels = numbers[:-1, tf.newaxis], pixels[:-1]
    placed = tf.scatter_nd(numbers, tf.cast(pixels, tf.int32), tf.stack([count, size_px, size_px, 3]))
    readable = tf.scatter_nd(numbers, tf.ones(tf.shape(numbers)[0], tf.int32), [count])
    return tf.cast(placed, tf.uint8), readable > 0
