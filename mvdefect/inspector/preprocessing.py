"""From the bytes of an image file to pixels at working size, in TensorFlow alone, so an export can hold it.

It does what `mvdefect.data.images` does with Pillow and OpenCV, in the same order and with the same rounding:
upright by EXIF, RGB, shrunk by averaging over areas, enlarged linearly in OpenCV's fixed-point numbers; each
pixel is the same.
"""

from __future__ import annotations

import tensorflow as tf

from mvdefect.config import ResizeMethod, Size
from mvdefect.data.images import PNG_BIT_DEPTH_OFFSET
from mvdefect.inspector.answers import UNKNOWN_FILE

EXIF_ORIENTATION = 0x0112
JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"
BMP_START = b"BM"
BMP_HEAD_BYTES = 128  # the longest one has 124
COLOURS_OF_PRINT = 4  # channels of CMYK
LONGEST_SEGMENT = 65_536


FIXED_POINT_BITS = 11  # of a weight, in OpenCV's linear interpolation of 8-bit images
TINY_SHARE = 1e-3  # of a pixel, which OpenCV leaves out of an average


def read_orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Return the EXIF orientation of a JPEG or PNG file, int32, 1 to 8; 1 where none is noted."""
    return tf.case(
        [
            (starts_with(encoded, JPEG_START), lambda: _read_jpeg(encoded)),
            (starts_with(encoded, PNG_START), lambda: _read_png(encoded)),
        ],
        default=lambda: 1,
    )


def starts_with(encoded: tf.Tensor, start: bytes) -> tf.Tensor:
    """Return whether a file begins with these bytes."""
    return tf.equal(tf.strings.substr(encoded, 0, len(start)), start)


def _read_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    head = _read_bytes(encoded, 0, LONGEST_SEGMENT)
    start, length = _find_exif(head)
    return tf.cond(start >= 0, lambda: _read_tag(head, start, length), lambda: 1)


def _read_png(encoded: tf.Tensor) -> tf.Tensor:
    """Read the orientation of a PNG file; what is in `eXIf` is a TIFF header."""
    block = _read_bytes(_find_chunk(encoded, b"eXIf", b"IEND"), 0, LONGEST_SEGMENT)
    return tf.cond(tf.size(block) > 0, lambda: _read_tag(block, tf.constant(0), tf.size(block)), lambda: 1)


def _find_chunk(encoded: tf.Tensor, name: bytes, last: bytes) -> tf.Tensor:
    """Return the content of a PNG file's chunk, "" if none comes before the one called `last`."""
    size = tf.strings.length(encoded)

    def is_chunk(place: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return tf.logical_and(tf.strings.length(found) == 0, place + 12 <= size)

    def step(place: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = _read_bytes(encoded, place, 4)
        length = tf.reduce_sum(head * [1 << 24, 1 << 16, 1 << 8, 1])
        length = tf.where(length < 0, size, tf.minimum(length, size))
        kind = tf.strings.substr(encoded, place + 4, 4)
        content = tf.strings.substr(encoded, place + 8, tf.where(tf.equal(kind, name), length, 0))
        return tf.where(tf.equal(kind, last), size, place + 12 + length), content

    return tf.while_loop(is_chunk, step, (tf.constant(len(PNG_START)), tf.constant(b"")))[1]


def _read_bytes(encoded: tf.Tensor, start: tf.Tensor, length: int) -> tf.Tensor:
    """Return bytes of a file as int32; fewer where it ends before."""
    return tf.cast(tf.io.decode_raw(tf.strings.substr(encoded, start, length), tf.uint8), tf.int32)


def _find_exif(head: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Walk through the segments of a JPEG file; return where its TIFF header begins (-1: none) and ends."""
    size = tf.size(head)

    def is_segment(place: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        inside = place + 10 < size
        return tf.logical_and(found < 0, tf.cond(inside, lambda: head[place] == 0xFF, lambda: False))

    def step(place: tf.Tensor, found: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        marker, length = head[place + 1], head[place + 2] * 256 + head[place + 3]
        name = head[place + 4 : place + 10]
        is_exif = tf.logical_and(marker == 0xE1, tf.reduce_all(name == [0x45, 0x78, 0x69, 0x66, 0, 0]))
        ends = tf.logical_or(marker == 0xDA, length < 2)  # the picture itself, or nonsense
        following = tf.where(ends, size, place + 2 + length)
        return following, tf.where(is_exif, place + 10, found)

    end, found = tf.while_loop(is_segment, step, (tf.constant(2), tf.constant(-1)))
    return found, tf.minimum(end, size)


def _read_tag(head: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    """Look the orientation up among the tags of the first directory of a TIFF header."""
    block = tf.concat([head[start:end], tf.zeros(16, tf.int32)], axis=0)
    last, is_little = tf.size(block) - 16, block[0] == 0x49

    def read_16(place: tf.Tensor) -> tf.Tensor:
        first, second = tf.gather(block, place), tf.gather(block, place + 1)
        return tf.where(is_little, first + 256 * second, 256 * first + second)

    first, second = read_16(tf.constant(4)), read_16(tf.constant(6))
    offset = tf.where(is_little, first + 65_536 * second, 65_536 * first + second)
    directory = tf.clip_by_value(offset, 0, last)
    count = tf.clip_by_value(read_16(directory), 0, tf.maximum((last - directory) // 12, 0))
    places = directory + 2 + 12 * tf.range(count)
    values = read_16(tf.boolean_mask(places + 8, read_16(places) == EXIF_ORIENTATION))
    value = tf.cond(tf.size(values) > 0, lambda: values[0], lambda: 1)
    return tf.where(tf.logical_and(value >= 1, value <= 8), value, 1)


def decode_photograph(encoded: tf.Tensor, bits: int = 16) -> tf.Tensor:
    """Decode a PNG, JPEG or BMP file to the pixels of `mvdefect.data.images.decode_image`, or not at all.

    Args:
        encoded: A scalar string.
        bits: By which values of 16-bit files are scaled, 8 to 16.

    Returns:
        uint8 RGB (height, width, 3), upright.

    Raises:
        tf.errors.InvalidArgumentError: It is none of these, is damaged, or of a kind that TensorFlow would
            make another picture of: an animation, colours of print, a palette in a BMP.
    """
    pixels = tf.case(
        [
            (starts_with(encoded, JPEG_START), lambda: _decode_jpeg(encoded)),
            (starts_with(encoded, PNG_START), lambda: _decode_png(encoded, bits)),
            (starts_with(encoded, BMP_START), lambda: _decode_bmp(encoded)),
        ],
        default=lambda: _refuse_unless(False, tf.zeros((0, 0, 3), tf.uint8)),
    )
    return turn_upright(pixels, read_orientation(encoded))


def _refuse_unless(condition: tf.Tensor | bool, value: tf.Tensor) -> tf.Tensor:
    """Return a value; where the condition does not hold, fail instead."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [UNKNOWN_FILE])]):
        return tf.identity(value)


def _decode_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    is_usual = tf.io.extract_jpeg_shape(encoded)[2] != COLOURS_OF_PRINT
    return tf.io.decode_jpeg(_refuse_unless(is_usual, encoded), channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(encoded: tf.Tensor, bits: int) -> tf.Tensor:
    is_still = tf.strings.length(_find_chunk(encoded, b"acTL", b"IDAT")) == 0
    encoded = _refuse_unless(is_still, encoded)
    is_deep = tf.equal(tf.strings.substr(encoded, PNG_BIT_DEPTH_OFFSET, 1), b"\x10")
    return tf.cond(
        is_deep,
        lambda: _scale(tf.io.decode_png(encoded, channels=3, dtype=tf.uint16), bits),
        lambda: tf.io.decode_png(encoded, channels=3),
    )


def _scale(values: tf.Tensor, bits: int) -> tf.Tensor:
    shifted = tf.bitwise.right_shift(values, tf.constant(bits - 8, tf.uint16))
    return tf.cast(tf.minimum(tf.cast(shifted, tf.int32), 255), tf.uint8)


def _decode_bmp(encoded: tf.Tensor) -> tf.Tensor:
    """Decode a BMP that is not packed, of 24 bits a pixel, or of 8 with the grey values as its palette."""
    head = tf.concat([_read_bytes(encoded, 0, BMP_HEAD_BYTES), tf.zeros(BMP_HEAD_BYTES, tf.int32)], axis=0)

    def read(place: int, length: int) -> tf.Tensor:
        return tf.reduce_sum(head[place : place + length] * [1 << 8 * byte for byte in range(length)])

    head_bytes, bits, packing, colours = read(14, 4), read(28, 2), read(30, 4), read(46, 4)
    palette = _read_bytes(encoded, 14 + tf.clip_by_value(head_bytes, 0, BMP_HEAD_BYTES), 4 * 256)
    ramp = tf.reshape(tf.repeat(tf.range(256), 3), (256, 3))
    is_grey = tf.cond(
        tf.size(palette) == 4 * 256,
        lambda: tf.reduce_all(tf.reshape(palette, (256, 4))[:, :3] == ramp),
        lambda: False,
    )
    is_ramp = tf.logical_and(is_grey, tf.logical_or(colours == 0, colours == 256))
    is_known = tf.logical_or(bits == 24, tf.logical_and(bits == 8, is_ramp))
    is_plain = tf.reduce_all([head_bytes >= 40, head_bytes <= BMP_HEAD_BYTES, packing == 0, is_known])
    decoded = tf.io.decode_image(_refuse_unless(is_plain, encoded), channels=3, expand_animations=False)
    return tf.ensure_shape(decoded, (None, None, 3))


def turn_upright(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Mirror and turn pixels (height, width, 3) as an EXIF orientation asks."""
    flipped = tf.where(tf.reduce_any(orientation == [2, 4, 5, 7]), tf.reverse(pixels, [1]), pixels)
    turns = tf.gather([0, 0, 0, 2, 2, 1, 3, 3, 1], orientation)  # counter-clockwise, after mirroring
    return tf.ensure_shape(tf.image.rot90(flipped, turns), (None, None, 3))


def resize_photographs(pixels: tf.Tensor, size_px: Size, method: ResizeMethod) -> tf.Tensor:
    """Bring photographs of one size to the working size, as `mvdefect.data.images.resize_image` does.

    Args:
        pixels: uint8 (n, height, width, 3).
        size_px: Height and width of the result.
        method: "letterbox" or "stretch".

    Returns:
        uint8 (n, *size_px, 3).
    """
    shape = tf.shape(pixels)
    height, width = shape[1], shape[2]
    if method == "stretch":
        new_height, new_width = map(tf.constant, size_px)
    else:
        lengths = tf.cast([height, width], tf.float64)
        scale = tf.reduce_min(tf.constant(size_px, tf.float64) / lengths)
        new_height, new_width = (_scale_length(length, scale) for length in (height, width))
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
    above, left = (size_px[0] - new_height) // 2, (size_px[1] - new_width) // 2
    padded = tf.image.pad_to_bounding_box(resized, above, left, *size_px)
    return tf.ensure_shape(padded, (None, *size_px, 3))


def _scale_length(length: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    return tf.maximum(1, tf.cast(tf.round(tf.cast(length, tf.float64) * scale), tf.int32))


def _average_areas(pixels: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Shrink by averaging over the area that becomes a pixel, as OpenCV's INTER_AREA."""
    shape = tf.shape(pixels)
    is_whole = tf.logical_and(shape[1] % height == 0, shape[2] % width == 0)
    averages = tf.cond(
        is_whole,
        lambda: _average_blocks(pixels, height, width),
        lambda: _average_shares(_average_shares(tf.cast(pixels, tf.float32), width, axis=2), height, axis=1),
    )
    # OpenCV rounds up what lies between two levels when it halves, and to the even one otherwise.
    is_halved = tf.logical_and(shape[1] == 2 * height, shape[2] == 2 * width)
    rounded = tf.where(is_halved, tf.floor(averages + 0.5), tf.round(averages))
    return tf.cast(tf.clip_by_value(rounded, 0, 255), tf.uint8)


def _average_blocks(pixels: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Average blocks of whole pixels, float32 (n, height, width, 3)."""
    shape = tf.shape(pixels)
    rows, columns = shape[1] // height, shape[2] // width
    blocks = tf.reshape(tf.cast(pixels, tf.int32), (shape[0], height, rows, width, columns, 3))
    sums = tf.cast(tf.reduce_sum(blocks, axis=(2, 4)), tf.float32)
    return sums * (1 / tf.cast(rows * columns, tf.float32))


def _average_shares(values: tf.Tensor, wanted: tf.Tensor, axis: int) -> tf.Tensor:
    """Average along one axis over what each of `wanted` pixels covers, borders by their share.

    Summands are added one after the other from the first on, as OpenCV does: another order would round
    otherwise.
    """
    length = tf.shape(values)[axis]
    scale = 1 / (tf.cast(wanted, tf.float64) / tf.cast(length, tf.float64))
    starts = tf.cast(tf.range(wanted), tf.float64) * scale
    covers = tf.minimum(scale, tf.cast(length, tf.float64) - starts)
    summands = tf.cast(tf.math.ceil(scale), tf.int32) + 1
    along = [1, -1, 1, 1] if axis == 1 else [1, 1, -1, 1]

    def add(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        place = tf.floor(starts) + tf.cast(number, tf.float64)
        share = tf.minimum(starts + scale, place + 1) - tf.maximum(starts, place)
        is_counted = tf.logical_and(share > TINY_SHARE, place < tf.cast(length, tf.float64))
        weight = tf.cast(tf.where(is_counted, tf.minimum(share, covers) / covers, 0), tf.float32)
        chosen = tf.gather(values, tf.minimum(tf.cast(place, tf.int32), length - 1), axis=axis)
        return number + 1, total + chosen * tf.reshape(weight, along)

    nothing = tf.zeros_like(tf.gather(values, tf.zeros(wanted, tf.int32), axis=axis))
    return tf.while_loop(lambda number, _: number < summands, add, (tf.constant(0), nothing))[1]


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
    growth = tf.cast(wanted, tf.float64) / tf.cast(length, tf.float64)
    scale = 1 / growth  # which is not always length / wanted to the last bit
    places = tf.cast(tf.range(wanted), tf.float64)
    centred = tf.cast((places + 0.5) * scale - 0.5, tf.float32)
    first = tf.where(by_area, tf.floor(places * scale), tf.cast(tf.floor(centred), tf.float64))
    reach = tf.cast((places + 1) - (first + 1) * growth, tf.float32)
    share = tf.where(by_area, tf.where(reach <= 0, 0.0, reach - tf.floor(reach)), centred - tf.floor(centred))
    weight = tf.cast(tf.round(share * (1 << FIXED_POINT_BITS)), tf.int32)
    return tf.cast(first, tf.int32), weight


def read_photographs(
    encoded: tf.Tensor, size_px: Size, method: ResizeMethod, bits: int = 16
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decode image files and bring them to the working size; one that is broken costs the others nothing.

    Args:
        encoded: Strings, (n,).
        size_px: Height and width of the result.
        method: "letterbox" or "stretch".
        bits: See `decode_photograph`.

    Returns:
        uint8 pixels (n, *size_px, 3), black where a file is broken, and bool (n,): is it whole?
    """
    count = tf.size(encoded, out_type=tf.int64)

    def read(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        pixels = decode_photograph(encoded[number], bits)
        return number, resize_photographs(pixels[tf.newaxis], size_px, method)[0]

    blank = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), tf.zeros((*size_px, 3), tf.uint8)))
    found = tf.data.Dataset.range(count).map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    whole = found.ignore_errors().concatenate(blank)  # so that there is one at least
    numbers, pixels = whole.batch(count + 1).get_single_element()
    numbers, pixels = numbers[:-1, tf.newaxis], pixels[:-1]
    placed = tf.scatter_nd(numbers, tf.cast(pixels, tf.int32), tf.stack([count, *size_px, 3]))
    readable = tf.scatter_nd(numbers, tf.ones(tf.shape(numbers)[0], tf.int32), [count])
    return tf.cast(placed, tf.uint8), readable > 0
