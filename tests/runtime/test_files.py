"""Files are whole or not there, and where there is no room it is told in words."""

import errno
from pathlib import Path

import pytest

from quadrat.errors import DiskError, QuadratError
from quadrat.runtime.files import replaced


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
