"""Near-duplicates: images of one part, told from images that only look alike.

Candidates (`candidates.py`) are compared in detail (`details.py`): does each block of one image agree with
the other image better than with those of the product that look most like it, and better than with other
places of itself? Where three quarters of the blocks do, clearly, both show the same individual surface:
the same part, or the same image again. What a product's images share (edges, print, background, a weave)
agrees with all of them, and so proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mvdefect.core.parallel import map_in_processes
from mvdefect.core.progress import track
from mvdefect.data.groups.alignment import Aligner
from mvdefect.data.groups.candidates import (
    Indices,
    Pairs,
    Vectors,
    find_candidates,
    join_pairs,
    rank_look_alikes,
    settle_half_turns,
)
from mvdefect.data.groups.detail_store import DetailReader, DetailStore
from mvdefect.data.groups.details import (
    TURNS,
    Detail,
    Floats,
    compare_aligned,
    measure_repetition,
    turn_structure,
)
from mvdefect.data.groups.poses import MIRRORED, invert_pose, lay_in_pose
from mvdefect.data.images import Pixels

RULE = 2  # of what belongs together; 1 went by thumbnails alone
MIN_EVIDENCE = 0.75  # Fisher's z
CERTAINTY = 0.4  # of Fisher's z: this far from `MIN_EVIDENCE`, no more look-alikes are asked
SHORT_OF = 0.25  # share of blocks that may agree less: a defect, a reflection, an edge that is cut off
MIN_ALIGNED = 0.3  # share of blocks; of images that agree it is 0.33 and more, even 10 degrees apart
MIN_AGREEMENT = 0.6  # correlation, below which no comparison with others can help
MIN_AGREEMENT_OF_ONE_IMAGE = 0.993  # correlation, above that of two photographs of one part
MIN_BLOCKS = 6
PAIRS_AT_ONCE = 16
LOOK_ALIKES, MIN_LOOK_ALIKES = 40, 5
ROUNDS = ((0, 8), (4, 8), (2, 4), (1, 2))  # of look-alikes by rank: near and far ones in each
HIGHEST_CORRELATION = 0.9995  # Fisher's z grows without bound
AVERAGED_PX = 4
MAX_LIGHT_DIFFERENCE = 8.0  # grey values: above the noise of a strong JPEG, below a faint scratch

ReadGrey = Callable[[int], Pixels]
Looks = tuple[NDArray[np.float16], NDArray[np.uint8], Vectors]  # fingerprints, thumbnails, log aspects


@dataclass(frozen=True)
class Links:
    """Pairs of images that show the same part, each named once, sorted.

    Attributes:
        first: int64 of shape (m,): index of one image.
        second: int64 of shape (m,): index of the other; always larger.
        pose: int64 of shape (m,): how `first` must be laid to look like `second`; index into `POSES`.
        evidence: float32 of shape (m,): how much better they agree than images of two parts, in Fisher's z.
        is_same_image: bool of shape (m,): one image, changed at most in pose, size, light and encoding.
        undecided: int64, sorted: images with too little detail, or too few others, for a comparison.
        alike: How many pairs agree in detail, but no more than other images of the product do.
    """

    first: Indices
    second: Indices
    pose: Indices
    evidence: Vectors
    is_same_image: NDArray[np.bool_]
    undecided: Indices
    alike: int = 0

    def select(self, kept: NDArray[np.bool_]) -> Links:
        """Return some of the pairs."""
        return Links(
            self.first[kept],
            self.second[kept],
            self.pose[kept],
            self.evidence[kept],
            self.is_same_image[kept],
            self.undecided,
            self.alike,
        )


def find_near_duplicates(
    fingerprints: NDArray[np.float16],
    thumbnails: NDArray[np.uint8],
    sizes_px: NDArray[np.int64],
    categories: Sequence[str],
    read_grey: ReadGrey,
) -> Links:
    """Find pairs of images of one category that show the same part.

    Time grows with n log n: an image has a bounded number of candidates, and is compared in detail with a
    bounded number of others. Memory grows with n, by less than 1 kB an image.

    Args:
        fingerprints: float16 of shape (n, `FINGERPRINT_LENGTH`), as `take_fingerprint` takes them.
        thumbnails: uint8 of shape (n, 24, 24).
        sizes_px: int64 of shape (n, 2): height and width of each image.
        categories: Category of each image.
        read_grey: Returns an image by index, uint8 of shape (height, width); several threads call it.
    """
    aspects = np.log(sizes_px[:, 0] / sizes_px[:, 1]).astype(np.float32)
    looks = (fingerprints, thumbnails, aspects)
    names = np.asarray(categories, dtype=str)
    products = [np.flatnonzero(names == name) for name in np.unique(names)]
    with DetailStore(read_grey) as store:
        pairs, undecided = _find_agreeing(store, looks, products)
        evidence = _measure_evidence(store, looks, products, pairs)
        kept = evidence >= MIN_EVIDENCE
        linked = pairs.select(kept)
        same = np.array([_show_one_image(store.reader, *pair) for pair in linked], bool)
    featureless = np.flatnonzero(~fingerprints.any(axis=1))
    return Links(
        linked.first,
        linked.second,
        linked.pose,
        evidence[kept],
        same,
        np.union1d(undecided, featureless),
        int((~kept).sum()),
    )


def link_equal_names(names: Sequence[str]) -> tuple[Indices, Indices]:
    """Link each item to the first one of the same name; an empty name links nothing."""
    array = np.asarray(names, dtype=str)
    _, first, code = np.unique(array, return_index=True, return_inverse=True)
    linked = np.flatnonzero((first[code] != np.arange(len(array))) & (array != ""))
    return first[code[linked]].astype(np.int64), linked


def connect(first: Indices, second: Indices, count: int) -> Indices:
    """Number the connected components of links, by first appearance.

    Returns:
        int64 of shape (count,).
    """
    links = coo_matrix((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, labels = connected_components(links, directed=False)
    _, appearance, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank: Indices = np.argsort(np.argsort(appearance)).astype(np.int64)
    return rank[inverse]


def make_no_links() -> Links:
    """Return no pairs at all."""
    nothing = np.zeros(0, np.int64)
    return Links(nothing, nothing, nothing, np.zeros(0, np.float32), np.zeros(0, bool), nothing)


def _find_agreeing(store: DetailStore, looks: Looks, products: Sequence[Indices]) -> tuple[Pairs, Indices]:
    """Return the pairs that agree in detail at all, and the images that cannot be judged by it."""
    fingerprints, thumbnails, aspects = looks
    few = [members for members in products if 1 < len(members) <= MIN_LOOK_ALIKES]
    many = [members for members in products if len(members) > MIN_LOOK_ALIKES]
    candidates = [find_candidates(fingerprints[members], aspects[members]) for members in many]
    pairs = join_pairs([pairs.renumber(members) for pairs, members in zip(candidates, many, strict=True)])
    images = np.unique(np.concatenate([pairs.first, pairs.second]))
    store.fill(images.tolist())
    blocks = [store.reader.get(image).is_informative.sum() for image in images.tolist()]
    undecided = images[np.array(blocks, np.int64) < MIN_BLOCKS]
    tried, owner = settle_half_turns(thumbnails, pairs)
    agreement = _measure_agreements(store.reader, tried)
    best = np.lexsort((-agreement, owner))
    best = best[np.unique(owner[best], return_index=True)[1]]
    agreeing = tried.select(best[agreement[best] >= MIN_AGREEMENT])
    return agreeing, np.concatenate([undecided, *few])


def _measure_evidence(store: DetailStore, looks: Looks, products: Sequence[Indices], pairs: Pairs) -> Vectors:
    """Say for each pair how much better its images agree than either does with its look-alikes."""
    partners: dict[int, list[tuple[int, int]]] = {}
    numbers: dict[int, list[int]] = {}
    backwards = invert_pose(pairs.pose)
    for number, (first, second, pose) in enumerate(pairs):
        for image, other, way in ((first, second, pose), (second, first, int(backwards[number]))):
            partners.setdefault(image, []).append((other, _undo_pose(way)))
            numbers.setdefault(image, []).append(number)
    paired = np.array(sorted(partners), np.int64)
    look_alikes = {
        image: found for members in products for image, found in _list_look_alikes(looks, members, paired)
    }
    store.fill({other for found in look_alikes.values() for other, _ in found})
    work = [(image, partners[image], look_alikes[image]) for image in paired.tolist()]
    evidence = np.full(len(pairs.first), np.inf, np.float32)
    found = track(map_in_processes(partial(_judge, store.reader), work), "Comparing in detail", len(work))
    for image, values in zip(paired.tolist(), found, strict=True):
        evidence[numbers[image]] = np.minimum(evidence[numbers[image]], values)
    return evidence


def _list_look_alikes(
    looks: Looks, members: Indices, paired: Indices
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield the images of a product that have partners, each with its look-alikes and how to turn them."""
    queries = np.flatnonzero(np.isin(members, paired))
    if len(queries) == 0:
        return
    fingerprints, thumbnails, aspects = looks
    found = rank_look_alikes(
        fingerprints[members], thumbnails[members], aspects[members], queries, LOOK_ALIKES
    )
    others, turns = members[found[0]], found[1]
    for query, row, way in zip(queries.tolist(), others.tolist(), turns.tolist(), strict=True):
        yield int(members[query]), [(other, _undo(turn)) for other, turn in zip(row, way, strict=True)]


def _measure_agreements(reader: DetailReader, pairs: Pairs) -> Vectors:
    """Return by how much the images of each pair agree, float32 of shape (m,); -1 for those that do not."""
    listed = list(pairs)
    parts = [listed[start : start + PAIRS_AT_ONCE] for start in range(0, len(listed), PAIRS_AT_ONCE)]
    work = map_in_processes(partial(_measure_some, reader), parts)
    found = [value for part in track(work, "Comparing images", len(parts)) for value in part]
    return np.nan_to_num(np.array(found, np.float32), nan=-1)


def _measure_some(reader: DetailReader, pairs: Sequence[tuple[int, int, int]]) -> list[float]:
    found = []
    for first, group in groupby(pairs, key=itemgetter(0)):
        aligner = Aligner(reader.get(first))
        found += [_measure_agreement(reader, aligner, second, pose) for _, second, pose in group]
    return found


def _measure_agreement(reader: DetailReader, aligner: Aligner, second: int, pose: int) -> float:
    """Return what three quarters of the blocks reach; NaN where the images cannot be aligned at all."""
    structure = turn_structure(reader.get(second).structure, _undo_pose(pose))
    alignment = aligner.align(structure)
    if alignment.share < MIN_ALIGNED:
        return float("nan")
    return _summarise(compare_aligned(aligner.detail, structure, alignment.place), aligner.detail)


def _judge(reader: DetailReader, item: tuple[int, list[tuple[int, int]], list[tuple[int, int]]]) -> Floats:
    """Return the evidence for each partner of an image, seen from this image; minus infinity for none."""
    image, partners, look_alikes = item
    detail = reader.get(image)
    aligner = Aligner(detail)
    agreements = [_compare(reader, aligner, *partner) for partner in partners]
    asked: list[Floats] = []
    found = np.full(len(partners), -np.inf, np.float32)
    for start, step in ROUNDS:
        asked += [_compare(reader, aligner, *look_alike) for look_alike in look_alikes[start::step]]
        found = _weigh(agreements, _take_median(np.array(asked)), detail)
        if len(asked) >= MIN_LOOK_ALIKES and (np.abs(found - MIN_EVIDENCE) > CERTAINTY).all():
            break
    if (found < MIN_EVIDENCE).all():
        return found
    usual = _take_median(np.array(asked))
    expected = np.where(np.isnan(usual), usual, np.fmax(usual, measure_repetition(detail)))
    return _weigh(agreements, expected, detail)


def _show_one_image(reader: DetailReader, first: int, second: int, pose: int) -> bool:
    """Whether two images of one part are one image: alike in detail, and in all but the light as a whole."""
    if not differ_in_light_alone(reader.get(first).grey, reader.get(second).grey, pose):
        return False
    agreement = _measure_agreement(reader, Aligner(reader.get(first)), second, pose)
    return agreement >= MIN_AGREEMENT_OF_ONE_IMAGE


def _compare(reader: DetailReader, aligner: Aligner, other: int, turn: int) -> Floats:
    return aligner.compare(turn_structure(reader.get(other).structure, turn))


def differ_in_light_alone(first: Pixels, second: Pixels, pose: int) -> bool:
    """Whether two images are alike, place by place, once the light of one is fitted to that of the other.

    Args:
        first: uint8 of shape (height, width), at the common area.
        second: The same of the other image.
        pose: How `first` must be laid to look like `second`; index into `POSES`.
    """
    laid = np.ascontiguousarray(lay_in_pose(first[np.newaxis], pose)[0])
    laid = cv2.resize(laid, (second.shape[1], second.shape[0]), interpolation=cv2.INTER_LINEAR)
    gain, offset = np.polyfit(laid.ravel().astype(float), second.ravel().astype(float), 1)
    difference = (gain * laid + offset - second).astype(np.float32)
    return bool(np.abs(cv2.blur(difference, (AVERAGED_PX, AVERAGED_PX))).max() <= MAX_LIGHT_DIFFERENCE)


def _undo_pose(pose: int) -> int:
    """Return the turn that undoes a pose."""
    is_mirrored, quarters = divmod(pose, MIRRORED)
    return _undo(is_mirrored * TURNS + quarters * TURNS // 4)


def _undo(turn: int) -> int:
    """Return the turn, as `turn_structure` counts, that undoes a turn; mirrored ones undo themselves."""
    return turn if turn >= TURNS else -turn % TURNS


def _take_median(asked: Floats) -> Floats:
    """Return what is usual for each block, float32 of shape (blocks,); NaN where too few have it."""
    known = (~np.isnan(asked)).sum(axis=0)
    ranked = np.sort(asked, axis=0)  # NaN comes last
    middle = np.stack([np.maximum(known - 1, 0) // 2, np.minimum(known // 2, len(asked) - 1)])
    median = np.take_along_axis(ranked, middle, axis=0).mean(axis=0)
    return np.where(known < MIN_LOOK_ALIKES, np.float32(np.nan), median)


def _weigh(agreements: Sequence[Floats], expected: Floats, detail: Detail) -> Floats:
    """Say by how much each agreement exceeds what is expected of a block, in three quarters of the blocks."""
    usual = _to_fisher_z(expected)
    found = [_summarise(_to_fisher_z(agreement) - usual, detail) for agreement in agreements]
    return np.nan_to_num(np.array(found, np.float32), nan=-np.inf)


def _to_fisher_z(correlation: Floats) -> Floats:
    return np.arctanh(np.clip(correlation, -0.2, HIGHEST_CORRELATION))


def _summarise(values: Floats, detail: Detail) -> float:
    """Return what three quarters of the informative blocks reach; NaN where there are too few blocks."""
    counted = values[detail.is_informative & ~np.isnan(values)]
    return float(np.quantile(counted, SHORT_OF)) if len(counted) >= MIN_BLOCKS else float("nan")
