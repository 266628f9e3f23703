"""Vector files of any sort are read, or told of in words."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyogrio import write_dataframe
from rasterio.crs import CRS
from shapely.geometry import box

from quadrat.errors import AOIError, LabelError
from quadrat.geo.geometry.wkb import of_polygons
from quadrat.geo.grids.grid import Grid
from quadrat.geo.vectors.features import read_features
from quadrat.labels.vector import LabelledAreas, VectorLabels
from quadrat.scenes.aoi import open_aoi
from tests.ground import NORTH_UP, UTM, legend, pixel_box, write_areas

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
LEGEND = legend(lake=["lake"], rest=["rest"])


def labels(path: Path) -> LabelledAreas:
    content = {"kind": "vector", "path": str(path), "default": "lake", "background": "rest"}
    with VectorLabels.model_validate(content, strict=False).open(GRID, LEGEND, "s") as opened:
        return opened


def write_wkt(path: Path, *shapes: str) -> Path:
    """Write shapes of any kind to CSV, of which GDAL makes geometries of its own."""
    rows = "\n".join(f'"{shape}"' for shape in shapes)
    path.write_text(f"WKT\n{rows}\n")
    path.with_suffix(".prj").write_text(CRS.from_string(UTM).to_wkt())
    return path


def ring(*corners: tuple[float, float], z: str = "") -> str:
    """Return the ring of a polygon in WKT, of corners in pixel coordinates."""
    places = [NORTH_UP @ corner for corner in (*corners, corners[0])]
    return "(({}))".format(", ".join(f"{x} {y}{z}" for x, y in places))


A, B, C, D = (5, 6), (25, 6), (25, 27), (5, 27)


@pytest.mark.parametrize(
    "shape",
    [
        f"TIN Z ({ring(A, B, C, z=' 3')}, {ring(A, C, D, z=' 3')})",
        f"TIN ({ring(A, B, C)}, {ring(A, C, D)})",
        f"POLYHEDRALSURFACE Z ({ring(A, B, C, D, z=' 0')}, {ring(A, B, B, A, z=' 9')}, {ring(A, B, C, D, z=' 9')})",
        f"GEOMETRYCOLLECTION (TIN ({ring(A, B, C)}), TRIANGLE {ring(A, C, D)})",
        f"GEOMETRYCOLLECTION Z (TRIANGLE Z {ring(A, A, A, z=' 0')}, POLYHEDRALSURFACE Z ({ring(A, B, C, D, z=' 1')}))",
        f"CURVEPOLYGON (COMPOUNDCURVE {ring(A, B, C, D)[:-1]}))",
    ],
)
def test_surfaces_cover_what_their_patches_do(tmp_path: Path, shape: str) -> None:
    found = labels(write_wkt(tmp_path / "l.csv", shape))
    expected = np.ones(GRID.shape)
    expected[6:27, 5:25] = 0
    np.testing.assert_array_equal(found.class_ids(GRID.area, all_touched=False), expected)
    assert len(found.objects(GRID.area).geometry) == 1


def test_a_surface_beside_polygons_keeps_fields_and_order(tmp_path: Path) -> None:
    whole = f"POLYGON {ring(A, B, C, D)}"
    frame = read_features(
        str(write_wkt(tmp_path / "l.csv", whole, f"TRIANGLE {ring(A, B, C)}", whole)), None, LabelError, "s"
    )
    assert [shape.geom_type for shape in frame.geometry] == ["Polygon"] * 3
    np.testing.assert_allclose(frame.area, [42_000, 21_000, 42_000])
    assert frame.crs == UTM


@given(st.data())
def test_geometries_without_surfaces_stay_as_they_are(data: st.DataObject) -> None:
    dimension = data.draw(st.sampled_from([2, 3]))
    point = shapely.Point(range(dimension))
    line = shapely.LineString(np.arange(4 * dimension).reshape(4, dimension))
    area = shapely.Polygon(np.eye(3)[:, :dimension], [0.1 + 0.2 * np.eye(3)[:, :dimension]])
    kinds = [point, line, area, shapely.MultiPolygon([area, area]), shapely.MultiPoint([point]), shapely.Polygon()]
    shapes = data.draw(st.lists(st.sampled_from(kinds), max_size=4))
    nested = shapely.GeometryCollection([*shapes, shapely.GeometryCollection(shapes)])
    options: dict[str, Any] = {"byte_order": data.draw(st.sampled_from([0, 1]))}
    options |= data.draw(st.sampled_from([{"flavor": "iso"}, {"flavor": "extended", "include_srid": True}]))
    written = shapely.to_wkb(shapely.set_srid(nested, 4326), **options)
    assert of_polygons(written) == written
    with pytest.raises(ValueError, match="cut short"):
        of_polygons(written[: data.draw(st.integers(0, min(8, len(written) - 1)))])


def test_a_geometry_of_an_unknown_type_is_told() -> None:
    with pytest.raises(ValueError, match="unknown type 99"):
        of_polygons(b"\x01" + struct.pack("<II", 99, 1))


def geojson(path: Path, geometry: object, **members: object) -> None:
    feature = {"type": "Feature", "properties": {"kind": "lake"}, "geometry": geometry}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature], **members}))


NAMES = {"absent": {}, "null": {"crs": None}}


@pytest.mark.parametrize("name", NAMES)
def test_projected_coordinates_without_a_crs_are_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / "l.geojson"
    geojson(path, shapely.geometry.mapping(pixel_box(5, 6, 25, 27)), **NAMES[name])
    message = r"not longitudes and latitudes(.|\n)*scene: s\n(.|\n)*l\.geojson(.|\n)*330050(.|\n)*ogr2ogr(.|\n)*GeoJSON"
    with pytest.raises(LabelError, match=message):
        labels(path)
    with pytest.raises(AOIError, match=message):
        open_aoi([str(path)], GRID, "s")


def damaged(write: Callable[[Path], None], *, keep: float = 1, noise: int = 0) -> Callable[[Path], None]:
    def do(path: Path) -> None:
        write(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))][: len(content) - noise] + b"\xff" * noise)

    return do


def written(path: Path) -> None:
    frame = geopandas.GeoDataFrame({"kind": ["lake"]}, geometry=[pixel_box(5, 6, 25, 27)], crs=UTM)
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_file(path)


HOSTILE: dict[str, Callable[[Path], Any]] = {
    "empty.gpkg": lambda path: path.write_bytes(b""),
    "noise.shp": lambda path: path.write_bytes(bytes(range(256))),
    "cut.gpkg": damaged(written, keep=0.3),
    "cut.parquet": damaged(written, keep=0.5),
    "table.parquet": lambda path: pd.DataFrame({"a": [1]}).to_parquet(path),
    "latin.geojson": lambda path: path.write_bytes(
        b'{"type": "Feature", "properties": {"kind": "Stra\xdfe"}, "geometry": null}'
    ),
    "cut.geojson": lambda path: path.write_text('{"type": "FeatureCollection", "features": [{"type": "Fea'),
    "folder.gdb": lambda path: path.mkdir(),
    "unclosed.geojson": lambda path: geojson(
        path, {"type": "Polygon", "coordinates": [[[13, 52], [14, 52], [13, 53]]]}
    ),
    "text.geojson": lambda path: geojson(path, {"type": "Polygon", "coordinates": "here"}),
    "odd.geojson": lambda path: geojson(path, {"type": "Blob", "coordinates": [1, 2]}),
    "none.geojson": lambda path: geojson(path, {"type": "Polygon", "coordinates": [[[1, 52], [None, 52], [1, 53]]]}),
    "huge.geojson": lambda path: geojson(
        path, {"type": "Polygon", "coordinates": [[[1e300, 0], [0, 1e308], [1e300, 0]]]}
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning:pyogrio")
@pytest.mark.parametrize("name", HOSTILE)
def test_files_that_are_damaged_are_told(tmp_path: Path, name: str) -> None:
    HOSTILE[name](tmp_path / name)
    with pytest.raises(LabelError, match=name) as told:
        labels(tmp_path / name)
    assert told.value.scene == "s"
    with pytest.raises(AOIError, match=name):
        open_aoi([str(tmp_path / name)], GRID, "s")


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("x", [np.nan, np.inf, 1e308])
def test_coordinates_that_are_no_numbers_are_counted(tmp_path: Path, x: float) -> None:
    wkb = [shapely.to_wkb(box(0, 0, 1, 1)), struct.pack("<BIIdddd", 1, 2, 2, 0, 0, x, 1)]
    geopandas.GeoDataFrame(geometry=shapely.from_wkb(wkb), crs=UTM).to_parquet(tmp_path / "l.parquet")
    with pytest.raises(LabelError, match=r"invalid coordinates(.|\n)*1 of 2 features, the first is number 2"):
        labels(tmp_path / "l.parquet")


def test_what_a_library_cannot_do_with_geometries_names_scene_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise shapely.errors.GEOSException("TopologyException: side location conflict")

    written(tmp_path / "l.gpkg")
    monkeypatch.setattr(shapely, "make_valid", fail)
    monkeypatch.setattr(shapely, "is_valid", lambda shapes: np.zeros(len(shapes), bool))
    with pytest.raises(LabelError, match=r"scene: s\n(.|\n)*l\.gpkg(.|\n)*side location conflict"):
        labels(tmp_path / "l.gpkg")
    with pytest.raises(AOIError, match=r"scene: s\n(.|\n)*l\.gpkg(.|\n)*side location conflict"):
        open_aoi([str(tmp_path / "l.gpkg")], GRID, "s")


def test_of_several_layers_none_is_taken_unasked(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "l.gpkg", [pixel_box(3, 5, 20, 30)], {"kind": ["lake"]})
    frame = geopandas.read_file(path)
    write_dataframe(pd.DataFrame({"style": ["red"]}), path, layer="layer_styles")
    assert len(read_features(str(path), None, LabelError, "s")) == 1  # a table is no layer of the map
    frame.to_file(path, layer="other", mode="a")
    with pytest.raises(LabelError, match="several layers") as told:
        read_features(str(path), None, LabelError, "s")
    assert told.value.got == "l, other"
    assert len(read_features(str(path), "other", LabelError, "s")) == 1
    with pytest.raises(AOIError, match="several layers"):
        open_aoi([str(path)], GRID, "s")
