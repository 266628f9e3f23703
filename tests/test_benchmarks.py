"""What the comparison of speeds says of what was measured."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.ground import Ground, make
from benchmarks.job import FailedError, Job, measured, ours
from benchmarks.others import Others
from benchmarks.report import BEGIN, END, compared, draw, page, table
from benchmarks.rows import ROWS
from quadrat.scenes.catalog import read_catalog

ROW = {row.name: row for row in ROWS}


def runs(**seconds: list[float]) -> dict[str, list[dict[str, Any]]]:
    return {who: [{"seconds": each, "amount": 100} for each in some] for who, some in seconds.items()}


def test_medians_are_compared_by_the_same_amount_of_work() -> None:
    found = compared(ROW["analyze"], "u16x4", runs(floor=[1, 9, 2], ours=[3, 2.9, 8], peer=[30, 29, 31]))
    assert (found["times_floor"], found["times_peer"]) == (1.5, 10)
    blended = compared(ROW["blended"], "u16x4", runs(floor=[1], ours=[4]))
    assert (blended["times_floor"], blended["times_peer"]) == (1, None)


def test_what_misses_its_aim_is_bold() -> None:
    found = compared(ROW["analyze"], "u16x4", runs(floor=[1], ours=[1.6], peer=[32]))
    assert "| **1.60** | ≤ 1.50 | 20.0 | ≥ 10 |" in table(ROWS, [found])


def test_a_page_gets_the_tables_again_and_again(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"a\n{BEGIN}\nold\n{END}\nb\n", encoding="utf-8")
    found = [compared(ROW["train"], "u16x4", runs(floor=[1], ours=[1], peer=[2]))]
    about = dict.fromkeys(("date", "processor", "cores", "memory_gib", "system", "python", "gdal"), "x")
    about |= dict.fromkeys(
        ("quadrat", "numpy", "rasterio", "torch", "torchvision", "pytorch-lightning", "pyarrow"), "1"
    )
    content = {"machine": about, "scenes": 4, "side": 9, "repeats": 3, "others": 0.1, "rows": found}
    for _ in range(2):
        page(file, content, ROWS)
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"a\n{BEGIN}\n")
    assert text.endswith(f"{END}\nb\n")
    assert text.count("train: an epoch") == 1
    assert "old" not in text
    draw(tmp_path / "chart.png", ROWS, found)
    alone = [compared(ROW["analyze"], "u16x4", runs(floor=[1], ours=[2]))]
    draw(tmp_path / "alone.png", ROWS, alone)  # no warning, which would be an error
    assert (tmp_path / "chart.png").stat().st_size


def test_ground_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    one, other = (make(Ground(tmp_path / name, "u8x3", 600, 300, 1)) for name in ("a", "b"))
    assert one.images[0].read_bytes() == other.images[0].read_bytes()
    assert one.labels[0].read_bytes() == other.labels[0].read_bytes()
    assert [scene.split for scene in read_catalog(one.catalog({0: "train", 1: "validation"}))] == [
        "train",
        "validation",
    ]


def test_a_measurement_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    job = Job(make(Ground(tmp_path / "ground", "u8x3", 512, 512, 1)), tmp_path)
    assert Job.read(job.written()) == job
    found = measured(ours("floors.decode"), job)
    assert found["seconds"] > 0
    assert found["amount"] == 512 * 512
    with pytest.raises(FailedError, match="nothing"):
        measured(ours("floors.nothing"), job)


def test_others_never_take_less_than_nothing() -> None:
    assert Others().busy() >= 0
