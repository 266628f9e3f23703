"""Raster labels are the values of the nearest pixels, on any grid, and no value is lost without a word."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pyproj import Transformer
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling

from quadrat.errors import LabelError
from quadrat.geo.files.stored_bands import Stored
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.labels.raster import LabelledPixels, RasterLabels
from quadrat.tasks import SemanticSegmentation
from tests.ground import NORTH_UP, UTM, legend, write_raster
from tests.pairs import pairs

GRID = Grid(CRS.from_string(UTM), NORTH_UP, (40, 50))
KEY = legend(wood=["3", "forest"], lake=["0", "-7", "70000"], rest=["5"])
COLORS = legend(wood=["#00FF00", "#001000"], lake=["#0000ff"], rest=["#ff8000"])


@contextmanager
def labels(path: Path, grid: Grid = GRID, key: SemanticSegmentation = KEY, **options: Any) -> Iterator[LabelledPixels]:
    content = {"kind": "raster", "path": str(path), "values": "ids", **options}
    with RasterLabels.model_validate(content, strict=False).open(grid, key, "s") as opened:
        yield opened


def read(path: Path, grid: Grid = GRID, key: SemanticSegmentation = KEY, **options: Any) -> np.ndarray:
    with labels(path, grid, key, **options) as opened:
        return opened.class_ids(grid.area, all_touched=False)


def random_ids(shape: tuple[int, int], dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    values = {"uint8": [0, 3, 5], "int16": [-7, 0, 3], "int32": [-7, 70000, 5], "uint16": [0, 3, 5]}[dtype]
    return np.random.default_rng(seed).choice(np.array(values, dtype), shape)


def mapped(values: np.ndarray) -> np.ndarray:
    """Look each value up, one by one."""
    ids = {3: 0, 0: 1, -7: 1, 70000: 1, 5: 2}
    return np.array([ids[int(v)] for v in values.ravel()]).reshape(values.shape)


@cache
def nearest(grid: Grid, own: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row and column of the other grid's pixel that each pixel's centre lies in, and where that is sure."""
    rows, cols = np.indices(grid.shape) + 0.5
    x, y = grid.transform @ (cols.ravel(), rows.ravel())
    there = Transformer.from_crs(grid.crs, own.crs, always_xy=True).transform(x, y)
    col, row = (np.reshape(v, grid.shape) for v in ~own.transform @ there)
    sure = np.all([np.abs(v - np.rint(v)) > 3e-3 for v in (col, row)], axis=0)
    return np.floor(row).astype(int), np.floor(col).astype(int), sure


def expected_on(grid: Grid, own: Grid, ids: np.ndarray, beyond: int = 255) -> tuple[np.ndarray, np.ndarray]:
    row, col, sure = nearest(grid, own)
    inside = (row >= 0) & (col >= 0) & (row < own.shape[0]) & (col < own.shape[1])
    there = ids[row.clip(0, own.shape[0] - 1), col.clip(0, own.shape[1] - 1)]
    return np.where(inside, there, beyond), sure


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32"])
def test_the_image_s_own_pixels(tmp_path: Path, dtype: str) -> None:
    ids = random_ids(GRID.shape, dtype)
    path = write_raster(tmp_path / "l.tif", np.stack([ids * 0 + 99, ids]), tiled=True, blockxsize=16, blockysize=16)
    np.testing.assert_array_equal(read(path, band=2), mapped(ids))


@given(st.data())
def test_any_window_shows_the_part_of_the_whole(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([NORTH_UP, NORTH_UP @ Affine.translation(3.3, -4.2) @ Affine.scale(0.7)]))
    background = data.draw(st.sampled_from([None, "rest"]))
    ids = random_ids((40, 50), seed=data.draw(st.integers(0, 3)))
    path = write_raster(tmp_path_factory.mktemp("l") / "l.tif", ids[None], place, nodata=0)
    row, col = data.draw(st.integers(-20, 50)), data.draw(st.integers(-20, 60))
    window = Window(row, col, data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))
    with labels(path, background=background) as opened:
        whole = opened.class_ids(GRID.area, all_touched=False)
        found = opened.class_ids(window, all_touched=True)
    padded = np.full((200, 200), 255 if background is None else 2)
    padded[60:100, 60:110] = whole
    np.testing.assert_array_equal(found, padded[row + 60 : window.bottom + 60, col + 60 : window.right + 60])


@pytest.mark.parametrize(
    ("crs", "transform", "shape"),
    [
        (UTM, NORTH_UP @ Affine.translation(-3, 5), (40, 50)),  # the same pixels, elsewhere
        (UTM, NORTH_UP @ Affine.translation(4.313, -2.617) @ Affine.scale(3.7123), (9, 11)),  # coarse
        (UTM, NORTH_UP @ Affine.translation(-1.0127, -1.0233) @ Affine.scale(0.21317), (180, 290)),  # fine
        (UTM, Affine(7.1234, 0.0, 330_101.23, 0.0, 7.1357, 5_821_601.77), (60, 60)),  # south-up
        (UTM, NORTH_UP @ Affine.rotation(25) @ Affine.scale(1.3), (40, 40)),
        ("EPSG:3035", Affine(11.0, 0.0, 4_490_100.0, 0.0, -11.0, 3_271_100.0), (90, 90)),
        ("EPSG:4326", Affine(0.0001, 0.0, 12.4935, 0.0, -0.00007, 52.5225), (90, 90)),
    ],
)
@pytest.mark.parametrize("background", [None, "rest"])
def test_another_grid_gives_the_nearest_pixel(
    tmp_path: Path, crs: str, transform: Affine, shape: tuple[int, int], background: str | None
) -> None:
    own = Grid(CRS.from_string(crs), transform, shape)
    ids = random_ids(shape, seed=7)
    ids[ids == 5] = 9  # nodata
    path = write_raster(tmp_path / "l.tif", ids[None], transform, crs, nodata=9)
    none = 255 if background is None else 2
    known = np.where(ids == 9, none, mapped(np.where(ids == 9, 0, ids)))
    expected, sure = expected_on(GRID, own, known, none)
    assert len(np.unique(expected)) == 3
    assert sure.mean() > 0.97
    np.testing.assert_array_equal(read(path, background=background)[sure], expected[sure])


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10.0, 0.0, 330_000.0, 0.0, 10.0, 5_821_640.0),
        NORTH_UP @ Affine.translation(8, 9) @ Affine.rotation(-20) @ Affine.scale(0.8),
    ],
)
def test_south_up_and_rotated_scenes(tmp_path: Path, transform: Affine) -> None:
    grid, own = Grid(GRID.crs, transform, (30, 33)), Grid(GRID.crs, NORTH_UP, (40, 50))
    ids = random_ids(own.shape)
    expected, sure = expected_on(grid, own, mapped(ids))
    path = write_raster(tmp_path / "l.tif", ids[None])
    np.testing.assert_array_equal(read(path, grid)[sure], expected[sure])


@given(st.data())
def test_ids_mean_the_same_as_bytes_and_as_larger_numbers(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder, count = tmp_path_factory.mktemp("l"), data.draw(st.sampled_from([3, 254, 255]))
    key = legend(**{f"c{number}": [str(255 - number)] for number in range(count)})
    numbers = st.sampled_from([0, 1, 2, 3, 252, 253, 254, 255])
    options = {
        "drop": data.draw(st.sets(numbers.map(str))),
        "background": data.draw(st.sampled_from([None, "c0", "c2"])),
    }
    ids = np.array(data.draw(st.lists(numbers, min_size=6, max_size=6)), np.uint8).reshape(2, 3)
    nodata, found = data.draw(st.none() | numbers), []
    for dtype in ("uint8", "int16"):
        path = write_raster(folder / f"{dtype}.tif", ids[None].astype(dtype), nodata=nodata)
        try:
            found.append(read(path, Grid(GRID.crs, NORTH_UP, (2, 3)), key, **options).tolist())
        except LabelError as error:
            found.append((error.problem, str(error.got), error.hint))
    assert found[0] == found[1]


@pytest.mark.parametrize("count", [254, 255])
def test_bytes_may_be_of_as_many_classes_as_there_can_be(tmp_path: Path, count: int) -> None:
    key = legend(**{f"c{number}": [str(255 - number)] for number in range(count)})
    values = np.arange(256 - count, 256, dtype=np.uint8)
    path = write_raster(tmp_path / "l.tif", values[None, None])
    np.testing.assert_array_equal(read(path, Grid(GRID.crs, NORTH_UP, (1, count)), key)[0], 255 - values)


def test_overviews_are_not_looked_at(tmp_path: Path) -> None:
    own = Grid(GRID.crs, NORTH_UP @ Affine.translation(-0.013, 0.027) @ Affine.scale(0.1), (400, 510))
    ids = random_ids(own.shape)
    path = write_raster(tmp_path / "l.tif", ids[None], own.transform, tiled=True)
    with rasterio.open(path, "r+") as file:
        file.build_overviews([2, 4, 8], Resampling.average)
    expected, sure = expected_on(GRID, own, mapped(ids))
    np.testing.assert_array_equal(read(path)[sure], expected[sure])


def masked(path: Path, ids: np.ndarray, how: str, transform: Affine) -> Path:
    """Write ids of which those over 3 are taken out, by nodata, a mask or an alpha band."""
    if how == "alpha":
        pixels = np.stack([ids, np.where(ids > 3, 0, 255).astype(np.uint8)])
        return write_raster(path, pixels, transform, alpha="yes")
    if how == "alpha and nodata":
        pixels = np.stack([ids, np.full(ids.shape, 255, np.uint8)])
        return write_raster(path, pixels, transform, alpha="yes", nodata=5)
    write_raster(path, ids[None], transform, nodata=5 if how == "nodata" else None)
    if how == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(ids <= 3)
    return path


@pytest.mark.parametrize("how", ["nodata", "mask", "alpha", "alpha and nodata"])
@pytest.mark.parametrize("shift", [0, 6])
def test_what_is_masked_is_unlabelled_or_outside(tmp_path: Path, how: str, shift: int) -> None:
    ids = random_ids(GRID.shape)
    path = masked(tmp_path / "l.tif", ids, how, NORTH_UP @ Affine.translation(-shift, 0))
    for background, none in ((None, 255), ("rest", 2)):
        expected = np.full(GRID.shape, none)
        expected[:, : 50 - shift] = np.where(ids > 3, none, mapped(ids))[:, shift:]
        np.testing.assert_array_equal(read(path, background=background), expected)


PAINTS = np.array([[0, 255, 0], [0, 16, 0], [0, 0, 255], [255, 128, 0], [0, 0, 0]], np.uint8)


@pytest.mark.parametrize("how", ["plain", "nodata", "alpha", "palette"])
@pytest.mark.parametrize("shift", [0, 6])
def test_colours_become_classes_however_they_are_written(tmp_path: Path, how: str, shift: int) -> None:
    index = np.random.default_rng(3).integers(0, 4 if how == "plain" else 5, GRID.shape)
    rgb = PAINTS[index].transpose(2, 0, 1)
    expected = np.full(GRID.shape, 255)
    expected[:, : 50 - shift] = np.array([0, 0, 1, 2, 255])[index][:, shift:]
    path, place = tmp_path / "l.tif", NORTH_UP @ Affine.translation(-shift, 0)
    if how == "palette":
        write_raster(path, index[None].astype(np.uint8), place, nodata=4)
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {n: (*map(int, paint), 255) for n, paint in enumerate(PAINTS)})
    elif how == "alpha":
        alpha = np.where(index == 4, 0, 255).astype(np.uint8)
        write_raster(path, np.concatenate([rgb, alpha[None]]), place, photometric="RGB", alpha="yes")
    else:
        write_raster(path, rgb, place, nodata=0 if how == "nodata" else None, photometric="RGB")
    np.testing.assert_array_equal(read(path, key=COLORS, values="colors"), expected)


def test_a_palette_of_a_picture_without_a_place(tmp_path: Path) -> None:
    index = np.random.default_rng(3).integers(0, 5, GRID.shape).astype(np.uint8)
    picture = PIL.Image.fromarray(index)
    picture.putpalette(PAINTS.ravel().tolist())
    picture.save(tmp_path / "l.png", transparency=4)
    found = read(tmp_path / "l.png", Grid(None, Affine.identity(), GRID.shape), key=COLORS, values="colors")
    np.testing.assert_array_equal(found, np.array([0, 0, 1, 2, 255])[index])


def test_colours_in_another_crs(tmp_path: Path) -> None:
    own = Grid(CRS.from_epsg(3035), Affine(11.0, 0.0, 4_490_100.0, 0.0, -11.0, 3_271_100.0), (90, 90))
    index = np.random.default_rng(3).integers(0, 4, own.shape)
    path = write_raster(tmp_path / "l.tif", PAINTS[index].transpose(2, 0, 1), own.transform, "EPSG:3035")
    expected, sure = expected_on(GRID, own, np.array([0, 0, 1, 2])[index])
    np.testing.assert_array_equal(read(path, key=COLORS, values="colors")[sure], expected[sure])


PLACES = {
    "the image's own grid": Grid(GRID.crs, NORTH_UP, GRID.shape),
    "another resolution": Grid(GRID.crs, NORTH_UP @ Affine.scale(2.17), (20, 25)),
    "another CRS": Grid(CRS.from_epsg(3035), Affine(11.0, 0.0, 4_490_100.0, 0.0, -11.0, 3_271_100.0), (90, 90)),
    "a part of the image": Grid(GRID.crs, NORTH_UP @ Affine.translation(10, 20), (10, 30)),
}
HIDING = {"nothing": 0, "a mask": 1, "alpha": 2}


def holes(shape: tuple[int, int]) -> np.ndarray:
    hidden = np.zeros(shape, bool)
    hidden[: shape[0] // 3] = True
    return hidden


@pytest.mark.parametrize(
    ("dtype", "with_nodata", "hiding", "place"),
    [
        *product(["uint8"], [False, True], HIDING, PLACES),  # which alone is looked up byte by byte
        *pairs(["int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"], [False, True], [*HIDING], [*PLACES]),
    ],
)
def test_what_has_no_value_is_of_no_class(
    tmp_path: Path, dtype: str, with_nodata: bool, hiding: str, place: str
) -> None:
    own = PLACES[place]
    nodata = 99 if dtype.endswith("64") else np.iinfo(dtype).max if dtype[0] == "u" else np.iinfo(dtype).min
    ids = random_ids(own.shape).astype(dtype)
    known = mapped(ids)
    if with_nodata:
        ids[:, ::3] = nodata
        known[:, ::3] = 255
    bands = [ids]
    if hiding != "nothing":
        known[holes(own.shape)] = 255
    if hiding == "alpha":
        bands.append(np.where(holes(own.shape), 0, np.iinfo(dtype).max).astype(dtype))
    profile = {"alpha": "yes"} if hiding == "alpha" else {}
    path = write_raster(
        tmp_path / "l.tif", np.stack(bands), own.transform, own.crs, nodata if with_nodata else None, **profile
    )
    if hiding == "a mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
            file.write_mask(~holes(own.shape))
    expected, sure = expected_on(GRID, own, known)
    assert (expected[sure] == 1).any()
    np.testing.assert_array_equal(read(path)[sure], expected[sure])
    filled = np.where(expected == 255, 2, expected)
    np.testing.assert_array_equal(read(path, background="rest")[sure], filled[sure])


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("hiding", HIDING)
@pytest.mark.parametrize("how", ["rgb", "palette"])
@pytest.mark.parametrize("with_nodata", [False, True])
def test_what_has_no_colour_is_of_no_class(
    tmp_path: Path, how: str, with_nodata: bool, hiding: str, place: str
) -> None:
    own = PLACES[place]
    index = np.random.default_rng(3).integers(0, 5 if with_nodata else 4, own.shape)
    known = np.array([0, 0, 1, 2, 255])[index]  # nodata is black, and all classes have a 0 in some band
    bands = PAINTS[index].transpose(2, 0, 1) if how == "rgb" else index[None].astype(np.uint8)
    if hiding != "nothing":
        known[holes(own.shape)] = 255
    profile = {"photometric": "RGB"} if how == "rgb" else {}
    if hiding == "alpha":
        bands = np.concatenate([bands, np.where(holes(own.shape), 0, 255).astype(np.uint8)[None]])
        profile["alpha"] = "yes"
    nodata = None if not with_nodata else 0 if how == "rgb" else 4
    path = write_raster(tmp_path / "l.tif", bands, own.transform, own.crs, nodata, **profile)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        if how == "palette":
            file.write_colormap(1, {n: (*map(int, paint), 255) for n, paint in enumerate(PAINTS)})
        if hiding == "a mask":
            file.write_mask(~holes(own.shape))
    expected, sure = expected_on(GRID, own, known)
    np.testing.assert_array_equal(read(path, key=COLORS, values="colors")[sure], expected[sure])


def virtual(path: Path, source: Path, bands: str) -> Path:
    """Write a virtual raster on the grid of ``source``, with ``bands`` in XML in which <From> stands for that file."""
    with rasterio.open(source) as file:
        height, width = file.shape
        place = ", ".join(map(repr, map(float, file.transform.to_gdal())))
    filled = bands.replace("<From>", f'<SimpleSource><SourceFilename relativeToVRT="1">{source.name}</SourceFilename>')
    filled = filled.replace("</From>", "</SimpleSource>")
    about = f'rasterXSize="{width}" rasterYSize="{height}"'
    path.write_text(f"<VRTDataset {about}><SRS>{UTM}</SRS><GeoTransform>{place}</GeoTransform>{filled}</VRTDataset>")
    return path


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    ("dtype", "nodata", "beside"),
    [
        ("int64", 2**63 - 1, 2**63 - 2),
        ("int64", -(2**63), -(2**63) + 1),
        ("uint64", 2**64 - 1, 2**64 - 2),
        ("uint64", 2**53 + 1, 2**53),
        ("int64", 2**53 + 1, 2**53 + 2),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_64_bit_values_are_compared_exactly(
    tmp_path: Path, dtype: str, nodata: int, beside: int, step: int, masked: bool
) -> None:
    ids = np.random.default_rng(0).choice(np.array([nodata, beside, 3], dtype), (40 // step, 50 // step))
    transform = NORTH_UP @ Affine.scale(step)
    write_raster(tmp_path / "v.tif", ids[None], transform)
    write_raster(tmp_path / "m.tif", np.full((1, *ids.shape), 255, np.uint8), transform)
    mask = '<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="1">m.tif'
    mask += "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></MaskBand>"
    band = f'<VRTRasterBand dataType="{dtype.replace("uint", "UInt").replace("int", "Int")}" band="1">'
    band += f"<NoDataValue>{nodata}</NoDataValue><From><SourceBand>1</SourceBand></From></VRTRasterBand>"
    path = virtual(tmp_path / "l.vrt", tmp_path / "v.tif", band + (mask if masked else ""))
    known = np.select([ids == np.array(nodata, dtype), ids == 3], [255, 0], 1).repeat(step, 0).repeat(step, 1)
    np.testing.assert_array_equal(read(path, key=legend(wood=["3"], lake=[str(beside)])), known)
    with pytest.raises(LabelError, match=rf"no class lists(.|\n)*got: {beside} \("):
        read(path, key=legend(wood=["3"], lake=[str(nodata)]))


@pytest.mark.parametrize("step", [1, 2])
def test_each_band_has_its_own_mask(tmp_path: Path, step: int) -> None:
    shape = (40 // step, 50 // step)
    ids, hidden = random_ids(shape), holes(shape)
    shown = np.where(hidden, 0, 255).astype(np.uint8)
    index = np.random.default_rng(3).integers(0, 4, shape)
    bands = np.stack([ids, ids, shown, shown[::-1], *PAINTS[index].transpose(2, 0, 1)])
    source = write_raster(tmp_path / "v.tif", bands, NORTH_UP @ Affine.scale(step))

    def of(number: int, mask: int | None) -> str:
        own = "" if mask is None else '<MaskBand><VRTRasterBand dataType="Byte"><From><SourceBand>'
        own += "" if mask is None else f"{mask}</SourceBand></From></VRTRasterBand></MaskBand>"
        return f"<From><SourceBand>{number}</SourceBand></From>{own}</VRTRasterBand>"

    start = '<VRTRasterBand dataType="Byte" band="{}">'
    two = virtual(tmp_path / "two.vrt", source, start.format(1) + of(1, 3) + start.format(2) + of(2, 4))
    for band, lost in ((1, hidden), (2, hidden[::-1])):
        expected = np.where(lost, 255, mapped(ids)).repeat(step, 0).repeat(step, 1)
        np.testing.assert_array_equal(read(two, band=band), expected)
    content = "".join(start.format(n) + of(n + 4, mask) for n, mask in ((1, None), (2, 3), (3, 4)))
    rgb = virtual(tmp_path / "rgb.vrt", source, content)
    colors = np.where(hidden | hidden[::-1], 255, np.array([0, 0, 1, 2])[index]).repeat(step, 0).repeat(step, 1)
    np.testing.assert_array_equal(read(rgb, key=COLORS, values="colors"), colors)


def test_classes_whose_values_the_type_cannot_hold_are_an_error(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "l.tif", random_ids(GRID.shape)[None])
    with pytest.raises(LabelError, match=r"no class lists any value(.|\n)*got: -7, 300"):
        read(path, key=legend(wood=["300"], lake=["-7"]))


def test_labels_count_longitudes_as_they_like(tmp_path: Path) -> None:
    world = np.random.default_rng(0).choice(np.array([0, 3, 5], np.uint8), (18, 36))
    here = Grid(CRS.from_epsg(4326), Affine(1.0, 0.0, 165.0, 0.0, -1.0, 40.0), (20, 30))  # up to 195
    there = Grid(here.crs, Affine(1.0, 0.0, -195.0, 0.0, -1.0, 40.0), (20, 30))
    polar = Grid(CRS.from_epsg(3995), Affine(100e3, 0.0, -3e6, 0.0, -100e3, 3e6), (60, 60))
    paths = [
        write_raster(tmp_path / f"{west}.tif", np.roll(world, -west // 10, 1)[None], place, "EPSG:4326")
        for west in (0, 180)
        for place in [Affine(10.0, 0.0, west - 180.0, 0.0, -10.0, 90.0)]
    ]
    for grid in (here, there, polar):
        cols, rows = np.meshgrid(np.arange(grid.shape[1]) + 0.5, np.arange(grid.shape[0]) + 0.5)
        x, y = grid.transform @ (cols, rows)
        lon, lat = Transformer.from_crs(grid.crs, here.crs, always_xy=True).transform(x, y)
        col, row = ((np.asarray(lon) + 180) % 360) / 10, (90 - np.asarray(lat)) / 10
        sure = np.abs(col - np.rint(col)) > 3e-3
        for path in paths:
            found = read(path, grid)
            expected = mapped(world)[row.astype(int), col.astype(int)]
            np.testing.assert_array_equal(found[sure], expected[sure])


@pytest.mark.parametrize("scale", [2, 4])
def test_of_pixels_that_are_equally_near_the_lower_right_counts(tmp_path: Path, scale: int) -> None:
    place = Affine(0.1, 0.0, 330_000.3, 0.0, -0.1, 5_822_040.7)
    ids = random_ids((96, 120))
    path = write_raster(tmp_path / "l.tif", ids[None], place)
    grid = Grid(GRID.crs, place @ Affine.scale(scale), (96 // scale, 120 // scale))
    np.testing.assert_array_equal(read(path, grid), mapped(ids)[scale // 2 :: scale, scale // 2 :: scale])


def test_many_pixels_of_a_file_to_one_of_the_image_are_held_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Grid(GRID.crs, NORTH_UP @ Affine.translation(3, -2) @ Affine.scale(0.05), (800, 900))
    ids = random_ids(own.shape)
    path = write_raster(tmp_path / "l.tif", ids[None], own.transform, nodata=5)
    expected, sure = expected_on(GRID, own, np.where(ids == 5, 255, mapped(ids)))
    largest = 0
    plain = Stored.values

    def spy(self: Stored, window: Window, into: Any = None) -> Any:
        nonlocal largest
        largest = max(largest, window.size)
        return plain(self, window, into)

    monkeypatch.setattr(Stored, "values", spy)
    monkeypatch.setattr("quadrat.labels.raster_values.MOST", 4000)
    np.testing.assert_array_equal(read(path)[sure], expected[sure])
    assert largest <= 4000


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3995"])
def test_large_pixels_are_placed_as_exactly(tmp_path: Path, crs: str) -> None:
    own = Grid(CRS.from_epsg(4326), Affine(0.25, 0.0, -10.0, 0.0, -0.25, 80.0), (120, 200))
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(15.0, 65.0)
    grid = Grid(CRS.from_string(crs), Affine(20e3, 0.0, x - 600e3, 0.0, -20e3, y + 600e3), (60, 60))
    ids = random_ids(own.shape)
    path = write_raster(tmp_path / "l.tif", ids[None], own.transform, "EPSG:4326")
    expected, sure = expected_on(grid, own, mapped(ids))
    assert sure.mean() > 0.97
    np.testing.assert_array_equal(read(path, grid)[sure], expected[sure])


def test_values_that_no_class_claims_are_counted_in_the_whole_scene(tmp_path: Path) -> None:
    ids = random_ids(GRID.shape)
    ids[30, :20], ids[39, 3] = 8, 9
    path = write_raster(tmp_path / "l.tif", ids[None])
    with labels(path) as opened:
        opened.class_ids(Window(0, 0, 30, 50), all_touched=False)
        with pytest.raises(LabelError, match=r"no class lists(.|\n)*scene: s(.|\n)*got: 8 \(20 px\), 9 \(1 px\)\n"):
            opened.class_ids(Window(39, 0, 1, 5), all_touched=False)
    dropped = read(path, drop=["8", "9"], background="rest")
    np.testing.assert_array_equal(dropped == 255, ids > 7)
    rgb = PAINTS[np.where(ids == 8, 4, 2)].transpose(2, 0, 1)
    with pytest.raises(LabelError, match=r"got: #000000 \(20 px\)"):
        read(write_raster(tmp_path / "c.tif", rgb), key=COLORS, values="colors")


def test_a_picture_in_place_of_ids_names_the_most_frequent_values(tmp_path: Path) -> None:
    ids = (np.arange(2000).reshape(40, 50) ** 2 // 99).astype(np.uint16)
    with pytest.raises(LabelError, match=r"and \d{3,} more"):
        read(write_raster(tmp_path / "l.tif", ids[None]))


def test_pixels_of_another_type(tmp_path: Path) -> None:
    floats = write_raster(tmp_path / "f.tif", np.zeros((1, 40, 50), np.float32))
    with pytest.raises(LabelError, match=r"another type(.|\n)*whole numbers in band 1(.|\n)*got: float32"):
        read(floats)
    ids = write_raster(tmp_path / "i.tif", np.zeros((1, 40, 50), np.uint8))
    with pytest.raises(LabelError, match=r"whole numbers in band 2(.|\n)*got: uint8"):
        read(ids, band=2)
    with pytest.raises(LabelError, match=r"red, green and blue as bytes, or a colour table"):
        read(ids, key=COLORS, values="colors")
    with pytest.raises(LabelError, match=r"no class lists any value(.|\n)*whole numbers such as '4'"):
        read(ids, key=COLORS)
    with pytest.raises(LabelError, match=r"two classes claim #0000FF"):
        read(
            write_raster(tmp_path / "c.tif", np.zeros((3, 40, 50), np.uint8)),
            key=legend(a=["#0000ff"], b=["#0000FF"]),
            values="colors",
        )
    with pytest.raises(LabelError, match=r"a class that the task doesn't have(.|\n)*background: moor"):
        read(ids, background="moor")
    with pytest.raises(ValidationError):
        RasterLabels.model_validate({"kind": "raster", "path": "p", "values": "rgb"}, strict=False)


def test_labels_elsewhere_missing_or_damaged(tmp_path: Path) -> None:
    ids = random_ids(GRID.shape)[None]
    with pytest.raises(LabelError, match=r"no label lies on the image(.|\n)*EPSG:32633"):
        read(write_raster(tmp_path / "far.tif", ids, NORTH_UP @ Affine.translation(51, 0)))
    with pytest.raises(LabelError, match=r"no label lies on the image"):
        read(write_raster(tmp_path / "zone.tif", ids, NORTH_UP, "EPSG:32631"))
    local = 'LOCAL_CS["site",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'
    with pytest.raises(LabelError, match=r"no transformation is known(.|\n)*expected: EPSG:32633"):
        read(write_raster(tmp_path / "local.tif", ids, NORTH_UP, local))
    with pytest.raises(LabelError, match=r"can't be opened(.|\n)*none\.tif"):
        read(tmp_path / "none.tif")
    path = write_raster(tmp_path / "cut.tif", random_ids((40, 50))[None], compress="deflate")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(LabelError, match=r"the file is damaged(.|\n)*cut\.tif"):
        read(path)


def test_labels_and_image_have_both_a_crs_or_both_none(tmp_path: Path) -> None:
    ids = random_ids((40, 50))
    path = write_raster(tmp_path / "l.png.tif", ids[None], Affine.identity(), None)
    with pytest.raises(LabelError, match=r"must both have a CRS"):
        read(path)
    np.testing.assert_array_equal(read(path, Grid(None, Affine.identity(), (40, 50))), mapped(ids))
    with pytest.raises(LabelError, match=r"the image's own pixels(.|\n)*expected: 51 × 40 px(.|\n)*got: 50 × 40 px"):
        read(path, Grid(None, Affine.identity(), (40, 51)))


@pytest.mark.parametrize("shift", [0, 6])
def test_only_the_window_is_read(tmp_path: Path, shift: int) -> None:
    path, side = tmp_path / "large.tif", 20_000
    about = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "uint8", "crs": UTM}
    place = NORTH_UP @ Affine.translation(shift, 0)
    with rasterio.open(path, "w", transform=place, sparse_ok=True, tiled=True, compress="deflate", **about) as file:
        file.write(np.full((1, 256, 256), 3, np.uint8), window=rasterio.windows.Window(10_240, 10_240, 256, 256))
    with labels(path, Grid(GRID.crs, NORTH_UP, (side, side))) as opened:
        tracemalloc.start()
        found = opened.class_ids(Window(10_300, 10_300, 64, 64), all_touched=False)
        rows = opened.class_ids(Window(10_240, 0, 64, side), all_touched=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (found == 0).all()
    assert (rows == 0).sum() == 64 * 256
    assert peak < 30e6


@pytest.mark.parametrize("order", ["rgb", "bgr", "argb", "gbra"])
def test_colours_stand_in_the_bands_that_the_file_calls_so(tmp_path: Path, order: str) -> None:
    names = {"r": ColorInterp.red, "g": ColorInterp.green, "b": ColorInterp.blue, "a": ColorInterp.alpha}
    values = {"r": 0xFF, "g": 0x80, "b": 0, "a": 255}
    pixels = np.stack([np.full(GRID.shape, values[letter], np.uint8) for letter in order])
    path = tmp_path / "l.tif"
    with rasterio.open(
        path, "w", "GTiff", GRID.shape[1], GRID.shape[0], len(order), UTM, NORTH_UP, "uint8", photometric="minisblack"
    ) as file:
        file.colorinterp = [names[letter] for letter in order]
        file.write(pixels)
    key = legend(wood=["#0080ff"], rest=["#ff8000"], lake=["#ffff80"])
    assert (read(path, key=key, values="colors") == 1).all()


@pytest.mark.parametrize(
    ("nodata", "options", "told"),
    [
        (0, {}, ["0 is its nodata value, so these pixels are unlabelled, though class lake lists it"]),
        (0, {"drop": ["0"]}, []),
        (0, {"background": "lake"}, []),
        (1, {}, []),
        (None, {}, []),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "int16"])
def test_a_class_that_nodata_hides_is_told(
    tmp_path: Path, dtype: str, nodata: int | None, options: dict[str, Any], told: list[str]
) -> None:
    path = write_raster(tmp_path / "l.tif", np.zeros((1, *GRID.shape), dtype), nodata=nodata)
    with labels(path, **options) as opened:
        assert [remark.removeprefix(f"{path}: ").partition(":")[0] for remark in opened.remarks] == told


@pytest.mark.parametrize(("nodata", "told"), [(0, 1), (16, 0), (None, 0)])
def test_a_colour_that_nodata_hides_is_told(tmp_path: Path, nodata: int | None, told: int) -> None:
    key = legend(wood=["#000000"], lake=["#001000"])
    path = write_raster(tmp_path / "l.tif", np.zeros((3, *GRID.shape), np.uint8), nodata=nodata, photometric="RGB")
    with labels(path, key=key, values="colors") as opened:
        assert len(opened.remarks) == told
