"""Faults of files and of masks: unreadable, blank, mixed; empty, on a good image, without an image."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from PIL import Image

from mvdefect.audit.findings import Finding, Severity
from mvdefect.core.files import escape_name
from mvdefect.data.records import Record
from mvdefect.data.scan import FileFacts, FirstLook
from mvdefect.data.sources.folders import Layout

SAME_FORMAT = {"MPO": "JPEG", "DIB": "BMP"}


# Of each kind of finding how bad it is, what was found in how many files, and what to do about it.
FAULTS = {
    "unreadable-files": (
        Severity.ERROR,
        "{} file(s) cannot be read as one photograph.",
        "Mend or remove them; `--skip-broken` leaves them out of a fit.",
    ),
    "wrong-extension": (
        Severity.WARNING,
        "{} file(s) hold another format than their name says.",
        "Rename them. mvdefect goes by the content, but other programs may not.",
    ),
    "blank-images": (
        Severity.WARNING,
        "{} photograph(s) show one even grey.",
        "Remove them: a covered lens or a failed exposure teaches nothing.",
    ),
    "exif-rotation": (
        Severity.NOTE,
        "{} photograph(s) are stored turned or mirrored, and say so in EXIF.",
        "Nothing for mvdefect, which lays them upright. Masks must fit the upright photograph.",
    ),
    "unusable-masks": (
        Severity.ERROR,
        "{} mask(s) cannot be read, or have another size than their photograph.",
        "Export them again, in the photograph's own size.",
    ),
    "masks-on-good-images": (
        Severity.ERROR,
        "{} photograph(s) labelled good have a mask that marks a defect.",
        "Either the label or the mask is wrong: look at them and move or mend them.",
    ),
    "empty-masks": (
        Severity.ERROR,
        "{} defective photograph(s) have a mask that marks nothing.",
        "Draw the defect, or remove the mask; if there is no defect, the photograph is good.",
    ),
    "missing-masks": (
        Severity.WARNING,
        "{} defective photograph(s) have no mask, while others of the product have one.",
        "Add them, or know that where a defect lies is measured on the others alone.",
    ),
    "orphaned-masks": (
        Severity.ERROR,
        "{} mask(s) belong to no defective photograph.",
        "Rename them to <name>_mask.png in the folder of their type, or remove them.",
    ),
}


def find_file_faults(look: FirstLook) -> Iterator[Finding]:
    """Find what is wrong with files one by one, and where they differ from each other."""
    yield from _report(
        "unreadable-files", [(record.id, facts.fault) for record, facts in _rows(look) if facts.fault]
    )
    usable = look.select_readable()
    yield from _report("wrong-extension", list(_list_wrong_suffixes(usable)))
    blank = [
        (record.id, f"grey value {facts.tones.extremes[0]} throughout")
        for record, facts in _rows(usable)
        if facts.tones and facts.tones.extremes[0] == facts.tones.extremes[1]
    ]
    yield from _report("blank-images", blank)
    turned = [
        (record.id, f"EXIF orientation {facts.header.orientation}")
        for record, facts in _rows(usable)
        if facts.header and facts.header.orientation != 1
    ]
    yield from _report("exif-rotation", turned)
    for code, what, describe, advice in DIFFERENCES:
        yield from _find_mixture(usable, code, what, describe, advice)


def find_bits(look: FirstLook) -> Iterator[Finding]:
    """Find images of 16 bits that do not use them all, and those that use fewer than others do."""
    used = look.used
    if used is None:
        return
    peaks = [(record.id, facts.peak) for record, facts in _rows(look) if facts.peak]
    if used.is_mixture:
        files = [(name, f"largest value {peak}") for name, peak in peaks if name in used.dim]
        message = f"{used.describe_mixture()[0].upper()}{used.describe_mixture()[1:]}."
        yield Finding("unused-bits", Severity.ERROR, message, used.list_remedies(), tuple(files))
    elif used.bits < 16 or used.dim:
        yield Finding(
            "unused-bits",
            Severity.WARNING,
            f"{used.images} image(s) are stored with more than 8 bits, and the largest value is {used.peak} "
            f"of 65535: they are scaled by {used.bits} bits{', as set' if used.is_given else ''}.",
            "Make sure that the camera gives this number: brighter values become white later on. --bits sets "
            "another.",
            tuple((name, f"largest value {peak}") for name, peak in peaks),
        )


def _report(code: str, files: Sequence[tuple[str, str]], *numbers: object) -> Iterator[Finding]:
    severity, message, advice = FAULTS[code]
    if files:
        yield Finding(code, severity, message.format(len(files), *numbers), advice, tuple(files))


def _list_wrong_suffixes(look: FirstLook) -> Iterator[tuple[str, str]]:
    formats = Image.registered_extensions()
    for record, facts in _rows(look):
        suffix = PurePosixPath(record.id).suffix.lower()
        named = formats.get(suffix, "")
        actual = facts.header.format if facts.header else ""
        if SAME_FORMAT.get(named, named) != SAME_FORMAT.get(actual, actual):
            yield record.id, f"holds {actual}"


def _find_mixture(
    look: FirstLook, code: str, what: str, describe: Callable[[FileFacts], str], advice: str
) -> Iterator[Finding]:
    """Tell where the photographs of one product differ in a property; those unlike the most are named."""
    by_category: dict[str, list[tuple[Record, str]]] = defaultdict(list)
    for record, facts in _rows(look):
        by_category[record.category].append((record, describe(facts)))
    files: list[tuple[str, str]] = []
    mixtures = []
    for category, rows in sorted(by_category.items()):
        counts = Counter(value for _, value in rows)
        if len(counts) == 1:
            continue
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        shown = ", ".join(f"{value} ({counts[value]})" for value in ranked[:3])
        more = f" and {len(ranked) - 3} more" if len(ranked) > 3 else ""
        mixtures.append(f"{category}: {shown}{more}")
        files += [(record.id, value) for record, value in rows if value != ranked[0]]
    if mixtures:
        yield Finding(
            code, Severity.NOTE, f"Photographs differ in {what}: {'; '.join(mixtures)}.", advice, tuple(files)
        )


def _rows(look: FirstLook) -> Iterator[tuple[Record, FileFacts]]:
    return zip(look.records, look.facts, strict=True)


def _describe_size(facts: FileFacts) -> str:
    return f"{facts.size_px[1]}x{facts.size_px[0]} px"


def _describe_mode(facts: FileFacts) -> str:
    return facts.header.mode if facts.header else ""


def _describe_bits(facts: FileFacts) -> str:
    return f"{facts.header.bits} bits" if facts.header else ""


DIFFERENCES = (
    (
        "mixed-sizes",
        "size",
        _describe_size,
        "Nothing: all are brought to the working size. If good and defective ones differ in it, see the "
        "shortcuts.",
    ),
    (
        "mixed-modes",
        "colour mode",
        _describe_mode,
        "All are read as RGB. Make sure that good and defective ones come from the same camera settings.",
    ),
    (
        "mixed-bit-depths",
        "bit depth",
        _describe_bits,
        "Those of 8 bits are taken as they are, all others by the bits that are in use (`unused-bits` says "
        "how many). Make sure that good and defective ones come from the same camera settings.",
    ),
)


def find_mask_faults(layout: Layout, look: FirstLook) -> Iterator[Finding]:
    """Find masks that are not what they should be; a data set without any mask is fine."""
    unusable: list[tuple[str, str]] = []
    on_good: list[tuple[str, str]] = []
    empty: list[tuple[str, str]] = []
    missing: list[tuple[str, str]] = []
    masked = {record.category for record in layout.records if record.label and record.mask_path}
    for record, facts in zip(look.records, look.facts, strict=True):
        if facts.mask is None:
            if record.label and record.category in masked:
                missing.append((record.id, ""))
        elif facts.mask_fault:
            unusable.append((record.id, facts.mask_fault))
        elif facts.mask.share and not record.label:
            on_good.append(
                (record.id, f"{facts.mask.share:.2%} marked in {escape_name(record.mask_path or '')}")
            )
        elif not facts.mask.share and record.label:
            empty.append((record.id, escape_name(record.mask_path or "")))
    orphans = [(escape_name(path), "") for path in layout.orphan_masks]
    yield from _report("unusable-masks", unusable)
    yield from _report("masks-on-good-images", on_good)
    yield from _report("empty-masks", empty)
    yield from _report("missing-masks", missing)
    yield from _report("orphaned-masks", orphans)
