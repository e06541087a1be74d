"""Every finding: planted it is found, with its files; not planted it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mvdefect.audit.audit import AuditSettings, audit_data
from mvdefect.audit.findings import Audit, Finding, Severity, audit_to_json
from mvdefect.core.errors import LayoutError
from mvdefect.data.sources.folders import read_layout
from mvdefect.data.sources.opening import open_source
from mvdefect.drawing.data_set import write_parts
from mvdefect.drawing.flaws import Faults
from mvdefect.drawing.photos import SHORTCUTS
from tests.conftest import make_surface, make_texture, write_class_folders, write_image, write_views

SMALL = {"good": 24, "defective_per_type": 6, "size_px": 64, "categories": ("fabric",)}
REPORTED_AS = {
    "border": "shortcut-light-and-border",
    "brightness": "shortcut-light-and-border",
    "category": "shortcut-category",
    "compression": "shortcut-file-encoding",
    "size": "shortcut-image-size",
}


def audit(root: Path, **settings: Any) -> Audit:
    return audit_data(read_layout(root), AuditSettings(**settings))


def find(found: Audit, code: str) -> Finding:
    matching = [finding for finding in found.findings if finding.code == code]
    assert len(matching) == 1, [finding.code for finding in found.findings]
    return matching[0]


def codes(found: Audit) -> set[str]:
    return {finding.code for finding in found.findings}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    return audit(write_parts(tmp_path_factory.mktemp("clean") / "parts", **SMALL))


@pytest.fixture(scope="module")
def faulty_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    faults = Faults(
        near_duplicates=7, exact_duplicates=2, conflicts=2, broken=5, wrong_masks=5, exif_rotated=2
    )
    parts = SMALL | {"good": 40, "defective_per_type": 10, "size_px": 96}
    return write_parts(tmp_path_factory.mktemp("faulty") / "parts", faults=faults, **parts)


@pytest.fixture(scope="module")
def faulty(faulty_root: Path) -> Audit:
    return audit(faulty_root)


@pytest.fixture(scope="module")
def planted(faulty_root: Path) -> dict[str, list[list[str]]]:
    return json.loads((faulty_root / "planted.json").read_text())


def test_nothing_is_found_where_nothing_is_wrong(clean: Audit) -> None:
    assert clean.findings == ()
    assert clean.images == 48
    assert clean.counts["fabric/good"] == 24


def test_the_worst_comes_first(faulty: Audit) -> None:
    severities = [finding.severity for finding in faulty.findings]
    assert severities == sorted(severities, key=list(Severity).index)
    assert faulty.count(Severity.ERROR) == severities.count(Severity.ERROR) > 0


def test_broken_files_are_named_with_the_reason(faulty: Audit, planted: dict[str, list[list[str]]]) -> None:
    reasons = dict(find(faulty, "unreadable-files").files)
    ways = {how: image for image, how in planted["broken"]}
    assert set(reasons) == {image for image, how in planted["broken"] if how != "wrong_extension"}
    assert "empty" in reasons[ways["empty"]]
    assert "frames" in reasons[ways["animated"]]
    assert "no image" in reasons[ways["text"]]
    assert find(faulty, "wrong-extension").files == ((ways["wrong_extension"], "holds JPEG"),)


def test_every_fault_of_a_mask_has_its_finding(faulty: Audit, planted: dict[str, list[list[str]]]) -> None:
    rows = {how: (mask, image) for mask, image, how in planted["wrong_masks"]}
    for how, code in (
        ("missing", "missing-masks"),
        ("empty", "empty-masks"),
        ("on_good", "masks-on-good-images"),
        ("other_size", "unusable-masks"),
    ):
        assert [name for name, _ in find(faulty, code).files] == [rows[how][1]]
    (orphan, _), *more = find(faulty, "orphaned-masks").files
    assert orphan.endswith(rows["orphaned"][0])
    assert not more


def test_copies_are_grouped_and_contradictions_are_errors(
    faulty: Audit, planted: dict[str, list[list[str]]]
) -> None:
    near = find(faulty, "near-duplicates")
    assert {frozenset(group) for group in near.groups} == {
        frozenset(row[:2]) for row in planted["near_duplicates"]
    }
    assert len(near.pairs) == 7
    same = {frozenset(row) for row in planted["exact_duplicates"]}
    against = {frozenset(row) for row in planted["conflicts"]}
    assert {frozenset(group) for group in find(faulty, "identical-files").groups} == same | against
    contradicting = find(faulty, "contradicting-labels")
    assert contradicting.severity == Severity.ERROR
    assert {frozenset((pair.first, pair.second)) for pair in contradicting.pairs} == against


def test_turned_photographs_and_mixtures_are_notes(
    faulty: Audit, planted: dict[str, list[list[str]]]
) -> None:
    turned = find(faulty, "exif-rotation")
    assert [name for name, _ in turned.files] == sorted(row[0] for row in planted["exif_rotated"])
    assert turned.severity == find(faulty, "mixed-sizes").severity == Severity.NOTE


def test_a_changed_copy_under_another_label_is_an_error_and_a_damaged_part_is_not(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut")
    photograph = make_surface(77, 200, 200)
    write_image(root / "good" / "900.png", photograph)
    copy = np.ascontiguousarray(photograph[:, ::-1])
    Image.fromarray(copy).save(root / "dent" / "900.jpg", quality=70)
    found = find(audit(root), "contradicting-labels")
    assert [(pair.first, pair.second) for pair in found.pairs] == [("dent/900.jpg", "good/900.png")]
    assert "mirrored" in found.pairs[0].relation

    copy[90:94, 60:90] = 0
    Image.fromarray(copy).save(root / "dent" / "900.jpg", quality=70)
    damaged = audit(root)
    assert "contradicting-labels" not in codes(damaged)
    assert find(damaged, "same-part-under-two-labels").severity == Severity.WARNING


def write_mixture(root: Path, change: Callable[[Image.Image], Image.Image]) -> None:
    path = root / "good" / "000.png"
    with Image.open(path) as image:
        changed = change(image.copy())
    changed.save(path)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("mixed-modes", lambda image: image.convert("L")),
        ("mixed-sizes", lambda image: image.resize((50, 40))),
        (
            "mixed-bit-depths",
            lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256),
        ),
        ("blank-images", lambda image: Image.new("RGB", image.size, (9, 9, 9))),
    ],
)
def test_what_differs_is_told(
    code: str, change: Callable[[Image.Image], Image.Image], tmp_path: Path
) -> None:
    root = write_class_folders(tmp_path / "nut")
    assert code not in codes(audit(root))
    write_mixture(root, change)
    assert [name for name, _ in find(audit(root), code).files] == ["good/000.png"]


def test_rare_types_are_told(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut")
    write_image(root / "scratch" / "000.png", make_texture(50))
    assert find(audit(root), "rare-types").files == (("nut/scratch", "1 image(s)"),)


def test_an_image_unlike_all_others_is_told(tmp_path: Path) -> None:
    root = tmp_path / "nut"
    rng = np.random.default_rng(0)
    base = make_texture(0).astype(int) // 3 + 80
    for number in range(30):
        noisy = np.clip(base + rng.normal(0, 3, base.shape), 0, 255).astype(np.uint8)
        write_image(root / ("good" if number < 20 else "dent") / f"{number:03}.png", noisy)
    assert "outliers" not in codes(audit(root))
    write_image(root / "good" / "900.png", np.full((40, 48, 3), 5, np.uint8) + make_texture(1) // 30)
    assert [name for name, _ in find(audit(root), "outliers").files] == ["good/900.png"]


def test_no_image_and_none_that_can_be_read_are_told(tmp_path: Path) -> None:
    for name in ("good", "dent"):
        (tmp_path / "nut" / name).mkdir(parents=True)
    with pytest.raises(LayoutError, match="no image below"):
        audit(tmp_path / "nut")
    for name in ("good", "dent"):
        (tmp_path / "nut" / name / f"{name}.png").write_bytes(b"broken")
    assert find(audit(tmp_path / "nut"), "unreadable-files").severity is Severity.ERROR


def test_too_few_images_are_told_and_what_can_be_measured_all_the_same(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", good=12, defective=4)
    found = audit(root)
    few = find(found, "too-few-images")
    assert (few.severity, few.message[:40]) == ("warning", "`fit` learns from good images alone: 4 d")
    possible = {check.protocol for check in found.protocols if check.is_possible}
    assert "closed-set" not in possible
    assert "good-only" in possible
    none = audit(write_class_folders(tmp_path / "screw", good=9, defective=0))
    assert "at least 10 good images" in find(none, "too-few-images").message
    assert find(none, "too-few-images").severity == "error"
    enough = audit(write_class_folders(tmp_path / "bolt", good=20, defective=20))
    assert "too-few-images" not in codes(enough)
    closed_set = enough.protocols[0]
    assert closed_set.is_possible
    assert "4 defective images of 4 different parts" in closed_set.remark


@pytest.mark.slow
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_each_shortcut_is_named_by_its_cause(shortcut: str, tmp_path: Path) -> None:
    categories = ("fabric", "nut") if shortcut == "category" else ("fabric",)
    parts = SMALL | {"good": 60, "defective_per_type": 15, "categories": categories}
    found = audit(write_parts(tmp_path / "parts", faults=Faults(shortcut=shortcut), **parts))
    assert REPORTED_AS[shortcut] in codes(found)
    assert find(found, REPORTED_AS[shortcut]).severity == Severity.WARNING
    assert found.count(Severity.ERROR) == 0


@pytest.mark.slow
def test_the_tiles_have_the_known_faults(magnetic_tile: Path) -> None:
    found = audit(magnetic_tile)
    near = find(found, "near-duplicates")
    assert "229 groups in all" in near.message
    assert "contradicting-labels" not in codes(found)
    size = next(probe for probe in found.probes if probe.name == "image size")
    assert 0.6 < size.roc_auc.value < 0.8
    assert size.roc_auc.low > 0.5
    assert "shortcut-image-size" in codes(found)
    assert sum(map(len, near.groups)) >= 0.95 * found.images


def test_an_audit_is_json(faulty: Audit, clean: Audit) -> None:
    tree = json.loads(json.dumps(audit_to_json(faulty), allow_nan=False))
    assert tree["findings"][0]["severity"] == "error"
    assert {"code", "message", "advice", "files", "groups", "pairs"} <= set(tree["findings"][0])
    assert json.loads(json.dumps(audit_to_json(clean), allow_nan=False))["findings"] == []


def test_what_is_to_be_done_first_comes_first(faulty: Audit) -> None:
    order = [finding.code for finding in faulty.findings]
    assert order.index("unreadable-files") < order.index("contradicting-labels") < order.index("empty-masks")
    notes = [finding.needs_action for finding in faulty.findings if finding.severity == Severity.NOTE]
    assert notes == sorted(notes, reverse=True)


def test_groups_of_the_user_that_separate_one_part_are_a_warning(tmp_path: Path) -> None:
    root = tmp_path / "nut"
    for number in range(12):
        write_image(root / "good" / f"sn{number:02}.png", make_surface(number))
    write_image(root / "good" / "sn90.png", make_surface(3)[:, ::-1])
    found = audit_data(open_source(str(root), group_pattern="sn[0-9]+"))
    separated = find(found, "groups-separate-one-part")
    assert [(pair.first, pair.second) for pair in separated.pairs] == [("good/sn03.png", "good/sn90.png")]
    assert find(found, "grouping").message.startswith("13 groups that the user named")


def test_parts_that_lack_an_image_are_named(tmp_path: Path) -> None:
    found = audit_data(open_source(str(write_views(tmp_path / "nut")), part_pattern="SN[0-9]+"))
    told = [finding.message for finding in found.findings if finding.code == "parts"]
    assert told == [
        "36 parts (71 of 71 images) are kept whole; most show side, top.",
        "1 of 36 parts lack images: SN01 (side).",
    ]


def test_names_that_suggest_groups_are_offered(tmp_path: Path) -> None:
    root = tmp_path / "nut"
    for number in range(24):
        write_image(root / "good" / f"kos{number // 3:02}_{number}.png", make_surface(number, 64, 64))
    offered = find(audit(root), "group-names")
    assert "8 groups of 24 images, as in 'kos00'" in offered.message
    assert "--group-pattern 'kos[0-9]+'" in offered.advice
    assert "group-names" not in codes(audit_data(open_source(str(root), group_pattern="kos[0-9]+")))


def test_images_without_detail_are_told(tmp_path: Path) -> None:
    root = tmp_path / "nut"
    for number in range(12):
        write_image(root / "good" / f"{number:02}.png", make_surface(number))
    write_image(root / "good" / "90.png", np.full((96, 96, 3), 70, np.uint8))
    undecided = find(audit(root), "undecided-images")
    assert undecided.files == (("good/90.png", ""),)
    assert undecided.severity == Severity.WARNING  # more than one in twenty


@pytest.mark.parametrize(
    ("height", "width", "settings", "expected"),
    [
        (600, 600, {"resolution": 64}, {"much-shrunk-images"}),
        (500, 500, {"resolution": 64}, set()),
        (40, 120, {"resolution": (64, 64)}, {"mostly-padding"}),
        (40, 120, {}, set()),
        (60, 120, {}, set()),
        (40, 120, {"resize": "stretch"}, set()),
        (90, 2000, {"resolution": (224, 224)}, {"much-shrunk-images", "mostly-padding"}),
    ],
)
def test_what_the_network_will_not_see_is_a_warning(
    height: int, width: int, settings: dict[str, Any], expected: set[str], tmp_path: Path
) -> None:
    for number in range(4):
        write_image(tmp_path / "nut" / "good" / f"{number}.png", make_surface(number, height, width))
    found = audit(tmp_path / "nut", **settings)
    assert codes(found) & {"much-shrunk-images", "mostly-padding"} == expected
    for code in expected:
        assert len(find(found, code).files) == 4


@pytest.mark.parametrize(("side", "is_tiny"), [(8, True), (60, False)])
def test_defects_that_are_tiny_at_the_working_size_are_told(side: int, is_tiny: bool, tmp_path: Path) -> None:
    for number in range(3):
        image, mask = make_surface(number, 400, 400), np.zeros((400, 400), np.uint8)
        mask[100 : 100 + side, 200 : 200 + side] = 255
        write_image(tmp_path / "nut" / "test" / "hole" / f"{number}.png", image)
        write_image(tmp_path / "nut" / "ground_truth" / "hole" / f"{number}_mask.png", mask)
        write_image(tmp_path / "nut" / "train" / "good" / f"{number}.png", make_surface(number + 9, 400, 400))
    found = [one for one in audit(tmp_path / "nut", resolution=96).findings if one.code == "tiny-defects"]
    assert len(found) == is_tiny
    for one in found:
        assert "3 of 3 defects are smaller than 4×4 pixels at the working size of 96×96" in one.message
        assert one.files[0] == ("test/hole/0.png", "1.9×1.9 px")


def test_a_defect_that_makes_a_file_larger_is_no_claim_about_how_it_was_saved(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        image = cv2.GaussianBlur(make_surface(number, 64, 64), (0, 0), 2)
        if number % 2:
            image[20:44, 20:44] = rng.integers(0, 256, (24, 24, 3))
        write_image(tmp_path / "nut" / ("dent" if number % 2 else "good") / f"{number:02}.png", image)
    found = audit(tmp_path / "nut")
    assert "shortcut-file-encoding" not in codes(found)
    size = find(found, "shortcut-file-size")
    assert size.severity == Severity.NOTE
    assert not size.needs_action
    assert "saved with other settings" not in size.message


def test_files_of_two_formats_are_said_to_be_saved_otherwise(tmp_path: Path) -> None:
    for number in range(60):
        name = f"dent/{number:02}.jpg" if number % 2 else f"good/{number:02}.png"
        write_image(tmp_path / "nut" / name, make_surface(number, 64, 64))
    message = find(audit(tmp_path / "nut"), "shortcut-file-encoding").message
    assert "Of JPEG, 100% are defective; of PNG, 0%." in message
    assert "saved with other settings or by other programs" in message
