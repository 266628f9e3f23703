"""What was found out about a file is asked again once the file is another."""

import os
from pathlib import Path

import pytest

from quadrat.runtime.cache.file_memo import FileMemo


def test_a_file_that_stands_as_it_stood_is_looked_at_once(tmp_path: Path) -> None:
    file, memo, looks = tmp_path / "a", FileMemo[str](), list[int]()

    def look() -> str:
        looks.append(1)
        return file.read_text()

    file.write_text("one")
    assert [memo.of(file, look) for _ in range(3)] == ["one"] * 3
    assert len(looks) == 1
    assert memo.of(file, look, "about something else") == "one"
    assert len(looks) == 2
    file.write_text("three")
    assert memo.of(file, look) == "three"
    os.utime(file, (1e9, 1e9))
    assert memo.of(file, look) == "three"
    assert len(looks) == 4


def test_a_look_that_fails_is_not_remembered(tmp_path: Path) -> None:
    file, memo = tmp_path / "a", FileMemo[None]()
    file.touch()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            memo.of(file, lambda: 1 // 0)
