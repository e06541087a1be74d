"""Planting the faults: copies of photographs, damage to their files, and masks that are wrong."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mvdefect.data.images import Pixels, decode_image, decode_mask
from mvdefect.data.synthetic.catalogue import draw_image
from mvdefect.data.synthetic.draw import Region
from mvdefect.data.synthetic.faults import Fault
from mvdefect.data.synthetic.photos import HIGH_QUALITY, Photo, encode_image, write_file
from mvdefect.data.synthetic.shortcuts import choose_quality, draw_cue

QUARTER_TURNS = {"turned_90": 1, "turned_180": 2, "turned_270": 3}
EXIF_ORIENTATION = 0x0112
TURN_CLOCKWISE_TO_VIEW = 6


def plant_fault(fault: Fault, root: Path, seed: int, shortcut: str) -> None:
    """Change, add or remove the files that make a fault.

    Args:
        fault: What to plant, on a photograph that is written and has no other fault.
        root: Of the data set.
        seed: Of the data set.
        shortcut: Of the data set; copies bear the same cue.
    """
    if fault.kind == "near_duplicates":
        _plant_near_duplicate(fault, root, seed, shortcut)
    elif fault.kind == "exact_duplicates":
        _copy_bytes(fault, root)
    elif fault.kind == "conflicts":
        _plant_conflict(fault, root, seed)
    elif fault.kind == "broken":
        path = root / fault.photo.id
        path.write_bytes(break_file(path.read_bytes(), fault.photo.suffix, fault.how))
    elif fault.kind == "wrong_masks":
        _plant_wrong_mask(fault, root)
    else:
        _lay_on_its_side(fault, root)


def transform(image: Pixels, mask: Region, how: str, rng: np.random.Generator) -> tuple[Pixels, Region]:
    """Make a near-duplicate of a photograph and its mask.

    Args:
        image: uint8 RGB (height, width, 3).
        mask: bool (height, width).
        how: One of `TRANSFORMATIONS`; "recompressed" is left to the encoder.
        rng: Draws the amount, where there is one to draw.
    """
    if how == "mirrored":
        return image[:, ::-1], mask[:, ::-1]
    if how in QUARTER_TURNS:
        return np.rot90(image, QUARTER_TURNS[how]), np.rot90(mask, QUARTER_TURNS[how])
    if how == "resized":
        scale = rng.choice([rng.uniform(0.7, 0.9), rng.uniform(1.1, 1.3)])
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8), _resize_mask(
            mask, size
        )
    if how == "brightened":
        gain, offset = rng.uniform(0.9, 1.1), rng.choice([-1, 1]) * rng.uniform(2, 10)
        return np.clip(image * gain + offset, 0, 255).round().astype(np.uint8), mask
    return image, mask


def break_file(encoded: bytes, suffix: str, how: str) -> bytes:
    """Return what is left of an image file once it is broken in one of `WAYS_TO_BREAK`."""
    if how == "truncated":
        return encoded[: len(encoded) // 2]
    if how == "empty":
        return b""
    if how == "text":
        return b"This was once the photograph of a part.\n"
    image = decode_image(encoded)
    if how == "wrong_extension":
        return encode_image(image, ".jpg" if suffix == ".png" else ".png")
    frames = [Image.fromarray(frame) for frame in (image, np.ascontiguousarray(image[:, ::-1]))]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def _plant_near_duplicate(fault: Fault, root: Path, seed: int, shortcut: str) -> None:
    copy = _named(fault)
    rng = copy.make_rng(seed, "near-duplicate")
    original = decode_image((root / fault.photo.id).read_bytes())
    blank = np.zeros(original.shape[:2], bool)
    mask = decode_mask((root / fault.photo.mask_id).read_bytes()) if fault.photo.is_defective else blank
    image, mask = transform(original, mask, fault.how, rng)
    quality = choose_quality(shortcut, draw_cue(copy, seed))
    if fault.how == "recompressed":
        quality = int(rng.integers(60, 86))
    write_file(root / copy.id, encode_image(image, copy.suffix, quality))
    if copy.is_defective:
        _write_mask(root, copy, mask)


def _copy_bytes(fault: Fault, root: Path) -> None:
    copy = _named(fault)
    write_file(root / copy.id, (root / fault.photo.id).read_bytes())
    if copy.is_defective:
        write_file(root / copy.mask_id, (root / fault.photo.mask_id).read_bytes())


def _plant_conflict(fault: Fault, root: Path, seed: int) -> None:
    """Claim that a good part has a defect, mask included: the conflict is to be the only fault."""
    copy, encoded = _named(fault), (root / fault.photo.id).read_bytes()
    write_file(root / copy.id, encoded)
    size_px = decode_image(encoded).shape[0]
    _write_mask(root, copy, draw_image(copy.category, copy.defect_type, copy.number, seed, size_px)[1])


def _plant_wrong_mask(fault: Fault, root: Path) -> None:
    path = root / fault.photo.mask_id
    if fault.how == "missing":
        path.unlink()
    elif fault.how == "on_good":
        height, width = decode_image((root / fault.photo.id).read_bytes()).shape[:2]
        disc = np.zeros((height, width), np.uint8)
        cv2.circle(disc, (width // 2, height // 2), height // 8, 255, cv2.FILLED)
        _write_mask(root, fault.photo, disc > 0)
    elif fault.how == "orphaned":
        write_file(root / _named(fault).mask_id, path.read_bytes())
    else:
        mask = decode_mask(path.read_bytes())
        halved = _resize_mask(mask, (mask.shape[1] // 2, mask.shape[0] // 2))
        _write_mask(root, fault.photo, halved if fault.how == "other_size" else np.zeros_like(mask))


def _lay_on_its_side(fault: Fault, root: Path) -> None:
    """Store a photograph as a camera does that was held upright: turned, with a note of it."""
    path, copy = root / fault.photo.id, _named(fault)
    lying = np.ascontiguousarray(np.rot90(decode_image(path.read_bytes())))
    path.unlink()
    note = Image.Exif()
    note[EXIF_ORIENTATION] = TURN_CLOCKWISE_TO_VIEW
    stream = io.BytesIO()
    Image.fromarray(lying).save(stream, "JPEG", quality=HIGH_QUALITY, exif=note)
    write_file(root / copy.id, stream.getvalue())


def _resize_mask(mask: Region, size_px: tuple[int, int]) -> Region:
    """Resize a mask to (width, height), so that no part of it is lost."""
    return np.asarray(cv2.resize(mask.astype(np.float32), size_px, interpolation=cv2.INTER_AREA) > 0)


def _write_mask(root: Path, photo: Photo, mask: Region) -> None:
    write_file(root / photo.mask_id, encode_image(mask.astype(np.uint8) * np.uint8(255), ".png"))


def _named(fault: Fault) -> Photo:
    if fault.copy is None:
        raise ValueError(f"a fault of kind '{fault.kind}' needs a new name")
    return fault.copy
