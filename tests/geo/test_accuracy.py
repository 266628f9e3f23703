"""What comes to lie more than a px off, for PROJ doesn't know the way exactly, is told of with the file's name."""

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS as PyprojCRS
from pyproj import Transformer
from rasterio.crs import CRS
from shapely.geometry import box

from quadrat.geo.geometry.accuracy import doubtful_place
from quadrat.geo.grids.grid import Grid
from quadrat.geo.sources.source import Source
from quadrat.labels.raster import RasterLabels
from quadrat.labels.vector import VectorLabels
from quadrat.scenes.aoi import open_aoi
from quadrat.scenes.image import Image
from tests.ground import legend, write_areas, write_raster

BESSEL = "+proj=tmerc +lon_0=9.1 +x_0=3500000 +ellps=bessel +type=crs"
"""What a file says whose maker left out the datum."""

GRID = Grid(CRS.from_epsg(25832), Affine(1, 0, 535_000, 0, -1, 5_648_200), (64, 64))
X, Y = Transformer.from_crs("EPSG:25832", BESSEL, always_xy=True).transform(535_032, 5_648_168)
LEGEND = legend(wood=["1"], lake=["2"])


def grid_at(epsg: int, longitude: float, latitude: float, px: float) -> Grid:
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    return Grid(CRS.from_epsg(epsg), Affine(px, 0, x, 0, -px, y), (8, 8))


def is_told(remarks: tuple[str, ...] | list[str], path: Path) -> bool:
    (remark,) = remarks
    return remark.startswith(f"{path} may lie some 100 m off") and "datum" in remark


def test_a_datum_that_is_not_told_puts_places_far_off() -> None:
    told = BESSEL.replace("+ellps=bessel", "+datum=potsdam")
    known = Transformer.from_crs(told, "EPSG:25832", always_xy=True).transform(X, Y)
    unknown = Transformer.from_crs(BESSEL, "EPSG:25832", always_xy=True).transform(X, Y)
    assert np.hypot(*np.subtract(known, unknown)) > 100


def test_labels_and_aoi_of_an_unknown_datum(tmp_path: Path) -> None:
    path = write_areas(tmp_path / "a.gpkg", [box(X - 9, Y - 9, X + 9, Y + 9)], {"kind": ["1"]}, crs=BESSEL)
    with VectorLabels(kind="vector", path=str(path), field="kind").open(GRID, LEGEND, "s") as labels:
        assert is_told(labels.remarks, path)
    aoi = open_aoi([str(path)], GRID, "s")
    assert aoi is not None
    assert is_told(aoi.remarks, path)


def test_rasters_of_an_unknown_datum(tmp_path: Path) -> None:
    values = np.ones((1, 200, 200), np.uint8)
    path = tmp_path / "a.tif"
    write_raster(path, values, crs=BESSEL, transform=Affine(1, 0, X - 100, 0, -1, Y + 100))
    with RasterLabels(kind="raster", path=str(path), values="ids").open(GRID, LEGEND, "s") as labels:
        assert is_told(labels.remarks, path)
    own = tmp_path / "own.tif"
    write_raster(own, values[:, :64, :64], crs="EPSG:25832", transform=GRID.transform)
    about = {"resampling": "nearest", "unit": "DN", "scale": 1.0, "offset": 0.0}
    sources = [Source(path=str(p), bands=(name,), **about) for name, p in (("far", path), ("own", own))]  # type: ignore[arg-type]
    with Image(grid="own", sources=tuple(sources)).open(["far", "own"]) as raster:
        assert is_told(raster.remarks, path)


@pytest.mark.parametrize(
    ("crs", "epsg", "longitude", "latitude"),
    [(4326, 25832, 9, 51), (4326, 3857, 9, 51), (4258, 25832, 9, 51), (4326, 3067, 25, 62), (4326, 7856, 151, -33)],
)
def test_datums_that_lie_alike_are_not_told_of(crs: int, epsg: int, longitude: float, latitude: float) -> None:
    grid = grid_at(epsg, longitude, latitude, 0.1)
    assert doubtful_place("f", PyprojCRS.from_epsg(crs), grid) == ()
    assert doubtful_place("f", grid.crs, grid) == ()


def test_a_grid_file_that_is_missing_is_named_where_it_would_tell_pixels_apart() -> None:
    fine, coarse = (grid_at(27700, -1, 52, px) for px in (0.25, 10))
    remarks = doubtful_place("f", PyprojCRS.from_epsg(4326), fine)
    assert doubtful_place("f", PyprojCRS.from_epsg(4326), coarse) == ()
    if not remarks:
        pytest.skip("PROJ has the grid file here")
    assert remarks[0].startswith("f may lie about 2 m off on an image with pixels of 0.25 m: from WGS 84 to OSGB")
    assert ".tif" in remarks[0]


def test_grids_that_are_not_on_earth_are_left_alone() -> None:
    local = Grid(CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]'), Affine.identity(), (8, 8))
    assert doubtful_place("f", PyprojCRS.from_epsg(4326), local) == ()
    assert doubtful_place("f", None, Grid(None, Affine.identity(), (8, 8))) == ()
