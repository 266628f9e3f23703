"""Images fall on their places in the grid whole turns around the Earth apart, and over 180°."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from pyproj import Transformer
from rasterio.crs import CRS

from quadrat.errors import ImageError
from quadrat.geo.files.raster_files import header
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import whole
from quadrat.geo.reading.mosaic import mosaic
from quadrat.geo.reading.nearest import Nearest
from quadrat.geo.reading.open_image import Strip
from quadrat.geo.reading.wrapped_mosaic import towards
from quadrat.scenes.image import Image
from tests.geo.test_open_image import source
from tests.ground import write_raster

DEGREES = "EPSG:4326"
SOUTH = -17.0
"""Latitude of the grids' centres."""


def over(crs: str, longitude: float, px: float, shape: tuple[int, int] = (24, 40), latitude: float = SOUTH) -> Grid:
    """Return a grid whose centre is there; longitudes of geographic grids are kept as they are."""
    transformer = Transformer.from_crs(DEGREES, crs, always_xy=True)
    x, y = (longitude, latitude) if CRS.from_string(crs).is_geographic else transformer.transform(longitude, latitude)
    return Grid(CRS.from_string(crs), Affine(px, 0, x - shape[1] / 2 * px, 0, -px, y + shape[0] / 2 * px), shape)


GRIDS = {
    "UTM": over("EPSG:32701", 180.0, 5000.0),
    "degrees": over(DEGREES, 180.0, 0.05),
    "degrees over -180°": over(DEGREES, -180.0, 0.05),
    "degrees of another datum": over("EPSG:4167", 180.0, 0.05),
    "Web Mercator": over("EPSG:3857", 180.0, 5000.0),
    "the north pole": over("EPSG:3413", -45.0, 50_000.0, (40, 40), 90.0),
    "degrees at 300°": over(DEGREES, 300.0, 0.05),
    "degrees of another datum at 300°": over("EPSG:4167", 300.0, 0.05),
    "UTM over 0°": over("EPSG:32630", 0.0, 5000.0),
    "UTM in the west": over("EPSG:32720", -61.0, 5000.0),
    "touches 180°": over(DEGREES, 179.0, 0.05),
}
SOURCES = {  # west, east
    "beyond 180°": (176.0, 183.0),
    "beyond -180°": (-184.0, -177.0),
    "east of it": (-180.0, -177.5),
    "west of it": (178.5, 180.0),
    "around": (-180.0, 180.0),
    "around from 0° on": (0.0, 360.0),
    "around and more": (-180.5, 180.5),
    "at -60°": (-64.0, -57.0),
    "at 300°": (296.0, 303.0),
}


def places(grid: Grid, crs: str = DEGREES) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of the centres of all pixels."""
    rows, cols = np.indices(grid.shape) + 0.5
    return Transformer.from_crs(grid.crs, crs, always_xy=True).transform(*(grid.transform @ (cols, rows)))


def nearest(pixels: np.ndarray, transform: Affine, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return values, where there are some, and where rounding can't choose them."""
    x, y = places(grid)
    x = transform.c + (x - transform.c) % 360
    cols, rows = ~transform @ (x, y)
    inside = (cols >= 0) & (cols < pixels.shape[1]) & (rows >= 0) & (rows < pixels.shape[0])
    found = pixels[np.where(inside, rows, 0).astype(int), np.where(inside, cols, 0).astype(int)]
    sure = (np.abs(cols - np.round(cols)) > 0.01) & (np.abs(rows - np.round(rows)) > 0.01)
    return found, inside, sure


def on(folder: Path, grid: Grid, *paths: Path, resampling: str = "nearest") -> Strip:
    """Read files on a grid."""
    fine = write_raster(folder / "grid.tif", np.ones((1, *grid.shape), np.uint8), grid.transform, grid.crs.to_string())
    files = tuple(map(str, paths))
    image = Image(grid="grid", sources=(source(fine, "grid"), source(files, "a", resampling=resampling)))
    with image.open(["a"]) as raster:
        return raster.read(whole(grid.shape))


def degrees(path: Path, west: float, east: float, px: float = 0.125, **options: object) -> tuple[np.ndarray, Affine]:
    """Write random numbers in longitude and latitude, all around the latitudes of the grids."""
    top, bottom = (90, 60) if options.pop("north", False) else (-13, -21)
    shape = round((top - bottom) / px), round((east - west) / px)
    pixels = np.random.default_rng(5).integers(1, 250, shape, np.uint8)
    pixels = pixels[:, np.arange(shape[1]) % round(360 / px)]
    transform = Affine(px, 0, west, 0, -px, top)
    write_raster(path, pixels[None], transform, DEGREES, **options)
    return pixels, transform


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("span", SOURCES)
def test_longitudes_count_modulo_360(tmp_path: Path, name: str, span: str) -> None:
    grid = GRIDS[name]
    pixels, transform = degrees(tmp_path / "a.tif", *SOURCES[span], north=name == "the north pole")
    expected, inside, sure = nearest(pixels, transform, grid)
    if not inside.any():
        try:
            assert not on(tmp_path, grid, tmp_path / "a.tif").valid.any()  # it touches the grid
        except ImageError as error:
            if "does not overlap the image's grid" not in str(error):
                raise
        return
    strip = on(tmp_path, grid, tmp_path / "a.tif")
    assert sure.mean() > 0.5
    np.testing.assert_array_equal(strip.valid[sure], inside[sure])
    there = sure & inside
    np.testing.assert_array_equal(strip.values[0][there], expected[there])
    if span != "around and more":
        own = Grid(CRS.from_string(DEGREES), transform, pixels.shape)
        rows, cols = Nearest(grid, own).pixels(whole(grid.shape))
        np.testing.assert_array_equal(strip.values[0][there], pixels[rows, cols][there])


SMOOTH = {"UTM", "degrees", "degrees of another datum", "degrees over -180°", "Web Mercator"}


@pytest.mark.parametrize("name", sorted(SMOOTH))
@pytest.mark.parametrize("span", ["beyond 180°", "around", "around from 0° on"])
def test_values_go_on_over_180_degrees(tmp_path: Path, name: str, span: str) -> None:
    grid = GRIDS[name]
    px, (west, east) = 0.25, SOURCES[span]
    cols, rows = np.arange(round((east - west) / px)) + 0.5, np.arange(32) + 0.5
    height = 1000 * np.sin(np.radians(west + cols * px)) + 10 * (-13 - rows * px)[:, None]
    transform = Affine(px, 0, west, 0, -px, -13)
    path = write_raster(tmp_path / "a.tif", height[None].astype(np.float32), transform, DEGREES)
    strip = on(tmp_path, grid, path, resampling="bilinear")
    x, y = places(grid)
    assert strip.valid.all()
    np.testing.assert_allclose(strip.values[0], 1000 * np.sin(np.radians(x)) + 10 * y, atol=0.02)


@pytest.mark.parametrize("masked", [True, False], ids=["mask", "nodata"])
@pytest.mark.parametrize("name", sorted(SMOOTH))
def test_holes_of_a_mosaic_over_180_degrees(tmp_path: Path, name: str, masked: bool) -> None:
    grid = GRIDS[name]
    full, transform = degrees(tmp_path / "whole.tif", 177.0, 183.0)
    shown = np.random.default_rng(2).random(full.shape) < 0.7
    for part, west, cols in (("east", -180.0, slice(24, None)), ("west", 177.0, slice(None, 24))):
        place = Affine(transform.a, 0, west, 0, transform.e, transform.f)
        pixels = np.where(shown, full, full if masked else 255)[:, cols]
        write_raster(tmp_path / f"{part}.tif", pixels[None], place, DEGREES, nodata=None if masked else 255)
        if masked:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / f"{part}.tif", "r+") as file:
                file.write_mask(shown[:, cols])
    strip = on(tmp_path, grid, tmp_path / "east.tif", tmp_path / "west.tif")
    expected, inside, sure = nearest(np.where(shown, full, 0), transform, grid)
    np.testing.assert_array_equal(strip.valid[sure], (inside & (expected > 0))[sure])
    there = sure & inside & (expected > 0)
    np.testing.assert_array_equal(strip.values[0][there], expected[there])


def test_tiles_of_all_longitudes_from_0_on(tmp_path: Path) -> None:
    full, transform = degrees(tmp_path / "whole.tif", 0.0, 360.0)
    tiles = []
    for number in range(4):
        place = transform @ Affine.translation(720 * number, 0)
        part = full[None, :, 720 * number : 720 * (number + 1)]
        tiles.append(write_raster(tmp_path / f"{number}.tif", part, place, DEGREES))
    for grid in GRIDS["UTM"], over("EPSG:32630", 0.0, 5000.0), GRIDS["UTM in the west"], GRIDS["degrees"]:
        strip = on(tmp_path, grid, *tiles)
        expected, _, sure = nearest(full, transform, grid)
        assert strip.valid.all()
        np.testing.assert_array_equal(strip.values[0][sure], expected[sure])


def test_another_datum_keeps_its_shift_over_180_degrees(tmp_path: Path) -> None:
    """Old and new datums of Alaska lie some 200 m apart."""
    grid = over("EPSG:32601", 180.0, 200.0, latitude=52.0)
    px = 1 / 1024
    full = np.random.default_rng(5).integers(1, 250, (256, 512), np.uint8)
    transform = Affine(px, 0, 179.75, 0, -px, 52.125)
    path = write_raster(tmp_path / "a.tif", full[None], transform, "EPSG:4267")
    strip = on(tmp_path, grid, path)
    rows, cols = np.indices(grid.shape) + 0.5
    points = [values.ravel() for values in grid.transform @ (cols, rows)]
    x, y = (np.reshape(v, grid.shape) for v in rasterio.warp.transform(grid.crs, "EPSG:4267", *points))
    cols, rows = ~transform @ (x % 360, y)
    sure = (np.abs(cols - np.round(cols)) > 0.01) & (np.abs(rows - np.round(rows)) > 0.01)
    assert strip.valid.all()
    np.testing.assert_array_equal(strip.values[0][sure], full[rows.astype(int), cols.astype(int)][sure])


def test_web_mercator_repeats_itself_too(tmp_path: Path) -> None:
    around = 2 * np.pi * 6_378_137
    px = around / 2048
    pixels = np.random.default_rng(5).integers(1, 250, (64, 2048), np.uint8)
    transform = Affine(px, 0, -around / 2, 0, -px, 0)
    path = write_raster(tmp_path / "a.tif", pixels[None], transform, "EPSG:3857")
    for centre in (-around / 2, around / 2, 0.75 * around):
        grid = Grid(CRS.from_epsg(3857), Affine(px / 3, 0, centre - px * 4.1, 0, -px / 3, -10.1 * px), (24, 32))
        strip = on(tmp_path, grid, path)
        rows, cols = np.indices(grid.shape) + 0.5
        cols, rows = ~transform @ (grid.transform @ (cols, rows))
        assert strip.valid.all()
        np.testing.assert_array_equal(strip.values[0], pixels[rows.astype(int), np.floor(cols).astype(int) % 2048])


@pytest.mark.parametrize(
    ("name", "crs", "west", "px"),
    [
        ("degrees", DEGREES, -180.0, 0.0997),
        ("UTM over 0°", DEGREES, 0.0, 0.0997),
        ("UTM", "EPSG:3857", 19_500_000.0, 10_000.0),
    ],
)
def test_what_would_be_lost_beyond_180_degrees_is_an_error(
    tmp_path: Path, name: str, crs: str, west: float, px: float
) -> None:
    width = int(360 / px) if crs == DEGREES else 100
    top = -13 if crs == DEGREES else -1_500_000
    path = write_raster(tmp_path / "a.tif", np.ones((1, 90, width), np.uint8), Affine(px, 0, west, 0, -px, top), crs)
    with pytest.raises(ImageError, match=r"a\.tif(.|\n)*expected: a (whole number|CRS of)(.|\n)*gdalwarp"):
        on(tmp_path, GRIDS[name], path)


def test_tiles_on_both_sides_need_not_be_read_as_one_around_the_earth(tmp_path: Path) -> None:
    grid = over("EPSG:32701", 180.0, 100.0, (64, 64))
    px = 1 / 3600
    for west, name in ((-180.0, "east"), (180 - 360 * px, "west")):
        pixels = np.full((1, 360, 360), 1 + (name == "west"), np.uint8)
        write_raster(tmp_path / f"{name}.tif", pixels, Affine(px, 0, west, 0, -px, SOUTH + 0.05), DEGREES)
    headers = []
    for name in ("east", "west"):
        with rasterio.open(tmp_path / f"{name}.tif") as file:
            headers.append(header(file, str(tmp_path / f"{name}.tif")))
    files = mosaic(headers)
    assert files.grid.shape == (360, 360 * 3600)
    assert towards(files, grid).grid.shape == (360, 720)
    assert towards(files, over(DEGREES, 179.97, 0.001)) is files
