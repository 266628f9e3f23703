"""Arrays in memory as new images for a bundle: what their bands are, and what their values mean."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from quadrat.api.arrays import checked, grid_of, write
from quadrat.errors import ImageError
from quadrat.geo.sources.bands import Band
from quadrat.models import Inputs
from quadrat.scenes.image import Image
from quadrat.serving.band_names import Holder, places
from quadrat.serving.new_images import Offered, Reading, Said, resampled_as, source

ARRAY = "the array"
"""What errors call an array."""

HOLDER = Holder(ARRAY, "bands", "name all bands of the array, in order: bands=['B02', 'B03', …]")


def held(
    image: NDArray[Any] | xarray.DataArray, inputs: Inputs, reading: Reading, path: Path
) -> tuple[Offered, Reading]:
    """Write an array to ``path``, and return it as an image of the bands that a model learnt from."""
    learnt = inputs.bands
    if inputs.dates:
        raise ImageError(
            "the model learnt from time series, and an array doesn't say which dates there are",
            expected="the path of a catalog (.yaml) with one scene",
            hint="describe the image in a catalog, with its 'dates'",
        )
    values = checked(image, ("band", "y", "x"), ARRAY)
    numbers = places(_names(image, len(values), learnt, reading), len(values), learnt, HOLDER)
    grid = grid_of(image, values.shape[1:], ARRAY)
    write(path, values[numbers], grid, None)
    sources = []
    for place, (number, band) in enumerate(zip(numbers, learnt, strict=True), 1):
        said = _said(image, number)
        made = source(str(path), place, said, band, reading)
        sources.append(made if made.nodata is not None else made.model_copy(update={"nodata": said.nodata}))
    if grid is None:
        reading = replace(reading, sized=False)
    whole = Image(grid=learnt[0].name, sources=tuple(sources))
    return Offered("array", resampled_as(whole, inputs)), reading


def _names(
    image: NDArray[Any] | xarray.DataArray, count: int, learnt: Sequence[Band], reading: Reading
) -> Sequence[str | None]:
    """Return the names of an array's bands; a plain array with as many as the model's has them in the model's order."""
    if reading.bands is not None:
        return reading.bands
    if not isinstance(image, xarray.DataArray) and count == len(learnt):
        return [band.name for band in learnt]
    return _own_names(image) or [None] * count


def _own_names(image: NDArray[Any] | xarray.DataArray) -> list[str] | None:
    """Return the names that a DataArray gives its bands: by the coordinate ``band``, or else by ``long_name``."""
    if not isinstance(image, xarray.DataArray):
        return None
    if "band" in image.coords and image["band"].dtype.kind in "OUT":
        return [str(name) for name in image["band"].to_numpy()]
    said = image.attrs.get("long_name")
    if said is None or not all(said) or (image.sizes["band"] > 1 and "band" not in image.coords):
        return None  # whether the bands are still in the file's order can't be told
    return [str(_of_band(image, said, number)) for number in range(image.sizes["band"])]


def _said(image: NDArray[Any] | xarray.DataArray, number: int) -> Said:
    """Return what a DataArray says of the values of a band, counted from 0.

    Coordinates along ``band`` come first, then the attributes that rioxarray gives. Where rioxarray has applied scale
    and offset, they stand in ``encoding``, and values are in the unit of all bands, even if those of one are 1 and 0.
    """
    if not isinstance(image, xarray.DataArray):
        return Said()
    attributes = {"scale": ("scale_factor", "scales"), "offset": ("add_offset", "offsets"), "unit": ("units", "units")}
    told = {name: image.attrs.get(one, image.attrs.get(each)) for name, (one, each) in attributes.items()}
    said: dict[str, Any] = {
        name: None if values is None else _of_band(image, values, number) for name, values in told.items()
    }
    applied = any(
        np.any(np.asarray(image.encoding.get(name, plain)) != plain)
        for plain, (one, each) in ((1, attributes["scale"]), (0, attributes["offset"]))
        for name in (one, each)
    )
    if applied or (said["scale"] in {None, 1} and said["offset"] in {None, 0}):
        said |= {"scale": 1.0, "offset": 0.0} if applied else {"scale": None, "offset": None}  # no tags: 1 and 0
    said["nodata"] = image.rio.nodata
    for name in {"unit", "scale", "offset", "nodata"} & {*map(str, image.coords)}:
        values = image.coords[name].to_numpy().reshape(-1)
        said[name] = values[number if values.size > 1 else 0]
    scale, offset, nodata = (None if said[n] is None else float(said[n]) for n in ("scale", "offset", "nodata"))
    unit = None if said["unit"] is None else str(said["unit"])
    return Said(scale, offset, nodata if nodata is not None and np.isfinite(nodata) else None, unit or None)


def _of_band(image: xarray.DataArray, values: Any, number: int) -> Any:
    """Return what an attribute of a file says of a band of an array, counted from 0: one value for all, or one each.

    Attributes are in the order of the file, whose numbers from 1 are the coordinate ``band``.
    """
    if isinstance(values, str) or np.ndim(values) == 0:
        return values
    if "band" not in image.coords or image["band"].dtype.kind not in "iu":
        return values[number] if len(values) == image.sizes["band"] else None
    place = int(image["band"].to_numpy().reshape(-1)[number]) - 1
    return values[place] if 0 <= place < len(values) else None
