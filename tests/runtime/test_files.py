"""Files are whole or not there, and where there is no room it is told in words."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from quadrat.errors import DiskError, OutputError, QuadratError
from quadrat.runtime.files import replaced, write_json


def test_after_an_error_a_file_is_what_it_was(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    write(file, None)
    assert file.read_text() == "new"
    with pytest.raises(KeyError):
        write(file, KeyError())
    assert file.read_text() == "new"
    assert [*tmp_path.iterdir()] == [file]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("I/O error: No space left on device (os error 28)"),  # as libraries in Rust say it
    ],
)
def test_where_there_is_no_room_the_file_and_the_hint_are_named(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(
        DiskError, match=rf"no room(.|\n)*file: {tmp_path}/file\n(.|\n)*MB are free(.|\n)*hint: make room"
    ):
        write(tmp_path / "file", error)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), ValueError("no"), QuadratError("No space left on device")]
)
def test_other_errors_are_left_alone(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as caught:
        write(tmp_path / "file", error)
    assert caught.value is error


def write(file: Path, error: Exception | None) -> None:
    with replaced(file) as part:
        part.write_text("new")
        if error is not None:
            raise error


@pytest.mark.parametrize("own", [[], ["a.txt", "*.png", "sub/*.png"]])
def test_a_folder_with_other_files_is_refused_and_keeps_them(own: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "sub/deep").mkdir(parents=True)
    for name in ("mine.txt", "sub/deep/x.png", ".env"):
        (folder / name).write_text("mine")
    (folder / "link").symlink_to(tmp_path)
    with (
        pytest.raises(OutputError, match=r"other files(.|\n)*notes\n(.|\n)*\.env, link, mine\.txt, sub/deep/x\.png\n"),
        replaced(folder, own),
    ):
        pass
    assert (folder / "sub/deep/x.png").read_text() == "mine"


@pytest.mark.parametrize("left", [[], ["a.txt", "x.png", "sub/y.png"], [".part-x/b", "x.tif.aux.xml", ".DS_Store"]])
def test_an_empty_folder_and_one_of_own_files_are_replaced(left: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in left:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    with replaced(folder, ["a.txt", "*.png", "sub/*.png"]) as part:
        part.mkdir()
        (part / "a.txt").touch()
    assert [file.name for file in folder.iterdir()] == ["a.txt"]


def test_a_file_does_not_take_the_place_of_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").mkdir()
    (tmp_path / "params.yaml/mine").touch()
    with pytest.raises(OutputError):
        write(tmp_path / "params.yaml", None)
    assert (tmp_path / "params.yaml/mine").exists()


def test_without_inodes_it_is_told_that_no_further_file_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result([*found[:5], 1000, 0, 0, *found[8:]]))
    with pytest.raises(DiskError, match=r"no further files \(inodes\) are free") as caught:
        write(tmp_path / "file", OSError(errno.ENOSPC, "No space left on device"))
    assert "MB" not in str(caught.value)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result([*found[:5], 0, 0, 0, *found[8:]]))
    with pytest.raises(DiskError, match="MB are free"):  # a file system without a limit of files
        write(tmp_path / "file", OSError(errno.ENOSPC, "No space left on device"))


def test_what_records_a_result_is_synced_before_and_after_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def fsync(descriptor: int) -> None:
        steps.append(f"sync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")

    real = Path.replace

    def rename(self: Path, to: Path) -> Path:
        steps.append(f"rename {self.name}")
        return real(self, to)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    with replaced(tmp_path / "model", synced=True) as part:
        part.mkdir()
        (part / "weights").touch()
    write_json(tmp_path / "metrics.json", {})
    folder = f"sync {tmp_path.name}"
    model = ["sync weights", "sync .part-model", "rename .part-model", folder]
    assert steps == [*model, "sync .part-metrics.json", "rename .part-metrics.json", folder]
    with replaced(tmp_path / "chip") as part:
        part.touch()
    assert steps[-1] == "rename .part-chip"


def test_file_systems_that_cannot_sync_are_accepted_and_failing_disks_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(number: int) -> Callable[[int], None]:
        def fsync(_: int) -> None:
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    write_json(tmp_path / "a.json", {})
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        write_json(tmp_path / "b.json", {})
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
