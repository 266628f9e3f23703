"""Layers on disk, read back by rasterio, GDAL, geopandas and pyogrio."""

import json
import resource
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as ET

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pyproj
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import RasterioIOError
from rasterio.features import rasterize
from scipy import ndimage

from quadrat.errors import ParamsError, QuadratError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.grid import Grid
from quadrat.prediction import cog, geoparquet
from quadrat.prediction.cog import RasterWriter, _Sum
from quadrat.prediction.overviews import Overviews, majority
from quadrat.prediction.vector_file import VectorWriter, areas
from quadrat.prediction.writers import writer_for
from quadrat.tasks.common.classes import Class
from quadrat.tasks.common.outputs import Features, RasterLayer, Rows, VectorLayer
from quadrat.tasks.semantic_segmentation.layers.polygoniser import Polygoniser, Polygons
from tests.ground import NORTH_UP

UTM, WGS84 = CRS.from_epsg(32633), CRS.from_epsg(4326)
TURNED = Affine.translation(500_000, 5_400_000) @ Affine.rotation(30) @ Affine.scale(10, -10)
GRIDS = {
    "projected": (UTM, Affine(10, 0, 500_000, 0, -10, 5_400_000)),
    "south up": (UTM, Affine(10, 0, 500_000, 0, 10, 5_400_000)),
    "turned": (UTM, TURNED),
    "geographic": (WGS84, Affine(1e-4, 0, 15, 0, -5e-5, 48.5)),
    "world file": (None, Affine(2, 0, 100, 0, -2, 900)),
    "photo": (None, Affine.identity()),
}
CLASSES = tuple(
    Class.model_validate({"name": name, "color": color, "from": (name,)})
    for name, color in (("Wald & Feld", "#117733"), ("water", "#88ccee"), ("<built>", "#cc6677"))
)
LABELS = RasterLayer("labels", "uint8", ("class",), IGNORE, classes=CLASSES)
SCORES = RasterLayer("scores", "uint8", ("a", "b"), IGNORE, scale=1 / 250)
FIELDS = {"class": "str", "class_id": "uint8", "score": "float32", "pixels": "int64"}
ENDINGS = (".parquet", ".gpkg", ".fgb", ".geojson")

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def grid_of(name: str, shape: tuple[int, int]) -> Grid:
    return Grid(*GRIDS[name], shape)


def some_labels(shape: tuple[int, int], grain: float = 4) -> NDArray[np.uint8]:
    """Return blobs of the three classes, and some nodata."""
    noise = np.random.default_rng(5).random((4, *shape))
    labels = ndimage.gaussian_filter(noise, (0, grain, grain)).argmax(0).astype(np.uint8)
    return np.where(labels == 3, np.uint8(IGNORE), labels)


def write_rows(
    layer: RasterLayer,
    grid: Grid,
    path: Path,
    values: NDArray[Any],
    cuts: Sequence[int] = (),
    row: int = 0,
    col: int = 0,
) -> None:
    """Write ``values`` (band, y, x), cut above the rows ``cuts``, with the first pixel at ``row`` and ``col``."""
    with RasterWriter(layer, grid, path, {"model": "abc", "made_by": "quadrat"}) as writer:
        for top, bottom in pairwise([0, *cuts, values.shape[1]]):
            writer.write(Rows(layer.name, row + top, col, values[:, top:bottom]))


def features_of(labels: NDArray[np.uint8]) -> Features:
    polygoniser = Polygoniser()
    scores = np.random.default_rng(6).random(labels.shape, np.float32)
    found = Polygons.joined([polygoniser.add(0, labels, scores), polygoniser.close()])
    names = np.array([c.name for c in CLASSES], object)[found.class_id]
    fields = {"class": names, "class_id": found.class_id, "score": found.score, "pixels": found.pixels}
    return Features("polygons", found.geometry, fields)


def part(features: Features, start: int, stop: int) -> Features:
    fields = {name: values[start:stop] for name, values in features.fields.items()}
    return Features(features.layer, features.geometry[start:stop], fields)


def write_features(grid: Grid, path: Path, features: Features, cuts: Sequence[int] = ()) -> None:
    with VectorWriter(VectorLayer("polygons", path.name), grid, path, {"model": "abc"}) as writer:
        for start, stop in pairwise([0, *cuts, len(features.geometry)]):
            writer.write(part(features, start, stop))


def read_features(path: Path) -> geopandas.GeoDataFrame:
    return geopandas.read_parquet(path) if path.suffix == ".parquet" else geopandas.read_file(path, engine="pyogrio")


# rasters


@pytest.mark.parametrize("name", GRIDS)
def test_raster_is_a_cog_on_the_grid(name: str, tmp_path: Path) -> None:
    grid, labels = grid_of(name, (1300, 1100)), some_labels((1300, 1100))
    write_rows(LABELS, grid, tmp_path / "labels.tif", labels[None], [100, 999])
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        assert (dataset.crs, dataset.transform, dataset.shape) == (grid.crs, grid.transform, grid.shape)
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.block_shapes == [(512, 512)]
        assert dataset.overviews(1) == [2, 4]
        np.testing.assert_array_equal(dataset.read(1), labels)
    assert {path.name for path in tmp_path.iterdir()} == {"labels.tif", "labels.tif.aux.xml", "labels.qml"}


def test_class_ids_have_colors_and_names(tmp_path: Path) -> None:
    labels = some_labels((64, 64))
    write_rows(LABELS, grid_of("projected", labels.shape), tmp_path / "labels.tif", labels[None])
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        assert dataset.nodata == IGNORE
        assert [dataset.colormap(1)[number][:3] for number in range(3)] == [c.rgb for c in CLASSES]
        assert dataset.colormap(1)[IGNORE] == (0, 0, 0, 0)
        assert dataset.descriptions == ("class",)
        assert dataset.tags()["model"] == "abc"
        assert [dataset.tags(1)[f"class_{number}"] for number in range(3)] == [c.name for c in CLASSES]


def test_overviews_of_class_ids_take_the_most_frequent(tmp_path: Path) -> None:
    greys = zip("abc", ("#000000", "#bfbfbf", "#ffffff"), strict=True)  # the mean of 2, 2, 2 and 0 looks like 1
    classes = tuple(Class.model_validate({"name": name, "color": grey, "from": (name,)}) for name, grey in greys)
    layer = RasterLayer("labels", "uint8", ("class",), IGNORE, classes=classes)
    labels = np.full((600, 600), 2, np.uint8)
    labels[::2, ::2] = 0
    labels[:, 300:] = IGNORE
    write_rows(layer, grid_of("projected", labels.shape), tmp_path / "labels.tif", labels[None])
    with rasterio.open(tmp_path / "labels.tif", overview_level=0) as dataset:
        half = dataset.read(1)
    assert half.shape == (300, 300)
    assert (half[:, :150] == 2).all()
    assert (half[:, 150:] == IGNORE).all()


@given(
    arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=200), elements=st.sampled_from([0, 1, 2, IGNORE]))
)
def test_a_pixel_of_an_overview_has_the_first_of_the_most_frequent_classes(labels: np.ndarray) -> None:
    for (row, col), found in np.ndenumerate(majority(labels, IGNORE)):
        below = [number for number in labels[2 * row : 2 * row + 2, 2 * col : 2 * col + 2].ravel() if number != IGNORE]
        assert found == (max(below, key=below.count) if below else IGNORE)


@given(
    st.tuples(st.integers(1, 300), st.integers(1, 90)),
    st.tuples(st.integers(0, 130), st.integers(0, 40)),
    st.tuples(st.integers(0, 40), st.integers(0, 20)),
    st.lists(st.integers(1, 299), max_size=6),
)
def test_overviews_are_each_made_of_the_next_finer_one(
    shape: tuple[int, int], place: tuple[int, int], beyond: tuple[int, int], cuts: list[int]
) -> None:
    """Wherever the rows that are written lie on the grid, and however they are cut."""
    labels = some_labels(shape, 2)
    grid = place[0] + shape[0] + beyond[0], place[1] + shape[1] + beyond[1]
    expected = np.pad(labels, list(zip(place, beyond, strict=True)), constant_values=IGNORE)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "labels"
        options = {"tiled": True, "blockxsize": 16, "blockysize": 16, "sparse_ok": True}
        with Overviews(path, grid, IGNORE, 16, options) as overviews:
            for top, bottom in pairwise(sorted({0, *(cut for cut in cuts if cut < shape[0]), shape[0]})):
                overviews.add(place[0] + top, place[1], labels[top:bottom])
        while max(expected.shape) > 16:
            path, expected = path.with_name(f"{path.name}.ovr"), majority(expected, IGNORE)
            with rasterio.open(path) as dataset:
                np.testing.assert_array_equal(dataset.read(1), expected)
        assert not path.with_name(f"{path.name}.ovr").exists()


def test_a_layer_has_the_overviews_of_all_that_is_written(tmp_path: Path) -> None:
    labels = some_labels((2500, 1301))
    write_rows(LABELS, grid_of("projected", (2601, 1402)), tmp_path / "labels.tif", labels[None], [3, 700], 101, 77)
    labels = np.pad(labels, ((101, 0), (77, 24)), constant_values=IGNORE)
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        levels = dataset.overviews(1)
    assert levels == [2, 4, 8]
    for level in range(len(levels)):
        labels = majority(labels, IGNORE)
        with rasterio.open(tmp_path / "labels.tif", overview_level=level) as dataset:
            np.testing.assert_array_equal(dataset.read(1), labels)


@pytest.mark.parametrize("then", [(11, 0, 10), (9, 0, 10), (10, 1, 10), (10, 0, 9)], ids=str)
def test_refuses_rows_that_do_not_follow(then: tuple[int, int, int], tmp_path: Path) -> None:
    row, col, width = then
    with RasterWriter(LABELS, grid_of("projected", (30, 20)), tmp_path / "labels.tif", {}) as writer:
        writer.write(Rows("labels", 0, 0, np.zeros((1, 10, 10), np.uint8)))
        with pytest.raises(ValueError, match="without gaps"):
            writer.write(Rows("labels", row, col, np.zeros((1, 10, width), np.uint8)))


@pytest.mark.parametrize("layer", [LABELS, SCORES])
def test_overviews_are_found_where_gdal_is_told_to_list_no_folder(layer: RasterLayer, tmp_path: Path) -> None:
    values = np.stack([some_labels((600, 1100))] * len(layer.bands))
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):  # as the environment may say, too
        write_rows(layer, grid_of("projected", values.shape[1:]), tmp_path / "layer.tif", values)
    with rasterio.open(tmp_path / "layer.tif") as dataset:
        assert dataset.overviews(1) == [2, 4]


def test_a_layer_has_the_same_bytes_for_any_number_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = some_labels((1500, 2100))
    for count in (1, 4):
        monkeypatch.setattr(cog, "cores", lambda count=count: count)
        write_rows(LABELS, grid_of("projected", labels.shape), tmp_path / f"{count}.tif", labels[None])
    assert (tmp_path / "1.tif").read_bytes() == (tmp_path / "4.tif").read_bytes()


def test_gdal_reads_the_class_names(tmp_path: Path) -> None:
    labels = some_labels((64, 64))
    write_rows(LABELS, grid_of("projected", labels.shape), tmp_path / "labels.tif", labels[None])
    # a copy's XML holds what GDAL has understood of the original's
    rasterio.shutil.copy(tmp_path / "labels.tif", tmp_path / "copy.tif", driver="GTiff")
    band = ET.parse(tmp_path / "copy.tif.aux.xml").getroot().find("PAMRasterBand")  # noqa: S314 (GDAL's own)
    assert band is not None
    assert [category.text for category in band.findall("CategoryNames/Category")] == [c.name for c in CLASSES]
    table = band.find("GDALRasterAttributeTable")
    assert table is not None
    assert table.get("tableType") == "thematic"
    columns = [tuple(item.text for item in column) for column in table.findall("FieldDefn")]
    integer, string, value, name, red, green, blue = "0252678"
    assert columns == [
        ("Value", integer, value),
        ("Class", string, name),
        ("Red", integer, red),
        ("Green", integer, green),
        ("Blue", integer, blue),
    ]
    rows = [tuple(item.text for item in row) for row in table.findall("Row")]
    assert rows == [(str(n), c.name, *(str(v) for v in c.rgb)) for n, c in enumerate(CLASSES)]


def test_scores_have_names_scale_and_mean_overviews(tmp_path: Path) -> None:
    scores = np.zeros((2, 600, 600), np.uint8)
    scores[0, :, ::2] = 100
    scores[1, :, 1::2] = IGNORE
    (tmp_path / "scores.tif.aux.xml").write_text("of an older layer, with classes")
    write_rows(SCORES, grid_of("projected", (600, 600)), tmp_path / "scores.tif", scores)
    with rasterio.open(tmp_path / "scores.tif") as dataset:
        assert dataset.descriptions == ("a", "b")
        assert dataset.scales == (1 / 250, 1 / 250)
        assert dataset.nodata == IGNORE
        np.testing.assert_array_equal(dataset.read(), scores)
    with rasterio.open(tmp_path / "scores.tif", overview_level=0) as dataset:
        first, second = dataset.read()
        assert set(np.unique(first)) == {50}
        assert set(np.unique(second)) == {0}  # nodata has no part in a mean
    assert [path.name for path in tmp_path.iterdir()] == ["scores.tif"]


def test_values_are_kept_to_the_bit_with_overviews_of_those_that_there_are(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(0, 1e3, (1, 700, 560)).astype(np.float32)
    values[0, ::2, :100] = np.nan
    values[0, :, 100:110] = np.nan
    layer, path = RasterLayer("values", "float32", ("height",), np.nan), tmp_path / "values.tif"
    with RasterWriter(layer, grid_of("projected", (900, 600)), path, {}) as writer:
        for row in range(0, 700, 140):
            writer.write(Rows("values", 100 + row, 20, values[:, row : row + 140]))
    with rasterio.open(path) as file:
        assert np.isnan(file.nodata)
        expected = np.full((900, 600), np.nan, np.float32)
        expected[100:800, 20:580] = values[0]
        np.testing.assert_array_equal(file.read(1), expected)
        assert file.overviews(1) == [2]
    with rasterio.open(path, overview_level=0) as file:
        blocks = expected.reshape(450, 2, 300, 2)
        some = ~np.isnan(blocks).all((1, 3))
        means = np.full((450, 300), np.nan)
        means[some] = np.nanmean(blocks.transpose(0, 2, 1, 3)[some], (1, 2))
        np.testing.assert_allclose(file.read(1), means, rtol=1e-3, atol=1e-2)


def test_what_is_not_written_is_nodata(tmp_path: Path) -> None:
    labels = some_labels((700, 600))
    write_rows(LABELS, grid_of("projected", (2100, 1700)), tmp_path / "labels.tif", labels[None], [33], 800, 900)
    expected = np.full((2100, 1700), IGNORE, np.uint8)
    expected[800:1500, 900:1500] = labels
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected)
    with RasterWriter(LABELS, grid_of("photo", (30, 20)), tmp_path / "none.tif", {}):
        pass
    with rasterio.open(tmp_path / "none.tif") as dataset:
        assert (dataset.read(1) == IGNORE).all()


@pytest.mark.parametrize("layer", [LABELS, SCORES], ids=["labels", "scores"])
def test_raster_has_the_same_bytes_however_rows_come(layer: RasterLayer, tmp_path: Path) -> None:
    values = np.stack([some_labels((1200, 900)), some_labels((1200, 900), 2)])[: len(layer.bands)]
    written = []
    for number, cuts in enumerate([[], range(7, 1200, 7), [1, 512, 513, 1024], range(64, 1200, 64)]):
        path = tmp_path / f"{number}.tif"
        write_rows(layer, grid_of("projected", (1200, 900)), path, values, cuts)
        written.append(path.read_bytes())
    assert len(set(written)) == 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(2, 700, 33), (1, 256, 8), (3, 257, 1)])
def test_what_tells_rasters_apart_is_the_sum_of_all_bytes(shape: tuple[int, int, int], dtype: Any) -> None:
    for values in (np.full(shape, 255, dtype), np.random.default_rng(1).integers(0, 256, shape).astype(dtype)):
        for nodata in (IGNORE, 0):
            kept = [[value for value in band.ravel() if value != nodata] for band in values]
            found = _Sum.of(values, nodata)
            assert found.pixels == tuple(map(len, kept))
            assert found.bytes == tuple(sum(np.array(band, dtype).tobytes()) for band in kept)


def test_refuses_rows_of_another_layer(tmp_path: Path) -> None:
    grid = grid_of("projected", (10, 10))
    for values in (np.zeros((1, 10, 10), np.float32), np.zeros((2, 10, 10), np.uint8)):
        with (
            pytest.raises(ValueError, match="can't hold"),
            RasterWriter(LABELS, grid, tmp_path / "labels.tif", {}) as writer,
        ):
            writer.write(Rows("labels", 0, 0, values))


def test_a_raster_that_lost_pixels_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = rasterio.shutil.copy

    def lossy(source: Path, target: Path, **options: Any) -> None:
        with rasterio.open(source, "r+") as dataset:
            values = dataset.read(1)
            values[5, 5] = 1 - min(values[5, 5], 1)
            dataset.write(values, 1)
        copy(source, target, **options)

    monkeypatch.setattr(rasterio.shutil, "copy", lossy)
    with pytest.raises(QuadratError, match="could not be written completely") as caught:
        write_rows(LABELS, grid_of("projected", (100, 100)), tmp_path / "labels.tif", some_labels((100, 100))[None])
    assert caught.value.file == tmp_path / "labels.tif"
    assert not list(tmp_path.iterdir())


def test_a_raster_that_lost_an_overview_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = rasterio.shutil.copy

    def lossy(source: Path, target: Path, **options: Any) -> None:
        source.with_name(f"{source.name}.ovr.ovr").unlink()
        copy(source, target, **options)

    monkeypatch.setattr(rasterio.shutil, "copy", lossy)
    with pytest.raises(QuadratError, match="could not be written completely"):
        write_rows(LABELS, grid_of("projected", (600, 1100)), tmp_path / "labels.tif", some_labels((600, 1100))[None])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [SystemError("Unknown GDAL Error"), RasterioIOError("too many open files")], ids=repr)
@pytest.mark.parametrize("place", ["rows", "overviews", "copy"])
def test_whatever_gdal_says_the_error_names_the_layer(
    place: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = rasterio.open

    def failing(path: Path, *about: Any, **options: Any) -> Any:
        if place == "copy" or (place == "overviews") == (Path(path).suffix == ".ovr"):
            raise error
        return works(path, *about, **options)

    monkeypatch.setattr(*((rasterio.shutil, "copy") if place == "copy" else (rasterio, "open")), failing)
    labels = some_labels((600, 1100))
    with pytest.raises(QuadratError, match="could not be written completely") as caught:
        write_rows(LABELS, grid_of("projected", labels.shape), tmp_path / "labels.tif", labels[None])
    assert (caught.value.file, caught.value.__cause__) == (tmp_path / "labels.tif", error)
    assert not list(tmp_path.iterdir())


def test_overviews_of_a_run_that_was_killed_are_not_taken(tmp_path: Path) -> None:
    labels = some_labels((100, 100))
    with rasterio.open(
        tmp_path / ".rows-labels.tif.ovr", "w", driver="GTiff", height=50, width=50, count=1, dtype="uint8"
    ) as older:
        older.write(np.ones((50, 50), np.uint8), 1)
    write_rows(LABELS, grid_of("projected", labels.shape), tmp_path / "labels.tif", labels[None])
    with rasterio.open(tmp_path / "labels.tif") as dataset:
        assert dataset.overviews(1) == []
    assert {path.name for path in tmp_path.iterdir()} == {"labels.tif", "labels.tif.aux.xml", "labels.qml"}


# vectors


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", GRIDS)
def test_polygons_burn_back_to_the_labels(name: str, ending: str, tmp_path: Path) -> None:
    grid, labels = grid_of(name, (60, 70)), some_labels((60, 70), 1.5)
    features = features_of(labels)
    path = tmp_path / f"polygons{ending}"
    write_features(grid, path, features, [5])
    frame = read_features(path)
    if grid.crs is not None:
        assert frame.crs.to_epsg() == (4326 if ending == ".geojson" else grid.crs.to_epsg())
        frame = frame.to_crs(grid.crs.to_epsg())
    burnt = rasterize(
        zip(frame.geometry, frame["class_id"], strict=True),
        grid.shape,
        IGNORE,
        transform=grid.transform,
        dtype=np.uint8,
    )
    np.testing.assert_array_equal(burnt, labels)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
def test_fields_come_back(ending: str, tmp_path: Path) -> None:
    features = features_of(some_labels((60, 70), 1.5))
    path = tmp_path / f"polygons{ending}"
    write_features(grid_of("projected", (60, 70)), path, features)
    frame = read_features(path)
    assert [*frame.columns] == [*FIELDS, "area", "geometry"]
    got = frame.sort_values(["pixels", "score"], ignore_index=True)
    order = np.lexsort([features.fields["score"], features.fields["pixels"]])
    assert got["class"].tolist() == features.fields["class"][order].tolist()
    for field in ("class_id", "pixels", "score"):
        np.testing.assert_allclose(got[field], features.fields[field][order], rtol=1e-6)
    np.testing.assert_allclose(got["area"], got["pixels"] * 100 / 0.9996**2, rtol=1e-7)  # on UTM's central meridian
    assert all(polygon.exterior.is_ccw for polygon in got.geometry)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("way", ["empty features", "fields"])
def test_no_features_still_give_a_file_with_fields_and_crs(ending: str, way: str, tmp_path: Path) -> None:
    path = tmp_path / f"polygons{ending}"
    layer, grid = VectorLayer("polygons", path.name), grid_of("projected", (8, 8))
    with VectorWriter(layer, grid, path, {}, FIELDS if way == "fields" else None) as writer:
        if way == "empty features":
            writer.write(features_of(np.full((8, 8), IGNORE, np.uint8)))
    frame = read_features(path)
    assert len(frame) == 0
    assert frame.crs.to_epsg() == (4326 if ending == ".geojson" else 32633)
    if ending != ".geojson":  # which has no schema
        assert [*frame.columns] == [*FIELDS, "area", "geometry"]


def test_unknown_fields_are_an_error(tmp_path: Path) -> None:
    layer, grid = VectorLayer("polygons", "p.gpkg"), grid_of("projected", (8, 8))
    with pytest.raises(ValueError, match="unknown"), VectorWriter(layer, grid, tmp_path / "p.gpkg", {}):
        pass
    with (
        pytest.raises(ValueError, match="must have the fields"),
        VectorWriter(layer, grid, tmp_path / "p.gpkg", {}, {"name": "str"}) as writer,
    ):
        writer.write(features_of(np.zeros((8, 8), np.uint8)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_vector_has_the_same_bytes_however_features_come(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(geoparquet, "ROW_GROUP", 40)
    features = features_of(some_labels((90, 90), 1.2))
    count = len(features.geometry)
    assert count > 100
    written = []
    for number, cuts in enumerate([[], [0, 1, 40, 41, 80], range(9, count, 9)]):
        path = tmp_path / str(number) / f"polygons{ending}"
        write_features(grid_of("turned", (90, 90)), path, features, cuts)
        written.append(path.read_bytes())
    assert len(set(written)) == 1


def test_pages_of_geoparquet_do_not_depend_on_the_pieces(tmp_path: Path) -> None:
    count = 30_000  # more than a page of 1 MiB
    row, col = np.divmod(np.arange(count), 200)
    features = Features("polygons", shapely.box(col, row, col + 1, row + 1), {"pixels": np.ones(count, np.int64)})
    for name, cuts in (("one", []), ("many", range(777, count, 777))):
        write_features(grid_of("projected", (150, 200)), tmp_path / name / "polygons.parquet", features, cuts)
    assert len({path.read_bytes() for path in tmp_path.glob("*/*")}) == 1


def test_geopackage_does_not_tell_the_time(tmp_path: Path) -> None:
    path = tmp_path / "polygons.gpkg"
    write_features(grid_of("projected", (20, 20)), path, features_of(some_labels((20, 20))))
    with sqlite3.connect(path) as database:
        changed = [row[0] for row in database.execute("SELECT last_change FROM gpkg_contents")]
        noted = [row[0] for row in database.execute("SELECT timestamp FROM gpkg_metadata_reference")]
    database.close()
    assert {stamp[:10] for stamp in changed + noted} == {"2000-01-01"}
    assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") is None


@pytest.mark.parametrize("name", ["projected", "photo"])
def test_geoparquet_says_what_it_holds(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geoparquet, "ROW_GROUP", 10)
    path, features = tmp_path / "polygons.parquet", features_of(some_labels((60, 70), 1.5))
    write_features(grid_of(name, (60, 70)), path, features)
    with pq.ParquetFile(path) as file:
        metadata = {key.decode(): value.decode() for key, value in file.metadata.metadata.items()}
        assert file.metadata.num_row_groups == -(-len(features.geometry) // 10)
    geo = json.loads(metadata["geo"])
    column = geo["columns"][geo["primary_column"]]
    assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", ["Polygon"])
    assert column["orientation"] == "counterclockwise"
    assert column["bbox"] == read_features(path).total_bounds.tolist()
    if name == "photo":
        assert column["crs"] is None  # without the key it would be WGS 84
    else:
        assert column["crs"]["id"] == {"authority": "EPSG", "code": 32633}
    assert metadata["model"] == "abc"


@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".geojson"])
def test_metadata_goes_into_the_file(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"polygons{ending}"
    write_features(grid_of("projected", (20, 20)), path, features_of(some_labels((20, 20))))
    if ending == ".geojson":
        assert json.loads(json.loads(path.read_text())["description"]) == {"model": "abc"}
    else:
        assert pyogrio.read_info(path)["layer_metadata"] == {"model": "abc"}


def test_geojson_is_rfc_7946(tmp_path: Path) -> None:
    path = tmp_path / "polygons.geojson"
    write_features(grid_of("projected", (20, 20)), path, features_of(some_labels((20, 20))))
    content = json.loads(path.read_text())
    assert "crs" not in content
    longitude, latitude = content["features"][0]["geometry"]["coordinates"][0][0]
    assert (round(longitude), round(latitude)) == (15, 49)


def test_an_unknown_ending_is_an_error_that_lists_the_known() -> None:
    for file in ("polygons.shp", "polygons"):
        with pytest.raises(ParamsError, match=r"\.parquet, \.gpkg, \.fgb, \.geojson"):
            writer_for(VectorLayer("polygons", file), grid_of("photo", (8, 8)), Path(), {})


# areas


SQUARES = np.array([shapely.box(2, 3, 3, 4), shapely.box(0, 0, 7, 1)])


def test_areas_in_a_plane_and_without_a_crs() -> None:
    local = CRS.from_wkt('LOCAL_CS["mine",UNIT["foot",0.3048]]')
    feet = Grid(local, Affine.rotation(30) @ Affine.scale(10, -10), (9, 9))
    np.testing.assert_allclose(areas(feet, SQUARES), [100 * 0.3048**2, 700 * 0.3048**2])
    for name in ("photo", "world file"):
        np.testing.assert_array_equal(areas(grid_of(name, (9, 9)), SQUARES), [1, 7])


def on_ellipsoid(grid: Grid, polygons: NDArray[np.object_], step: float) -> list[float]:
    """Return the areas of polygons, in pixel coordinates, whose edges are cut to geodesics of ``step`` px."""
    own = pyproj.CRS.from_user_input(grid.crs)
    into = pyproj.Transformer.from_crs(own, own.geodetic_crs, always_xy=True)
    geod = own.get_geod()
    moved = shapely.transform(
        shapely.segmentize(polygons, step), lambda xy: np.column_stack(into.transform(*(grid.transform @ xy.T)))
    )
    assert geod is not None
    return [abs(geod.geometry_area_perimeter(polygon)[0]) for polygon in moved]


@pytest.mark.parametrize("corner", [(15.0, 48.5), (179.9, -60.0), (-30.0, 0.2), (100.0, 89.0)])
def test_areas_on_the_ellipsoid(corner: tuple[float, float]) -> None:
    grid = Grid(WGS84, Affine(1e-2, 0, corner[0], 0, -5e-3, corner[1]), (60, 50))
    polygons = features_of(some_labels(grid.shape)).geometry
    np.testing.assert_allclose(areas(grid, polygons), on_ellipsoid(grid, polygons, 0.1), rtol=2e-6)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        (32633, NORTH_UP),
        (3857, Affine(10, 0, 1.4e6, 0, -10, 5_621_521)),
        (3857, Affine(20, 0, 20_036_000, 0, -20, 8_399_737)),
        (3413, Affine(25, 0, -900, 0, -25, 1000)),
        (3031, Affine(25, 0, -1.9e6, 0, -25, 1.1e6)),
        (2263, Affine(20, 0, 980_000, 0, -20, 200_000)),
        (5070, Affine.translation(1e6, 1.5e6) @ Affine.rotation(30) @ Affine.scale(30, -20)),
    ],
)
def test_areas_on_the_ground_in_any_projection(crs: int, transform: Affine) -> None:
    grid = Grid(CRS.from_epsg(crs), transform, (60, 70))
    polygons = features_of(some_labels(grid.shape)).geometry
    np.testing.assert_allclose(areas(grid, polygons), on_ellipsoid(grid, polygons, 0.25), rtol=1e-5)


def test_each_polygon_of_a_large_scene_has_the_scale_of_its_own_latitude() -> None:
    europe = Grid(CRS.from_epsg(3857), Affine(1000, 0, 0, 0, -1000, 1.1e7), (6000, 3000))
    squares = np.array([shapely.box(5, row, 15, row + 10) for row in (0, 2000, 5990)])
    found = areas(europe, squares)
    np.testing.assert_allclose(found, on_ellipsoid(europe, squares, 0.5), rtol=1e-5)
    assert found[0] < 0.25 * found[2]


def test_a_polygon_over_half_a_continent_is_measured_in_pieces() -> None:
    europe = Grid(CRS.from_epsg(3857), Affine(5000, 0, 0, 0, -5000, 1.1e7), (1200, 600))
    star = shapely.Polygon([(0, 0), (300, 200), (600, 0), (400, 600), (600, 1200), (300, 900), (0, 1200), (200, 600)])
    holed = shapely.difference(star, shapely.box(250, 500, 350, 700))
    polygons = np.array([star, holed, shapely.box(0, 0, 600, 1200)])
    np.testing.assert_allclose(areas(europe, polygons), on_ellipsoid(europe, polygons, 0.5), rtol=1e-4)


@pytest.mark.parametrize("left", [-180.125, 0.0])
def test_the_whole_earth_has_its_area_on_a_grid_that_reaches_over_the_poles(left: float) -> None:
    grid = Grid(WGS84, Affine(0.25, 0, left, 0, -0.25, 90.125), (721, 1440))
    (found,) = areas(grid, np.array([shapely.box(0, 0, 1440, 721)]))
    assert found == pytest.approx(510_065_621_724_089, rel=1e-4)
    over, under = areas(grid, np.array([shapely.box(0, 0, 1, 0.5), shapely.box(0, 0, 1, 1)]))
    assert over == 0
    assert under == pytest.approx(on_ellipsoid(grid, np.array([shapely.box(0, 0.5, 1, 1)]), 0.1)[0], rel=1e-3)


def test_what_is_not_on_earth_has_no_area() -> None:
    corner = Grid(
        CRS.from_string("+proj=geos +h=35786023 +lon_0=-75"), Affine(2000, 0, -5.5e6, 0, -2000, 5.5e6), (9, 9)
    )
    assert np.isnan(areas(corner, SQUARES)).all()


def test_areas_do_not_depend_on_what_else_is_measured() -> None:
    grid = Grid(CRS.from_epsg(3857), Affine(10, 0, 1.4e6, 0, -10, 8e6), (60, 70))
    polygons = features_of(some_labels(grid.shape)).geometry
    alone = [areas(grid, polygons[[n]])[0] for n in range(len(polygons))]
    np.testing.assert_array_equal(areas(grid, polygons), alone)
    assert areas(grid, polygons[:0]).shape == (0,)


# both


def test_each_layer_has_its_writer(tmp_path: Path) -> None:
    grid, labels = grid_of("projected", (40, 50)), some_labels((40, 50))
    with (
        writer_for(LABELS, grid, tmp_path, {}) as rows,
        writer_for(VectorLayer("polygons", "areas.gpkg"), grid, tmp_path, {}) as features,
    ):
        assert isinstance(rows, RasterWriter)
        assert isinstance(features, VectorWriter)
        rows.write(Rows("labels", 0, 0, labels[None]))
        features.write(features_of(labels))
    written = {"labels.tif", "labels.tif.aux.xml", "labels.qml", "areas.gpkg"}
    assert {path.name for path in tmp_path.iterdir()} == written
    assert pyogrio.list_layers(tmp_path / "areas.gpkg")[:, 0].tolist() == ["polygons"]


@contextmanager
def interrupted() -> Iterator[None]:
    with pytest.raises(KeyboardInterrupt):
        yield


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow over 10 kB, and expect the error that says so."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(QuadratError, match="could not be written completely"):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [False, True], ids=["new", "over an older one"])
@pytest.mark.parametrize("trouble", [interrupted, full_disk])
@pytest.mark.parametrize(
    ("file", "side"),
    [("labels.tif", 256), ("labels.tif", 1100), *((f"polygons{ending}", 96) for ending in ENDINGS)],  # with overviews
)
def test_trouble_leaves_nothing_half(file: str, side: int, trouble: Any, before: bool, tmp_path: Path) -> None:
    grid, noise = grid_of("projected", (side, side)), np.random.default_rng(0).integers(0, 3, (side, side), np.uint8)
    layer = LABELS if file == "labels.tif" else VectorLayer("polygons", file)
    if before:
        (tmp_path / file).write_text("older")
    with trouble(), writer_for(layer, grid, tmp_path, {}) as writer:
        if isinstance(writer, RasterWriter):
            writer.write(Rows("labels", 0, 0, noise[None]))
        else:
            writer.write(features_of(noise))
        if trouble is interrupted:
            raise KeyboardInterrupt
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == ([(file, "older")] if before else [])
