"""What a stage takes is written down, and said while it takes it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from quadrat.runtime import progress
from quadrat.runtime.parallel import Threads
from quadrat.runtime.progress import Meter, track
from quadrat.runtime.timing import timed


def test_a_stage_says_what_it_took(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with timed("chip", tmp_path, Threads(3)):
        assert list(track(range(4), "cut", 4, "scenes", lambda n: 500_000 * n)) == [0, 1, 2, 3]
    found = json.loads((tmp_path / "chip.json").read_text())
    (part,) = found["parts"]
    assert (part["what"], part["unit"], part["count"], part["mpix"]) == ("cut", "scenes", 4, 3.0)
    assert found["workers"] == "3 threads"
    assert found["peak_memory_mb"] > 20
    assert "chip: 3 threads, " in capsys.readouterr().err


def test_a_stage_that_fails_took_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), timed("chip", tmp_path, None):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_after_two_seconds_and_then_every_ten(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with Meter("cut", 100, "scenes") as meter:
        for second in range(1, 26):
            clock[0] = float(second)
            meter.advance(4, pixels=4_000_000)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "cut: 8 of 100 scenes, 4 Mpix/s, 23 s left",
        "cut: 48 of 100 scenes, 4 Mpix/s, 13 s left",
        "cut: 88 of 100 scenes, 4 Mpix/s, 3 s left",
    ]


def test_one_progress_bar_runs_within_another(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress.console, "_force_terminal", True)
    with Meter("scenes", 2, "scenes") as outer:
        for number in range(2):
            with Meter(f"windows of {number}", 3, "windows") as inner:
                inner.advance(3)
            outer.advance()
    shown = capsys.readouterr().err
    assert "scenes" in shown
    assert "2/2" in shown
