"""What values mean is what the catalog says; where it says nothing, what the files say; else DN, as they are stored."""

from pathlib import Path

import numpy as np
import pytest
import rasterio

from quadrat.errors import ImageError
from quadrat.geo.sources.source import Source
from quadrat.scenes.image import Image
from tests.ground import write_raster

PIXELS = np.arange(16, dtype=np.uint16).reshape(1, 4, 4)


def said(path: Path, scale: float, offset: float, unit: str) -> Path:
    """Let a file say what its values mean."""
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets, file.units = (scale,), (offset,), (unit,)
    return path


def meaning(*paths: Path, **about: object) -> tuple[str, float, float]:
    source = Source(path=tuple(map(str, paths)), bands=("a",), **about)
    with Image(sources=(source,)).open(("a",)) as raster:
        (band,) = raster.bands
    return band.unit, band.scale, band.offset


def test_a_file_that_says_nothing_holds_dn(tmp_path: Path) -> None:
    assert meaning(write_raster(tmp_path / "a.tif", PIXELS)) == ("DN", 1.0, 0.0)


def test_a_file_is_believed_where_the_catalog_says_nothing(tmp_path: Path) -> None:
    path = said(write_raster(tmp_path / "a.tif", PIXELS), 0.1, -3.0, "kelvin")
    assert meaning(path) == ("kelvin", 0.1, -3.0)
    assert meaning(path, unit="K") == ("K", 0.1, -3.0)


def test_a_catalog_that_says_a_part_of_it_must_not_contradict_the_file(tmp_path: Path) -> None:
    path = said(write_raster(tmp_path / "a.tif", PIXELS), 0.1, -3.0, "kelvin")
    with pytest.raises(ImageError, match="different scale and offset"):
        meaning(path, scale=0.1)
    assert meaning(path, scale=0.1, ignore_tags=True) == ("kelvin", 0.1, 0.0)
    assert meaning(path, scale=0.1, offset=-3.0) == ("kelvin", 0.1, -3.0)


@pytest.mark.parametrize(("other", "what"), [((0.2, -3.0, "kelvin"), "scale and offset"), ((0.1, -3.0, "m"), "unit")])
def test_files_of_a_mosaic_that_say_different_things_are_an_error(
    tmp_path: Path, other: tuple[float, float, str], what: str
) -> None:
    one = said(write_raster(tmp_path / "a.tif", PIXELS), 0.1, -3.0, "kelvin")
    two = said(write_raster(tmp_path / "b.tif", PIXELS), *other)
    with pytest.raises(ImageError, match=f"different {what}"):
        meaning(one, two)
    assert meaning(one, two, unit="K", scale=1.0, ignore_tags=True) == ("K", 1.0, 0.0)


def test_the_grid_is_that_of_the_first_band_where_none_is_named() -> None:
    sources = (Source(path="x.tif", bands=("b", "a")), Source(path="y.tif", bands=("c",)))
    assert Image(sources=sources).grid == "b"
    assert Image(sources=sources, grid="c").grid == "c"
