"""The command line: fast help, one line for every trouble, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mvdefect import cli
from mvdefect.data import shards
from mvdefect.evaluation import evaluate as evaluate_module
from mvdefect.models import weights as weights_module
from mvdefect.runs import RunFolder
from tests.conftest import make_texture, write_class_folders, write_image

TINY = ["--backbone", "small_cnn", "--weights", "none", "--resolution", "64", "--set", "head=patch"]


MOST_MODULES = 30
HEAVY = {"tensorflow", "keras", "sklearn", "scipy", "cv2", "numpy", "matplotlib"}
TAKING_SETTINGS = [["fit"], ["tune"], ["baseline"], ["pretrain"], ["evaluate"]]
TAKING_SETTINGS += [["data", name] for name in ("check", "split", "verify", "prepare", "manifest")]


def run(*arguments: object) -> int:
    """Run a command in this process and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def check_one_line(capsys: pytest.CaptureFixture[str], message: str) -> None:
    captured = capsys.readouterr()
    assert captured.out == ""
    errors = [line for line in captured.err.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert captured.err.splitlines()[-1] == errors[0]
    assert message in errors[0]
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "command",
    [
        [],
        *TAKING_SETTINGS,
        ["report"],
        ["benchmark"],
        ["demo"],
        ["data", "synth"],
    ],
)
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    heavy = HEAVY if command in TAKING_SETTINGS else {*HEAVY, "pydantic", "yaml"}
    probe = (
        "import sys\nfrom mvdefect import cli\n"
        "try:\n    cli.main(sys.argv[1:])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"found = {heavy} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", probe, *command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    if command != []:
        assert "Example" in done.stdout


def test_help_imports_little() -> None:
    """What it takes in time is measured by `benchmarks/startup.py`."""
    probe = "import sys, click\nbefore = set(sys.modules)\nfrom mvdefect import cli\n"
    probe += "print(len(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert int(done.stdout) < MOST_MODULES


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "Commands:" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert "mvdefect" in capsys.readouterr().out


def truncate(root: Path) -> None:
    path = root / "good" / "000.png"
    path.write_bytes(path.read_bytes()[:60])


def orphan_a_mask(root: Path) -> None:
    for folder in ("train/good", "test/dent"):
        (root / folder).parent.mkdir(exist_ok=True)
    (root / "good").rename(root / "train" / "good")
    (root / "dent").rename(root / "test" / "dent")
    write_image(root / "ground_truth/dent/900_mask.png", np.zeros((40, 48), np.uint8))


def empty(root: Path) -> None:
    for folder in ("good", "dent"):
        for path in (root / folder).iterdir():
            path.unlink()
        (root / folder).rmdir()


DAMAGES = {
    "missing path": (lambda root: root.rename(root.with_name("elsewhere")), "does not exist"),
    "empty folder": (empty, "the data folder is empty"),
    "no good image": (lambda root: (root / "good").rename(root / "sound"), "no known layout"),
    "too few": (
        lambda root: [path.unlink() for path in sorted((root / "good").iterdir())[4:]],
        "good",
    ),
    "truncated file": (truncate, "good/000.png: the image is broken"),
    "zero-byte file": (lambda root: (root / "good" / "000.png").write_bytes(b""), "the file is empty"),
    "no image": (
        lambda root: (root / "good" / "readme.png").write_text("x"),
        "readme.png: the file is no image",
    ),
    "one id twice": (lambda root: write_image(root / "good" / "000.bmp", make_texture(3)), "000.bmp"),
    "orphaned mask": (orphan_a_mask, "900_mask.png"),
}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_bad_data_is_told_in_one_line_and_nothing_is_left(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_class_folders(tmp_path / "nut")
    spoil, message = DAMAGES[damage]
    spoil(root)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    assert run("fit", "--data", root, *TINY, "--run", tmp_path / "runs" / "x") == 2
    check_one_line(capsys, message)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--backbone", "resnet5"], "unknown backbone 'resnet5'. Did you mean 'resnet50'?"),
        (["--category", "nit"], "unknown category 'nit'. Did you mean 'nut'? Allowed: nut."),
        (["--set", "bach_size=3"], "unknown setting 'bach_size'. Did you mean 'batch_size'?"),
        (["--resolution", "100"], "a multiple of 32"),
        (["--unfreeze-depth", "9"], "from 0 (head only) to 4 (all blocks). Received: depth_blocks=9"),
        (["--weights", "nowhere.h5"], "Received: nowhere.h5 (no such file)"),
        (["--weights", "imagenet"], "small_cnn has no imagenet weights"),
        (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["--epochs", "many"], "'many' is not a valid integer"),
        (["--epoch", "3"], "No such option '--epoch'"),
    ],
)
def test_bad_settings_are_told_in_one_line(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_class_folders(tmp_path / "nut")
    assert run("fit", "--data", root, *TINY, "--run", tmp_path / "x", *flags) == 2
    check_one_line(capsys, message)
    assert not (tmp_path / "x").exists()


def test_data_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", *TINY) == 2
    check_one_line(capsys, "data is needed: --data FOLDER")


def test_weights_of_another_architecture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mvdefect.models.backbones import find_backbone

    path = tmp_path / "other.weights.h5"
    find_backbone("mobilenetv2").build((64, 64), None).save_weights(path)
    root = write_class_folders(tmp_path / "nut")
    assert run("fit", "--data", root, *TINY, "--weights", path, "--run", tmp_path / "x") == 2
    check_one_line(capsys, "do not fit small_cnn")
    assert not list(tmp_path.glob("x*"))


def test_imagenet_weights_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> None:
        raise OSError("no network")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(weights_module, "download_imagenet", refuse)
    root = write_class_folders(tmp_path / "nut")
    assert run("fit", root, "--backbone", "densenet121", "--run", tmp_path / "x") == 2
    check_one_line(capsys, "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5")
    assert not list(tmp_path.glob("x*"))


def test_a_run_that_exists_is_not_overwritten(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished_run / "model.keras").read_bytes()
    root = write_class_folders(tmp_path / "nut")
    assert run("fit", "--data", root, *TINY, "--run", finished_run) == 2
    check_one_line(capsys, "replace it with --overwrite")
    assert (finished_run / "model.keras").read_bytes() == before


def test_the_images_of_a_fit_are_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--data", tmp_path / "none"), (tmp_path / "none",)):
        assert run("fit", *words, *TINY) == 2
        check_one_line(capsys, f"the data folder does not exist. Received: {tmp_path / 'none'}")
    assert run("fit", "here", "--data", "there") == 2
    check_one_line(capsys, "name the images once. Received: here, and --data there")


def test_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "store")

    root = write_class_folders(tmp_path / "nut")
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shards, "make_example", fill)
    assert run("fit", "--data", root, *TINY, "--run", tmp_path / "x") == 2
    check_one_line(capsys, "No space left on device: store")


def test_a_full_disk_that_tensorflow_meets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("{{node SaveV2}} /disk/part-0; No space left on device [Op:SaveV2]")

    monkeypatch.setattr(evaluate_module, "evaluate_run", fail)
    assert run("evaluate", "x") == 2
    check_one_line(capsys, "No space left on device: /disk/part-0")


def test_the_unexpected_is_one_line_too_and_a_traceback_when_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(evaluate_module, "evaluate_run", fail)
    assert run("evaluate", "x") == 2
    check_one_line(capsys, "unexpected RuntimeError: first line (more with --debug)")
    assert run("evaluate", "x", "--debug") == 2
    assert "Traceback" in capsys.readouterr().err


def test_evaluate_for_people_and_for_machines(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", finished_run) == 0
    table = capsys.readouterr().out
    for word in ("ROC-AUC", "average precision", "balanced accuracy", "always naming the larger class"):
        assert word in table
    assert "Recall by defect type" in table
    assert run("evaluate", finished_run, "--json") == 0
    tree = json.loads(capsys.readouterr().out)
    assert tree == json.loads(RunFolder(finished_run).metrics.read_text())
    assert set(tree["figures"]["f1"]) == {"value", "low", "high", "method"}


def test_evaluate_of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", tmp_path) == 2
    check_one_line(capsys, "a run is a folder that `mvdefect fit` made")


@pytest.mark.slow
def test_no_callback_of_the_collector_swallows_a_ctrl_c() -> None:
    """TensorFlow imports JAX where it is installed, and Python ignores what is raised in its callback."""
    probe = (
        "import gc, sys; from mvdefect.core.runtime import load_tensorflow; load_tensorflow();"
        "import mvdefect.workflow.fit; print(len(gc.callbacks), 'tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]


def test_ctrl_c_in_a_fit_leaves_what_was_done_and_the_fit_goes_on(tmp_path: Path) -> None:
    root = write_class_folders(tmp_path / "nut", good=20, defective=20)
    command = [
        sys.executable,
        "-m",
        "mvdefect",
        "fit",
        "--data",
        str(root),
        *TINY,
        "--run",
        str(tmp_path / "x"),
    ]
    command += [
        "--set",
        "stages=[{depth_blocks: 4, epochs: 200, learning_rate: 0.001}]",
        "--set",
        "patience=200",
    ]
    history = tmp_path / "x.partial" / "history.csv"
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(1200):
            if history.exists() or process.poll() is not None:
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=180)
    assert process.returncode == 2, err
    assert out == ""
    assert err.splitlines()[-1].startswith("Interrupted. The same command goes on")
    assert "Traceback" not in err
    assert not (tmp_path / "x").exists()
    done = len(history.read_text().splitlines()) - 1
    assert done >= 1
    from mvdefect.runs import read_history

    assert len(read_history(RunFolder(tmp_path / "x.partial"))) == done
