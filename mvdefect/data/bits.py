"""How many bits the images of a data set use, where they have more than 8 bits a channel.

Cameras of 10, 12 or 14 bits save their values as they are in files of 16 bits. Scaled by all 16, a picture of
10 bits would keep 4 grey values. The number is one for the data set: by image, it would change the brightness
from one image to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mvdefect.core.errors import ImageError, list_some

CAMERA_BITS = (8, 10, 12, 14, 16)
FEW_LEVELS = 16  # grey values of 256; what keeps no more has lost its detail
MIXTURE_SHARE = 0.05  # of the images of more than 8 bits; a covered lens now and then is no mixture


@dataclass(frozen=True)
class UsedBits:
    """How many bits are in use.

    Attributes:
        bits: By which brightness is scaled, 8 to 16.
        is_given: Whether the user said so.
        images: Images of more than 8 bits.
        peak: The largest value in any of them.
        dim: Of these by id, in order, those that keep 16 grey values or fewer, with their largest value.
        bright: How many have values above what the bits hold.
    """

    bits: int
    is_given: bool
    images: int
    peak: int
    dim: Mapping[str, int]
    bright: int

    @property
    def is_mixture(self) -> bool:
        """Whether images seem to use different numbers of bits, and nobody said which counts."""
        return not self.is_given and len(self.dim) > MIXTURE_SHARE * self.images

    def describe(self) -> str:
        """Say in one sentence what was found or set."""
        found = f"{self.images} image(s) have more than 8 bits a channel and values up to {self.peak}"
        if not self.is_given:
            return f"{found}: they are scaled by {self.bits} bits; --bits sets another number"
        beyond = f", and {self.bright} have larger values, which become white" if self.bright else ""
        return f"{found}: they are scaled by {self.bits} bits, as set{beyond}"

    def describe_mixture(self) -> str:
        """Say that images do not go together, and what can be done."""
        dim_peak = max(self.dim.values())
        return (
            f"{len(self.dim)} of {self.images} images of more than 8 bits keep {FEW_LEVELS} grey values "
            f"or fewer: their values reach {dim_peak}, those of the others {self.peak}"
        )

    def list_remedies(self) -> str:
        """Say what can be done about a mixture."""
        other = choose_bits(max(self.dim.values()))
        return (
            "Bring all images to one depth (multiply 12-bit values by 16, for example). If the dark ones are "
            f"meant to be dark, use --bits {self.bits}; if what is brighter may become white, --bits {other}."
        )


def choose_bits(peak: int) -> int:
    """Return the least number of bits of a camera, 8 to 16, that holds a value from 0 to 65535."""
    return next(bits for bits in CAMERA_BITS if peak < 2**bits)


def find_used_bits(peaks: Mapping[str, int], given: int | None = None) -> UsedBits | None:
    """Find how many bits a data set uses.

    Args:
        peaks: By id the largest value of each image of more than 8 bits; 0, or left out, for all others.
        given: What the user said; None: by the largest value of all.

    Returns:
        None where there are no such images.
    """
    deep = {name: peak for name, peak in sorted(peaks.items()) if peak}
    if not deep:
        return None
    peak = max(deep.values())
    bits = given or choose_bits(peak)
    dim = {name: value for name, value in deep.items() if value >> (bits - 8) < FEW_LEVELS}
    bright = sum(value >= 2**bits for value in deep.values())
    return UsedBits(bits, given is not None, len(deep), peak, dim, bright)


def refuse_mixture(used: UsedBits | None) -> None:
    """Refuse images that use different numbers of bits, where nobody said which counts.

    Raises:
        ImageError: They do.
    """
    if used is not None and used.is_mixture:
        raise ImageError(
            f"{used.describe_mixture()}. {used.list_remedies()} They are: {list_some(list(used.dim))}"
        )
