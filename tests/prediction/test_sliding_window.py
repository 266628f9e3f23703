"""Prediction is streamed: seamless, on the image's own pixels, nodata where nothing is, in bounded memory."""

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from quadrat.errors import ModelError
from quadrat.geo.grids.tiling import Cut
from quadrat.geo.grids.windows import cover
from quadrat.models import Outputs, Predictor
from quadrat.prediction.sliding_window import Predict, _batches, _wanted, at_once, check_bands, predict_scene
from quadrat.scenes.scene import Scene
from quadrat.tasks.common.blended import BlendedCanvas
from quadrat.tasks.semantic_segmentation.layers.outlines import LEAST_IOU
from quadrat.tasks.semantic_segmentation.section import Edges, RightAngled, SegmentationLayers
from tests.ground import NORTH_UP, image, pixel_box, segmentation, smooth, write_areas, write_raster

TASK = segmentation("low", "middle", "high")


def by_value(pixels: NDArray[np.generic]) -> Outputs:
    """Predict the class of a pixel from its own value alone: whatever the windows, the answer is known."""
    values = pixels[:, 0].astype(np.float32)
    scores = np.stack([values < 300, (values >= 300) & (values < 600), values >= 600], 1).astype(np.float32)
    return {"scores": 0.8 * scores + 0.1}


def expected_of(pixels: np.ndarray) -> np.ndarray:
    return np.where(pixels < 300, 0, np.where(pixels < 600, 1, 2)).astype(np.uint8)


def predict(
    size: int = 32, stride: int = 16, polygons: str | None = None, *, scores: bool = False, **drawn: Any
) -> Predict:
    about: dict[str, Any] = {"min_pixels": 1, "polygon_classes": None, "max_hole_pixels": 0}
    layers = {**about, "outlines": Edges(kind="edges"), **drawn, "scores": scores, "polygons": polygons}
    return Predict(window_size=size, stride=stride, layers=SegmentationLayers(kind="semantic_segmentation", **layers))


def run(path: Path, out: Path, plan: Predict, aoi: Path | None = None, model: Predictor = by_value) -> Path:
    scene = Scene("s", "predict", image(path), (), () if aoi is None else (str(aoi),))
    with scene.open(("a",), {}) as opened:
        predict_scene(opened, model, TASK, plan, out, 4)
    return out


@pytest.fixture
def ground(tmp_path: Path) -> tuple[Path, np.ndarray]:
    pixels = (1 + 900 * smooth((90, 133), 4, 5)).astype(np.uint16)
    pixels[20:31, 40:70] = 0
    return write_raster(tmp_path / "image.tif", pixels[None], nodata=0), pixels


def test_windows_go_through_the_model_together_and_keep_no_strip(ground: tuple[Path, np.ndarray]) -> None:
    strips: list[weakref.ref[NDArray[Any]]] = []

    def noted(pieces: Iterator[Cut]) -> Generator[Cut, None, None]:
        for number, piece in enumerate(pieces):
            base = piece.values if piece.values.base is None else piece.values.base
            strips.append(weakref.ref(base))
            yield Cut(piece.window, piece.values, piece.valid & (number != 5))

    with Scene("s", "predict", image(ground[0]), (), ()).open(("a",), {}) as opened:
        windows = cover(opened.area, 32, 32)
        batches = list(_batches(noted(_wanted(opened, windows)), lambda _: 4))
        expected = [Cut(p.window, p.values.copy(), p.valid.copy()) for p in opened.cut(windows)]
    assert [len(batch.windows) for batch in batches] == [4, 4, 4, 2]
    del expected[5]
    for number, piece in enumerate(expected):
        batch, place = batches[number // 4], number % 4
        assert batch.windows[place] == piece.window
        np.testing.assert_array_equal(batch.values[place], piece.values)
        np.testing.assert_array_equal(batch.valid[place], piece.valid)
    gc.collect()
    assert len(strips) == 15
    assert not any(strip() is not None for strip in strips)


@pytest.mark.parametrize("size", [100, 400])
def test_as_many_windows_go_together_as_fit_the_caches(size: int, tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", smooth((1000, 600))[None].astype(np.float32))
    together = []

    def model(pixels: np.ndarray) -> Outputs:
        together.append(len(pixels))
        return by_value(pixels)

    scene = Scene("s", "predict", image(tmp_path / "a.tif"), (), ())
    with scene.open(("a",), {}) as opened:
        predict_scene(opened, model, TASK, predict(size, size), tmp_path / "out", None)
    assert together == {100: [13, 13, 13, 13, 8], 400: [1] * 6}[size]
    assert [at_once(some) for some in (8, 64, 256, 512, 4096)] == [2048, 32, 2, 1, 1]


@pytest.mark.parametrize("what", ["model", "canvas"])
def test_all_threads_end_before_the_image_is_closed_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fails(*_: object) -> Any:
        raise MemoryError(what)

    path = write_raster(tmp_path / "image.tif", np.ones((1, 600, 200), np.uint16))
    before = threading.active_count()
    if what == "canvas":
        monkeypatch.setattr(BlendedCanvas, "paste", fails)
    failing = fails if what == "model" else by_value
    with (
        pytest.raises(MemoryError, match=what) as held,  # who holds the error holds what was on its way
        Scene("s", "predict", image(path), (), ()).open(("a",), {}) as opened,
    ):
        predict_scene(opened, failing, TASK, predict(8, 8), tmp_path / "out", 4)
    assert held.value.__traceback__ is not None
    assert threading.active_count() == before


@pytest.mark.parametrize(("size", "stride"), [(32, 32), (32, 16), (32, 11), (256, 128), (8, 3)])
def test_labels_lie_on_the_pixels_that_they_were_made_from(
    tmp_path: Path, ground: tuple[Path, np.ndarray], size: int, stride: int
) -> None:
    path, pixels = ground
    out = run(path, tmp_path / "out", predict(size, stride, scores=True))
    with rasterio.open(out / "labels.tif") as file:
        found = file.read(1)
        assert (file.transform, file.crs.to_epsg(), file.nodata) == (NORTH_UP, 32633, 255)
    np.testing.assert_array_equal(found, np.where(pixels == 0, 255, expected_of(pixels)))
    with rasterio.open(out / "scores.tif") as file:
        scores = file.read()
        assert file.descriptions == TASK.names
        np.testing.assert_allclose(file.scales, 1 / 250)
    assert (scores[:, pixels == 0] == 255).all()
    assert set(np.unique(scores[:, pixels > 0])) == {25, 225}


@pytest.mark.parametrize("ending", ["parquet", "gpkg", "fgb", "geojson"])
def test_polygons_are_cut_on_pixel_edges(tmp_path: Path, ground: tuple[Path, np.ndarray], ending: str) -> None:
    path, pixels = ground
    file = run(path, tmp_path / "out", predict(polygons=f"areas.{ending}")) / f"areas.{ending}"
    areas = geopandas.read_parquet(file) if ending == "parquet" else geopandas.read_file(file, layer=0)
    areas = areas.to_crs(32633)
    shapes = zip(areas.geometry, areas["class_id"], strict=True)
    burnt = rasterize(shapes, pixels.shape, fill=255, transform=NORTH_UP, dtype="uint8")
    np.testing.assert_array_equal(burnt, np.where(pixels == 0, 255, expected_of(pixels)))
    assert areas["pixels"].sum() == (pixels > 0).sum()
    np.testing.assert_allclose(areas["area"], areas["pixels"] * 100, rtol=2e-4)  # UTM's scale
    np.testing.assert_allclose(areas["score"], 0.9, atol=1e-5)
    assert set(areas["class"]) == set(TASK.names)
    if ending == "parquet":  # corners are exactly those of pixels: no half-pixel shift
        corners = np.array([c for a in areas.geometry for c in a.exterior.coords])
        np.testing.assert_array_equal((corners - (NORTH_UP.c, NORTH_UP.f)) % 10, 0)


def test_polygons_of_some_classes_with_holes_filled_and_other_outlines(
    tmp_path: Path, ground: tuple[Path, np.ndarray]
) -> None:
    path, _ = ground
    plain = run(path, tmp_path / "plain", predict(polygons="areas.parquet"))
    edges = geopandas.read_parquet(plain / "areas.parquet")
    edges = edges[edges["class"] == "middle"].reset_index(drop=True)
    assert edges.interiors.map(len).sum() > 0
    for outline in (Edges(kind="edges"), RightAngled(kind="right_angled", tolerance=2.0)):
        plan = predict(polygons="areas.parquet", polygon_classes=("middle",), max_hole_pixels=10_000, outlines=outline)
        out = run(path, tmp_path / outline.kind, plan)
        assert (out / "labels.tif").read_bytes() == (plain / "labels.tif").read_bytes()
        drawn = geopandas.read_parquet(out / "areas.parquet")
        for field in ("class", "class_id", "score", "pixels"):
            np.testing.assert_array_equal(drawn[field], edges[field])
        np.testing.assert_allclose(drawn["area"], drawn.area, rtol=2e-4)
        assert drawn.interiors.map(len).sum() == 0
        filled = geopandas.GeoSeries(shapely.polygons(edges.exterior), crs=edges.crs)
        if outline.kind == "edges":
            assert drawn.geometry.geom_equals(filled).all()
        else:
            assert (drawn.area != filled.area).any()
            assert (drawn.intersection(filled).area / drawn.union(filled).area).min() >= LEAST_IOU


def test_outside_the_aoi_is_nodata(tmp_path: Path, ground: tuple[Path, np.ndarray]) -> None:
    path, pixels = ground
    area = pixel_box(13, 7, 99, 64).difference(pixel_box(50, 40, 60, 50))
    out = run(path, tmp_path / "out", predict(), write_areas(tmp_path / "a.gpkg", [area]))
    inside = np.zeros(pixels.shape, bool)
    inside[7:64, 13:99] = True
    inside[40:50, 50:60] = False
    with rasterio.open(out / "labels.tif") as file:
        np.testing.assert_array_equal(file.read(1), np.where(inside & (pixels > 0), expected_of(pixels), 255))


def test_nodata_everywhere_gives_an_empty_layer(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "image.tif", np.zeros((1, 40, 40), np.uint16), nodata=0)
    out = run(path, tmp_path / "out", predict(polygons="areas.parquet"))
    with rasterio.open(out / "labels.tif") as file:
        assert (file.read(1) == 255).all()
    assert len(geopandas.read_parquet(out / "areas.parquet")) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (5, 7)])
def test_scenes_smaller_than_a_window(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(1, 900, shape).astype(np.uint16)
    path = write_raster(tmp_path / "image.tif", pixels[None])
    out = run(path, tmp_path / "out", predict(polygons="areas.gpkg"))
    with rasterio.open(out / "labels.tif") as file:
        np.testing.assert_array_equal(file.read(1), expected_of(pixels))


def test_windows_are_blended_without_a_ring_at_the_border(tmp_path: Path) -> None:
    """A model that errs at its windows' edges must not show their grid."""
    pixels = np.full((1, 200, 200), 450, np.uint16)

    def errs_at_edges(batch: NDArray[np.generic]) -> Outputs:
        scores = by_value(batch)["scores"]
        scores[:, :, [0, -1], :] = scores[:, :, :, [0, -1]] = np.array([1, 0, 0], np.float32)[None, :, None, None]
        return {"scores": scores}

    scene = Scene("s", "predict", image(write_raster(tmp_path / "image.tif", pixels)), (), ())
    with scene.open(("a",), {}) as opened:
        predict_scene(opened, errs_at_edges, TASK, predict(32, 16), tmp_path / "out", 8)
    with rasterio.open(tmp_path / "out" / "labels.tif") as file:
        assert (file.read(1) == 1).all()


def test_a_failing_model_leaves_nothing_half(tmp_path: Path, ground: tuple[Path, np.ndarray]) -> None:
    path, _ = ground
    calls = []

    def fails(batch: NDArray[np.generic]) -> Outputs:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("out of memory")
        return by_value(batch)

    scene = Scene("s", "predict", image(path), (), ())
    with scene.open(("a",), {}) as opened, pytest.raises(RuntimeError, match="out of memory"):
        predict_scene(opened, fails, TASK, predict(), tmp_path / "out", 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image.tif"]


def test_bands_in_other_units_are_refused(ground: tuple[Path, np.ndarray]) -> None:
    path, _ = ground
    with image(path, scale=0.0001, unit="reflectance").open(("a",)) as learnt, image(path).open(("a",)) as given:
        check_bands(learnt.bands, learnt.bands, "s")
        with pytest.raises(ModelError, match=r"band a means something else(.|\n)*reflectance(.|\n)*DN"):
            check_bands(learnt.bands, given.bands, "s")


MEMORY = """
import resource, sys
from pathlib import Path
import numpy as np, rasterio
from tests.prediction.test_sliding_window import by_value, predict, run
from tests.prediction.test_on_device import ByValue
from tests.ground import NORTH_UP, UTM
root = Path(sys.argv[1])
def run_both_ways(height):
    shape = dict(count=1, height=height, width=1024, dtype="uint16", tiled=True, blockxsize=256, blockysize=256)
    about = dict(driver="GTiff", transform=NORTH_UP, crs=UTM, compress="deflate", **shape)
    with rasterio.open(root / "tall.tif", "w", **about) as f:
        for row in range(0, height, 256):
            rows = (np.indices((256, 1024)) // 37).sum(0) % 3 * 300 + 100
            f.write(rows.astype("uint16")[None], window=rasterio.windows.Window(0, row, 1024, 256))
    for model in (by_value, ByValue()):
        run(root / "tall.tif", root / "out", predict(256, 224, "areas.parquet", scores=True), model=model)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(run_both_ways(4096), run_both_ways(10240))
"""


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_height_by_processor_and_device(tmp_path: Path, root: Path) -> None:
    paths = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}", "GDAL_CACHEMAX": "16", "MALLOC_ARENA_MAX": "1"}
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    for _ in range(4):  # on a busy machine threads wait for one another, and more is under way at times
        found = subprocess.run(command, env=paths, cwd=root, check=True, capture_output=True, text=True)
        low, high = (int(peak) for peak in found.stdout.split()[-2:])
        if high - low < 2 * (10240 - 4096) * 1024:  # bytes: less than the image's two a pixel
            return
    pytest.fail(f"memory grew by {high - low} bytes")
