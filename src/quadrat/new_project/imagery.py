"""Looks at images for a new project: their bands, grid, nodata, and where they have values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from quadrat.errors import ImageError
from quadrat.geo.files.file_errors import library_errors_as
from quadrat.geo.files.raster_files import Header, header, opened
from quadrat.geo.grids.grid import Grid
from quadrat.geo.sources.bands import is_valid
from quadrat.new_project.inputs import Given
from quadrat.scenes.image import Image

COARSE = 1024
"""Longest side, px, at which an image is looked at."""

BLANK = 0.01
"""Share of pixels that are 0 in all bands, also in a corner, from which 0 means no data."""

COLORS = (("red", "green", "blue"), ("B04", "B03", "B02"), ("B4", "B3", "B2"), ("R", "G", "B"))
"""Names of bands that make a picture."""


@dataclass(frozen=True)
class Look:
    """What an image holds."""

    id: str
    files: tuple[Given, ...]
    entry: dict[str, Any]
    """Its section in the catalog."""
    grid: Grid
    bands: tuple[str, ...]
    valid: NDArray[np.bool_]
    """(y, x), where all bands have values, looked at coarsely."""
    nodata: float | None
    """That of all bands, declared or shown by a corner."""
    declared: bool
    """Whether the files tell it."""
    notes: tuple[str, ...]
    """What was decided, and needs a look."""

    @property
    def coarse(self) -> Grid:
        """The grid of ``valid``."""
        (height, width), (rows, cols) = self.grid.shape, self.valid.shape
        return Grid(self.grid.crs, self.grid.transform @ Affine.scale(width / cols, height / rows), (rows, cols))

    @property
    def pictured(self) -> list[str]:
        """The bands of its picture: red, green and blue, or else the first three; or one, for grey."""
        named = next((names for names in COLORS if {*names} <= {*self.bands}), self.bands[:3])
        return [*(named if len(named) == 3 else named[:1])]


def looks_at(images: Sequence[Given]) -> list[Look]:
    """Return what images hold, all with the same bands; files of one band each on one ground are one image.

    Raises ImageError for files that can't be opened or differ in their bands, and images without a value.
    """
    headers = []
    for one in images:
        with library_errors_as(ImageError, one.file), opened(str(one.file)) as dataset:
            headers.append(_header(dataset, str(one.file)))
    if _is_one(headers):
        order = sorted(range(len(images)), key=lambda n: _side(headers[n]))  # the finest first: its grid is the image's
        name = _start([one.id for one in images]).strip("._-") or "image"
        looks = [_looked(name, [images[n] for n in order], [headers[n] for n in order])]
    else:
        looks = [_looked(one.id, [one], [about]) for one, about in zip(images, headers, strict=True)]
    for look in looks:
        if look.bands != looks[0].bands:
            raise ImageError(
                "the images differ in their bands",
                file=look.files[0].file,
                expected=f"{', '.join(looks[0].bands)} ({looks[0].files[0].file.name})",
                got=", ".join(look.bands),
                hint="give images of one kind, or bring the others to it by gdal_translate -b",
            )
    return _with_one_nodata(looks)


def _header(dataset: Any, path: str) -> Header:
    """Return a file's header, with an alpha band of many values as an ordinary band: it may be near infrared."""
    about = header(dataset, path)
    if about.alpha is None or len(about.dtypes) == 1:
        return about
    values = np.unique(dataset.read(about.alpha, out_shape=tuple(min(side, COARSE) for side in dataset.shape)))
    if {*values.tolist()} <= {0, 255, 65535, 1}:
        return about
    colors = [ColorInterp.undefined if color == ColorInterp.alpha else color for color in about.colors]
    return replace(about, colors=tuple(colors))


def _is_one(headers: Sequence[Header]) -> bool:
    """Return whether files are the bands of one image: one band each, and the same ground but for a pixel."""
    if len(headers) < 2 or any(len(one.dtypes) > 1 or one.grid.crs != headers[0].grid.crs for one in headers):
        return False
    bounds = np.array([one.grid.footprint(one.grid.area).bounds for one in headers])
    return headers[0].grid.crs is not None and bool(np.ptp(bounds, axis=0).max() < max(map(_side, headers)))


def _side(about: Header) -> float:
    """Return the side of a pixel in units of the CRS."""
    return float(abs(about.grid.transform.determinant) ** 0.5)


def _looked(name: str, files: Sequence[Given], headers: Sequence[Header]) -> Look:
    said, notes = _by_file(headers) if len(files) > 1 else _in_one_file(headers[0])
    here = [{"path": str(one.file), **about} for one, about in zip(files, said, strict=True)]
    there = [{"path": one.path, **about} for one, about in zip(files, said, strict=True)]
    image = Image.model_validate({"sources": here}, strict=False)
    with library_errors_as(ImageError, image.place), image.open(image.bands) as raster:
        step = -(-max(raster.grid.shape) // COARSE)
        height, width = raster.grid.shape
        values, shown = raster.reduced((-(-height // step), -(-width // step)))
        valid: NDArray[np.bool_] = np.asarray(shown.all(0))
        for one, band in zip(values, raster.bands, strict=True):
            valid &= is_valid(one, band)
        declared = {band.nodata for band in raster.bands}
    told, nodata = declared != {None}, declared.pop() if len(declared) == 1 else None
    blank = (values == 0).all(0)
    corners = blank[[0, 0, -1, -1], [0, -1, 0, -1]]
    if not told and shown.all() and corners.any() and blank.mean() > BLANK:
        notes.append(
            f"{blank.mean():.0%} of the pixels of {name} are 0 in all bands, also in a corner: taken as nodata"
        )
        nodata, valid = 0, valid & ~blank
    if not valid.any():
        raise ImageError("no pixel of the image has a value in all bands", file=files[0].file, hint="check its nodata")
    entry = {"sources": _grouped(there) if len(files) > 1 else there}
    return Look(name, tuple(files), entry, raster.grid, image.bands, valid, nodata, told, tuple(notes))


def _in_one_file(about: Header) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the names of a file's bands, as in the catalog, and what needs a look."""
    numbers = [n for n in range(1, len(about.dtypes) + 1) if n != about.alpha or len(about.dtypes) == 1]
    said = [str(about.called(number) or "").strip() for number in numbers]
    names = [name or f"B{number}" for name, number in zip(said, numbers, strict=True)]
    if len({*names}) < len(names):
        names = [f"B{number}" for number in numbers]
    notes = [] if names == said else [f"the file does not name all of its bands: {', '.join(names)} in its order"]
    inline = numbers == [*range(1, len(numbers) + 1)]
    return [{"bands": names if inline else dict(zip(names, numbers, strict=True))}], notes


def _by_file(headers: Sequence[Header]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the names of bands in files of their own: what differs in the files' names."""
    stems = [Path(about.path).stem for about in headers]
    start, end = _start(stems), _start([stem[::-1] for stem in stems])
    names = [stem[len(start) : len(stem) - len(end)] for stem in stems]
    if len({*names}) < len(names):
        names = [f"B{number}" for number in range(1, len(names) + 1)]
    finest = min(map(_side, headers)) * 1.001
    more = [{} if _side(about) <= finest else {"resampling": "bilinear"} for about in headers]
    notes = [f"each file is a band of one image, called by the file's name: {', '.join(names)}"]
    return [{"bands": [name], **how} for name, how in zip(names, more, strict=True)], notes


def _grouped(sources: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join files whose paths differ in the name of their band."""
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for one in sources:
        (name,) = one["bands"]
        path = "{band}".join(one["path"].rsplit(name, 1))
        group = groups.setdefault((path, "resampling" in one), {**one, "path": path, "bands": []})
        group["bands"].append(name)
    return [*groups.values()]


def _start(texts: Sequence[str]) -> str:
    """Return what all texts begin with, in whole words: of ``a_B1`` and ``a_B2`` it is ``a_``."""
    same = next((n for n, some in enumerate(zip(*texts, strict=False)) if len({*some}) > 1), min(map(len, texts)))
    return re.sub("[A-Za-z0-9]*$", "", texts[0][:same])


def _with_one_nodata(looks: Sequence[Look]) -> list[Look]:
    """State the nodata value where a file does not; ``quadrat check`` reports values that contradict."""
    known = {look.nodata for look in looks} - {None}
    if len(known) != 1 or all(look.declared for look in looks):
        return [*looks]
    (value,) = known
    sources = [
        [{**one, "nodata": value if look.nodata is None else look.nodata} for one in look.entry["sources"]]
        for look in looks
    ]
    return [replace(look, entry={"sources": mine}) for look, mine in zip(looks, sources, strict=True)]
