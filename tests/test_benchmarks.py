"""What the comparison of speeds says of what was measured."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import device
from benchmarks.device_answers import apart
from benchmarks.device_clock import compiling, idle_share
from benchmarks.ground import Ground, make
from benchmarks.job import FailedError, Job, measured, ours
from benchmarks.others import Others
from benchmarks.report import BEGIN, END, compared, draw, page, table
from benchmarks.rows import ROWS
from quadrat.models.common.devices import device as kind
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


def test_a_device_idles_when_nothing_runs_on_it() -> None:
    assert idle_share([(0, 4), (1, 2), (3, 5), (8, 10)], 14.0) == 0.5
    assert idle_share([], 14.0) is None


class Doubled(torch.nn.Module):
    """A network whose code torch finds in all such networks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return 2 * values * self.weight


def test_each_row_is_compiled_however_many_were_before() -> None:
    """Torch compiles a function for eight kinds of input by default, and then leaves it as it is."""
    compiled = []

    def note(graph: Any, _: Any) -> Any:
        compiled.append(graph)
        return graph.forward

    for width in range(2, 14):
        with compiling(compiled=True):
            network = Doubled(width)
            network.compile(backend=note)
            network(torch.ones(width, width))
    assert len(compiled) == 12


ROWS_OF_A_DEVICE: list[dict[str, Any]] = [
    {"row": "train", "unit": "chips/s", "least": 0.9, "floor": 2000.0, "ours": 1900.0, "idle": 0.04, "peak": 3.21},
    {"row": "predict", "unit": "Mpix/s", "least": 0.85, "floor": 200.0, "ours": 20.0, "idle": None, "peak": None},
    {"row": "last", "unit": "images/s", "least": None},
    {"row": "wrong", "unit": "images/s", "least": None, "failed": "OutOfMemoryError"},
]


def test_a_page_gets_the_table_of_a_device(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(f"a\n{device.BEGIN}\nold\n{device.END}\nb\n", encoding="utf-8")
    names = ("date", "device", "processor", "cores", "quadrat", "torch", "torchvision", "CUDA", "cuDNN")
    for _ in range(2):
        device.page(file, {"machine": dict.fromkeys(names, "x"), "rows": ROWS_OF_A_DEVICE})
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [lines[0], lines[1], *lines[-2:]] == ["a", device.BEGIN, device.END, "b"]
    assert "old" not in lines
    assert [line for line in lines if line.startswith("| ")][1:] == [
        "| train | 2,000 chips/s | 1,900 chips/s | 0.95 | ≥ 0.90 | 4 % | 3.2 |",
        "| predict | 200 Mpix/s | 20 Mpix/s | **0.10** | ≥ 0.85 | – | – |",
        "| last | not measured | – | – | – | – | – |",
        "| wrong | failed | – | – | – | – | – |",
    ]


def test_a_device_is_measured_until_the_time_is_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"floor": 1.0}
    rows = [device.Row(name, "1/s", None, lambda: told) for name in ("a", "b")]
    rows.insert(1, device.Row("wrong", "1/s", None, lambda: {}["nothing"]))  # type: ignore[arg-type] # it fails
    monkeypatch.setattr(device, "_rows", lambda _: rows)
    asked = argparse.Namespace(device=kind().type, seconds=60.0, out=tmp_path / "a.json", page=None)
    device.run(asked)
    found = json.loads(asked.out.read_text())["rows"]
    assert [(row["row"], row.get("floor"), "failed" in row) for row in found] == [
        ("a", 1.0, False),
        ("wrong", None, True),
        ("b", 1.0, False),
    ]
    asked.seconds = 0.0
    device.run(asked)
    assert all("floor" not in row for row in json.loads(asked.out.read_text())["rows"])


@pytest.mark.slow
def test_all_of_a_device_is_measured_on_small_scenes(tmp_path: Path) -> None:
    about = {"quick": True, "seconds": 600.0, "work": tmp_path, "out": tmp_path / "a.json", "page": None}
    device.run(argparse.Namespace(device=kind().type, **about))
    found = json.loads((tmp_path / "a.json").read_text())["rows"]
    *measured, last = found
    assert len(measured) == 4
    assert all(row["floor"] > 0 for row in measured)
    assert all(row["ours"] > 0 for row in measured[1:])
    assert [line.split(",")[0] for line in last["told"]] == ["Trained twice in fp32", "100.00 % of 4"]


def test_trainings_that_differ_are_told() -> None:
    one = {"a": np.float32([1, np.nan]), "b": np.float32([0.5, 2])}
    assert (
        apart(one, {name: values.copy() for name, values in one.items()})
        == "all 2 arrays of weights are the same bit by bit"
    )
    other = {**one, "b": np.float32([0.5, 1.75])}
    assert apart(one, other) == "1 of 2 arrays of weights differ, by 0.25 at most"


def test_others_never_take_less_than_nothing() -> None:
    assert Others().busy() >= 0
