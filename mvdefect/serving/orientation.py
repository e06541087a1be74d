"""How a camera was held, as it notes it in the EXIF data of a JPEG or PNG file; in TensorFlow alone."""

from __future__ import annotations

import tensorflow as tf

EXIF_ORIENTATION = 0x0112
JPEG_START = b"\xff\xd8\xff"
PNG_START = b"\x89PNG\r\n\x1a\n"
LONGEST_SEGMENT = 65_536


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
    """Walk through the chunks of a PNG file; what is in `eXIf` is a TIFF header."""
    size = tf.strings.length(encoded)

    def is_chunk(place: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
        return tf.logical_and(tf.strings.length(found) == 0, place + 12 <= size)

    def step(place: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        head = _read_bytes(encoded, place, 4)
        length = tf.reduce_sum(head * [1 << 24, 1 << 16, 1 << 8, 1])
        length = tf.where(length < 0, size, tf.minimum(length, size))
        is_exif = tf.equal(tf.strings.substr(encoded, place + 4, 4), b"eXIf")
        content = tf.strings.substr(encoded, place + 8, tf.where(is_exif, length, 0))
        return place + 12 + length, content

    _, found = tf.while_loop(is_chunk, step, (tf.constant(len(PNG_START)), tf.constant(b"")))
    block = _read_bytes(found, 0, LONGEST_SEGMENT)
    return tf.cond(tf.size(block) > 0, lambda: _read_tag(block, tf.constant(0), tf.size(block)), lambda: 1)


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
