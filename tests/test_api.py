"""The public functions, as a script or a notebook calls them: each example, twice in one process."""

from __future__ import annotations

import doctest
import inspect
import pathlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

import mvdefect
from mvdefect.core.errors import ArgumentTypeError, ConfigError, LayoutError
from mvdefect.inspector.answers import Answer
from mvdefect.prediction.inspectors import Inspector
from tests.conftest import write_class_folders

FUNCTIONS = ("check", "fit", "evaluate", "load", "predict", "export")  # in the order of their work


def alike(first: list[Answer], second: list[Answer]) -> bool:
    """Whether labels are equal, and probabilities but for the rounding of another batch size."""
    labels = [[answer.label for answer in answers] for answers in (first, second)]
    numbers = [[answer.probability for answer in answers] for answers in (first, second)]
    return labels[0] == labels[1] and np.allclose(*numbers, atol=1e-6)


@pytest.fixture(scope="module")
def inspector(finished_run: Path) -> Inspector:
    return mvdefect.load(finished_run)


@pytest.fixture(scope="module")
def photo(parts_root: Path) -> Path:
    return sorted(parts_root.rglob("test/good/*.png"))[0]


@pytest.mark.slow
def test_every_example_works_twice_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = write_class_folders(tmp_path / "images", 12, 12)
    (tmp_path / "part.png").write_bytes(sorted(images.rglob("*.png"))[0].read_bytes())
    assert {*FUNCTIONS, "__version__"} == set(mvdefect.__all__)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    known = {"mvdefect": mvdefect, "numpy": np, "pathlib": pathlib}
    for _ in range(2):
        for name in FUNCTIONS:
            examples = finder.find(getattr(mvdefect, name), name, globs=known)
            assert any(example.examples for example in examples), name
            for example in examples:
                assert runner.run(example, clear_globs=False).failed == 0, name


def test_images_come_in_many_ways_and_get_one_answer(inspector: Inspector, photo: Path) -> None:
    pixels = cv2.cvtColor(cv2.imread(str(photo)), cv2.COLOR_BGR2RGB)
    batches = tf.data.Dataset.from_tensors(pixels[np.newaxis])
    expected = inspector.predict(photo)
    assert len(expected) == 1
    for images in (
        str(photo),
        photo.read_bytes(),
        pixels,
        pixels[np.newaxis],
        tf.constant(pixels),
        batches,
        [photo],
        (one for one in [pixels]),
    ):
        assert alike(inspector.predict(images), expected), type(images)
    assert inspector.predict(photo, heatmaps=True)[0].heatmap is not None
    assert alike(mvdefect.predict(inspector_place(inspector), photo), expected)


def inspector_place(inspector: Inspector) -> str:
    return inspector.place.place


def test_a_folder_is_all_images_in_it_in_order(inspector: Inspector, photo: Path) -> None:
    files = sorted(photo.parent.glob("*.png"))
    together = inspector.predict(photo.parent, batch_size=3)
    assert alike(together, [answer for file in files for answer in inspector.predict(file)])


def test_grey_pixels_are_those_of_a_grey_file(inspector: Inspector, photo: Path, tmp_path: Path) -> None:
    grey = cv2.imread(str(photo), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    assert alike(inspector.predict(grey), inspector.predict(tmp_path / "grey.png"))


def test_unreadable_bytes_cost_the_others_nothing(inspector: Inspector, photo: Path) -> None:
    labels = [answer.label for answer in inspector.predict([b"", photo, b"no image"])]
    assert labels[0] == labels[2] == "unreadable" != labels[1]


@pytest.mark.parametrize(
    ("images", "received"),
    [
        (3, "Received: int"),
        (None, "Received: NoneType"),
        ({"image": "part.png"}, "Received: dict"),
        (np.zeros((4, 4), np.float32), "Received: float32 of shape (4, 4)"),
        (np.zeros((4, 4, 7), np.uint8), "Received: uint8 of shape (4, 4, 7)"),
        ([np.zeros(4, np.uint8)], "Received: uint8 of shape (4,)"),
    ],
)
def test_what_is_no_image_gets_one_clear_error(inspector: Inspector, images: object, received: str) -> None:
    with pytest.raises(ArgumentTypeError, match="an image must be a path") as caught:
        inspector.predict(images)
    assert str(caught.value).endswith(received)
    with pytest.raises(LayoutError, match="there is no image, folder or archive nowhere.png"):
        inspector.predict("nowhere.png")


def test_places_of_a_wrong_type_or_name_get_one_clear_error(finished_run: Path) -> None:
    for call in (mvdefect.check, mvdefect.fit, mvdefect.evaluate, mvdefect.load, mvdefect.export):
        with pytest.raises(ArgumentTypeError, match=r"must be a str or a pathlib.Path. Received: int"):
            call(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Did you mean 'backbone'"):
        mvdefect.fit("images", {"backbon": "small_cnn"})
    with pytest.raises(ConfigError, match="give no other"):
        mvdefect.evaluate(finished_run, split="plan.csv", threshold="f1")


def test_every_function_is_documented_and_typed() -> None:
    for name in FUNCTIONS:
        function = getattr(mvdefect, name)
        assert "Example:" in str(function.__doc__)
        assert set(inspect.signature(function).parameters) <= set(function.__annotations__)


def test_the_readme_shows_what_the_package_says_of_itself() -> None:
    example = str(mvdefect.__doc__).split("is called.\n\n")[1].rstrip()
    assert "mvdefect.export(run)" in example
    assert example in (Path(__file__).parents[1] / "README.md").read_text()


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, mvdefect; print(sorted({'numpy', 'tensorflow', 'pydantic', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
