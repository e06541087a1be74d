"""The run directory: whole or not there, and never lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mvdefect.config import FitConfig, dump_config
from mvdefect.core.errors import InUseError, RunError, RunExistsError
from mvdefect.core.files import cache_dir, replace_file, write_rows, write_text
from mvdefect.core.locks import hold
from mvdefect.runs import (
    EpochRow,
    RunFolder,
    check_run_is_free,
    finish_run,
    make_run,
    name_run,
    open_run,
    read_history,
    read_json,
    start_run,
    write_json,
)

ROW = EpochRow(1, 1, 0, 1e-3, 0.5, 0.6, 0.7, 1.5)


def make_finished(path: Path, mark: str) -> RunFolder:
    folder = start_run(path, FitConfig(), "digest")
    write_text(folder.model, mark)
    write_text(folder.metrics, "{}")
    return finish_run(folder, path)


def test_a_run_appears_only_when_it_is_finished(tmp_path: Path) -> None:
    folder = start_run(tmp_path / "run", FitConfig(), "digest")
    assert not (tmp_path / "run").exists()
    assert not folder.is_finished
    with pytest.raises(RunError, match="was interrupted; the command that began it goes on"):
        open_run(tmp_path / "run")
    write_text(folder.model, "model")
    write_text(folder.metrics, "{}")
    assert open_run(finish_run(folder, tmp_path / "run").path).model.read_text() == "model"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_second_fit_is_told_who_makes_the_run_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with make_run(path, FitConfig(), "digest", overwrite=True) as folder:
        write_text(folder.model, "first")
        holder = rf"{path} is being written by process {os.getpid()} on .* since \d{{4}}-"
        with (
            pytest.raises(InUseError, match=holder),
            make_run(path, FitConfig(seed=1), "other", overwrite=True),
        ):
            pytest.fail("two made it")
        assert folder.model.read_text() == "first"
    assert RunFolder(path).model.read_text() == "first"
    assert [found.name for found in tmp_path.iterdir()] == ["run"]


def test_a_run_that_has_come_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run"

    def make_while_another_comes() -> None:
        with make_run(path, FitConfig(), "digest", overwrite=False):
            path.mkdir()
            write_text(path / "metrics.json", "{}")
            write_text(path / "model.keras", "another")

    with pytest.raises(RunExistsError, match="replace it with --overwrite"):
        make_while_another_comes()
    assert RunFolder(path).model.read_text() == "another"
    assert (tmp_path / "run.partial").is_dir()  # nothing is lost: it can be moved by hand


def test_a_lock_is_given_back_by_a_kill_and_leaves_no_file(tmp_path: Path) -> None:
    code = "import sys, time\nfrom pathlib import Path\nfrom mvdefect.core.locks import hold\n"
    code += "with hold(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InUseError, match=f"process {other.pid} on "), hold(tmp_path / "run"):
            pass
        other.kill()
    with hold(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_locks_that_come_and_go_let_one_in_at_a_time(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []
    inside_of = [0, 0, 0, 0]

    def work(number: int) -> None:
        while inside_of[number] < 20:
            with suppress(InUseError), hold(tmp_path / "run"):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)
                inside_of[number] += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert most == [1] * 80


def test_a_finished_run_is_replaced_only_when_asked_and_only_by_a_finished_one(tmp_path: Path) -> None:
    path = tmp_path / "run"
    make_finished(path, "old")
    with pytest.raises(RunExistsError, match="replace it with --overwrite"):
        check_run_is_free(path, overwrite=False)
    check_run_is_free(path, overwrite=True)
    start_run(path, FitConfig(seed=1), "digest")
    assert RunFolder(path).model.read_text() == "old"
    make_finished(path, "new")
    assert RunFolder(path).model.read_text() == "new"
    assert [found.name for found in tmp_path.iterdir()] == ["run"]


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    for overwrite in (False, True):
        with pytest.raises(RunExistsError, match="is no run of mvdefect, so it is left alone"):
            check_run_is_free(tmp_path / "thesis", overwrite)


def test_an_interrupted_run_goes_on_with_the_same_settings_alone(tmp_path: Path) -> None:
    path = tmp_path / "run"
    folder = start_run(path, FitConfig(), "digest")
    write_json(folder.split_plan.with_suffix(".json"), {"digest": "digest"})
    write_rows(folder.history, EpochRow, [ROW])
    assert start_run(path, FitConfig(), "digest").history.exists()
    assert not start_run(path, FitConfig(seed=1), "digest").history.exists()
    write_json(folder.split_plan.with_suffix(".json"), {"digest": "digest"})
    write_rows(folder.history, EpochRow, [ROW])
    assert not start_run(path, FitConfig(seed=1), "of other photographs").history.exists()
    assert folder.config.read_text() == dump_config(FitConfig(seed=1))


def finish_named(place: Path, config: FitConfig, digest: str) -> None:
    folder = start_run(place, config, digest)
    write_json(folder.split_plan.with_suffix(".json"), {"digest": digest})
    write_json(folder.metrics, {})
    finish_run(folder, place)


def test_a_run_without_a_name_is_named_after_its_images(tmp_path: Path) -> None:
    first, config = tmp_path / "photos", FitConfig()
    assert name_run(first, config, "images", overwrite=False) == first
    finish_named(first, config, "images")
    assert name_run(first, config, "images", overwrite=False) == first  # where it is refused, as it is there
    second = name_run(first, config, "other images", overwrite=False)
    assert second.name == "photos-2"
    finish_named(second, config, "other images")
    assert name_run(first, FitConfig(seed=1), "images", overwrite=False).name == "photos-3"
    assert name_run(first, FitConfig(seed=1), "images", overwrite=True) == first


def test_an_interrupted_run_without_a_name_is_found_again(tmp_path: Path) -> None:
    first = tmp_path / "photos"
    finish_named(first, FitConfig(), "images")
    begun = start_run(tmp_path / "photos-2", FitConfig(seed=1), "images")
    write_json(begun.split_plan.with_suffix(".json"), {"digest": "images"})
    assert name_run(first, FitConfig(seed=1), "images", overwrite=False).name == "photos-2"
    assert name_run(first, FitConfig(seed=2), "images", overwrite=False).name == "photos-3"
    assert begun.config.exists()


def test_rows_survive_the_disk(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_rows(folder.history, EpochRow, [ROW])
    assert read_history(folder) == (ROW,)


@pytest.mark.parametrize("text", ["epoch,stage\n1,x\n", "epoch,nothing\n1,2\n"])
def test_damaged_rows_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(RunError, match="cannot be read"):
        read_history(RunFolder(tmp_path))


def test_damaged_json_is_refused(tmp_path: Path) -> None:
    for text in ("{", "[]"):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(RunError):
            read_json(tmp_path / "x.json")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "old")

    def fill() -> None:
        with replace_file(tmp_path / "file.txt") as partial:
            partial.write_text("ne")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        fill()
    assert (tmp_path / "file.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]


def test_an_error_of_the_disk_names_the_file(tmp_path: Path) -> None:
    full = Path("/dev/full")
    with (
        pytest.raises(OSError, match="No space left on device: .*file.txt"),
        replace_file(tmp_path / "file.txt"),
    ):
        full.write_text("text")
    with (
        pytest.raises(OSError, match="^the server is gone$"),
        replace_file(tmp_path / "file.txt"),
    ):
        raise OSError("the server is gone")


def test_a_cache_that_cannot_be_written_costs_memory_of_earlier_work_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path / "file" / "cache"))
    folders = [cache_dir("scans"), cache_dir("links"), cache_dir("scans")]
    (folders[0] / "kept").write_text("it is used")
    assert folders[0] == folders[2]
    assert folders[0].parent == folders[1].parent == Path(os.environ["MVDEFECT_CACHE"])
    (warning,) = messages
    assert f"the cache {tmp_path / 'file' / 'cache'} cannot be written (Not a directory)" in warning
    assert "set MVDEFECT_CACHE to another folder" in warning


def test_a_place_that_cannot_be_written_is_found_out_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda place, _: place != tmp_path)
    with pytest.raises(RunError, match=f"cannot write in {tmp_path}; choose another place with --run"):
        check_run_is_free(tmp_path / "new" / "run", overwrite=False)


def test_in_the_cache_of_another_user_each_has_an_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MVDEFECT_CACHE", str(tmp_path))
    assert cache_dir("scans") == tmp_path / "scans"
    monkeypatch.setattr(os, "getuid", lambda: 4242)
    assert cache_dir("scans") == tmp_path / "user-4242" / "scans"


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="a run is a folder that `mvdefect fit` made"):
        open_run(tmp_path / "nothing")
