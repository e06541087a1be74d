"""Prepared store: the photographs at working size, shrunk once, as a TFDS data set."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from mvdefect.config import ResizeMethod, Size
from mvdefect.core.errors import ConfigError, ImageError, list_some
from mvdefect.core.files import cache_dir, describe_state, parse_json, write_text
from mvdefect.core.parallel import map_in_threads
from mvdefect.core.progress import logger, show_steps
from mvdefect.data.beam import import_beam, make_pipeline, run_pipeline
from mvdefect.data.counted_region import CountedRegion, read_region, write_region
from mvdefect.data.images import DEFAULT_DECODING, Decoding
from mvdefect.data.records import Record
from mvdefect.data.shards import (
    NAME,
    SPLIT,
    KeptImages,
    ShardFacts,
    ShardSpec,
    plan_shards,
    read_facts,
    remove_damaged,
    write_shard,
)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow_datasets as tfds

THREADS = "threads"
FORMAT_VERSION = "2.3.0"
DATASET_INFO = "dataset_info.json"  # without it TFDS reads nothing
NOTE = "preparation.json"
LOCK = ".lock"
REGION = "region.png"
SPEC_SUFFIX = ".spec.json"


@dataclass(frozen=True)
class PreparedStore:
    """A finished store.

    Attributes:
        path: The folder of the TFDS data set; `tfds.builder_from_directory(path)` reads it.
        size_px: Height and width of each image and mask.
        count: How many images there are.
        key: Hash of all that decides what the store holds.
    """

    path: Path
    size_px: Size
    count: int
    key: str

    @cached_property
    def region(self) -> CountedRegion | None:
        """The region that counts of its images, which are of one colour elsewhere; None: all counts."""
        return read_region(self.path / REGION)


def prepare_images(
    records: Sequence[Record],
    size_px: Size,
    method: ResizeMethod,
    *,
    out: Path | None = None,
    runner: str = THREADS,
    runner_options: Sequence[str] = (),
    skip_broken: bool = False,
    kept: KeptImages | None = None,
    decoding: Decoding = DEFAULT_DECODING,
    region: CountedRegion | None = None,
) -> PreparedStore:
    """Shrink every photograph and mask to the working size and store them, without loss.

    The store is made anew only when a file, a label, the size, the method, the decoding or the region has
    changed. It is written shard by shard; what was finished before an interrupt is kept, and only the rest is
    done. Its `dataset_info.json` comes last, and without it nothing reads the store.

    Args:
        records: The photographs, sorted by id.
        size_px: Height and width of the result.
        method: See `mvdefect.data.images.resize_image`.
        out: Where the store goes: a new or empty folder, or one that holds this very preparation. By
            default it lies in the cache.
        runner: "threads" for one thread a core, or a runner of Apache Beam, as in "FlinkRunner".
        runner_options: Options for Beam's runner, as in `["--flink_master=host:8081"]`.
        skip_broken: Leave unreadable images out (and say so) instead of stopping.
        kept: Photographs that were shrunk already, to the same size by the same method, with no region.
        decoding: How photographs are decoded; see `mvdefect.data.scan.settle_decoding`.
        region: What counts of each photograph; outside of it they are stored in one colour. None: all counts.

    Raises:
        ImageError: There is nothing to store, or an image or its mask cannot be read and `skip_broken`
            is off; it names them. All others have been stored by then.
        ConfigError: `out` holds something else, or the runner cannot be had.
        OSError: A photograph is gone, or the disk is full.
    """
    key = _make_key(records, size_px, method, decoding, region)
    path = (out or cache_dir("prepared") / key).absolute()
    place = None if region is None else path / REGION
    specs = plan_shards(records, path, size_px, method, decoding, place)
    _check_folder(path, key)
    _remove_damaged(path, specs)
    if _is_finished(path, specs):
        logger.info("prepared images found in %s", path)
        return PreparedStore(path, size_px, _count_images(specs, skip_broken), key)
    with _claim_folder(path, key):
        if not _is_finished(path, specs):  # another process may have been at it
            if region is not None:
                write_region(region, path / REGION)
            _write_missing_shards(specs, runner, runner_options, kept)
        count = _count_images(specs, skip_broken)
        _finish(path, specs, size_px)
    logger.info("prepared %d images at %d×%d pixels in %s", count, size_px[1], size_px[0], path)
    return PreparedStore(path, size_px, count, key)


def _make_key(
    records: Sequence[Record],
    size_px: Size,
    method: ResizeMethod,
    decoding: Decoding,
    region: CountedRegion | None,
) -> str:
    """Hash all that decides what the store holds; files as `describe_state` tells them apart."""
    folders: dict[Path, Path] = {}
    key = hashlib.sha256(
        f"{FORMAT_VERSION} {size_px} {method} {decoding.used_bits} {decoding.max_pixels}\n".encode()
    )
    if region is not None:
        key.update(f"region {region.digest}\n".encode())
    for record in records:
        key.update(f"{record.id}\0{record.stratum}\n".encode())
        for path in filter(None, (record.path, record.mask_path)):
            if path.parent not in folders:
                folders[path.parent] = path.parent.resolve()
            key.update(describe_state(folders[path.parent] / path.name))
    return key.hexdigest()[:32]


def _is_finished(path: Path, specs: Sequence[ShardSpec]) -> bool:
    return (path / DATASET_INFO).is_file() and None not in [read_facts(spec.path) for spec in specs]


def _remove_damaged(path: Path, specs: Sequence[ShardSpec]) -> None:
    """Remove shards whose bytes have changed on the disk, so that they are written again."""
    damaged = sum(map_in_threads(remove_damaged, [spec.path for spec in specs]))
    if damaged:
        logger.warning("%d of %d shards in %s are damaged; preparing them again", damaged, len(specs), path)


def _check_folder(path: Path, key: str) -> None:
    """See to it that nothing else is overwritten."""
    if not path.exists():
        return
    try:
        held = parse_json((path / NOTE).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        held = None
    is_new = path.is_dir() and all(file.name.endswith((LOCK, NOTE, REGION)) for file in path.iterdir())
    if held != key and not (held is None and is_new):
        raise ConfigError(
            "the folder of a prepared store must be new, empty, or hold the same photographs at the same "
            f"size; remove it or name another. Received: {path}"
        )


@contextmanager
def _claim_folder(path: Path, key: str) -> Iterator[None]:
    """Keep other processes from preparing the same store at the same time."""
    path.mkdir(parents=True, exist_ok=True)
    with (path / LOCK).open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another process prepares these images; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:  # some network file systems know no locks; shards are whole even so
            logger.warning("%s cannot be locked; prepare it from one process at a time", path)
        _check_folder(path, key)
        write_text(path / NOTE, json.dumps({"key": key, "format": FORMAT_VERSION}) + "\n")
        yield
        (path / LOCK).unlink(missing_ok=True)


def _write_missing_shards(
    specs: Sequence[ShardSpec], runner: str, options: Sequence[str], kept: KeptImages | None
) -> None:
    missing = [spec for spec in specs if read_facts(spec.path) is None]
    if len(missing) < len(specs):
        logger.info("%d of %d shards are there already", len(specs) - len(missing), len(specs))
    if runner == THREADS:
        with show_steps("Preparing images", sum(len(spec.records) for spec in missing)) as advance:
            for _ in map_in_threads(lambda spec: write_shard(spec, advance, kept), missing):
                pass
    elif missing:
        write_shards_with_beam(missing, runner, options)
    lost = sum(read_facts(spec.path) is None for spec in missing)
    if lost:
        raise ConfigError(
            f"{runner} has ended, but {lost} of {len(missing)} shards are not in {specs[0].path.parent}: "
            "each worker must see this folder and the photographs under the same paths"
        )


def _count_images(specs: Sequence[ShardSpec], skip_broken: bool) -> int:
    """Count what is stored, and say which photographs are not."""
    facts = _collect_facts(specs)
    count = sum(fact.count for fact in facts)
    broken = [fault for fact in facts for fault in fact.broken]
    if broken and not skip_broken:
        raise ImageError(
            f"{len(broken)} file(s) cannot be used. Mend or remove them, or leave them out with "
            f"--skip-broken: {list_some(broken)}"
        )
    if not count:
        raise ImageError(f"there is no image to prepare. Received: {len(broken)} file(s), all broken")
    if broken:
        logger.warning("left out %d file(s) that cannot be used: %s", len(broken), list_some(broken))
    return count


def _collect_facts(specs: Sequence[ShardSpec]) -> list[ShardFacts]:
    return [fact for spec in specs if (fact := read_facts(spec.path)) is not None]


def _finish(path: Path, specs: Sequence[ShardSpec], size_px: Size) -> None:
    """Remove what interrupts left behind, and write the metadata of TFDS; the file it reads first, last."""
    for file in (*path.glob(".*"), *path.glob(f"*{SPEC_SUFFIX}")):
        if file.name != LOCK:
            file.unlink(missing_ok=True)
    facts = _collect_facts(specs)
    identity = tfds.core.DatasetIdentity(NAME, tfds.core.Version(FORMAT_VERSION), str(path), "")
    info = tfds.core.DatasetInfo(
        builder=identity,
        description="Photographs of manufactured products at working size, with pixel masks of defects.",
        features=_describe_features(size_px),
        supervised_keys=("image", "label"),
        disable_shuffling=True,
    )
    info.set_file_format(tfds.core.FileFormat.TFRECORD)
    lengths = [fact.count for fact in facts]
    split = tfds.core.SplitInfo(SPLIT, lengths, sum(fact.size_bytes for fact in facts))
    info.set_splits(tfds.core.SplitDict([split]))
    with tempfile.TemporaryDirectory() as aside:
        info.write_to_directory(aside)
        for file in sorted(Path(aside).iterdir(), key=lambda file: file.name == DATASET_INFO):
            write_text(path / file.name, file.read_text(encoding="utf-8"))


def _describe_features(size_px: Size) -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(*size_px, 3), encoding_format="png"),
            "mask": tfds.features.Image(shape=(*size_px, 1), encoding_format="png"),
            "has_mask": np.bool_,
            "label": tfds.features.ClassLabel(names=["good", "defective"]),
            "category": tfds.features.Text(),
            "defect_type": tfds.features.Text(),
        }
    )


def write_shards_with_beam(specs: Sequence[ShardSpec], runner: str, options: Sequence[str]) -> None:
    """Write shards with Apache Beam, and wait until they are written.

    Every worker needs this package, and must see the images and the store under the same paths as this
    process: a network file system, mounted in one place everywhere. What each shard holds is noted in a file
    beside it, and the pipeline carries the names of these files alone: an engine takes no pipeline of
    gigabytes.

    Args:
        specs: The shards.
        runner: Name of Beam's runner, as in "FlinkRunner".
        options: Beam's pipeline options, as in `["--flink_master=host:8081"]`.

    Raises:
        ConfigError: Apache Beam is not installed, the runner or an option is not known to it, or the
            engine could not finish.
    """
    beam = import_beam()
    pipeline = make_pipeline(beam, runner, options, "threads")
    files = [_store_spec(spec) for spec in specs]
    shards = pipeline | "Shards" >> beam.Create(files) | "Spread" >> beam.Reshuffle()
    _ = shards | "Shrink and write" >> beam.Map(write_stored_shard)
    logger.info("%d shards go to %s", len(files), runner)
    run_pipeline(pipeline, runner)


def write_stored_shard(file: str) -> int:
    """Write the shard that a file describes, and return how many images it holds."""
    stored = parse_json(Path(file).read_text(encoding="utf-8"))
    records = tuple(
        Record(**{**record, "path": Path(record["path"]), "mask_path": _to_path(record["mask_path"])})
        for record in stored["records"]
    )
    decoding, region = Decoding(**stored["decoding"]), _to_path(stored["region"])
    size_px = tuple(stored["size_px"])
    spec = ShardSpec(Path(stored["path"]), records, size_px, stored["method"], decoding, region)
    return write_shard(spec).count


def _store_spec(spec: ShardSpec) -> str:
    file = spec.path.with_name(spec.path.name + SPEC_SUFFIX)
    write_text(file, json.dumps(asdict(spec), default=lambda path: str(path.absolute())))
    return str(file)


def _to_path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
