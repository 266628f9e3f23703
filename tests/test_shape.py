"""How work is done, never how long it takes: each block is decoded once, and nothing is as large as a scene."""

import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import stages
from benchmarks.ground import BLOCK, Ground, make
from benchmarks.job import Job
from quadrat.geo.grids.windows import Window
from quadrat.geo.reading.reader import Reader
from quadrat.labels.raster_values import Pixels
from quadrat.prediction.reader import Prediction
from quadrat.runtime import memory


def job(folder: Path, height: int, width: int) -> Job:
    ground = make(Ground(folder / str(height), "u16x4", height, width, 2))
    (ground.folder / "work").mkdir(exist_ok=True)
    return Job(ground, ground.folder / "work", network="point", stride=128)


def blocks(window: Window) -> list[tuple[int, int]]:
    rows = range(window.row // BLOCK, -(-window.bottom // BLOCK))
    cols = range(window.col // BLOCK, -(-window.right // BLOCK))
    return [(row, col) for row in rows for col in cols]


@pytest.mark.parametrize("stage", ["analyze", "chip", "predict"])
def test_each_block_of_an_image_is_decoded_once(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = job(tmp_path, 1300, 700)
    if stage == "chip":
        stages.analyze(work)
    read = Counter[tuple[str, tuple[int, int]]]()
    plain = Reader.read

    def counted(self: Reader, window: Window, *args: Any, **options: Any) -> Any:
        read.update((self.files[0], block) for block in blocks(window))
        return plain(self, window, *args, **options)

    monkeypatch.setattr(Reader, "read", counted)
    getattr(stages, stage)(work)
    images = work.ground.images if stage != "predict" else work.ground.images[-1:]
    held = work.ground.held.images if stage == "analyze" else []
    wanted = {(str(image), block) for image in images for block in blocks(Window(0, 0, 1300, 700))}
    assert set(read) == wanted | {(str(image), (0, 0)) for image in held}
    assert set(read.values()) == {1}


def test_eval_reads_each_row_of_labels_and_predictions_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = job(tmp_path, 1300, 700)
    stages.predict(work)
    stages.analyze(work)
    read: dict[str, Counter[int]] = {"truth": Counter(), "prediction": Counter()}
    labels, rows = Pixels._values, Prediction.class_ids  # by which all that is read of labels goes

    def of_labels(self: Pixels, window: Window, *args: Any) -> Any:
        read["truth"].update(range(window.row, window.bottom))
        return labels(self, window, *args)

    def of_prediction(self: Prediction, layer: str, window: Window, names: Any) -> Any:
        read["prediction"].update(range(window.row, window.bottom))
        return rows(self, layer, window, names)

    monkeypatch.setattr(Pixels, "_values", of_labels)
    monkeypatch.setattr(Prediction, "class_ids", of_prediction)
    stages.evaluate(work)
    assert all(counts == Counter(range(1300)) for counts in read.values())


LOW, HIGH = 4096, 8192
"""Heights, px: of the lower, as many parts are under way as ever."""


@pytest.mark.parametrize("stage", ["analyze", "chip", "evaluate"])
def test_memory_does_not_follow_the_height(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of predict is measured in tests/prediction, with GDAL's and torch's."""
    monkeypatch.setattr(memory, "_fresh", bytearray)  # which is traced
    peaks = []
    for height in (LOW, HIGH):
        work = job(tmp_path, height, 256)
        if stage != "analyze":
            {"chip": stages.analyze, "evaluate": stages.predict}[stage](replace(work, stride=256))
        if height == LOW:
            getattr(stages, stage)(work)  # what is made once, and what imports take
        tracemalloc.start()
        getattr(stages, stage)(work)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2 * (HIGH - LOW) * 256  # bytes: less than two a pixel, of which the image has eight
