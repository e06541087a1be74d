"""What a fit checks before anything slow begins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mvdefect.config import FitConfig
from mvdefect.core.errors import ConfigError, LayoutError, RunExistsError, WeightsError
from mvdefect.data.sources import opening
from mvdefect.runs import finish_run, start_run, write_json
from mvdefect.workflow import job as job_module
from mvdefect.workflow.job import FitJob, check_job
from tests.conftest import write_class_folders
from tests.test_cli import run as run_command


def make_job(images: str, **settings: object) -> FitJob:
    return FitJob(FitConfig(data=images, **settings), (), None, None, None, overwrite=False)


def test_a_run_is_named_after_its_images_and_not_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = make_job("somewhere/washers")
    assert job.find_place("digest") == Path("runs/washers")
    folder = start_run(Path("runs/washers"), job.config, "digest")
    write_json(folder.split_plan.with_suffix(".json"), {"digest": "digest"})
    write_json(folder.metrics, {})
    finish_run(folder, Path("runs/washers"))
    with pytest.raises(RunExistsError, match=r"see runs/washers/report.html. --overwrite makes it again"):
        job.find_place("digest")
    assert job.find_place("of other images") == Path("runs/washers-2")
    assert make_job("mvtec_ad:bottle").find_place("digest") == Path("runs/mvtec_ad-bottle")
    assert make_job("/").find_place("digest") == Path("runs/run")


def test_a_wrong_folder_is_told_before_weights_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "choose_network", lambda _: pytest.fail("looked for weights"))
    with pytest.raises(LayoutError):
        check_job(FitConfig(data=str(tmp_path)), tmp_path / "run")
    monkeypatch.undo()
    root = write_class_folders(tmp_path / "nut")
    with pytest.raises(WeightsError):
        check_job(FitConfig(data=str(root), weights=str(tmp_path / "none.h5")), tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["nut"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"<html>not found</html>", "001.png: the file is no image that can be recognised"),
        (b"", "001.png: the file is empty"),
        ("half", "001.png: the image is broken"),
    ],
    ids=["no-folder", "no-image", "empty", "truncated"],
)
def test_a_wrong_folder_is_told_without_tensorflow(
    tmp_path: Path, content: bytes | str | None, message: str
) -> None:
    images = tmp_path / "nut"
    if content is not None:
        broken = write_class_folders(images, good=12, defective=12) / "good" / "001.png"
        broken.write_bytes(broken.read_bytes()[:700] if isinstance(content, str) else content)
    command = [sys.executable, "-X", "importtime", "-m", "mvdefect", "fit", str(images)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 2
    assert message in " ".join(ended.stderr.split()[-60:])
    assert not [line for line in ended.stderr.splitlines() if "tensorflow" in line or " keras" in line]


@pytest.mark.parametrize(
    ("command", "work"),
    [
        (["baseline", "majority"], "mvdefect.baselines.run.run_baseline_job"),
        (["tune", "--backbone", "small_cnn", "--weights", "none"], "tuning.tune.claim_folder"),
    ],
)
def test_the_source_is_opened_once_before_the_work_begins(
    command: list[str], work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    read = opening.open_source
    monkeypatch.setattr(opening, "open_source", lambda *args: opened.append(args) or read(*args))

    def stop(*_args: object) -> None:
        raise ConfigError("the work begins")

    monkeypatch.setattr(work, stop)
    monkeypatch.chdir(tmp_path)
    images = write_class_folders(tmp_path / "nut", good=12, defective=12)
    assert run_command(*command, "--data", images) == 2
    assert len(opened) == 1
    broken = images / "good" / "001.png"
    broken.write_bytes(broken.read_bytes()[:700])
    late = f"mvdefect.cli.{command[0]}.start_work"
    monkeypatch.setattr(late, lambda *_: pytest.fail("TensorFlow is loaded"))
    assert run_command(*command, "--data", images) == 2
