"""What predict wrote is read back on the scene's grid."""

from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS

from quadrat.errors import PredictionError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.prediction.reader import Prediction
from quadrat.prediction.writers import writer_for
from quadrat.tasks.common.outputs import Features, RasterLayer, Rows, VectorLayer
from tests.ground import NORTH_UP, UTM, pixel_box, write_areas, write_raster

TURNED = NORTH_UP @ Affine.rotation(20)
GRIDS = [
    Grid(CRS.from_user_input(UTM), NORTH_UP, (60, 80)),
    Grid(CRS.from_user_input(UTM), TURNED, (60, 80)),
    Grid(CRS.from_user_input("EPSG:4326"), Affine(1e-4, 0, 12, 0, -1e-4, 52), (60, 80)),
    Grid(None, Affine.identity(), (60, 80)),
]


@pytest.mark.parametrize("grid", GRIDS)
def test_rows_are_what_was_written(tmp_path: Path, grid: Grid) -> None:
    values = np.random.default_rng(0).integers(0, 9, (1, 60, 80)).astype(np.uint8)
    with writer_for(RasterLayer("labels", "uint8", ("class",), 255), grid, tmp_path, {}) as writer:
        writer.write(Rows("labels", 0, 0, values))
    with Prediction(tmp_path, grid, "s") as prediction:
        found = prediction.class_ids("labels", Window(7, 11, 30, 40), [*"abcdefghi"])
    np.testing.assert_array_equal(found, values[0, 7:37, 11:51])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", ["parquet", "gpkg", "geojson", "fgb"])
def test_features_are_what_was_written_in_pixel_coordinates(tmp_path: Path, grid: Grid, ending: str) -> None:
    geometry = shapely.box(np.array([3.0, 20]), np.array([4.0, 10]), np.array([9.0, 50]), np.array([8.0, 55]))
    fields = {"class": np.array(["a", "b"], object), "score": np.array([0.5, 0.25], np.float32)}
    with writer_for(VectorLayer("found", f"found.{ending}"), grid, tmp_path, {}) as writer:
        writer.write(Features("found", geometry, fields))
    with Prediction(tmp_path, grid, "s") as prediction:
        found = prediction.features("found")
    order = np.argsort(found.fields["class"])
    for mine, theirs in zip(geometry, found.geometry[order], strict=True):
        assert shapely.hausdorff_distance(mine, theirs) < 1e-2
    assert list(found.fields["score"][order]) == [0.5, 0.25]


SEAM = [
    ("EPSG:4326", Affine(1e-4, 0, 179.996, 0, -1e-4, 52)),
    ("EPSG:4326", Affine(1e-4, 0, -180.004, 0, -1e-4, 52)),
    ("EPSG:4326", Affine(1e-4, 0, 200, 0, -1e-4, 52)),
    ("EPSG:3857", Affine(10, 0, 20_037_508 - 400, 0, -10, 6_800_000)),
    ("EPSG:32660", Affine(10, 0, 705_800, 0, -10, 5_765_500)),
]
"""Grids that 180° crosses, or that lie beyond it."""


@pytest.mark.parametrize(("crs", "transform"), SEAM)
@pytest.mark.parametrize("ending", ["parquet", "geojson"])
def test_features_across_180_degrees_are_where_they_were_written(
    tmp_path: Path, crs: str, transform: Affine, ending: str
) -> None:
    grid = Grid(CRS.from_user_input(crs), transform, (60, 80))
    lefts = np.arange(0, 80, 8.0)
    geometry = shapely.box(lefts, 3, lefts + 12, 20)
    with writer_for(VectorLayer("found", f"found.{ending}"), grid, tmp_path, {}) as writer:
        writer.write(Features("found", geometry, {"number": np.arange(len(geometry))}))
    with Prediction(tmp_path, grid, "s") as prediction:
        found = prediction.features("found")
    np.testing.assert_allclose(shapely.bounds(found.geometry), shapely.bounds(geometry), atol=1e-2)
    np.testing.assert_allclose(shapely.area(found.geometry), shapely.area(geometry), rtol=1e-3)
    assert found.fields["number"].tolist() == [*range(len(geometry))]


def as_drawn(polygon: shapely.Polygon, crs: str, grid: Grid) -> shapely.Polygon:
    """Return a polygon whose edges are straight in ``crs``, in pixel coordinates, by many points on them."""
    dense = shapely.segmentize(polygon, polygon.length / 2000)
    x, y = Transformer.from_crs(crs, grid.crs, always_xy=True).transform(*shapely.get_coordinates(dense).T)
    return shapely.Polygon(np.column_stack(~grid.transform @ (x, y)))


WIDE = Grid(CRS.from_user_input(UTM), Affine(30, 0, 300_000, 0, -30, 6_800_000), (3000, 6000))
"""A scene of Landsat's size, whose upper edge is bent by 18 px in longitude and latitude."""


def test_long_edges_are_straight_in_the_crs_of_the_file(tmp_path: Path) -> None:
    """Their ends alone would let them be straight in the image's."""
    west, south, east, north = 12.5, 60.8, 15.5, 61.2
    far = shapely.box(-60, 10, -50, 20)
    polygons = [far, shapely.box(west, south, east, north), shapely.box(14, 60.9, 14.001, 60.901)]
    frame = geopandas.GeoDataFrame({"number": [0, 1, 2]}, geometry=polygons, crs="EPSG:4326")
    frame.to_file(tmp_path / "found.gpkg")
    with Prediction(tmp_path, WIDE, "s") as prediction:
        found = prediction.features("found")
    assert found.fields["number"].tolist() == [1, 2]  # what is far away is no prediction of the scene
    for mine, polygon in zip(found.geometry, polygons[1:], strict=True):
        wanted = as_drawn(polygon, "EPSG:4326", WIDE)
        assert shapely.hausdorff_distance(mine, wanted) < 0.02
        assert shapely.area(shapely.symmetric_difference(mine, wanted)) < 1e-4 * wanted.area


def test_long_edges_stay_where_they_are_in_geojson(tmp_path: Path) -> None:
    whole = shapely.box(0, 0, 6000, 3000)
    with writer_for(VectorLayer("found", "found.geojson"), WIDE, tmp_path, {}) as writer:
        writer.write(Features("found", np.array([whole, shapely.box(9, 9, 99, 99)]), {"number": np.arange(2)}))
    large, small = geopandas.read_file(tmp_path / "found.geojson").sort_values("number").geometry
    drawn = as_drawn(large, "EPSG:4326", WIDE)
    assert shapely.hausdorff_distance(drawn, whole) < 0.05
    assert len(small.exterior.coords) == 5


def test_features_beside_a_whole_degree_stay_where_they_are_in_geojson(tmp_path: Path) -> None:
    drone = Affine(0.005, 0, 500_000, 0, -0.005, 5_800_000)  # its left edge is at 15°
    grid = Grid(CRS.from_user_input(UTM), drone, (60, 80))
    lefts = np.arange(0, 6, 0.25)
    geometry = shapely.box(lefts, 3, lefts + 12, 20)
    with writer_for(VectorLayer("found", "found.geojson"), grid, tmp_path, {}) as writer:
        writer.write(Features("found", geometry, {"number": np.arange(len(geometry))}))
    with Prediction(tmp_path, grid, "s") as prediction:
        found = prediction.features("found").geometry
    np.testing.assert_allclose(shapely.bounds(found), shapely.bounds(geometry), atol=0.02)


def test_features_of_windows_are_read_once_and_are_those_that_meet_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, cols = np.mgrid[0:60:5, 0:80:5].reshape(2, -1).astype(float)
    fields = {"number": np.arange(len(rows))}
    with writer_for(VectorLayer("found", "found.parquet"), GRIDS[0], tmp_path, {}) as writer:
        writer.write(Features("found", shapely.box(cols, rows, cols + 7, rows + 7), fields))
    with Prediction(tmp_path, GRIDS[0], "s") as prediction:
        everything = prediction.features("found")
        monkeypatch.setattr("geopandas.read_parquet", None)
        for window in (Window(5, 5, 5, 5), Window(0, 3, 60, 1), Window(200, 0, 5, 5), Window(0, 0, 60, 80)):
            found = prediction.features("found", window)
            met = (rows < window.bottom) & (rows + 7 > window.row) & (cols < window.right) & (cols + 7 > window.col)
            assert found.fields["number"].tolist() == np.flatnonzero(met).tolist()
            assert len(found.geometry) == met.sum()
        assert len(everything.geometry) == len(rows)


@pytest.mark.parametrize(
    ("file", "crs", "said"), [("found.gpkg", None, "another grid"), ("other.gpkg", UTM, "no prediction")]
)
def test_features_that_are_missing_or_nowhere_are_an_error(
    tmp_path: Path, file: str, crs: str | None, said: str
) -> None:
    write_areas(tmp_path / file, [pixel_box(0, 0, 5, 5)], crs=crs)
    with (
        Prediction(tmp_path, GRIDS[0], "s") as prediction,
        pytest.raises(PredictionError, match=rf"{said}(.*\n)*  scene: s\n  file: .*found"),
    ):
        prediction.features("found")


def test_features_that_are_damaged_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "found.parquet").write_bytes(b"PAR1 no")
    with Prediction(tmp_path, GRIDS[0], "s") as prediction, pytest.raises(PredictionError, match="vector data"):
        prediction.features("found")


NAMES = ("wood", "lake", "field")


def read_ids(folder: Path, grid: Grid = GRIDS[0]) -> np.ndarray:
    with Prediction(folder, grid, "s") as prediction:
        return prediction.class_ids("labels", grid.area, NAMES)


@pytest.mark.parametrize("grid", [GRIDS[0], GRIDS[3]])
@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", 255),
        ("uint8", 99),
        ("uint8", None),
        ("int8", -1),
        ("uint16", 255),
        ("uint16", 65535),
        ("int16", -9999),
        ("uint32", 255),
        ("int32", 2**31 - 1),
        ("int64", -1),
        ("uint64", 99),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_class_ids_of_any_type_are_read_and_what_is_hidden_has_none(
    tmp_path: Path, dtype: str, nodata: int | None, masked: bool, grid: Grid
) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (60, 80))
    expected = ids.copy()
    if nodata is not None:
        expected[10:20], ids[10:20] = 255, nodata
    crs = None if grid.crs is None else UTM
    write_raster(tmp_path / "labels.tif", ids[None].astype(dtype), grid.transform, crs, nodata)
    if masked:
        shown = np.random.default_rng(1).random((60, 80)) > 0.3
        expected[~shown] = 255
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "labels.tif", "r+") as file:
            file.write_mask(shown)
    found = read_ids(tmp_path, grid)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("value", "dtype", "nodata", "said"),
    [
        (3, "uint8", 255, r"not class ids\n(.|\n)*expected: .*0 to 2 .*or the nodata value 255\n  got: 3\n"),
        (255, "uint8", None, r"not class ids\n(.|\n)*no nodata value is declared\n  got: 255\n  hint: declare"),
        (-1, "int16", 255, r"not class ids\n(.|\n)*got: -1\n"),
        (2**31 - 1, "int32", -1, r"not class ids\n(.|\n)*got: 2147483647\n"),
        (256, "uint16", None, r"not class ids\n(.|\n)*got: 256\n"),  # 0 in the last eight bits
        (0, "uint8", 0, r"nodata value is a class id\n(.|\n)*got: 0\n"),
        (0, "float32", None, r"no class ids\n(.|\n)*expected: one band of whole numbers\n  got: 1 of float32\n"),
        (0, "complex64", None, r"no class ids\n(.|\n)*got: 1 of complex64\n"),
    ],
)
def test_values_that_are_no_class_ids_are_an_error(
    tmp_path: Path, value: int, dtype: str, nodata: int | None, said: str
) -> None:
    ids = np.ones((1, 60, 80), dtype)
    ids[0, 30, 40] = value
    write_raster(tmp_path / "labels.tif", ids, nodata=nodata)
    with pytest.raises(PredictionError, match=said) as caught:
        read_ids(tmp_path)
    assert caught.value.scene == "s"
    assert str(caught.value.file).endswith("labels.tif")


def test_several_bands_are_an_error(tmp_path: Path) -> None:
    write_raster(tmp_path / "labels.tif", np.zeros((3, 60, 80), np.uint8))
    with pytest.raises(PredictionError, match=r"no class ids(.|\n)*got: 3 of uint8, uint8, uint8"):
        read_ids(tmp_path)


def test_classes_in_another_order_are_an_error(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "labels.tif", np.zeros((1, 60, 80), np.uint8))
    with rasterio.open(path, "r+") as file:
        file.update_tags(1, class_0="lake", class_1="wood", class_2="field")
    with pytest.raises(PredictionError, match=r"other classes(.|\n)*expected: 0: wood, 1: lake.*\n  got: 0: lake, 1"):
        read_ids(tmp_path)


@pytest.mark.parametrize(
    ("categories", "right"),
    [
        (["wood", "lake"], True),
        (["", "lake", "unclassified"], True),
        (["background", "water"], True),  # of another language: they contradict nothing
        (["lake", "wood"], False),
        (["none", "wood", "lake"], False),
    ],
)
def test_names_that_gdal_keeps_must_not_give_classes_other_ids(
    tmp_path: Path, categories: list[str], right: bool
) -> None:
    write_raster(tmp_path / "labels.tif", np.ones((1, 60, 80), np.uint8), nodata=255)
    said = "".join(f"<Category>{name}</Category>" for name in categories)
    band = f'<PAMRasterBand band="1"><CategoryNames>{said}</CategoryNames></PAMRasterBand>'
    (tmp_path / "labels.tif.aux.xml").write_text(f"<PAMDataset>{band}</PAMDataset>")
    with Prediction(tmp_path, GRIDS[0], "s") as prediction:
        if right:
            assert (prediction.class_ids("labels", GRIDS[0].area, ["wood", "lake"]) == 1).all()
            return
        with pytest.raises(PredictionError, match="other classes"):
            prediction.class_ids("labels", GRIDS[0].area, ["wood", "lake"])


def refused(folder: Path, grid: Grid = GRIDS[0]) -> str:
    with Prediction(folder, grid, "s") as prediction, pytest.raises(PredictionError) as caught:
        prediction.features("found")
    assert caught.value.scene == "s"
    return str(caught.value)


def test_features_elsewhere_are_an_error(tmp_path: Path) -> None:
    far = pixel_box(1000, 0, 1005, 5)
    write_areas(tmp_path / "found.gpkg", [far, far])
    assert "prediction is not on its scene" in refused(tmp_path)
    write_areas(tmp_path / "found.gpkg", [pixel_box(0, 0, 5, 5)], crs="EPSG:32631")  # coordinates of another zone
    assert "EPSG:32631" in refused(tmp_path)
    write_areas(tmp_path / "found.gpkg", [far, pixel_box(0, 0, 5, 5)])
    with Prediction(tmp_path, GRIDS[0], "s") as prediction:
        assert len(prediction.features("found").geometry) == 2


def test_projected_coordinates_in_geojson_are_an_error(tmp_path: Path) -> None:
    found = geopandas.GeoSeries([pixel_box(0, 0, 5, 5)]).to_json()
    (tmp_path / "found.geojson").write_text(found)  # without a CRS they count as degrees
    assert "prediction is not on its scene" in refused(tmp_path)
    (tmp_path / "found.geojson").unlink()
    write_areas(tmp_path / "found.geojson", [pixel_box(0, 0, 5, 5)])  # which says UTM
    assert "another grid" in refused(tmp_path, GRIDS[3])


def test_features_of_a_crs_that_is_not_on_earth_are_an_error(tmp_path: Path) -> None:
    local = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    write_areas(tmp_path / "found.gpkg", [pixel_box(0, 0, 5, 5)], crs=local)
    assert "no transformation is known" in refused(tmp_path)


def test_features_without_geometry_are_an_error(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame({"a": [1, 2]}, geometry=[pixel_box(0, 0, 5, 5), None], crs=UTM)
    frame.to_parquet(tmp_path / "found.parquet")
    assert "no geometry\n  scene: s\n" in refused(tmp_path)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "found.parquet")
    assert "vector data" in refused(tmp_path)
    (tmp_path / "found.parquet").unlink()
    pyogrio.write_dataframe(pd.DataFrame({"a": [1]}), tmp_path / "found.gpkg", driver="GPKG")
    assert "no geometries" in refused(tmp_path)


def test_of_several_layers_that_of_the_name_counts(tmp_path: Path) -> None:
    for layer, count in (("other", 1), ("third", 3)):
        frame = geopandas.GeoDataFrame(geometry=[pixel_box(0, 0, 5, 5)] * count, crs=UTM)
        frame.to_file(tmp_path / "found.gpkg", layer=layer)
    assert "got: other, third" in refused(tmp_path)
    frame.iloc[:2].to_file(tmp_path / "found.gpkg", layer="found")
    with Prediction(tmp_path, GRIDS[0], "s") as prediction:
        assert len(prediction.features("found").geometry) == 2


def test_several_files_of_a_layer_are_an_error(tmp_path: Path) -> None:
    for ending in ("gpkg", "fgb"):
        write_areas(tmp_path / f"found.{ending}", [pixel_box(0, 0, 5, 5)])
    assert "got: found.gpkg, found.fgb" in refused(tmp_path)
    (tmp_path / "found.gpkg").unlink()
    (tmp_path / "found.csv").write_text("a,b\n")  # beside it
    with Prediction(tmp_path, GRIDS[0], "s") as prediction:
        assert len(prediction.features("found").geometry) == 1
