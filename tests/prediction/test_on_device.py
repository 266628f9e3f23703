"""What a device decides, run here on the processor, is what the processor decides by itself."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from quadrat.geo.grids import windows as plans
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.reading.open_image import Strip
from quadrat.models import Outputs
from quadrat.models.common.devices import on_device as on_the_device
from quadrat.models.common.model import DevicePredictor, Predictor
from quadrat.prediction import on_device
from quadrat.prediction.sliding_window import Predict, _Shown, predict_scene
from quadrat.prediction.sliding_window import _on_device as by_device
from quadrat.prediction.sliding_window import _on_processor as by_processor
from quadrat.runtime.parallel import Threads, results
from quadrat.scenes.scene import OpenScene, Scene
from quadrat.tasks.common.outputs import Features, Rows
from quadrat.tasks.common.parts import layers_of
from quadrat.tasks.pixel_regression.section import RegressionLayers
from quadrat.tasks.semantic_segmentation.layers.decisions import SegmentationDecisions
from tests.ground import NORTH_UP, image, pixel_box, regression, segmentation, write_areas, write_raster
from tests.prediction.test_sliding_window import predict

TASK = segmentation("low", "middle", "high")
HEIGHTS = regression("height")


class Judge(DevicePredictor):
    """Says of each pixel what depends on its value, its neighbour's, and its place in the window."""

    def __call__(self, pixels: NDArray[Any]) -> Outputs:
        return {name: values.cpu().numpy() for name, values in self.tensors(on_the_device(pixels)).items()}

    def windows_at_once(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
        assert (shape[0], dtype) == (1, np.uint16)
        return 5

    def tensors(self, pixels: Tensor) -> dict[str, Tensor]:
        values = pixels[:, 0].float() + pixels[:, -1].float().roll(1, -1)
        down, right = (torch.arange(side, device=values.device) for side in values.shape[-2:])
        place = right + down[:, None]
        scores = torch.stack([(values * k + place * j) % 17 + 1 for k, j in ((3, 1), (5, 0), (7, 2))], 1)
        return {"scores": scores / scores.sum(1, keepdim=True), "values": scores[:, :1] / 16}


class ByValue(Judge):
    """Says of each pixel what its value alone says."""

    def tensors(self, pixels: Tensor) -> dict[str, Tensor]:
        values = pixels[:, 0].float()
        scores = torch.stack([values < 300, (values >= 300) & (values < 600), values >= 600], 1).float()
        return {"scores": 0.8 * scores + 0.1}


@dataclass(frozen=True)
class Held:
    """An image in memory."""

    pixels: NDArray[Any]
    valid: NDArray[np.bool_]
    strip_height: int

    @property
    def grid(self) -> Grid:
        return Grid(None, NORTH_UP, self.valid.shape)

    @property
    def bands(self) -> range:
        return range(len(self.pixels))

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.pixels.dtype

    def strips(self, area: Window, height: int, readers: int) -> Iterator[Strip]:
        assert readers == 1
        for window in plans.strips(area, height):
            yield Strip(window, self.pixels[:, *window.slices()].copy(), self.valid[window.slices()][None].copy())


@dataclass(frozen=True)
class Area:
    """An area of interest: some px of a grid."""

    covered: NDArray[np.bool_]
    bounds: Window

    def mask(self, window: Window) -> NDArray[np.bool_]:
        rows, cols = (np.arange(a, b) for a, b in ((window.row, window.bottom), (window.col, window.right)))
        inside = np.zeros(window.shape, bool)
        here = np.ix_((rows >= 0) & (rows < len(self.covered)), (cols >= 0) & (cols < self.covered.shape[1]))
        inside[here] = self.covered[np.ix_(rows[here[0].ravel()], cols[here[1].ravel()])]
        return inside


@st.composite
def scenes(draw: st.DrawFn) -> OpenScene:
    shape = draw(st.integers(1, 60)), draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    dtype = draw(st.sampled_from([np.uint8, np.uint16, np.int16, np.int32, np.float64]))
    pixels = generator.integers(0, 200, (draw(st.integers(1, 3)), *shape)).astype(dtype)
    valid = generator.random(shape) < draw(st.sampled_from([0.0, 0.02, 0.8, 1.0]))
    area = None
    if draw(st.booleans()):
        top, left = draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))
        bounds = Window(top, left, draw(st.integers(1, shape[0] - top)), draw(st.integers(1, shape[1] - left)))
        covered = np.zeros(shape, bool)
        covered[bounds.slices()] = generator.random(bounds.shape) < 0.9
        area = Area(covered, bounds)
    raster: Any = Held(pixels, valid, draw(st.integers(1, 40)))
    return OpenScene("s", "predict", raster, None, area)  # type: ignore[arg-type]  # it has what is asked for


def together(pieces: Iterator[Rows | Features]) -> dict[str, NDArray[Any]]:
    """Return each raster layer whole, and of features what there is to them."""
    found: dict[str, list[NDArray[Any]]] = {}
    due: dict[str, int] = {}
    for piece in pieces:
        if isinstance(piece, Rows):
            assert due.setdefault(piece.layer, piece.row) == piece.row
            due[piece.layer] += piece.values.shape[1]
            found.setdefault(piece.layer, []).append(piece.values.copy())
        else:
            for name in ("score", "pixels", "class_id"):
                found.setdefault(name, []).append(piece.fields[name][None, :, None])
    return {name: np.concatenate(some, 1) for name, some in found.items()}


@given(scenes(), st.integers(1, 24), st.data())
def test_a_device_decides_the_same(scene: OpenScene, size: int, data: st.DataObject) -> None:
    stride, batch = data.draw(st.integers(1, size)), data.draw(st.integers(1, 9))
    for task, section in (
        (TASK, predict(8, 8, "areas.parquet", scores=True, uncertainty="margin").layers),
        (HEIGHTS, RegressionLayers(kind="pixel_regression")),
    ):
        layers = layers_of(task)
        windows = plans.cover(scene.area, size, stride, layers.margin(size, stride))
        canvas = layers.canvas(section, scene.area, size, stride, scene.grid.shape)
        expected = together(by_processor(_Shown(scene, windows, silent=True), Judge(), canvas, batch))
        decisions = layers.decisions(section, scene.area)
        assert decisions is not None
        found = together(
            by_device(_Shown(scene, windows, silent=True), Judge(), decisions, scene.area, (stride, batch))
        )
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=name)


def run(
    path: Path, out: Path, predictor: Predictor, plan: Predict, aoi: Path | None = None, batch: int | None = 4
) -> list[bytes]:
    scene = Scene("s", "predict", image(path), (), () if aoi is None else (str(aoi),))
    with scene.open(("a",), {}, 2) as opened:
        predict_scene(opened, predictor, TASK, plan, out, batch)
    return [file.read_bytes() for file in sorted(out.iterdir()) if file.suffix != ".parquet"]


def test_files_are_the_same_bytes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 900, (1, 150, 133)).astype(np.uint16)
    path = write_raster(tmp_path / "image.tif", pixels, nodata=0, tiled=True, blockxsize=16, blockysize=16)
    area = write_areas(tmp_path / "a.gpkg", [pixel_box(13, 7, 99, 64), pixel_box(110, 100, 120, 140)])
    for name, aoi in (("whole", None), ("part", area)):
        plan = predict(32, 20, "areas.parquet", scores=True, uncertainty="entropy")
        expected = run(path, tmp_path / name / "processor", Judge().__call__, plan, aoi)
        assert run(path, tmp_path / name / "device", Judge(), plan, aoi) == expected
        assert len(expected) >= 3


def test_a_device_gets_each_strip_once_and_batches_of_what_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.ones((1, 600, 64), np.uint16)
    pixels[:, 100:500] = 0
    path = write_raster(tmp_path / "image.tif", pixels, nodata=0, tiled=True, blockxsize=64, blockysize=64)
    rows, batches = [], []
    plain = on_device._cut

    def cut(strips: Any, windows: Any, shape: Any) -> Any:
        rows.append(sum(strip.window.height for strip in strips))
        return plain(strips, windows, shape)

    class Noted(Judge):
        def tensors(self, pixels: Tensor) -> dict[str, Tensor]:
            batches.append(tuple(pixels.shape))
            return super().tensors(pixels)

    monkeypatch.setattr(on_device, "_cut", cut)
    run(path, tmp_path / "out", Noted(), predict(32, 32))
    assert batches == [(4, 1, 32, 32)] * 4  # of 38, those that hold nothing are left out
    assert max(rows) <= 128  # though a batch comes of rows far apart
    with rasterio.open(tmp_path / "out" / "labels.tif") as file:
        np.testing.assert_array_equal(file.read(1) == 255, pixels[0] == 0)


@pytest.mark.parametrize("what", ["model", "decisions"])
def test_all_threads_end_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    def fails(*_: object) -> Any:
        raise MemoryError(what)

    path = write_raster(tmp_path / "image.tif", np.ones((1, 600, 200), np.uint16))
    model = Judge()
    monkeypatch.setattr(*((Judge, "tensors") if what == "model" else (SegmentationDecisions, "finish")), fails)
    before = threading.active_count()
    with pytest.raises(MemoryError, match=what):
        run(path, tmp_path / "out", model, predict(8, 8))
    assert threading.active_count() == before
    assert model.turn.acquire(blocking=False)
    model.turn.release()


def test_scenes_take_turns_on_the_device(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "image.tif", np.ones((1, 300, 100), np.uint16))
    working = []

    class Noted(Judge):
        def tensors(self, pixels: Tensor) -> dict[str, Tensor]:
            working.append(threading.get_ident())
            return super().tensors(pixels)

    model = Noted()

    list(results(Threads(3).map(lambda n: run(path, tmp_path / str(n), model, predict(16, 16), batch=None), range(4))))
    assert sum(one != next_one for one, next_one in pairwise(working)) <= 3
