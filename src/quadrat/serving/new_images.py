"""New images for a bundle: finds their bands, and checks and converts their units."""

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ImageError, ParamsError, QuadratError
from quadrat.geo.files.file_errors import grid_of
from quadrat.geo.files.opening import open_raster
from quadrat.geo.files.raster_files import TROUBLE, environment, nodata_of
from quadrat.geo.sources.bands import Band
from quadrat.geo.sources.source import Source
from quadrat.geo.sources.target_grid import TargetGrid
from quadrat.models import Inputs
from quadrat.runtime.formats.yaml import shown
from quadrat.scenes.aoi import open_aoi
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.image import Image
from quadrat.scenes.scene import OpenScene, Scene
from quadrat.serving.band_names import Holder, places
from quadrat.serving.units import InUnits

OVERVIEW = 512
"""Largest side, px, of the overview from which an image's values are judged."""

PLAIN = re.compile(r"[\w .()+-]{1,100}")
"""Band names that are safe in a path."""

WIDE = 2.0
"""Values within this factor of the training range may come from another season."""

SAME = 1e-3
"""Relative difference of two ground sample distances that are the same."""

FAR = 10.0
"""Values smaller than the training pixels' by this factor in every band are in another unit."""


NO_UNITS = ("", "1", "dn", "none", "unitless", "dimensionless")
"""What files say in place of a unit, of numbers that may mean anything."""

METRES = ("metre", "metres", "meter", "meters")


@dataclass(frozen=True)
class Reading:
    """Options for images whose files lack or misstate bands and units; None takes the file's value."""

    bands: tuple[str, ...] | None = None
    """Names of a file's bands, in order."""
    scale: float | None = None
    """Value × scale + offset is in the model's unit."""
    offset: float | None = None
    """With a scale alone it is 0, whatever the file says; with an offset alone, the scale is 1."""
    nodata: float | None = None
    unchecked: bool = False
    """Accept values far from the training values."""
    resolution: float | Literal["model"] | None = None
    """Side of the pixels that images are brought to, in units of their CRS, or that of the model on the ground."""
    sized: bool = True
    """Whether the size of a pixel is known: an array may have no place on the ground."""

    def __post_init__(self) -> None:
        """Raise ParamsError for a number that can't be."""
        for name, expected, fits in (
            ("scale", "a number other than 0", lambda v: math.isfinite(v) and v != 0),
            ("offset", "a number", math.isfinite),
            ("nodata", "a number", None),
            ("resolution", "the side of a pixel in units of the CRS, or 'model'", lambda v: 0 < v < math.inf),
        ):
            value = getattr(self, name)
            if value is None or (name, value) == ("resolution", "model"):
                continue
            if not isinstance(value, int | float) or (fits and not fits(value)):
                raise ParamsError(f"{name} of an image can't be this", expected=expected, got=value)

    @property
    def given(self) -> bool:
        """Whether any option about bands and units is given."""
        return any(value is not None for value in (self.bands, self.scale, self.offset, self.nodata))


def side(said: str | None) -> float | Literal["model"] | None:
    """Return what an option says of ``Reading.resolution``; raise ParamsError for what is neither."""
    if said is None or said == "model":
        return said  # type: ignore[return-value]  # narrowed by what it equals
    try:
        found = float(said)
    except ValueError:
        found = math.nan
    if not (found > 0 and math.isfinite(found)):
        raise ParamsError("--resolution takes the side of a pixel in units of the CRS, or 'model'", got=said)
    return found


@dataclass(frozen=True)
class Offered:
    """A new image to predict."""

    id: str
    image: Image
    aoi: tuple[str, ...] = ()

    @property
    def scene(self) -> Scene:
        """The image as a scene."""
        return Scene(self.id, "predict", self.image, (), self.aoi)

    @contextmanager
    def open(self, inputs: Inputs, readers: int = 1) -> Iterator[OpenScene]:
        """Open it as a scene whose raw values have the meaning of ``inputs``; so many threads read in ``cut``."""
        try:
            with InUnits(self.image, inputs.bands) as raster:
                yield OpenScene(self.id, "predict", raster, None, open_aoi(self.aoi, raster.grid, self.id), readers)
        except QuadratError as error:
            error.scene = error.scene or self.id
            raise

    def brought_to(self, resolution: float | Literal["model"] | None, inputs: Inputs, gsd: float) -> Self:
        """Return the image in pixels of ``resolution``, which see; the model's are of ``gsd`` m on the ground."""
        if resolution is None:
            return self
        with self.open(inputs) as scene:
            grid, here = scene.grid, scene.grid.gsd_of(scene.area)
        if resolution == "model":
            if grid.crs is None:
                raise ImageError(
                    "the size of its pixels isn't known, so it can't be brought to the model's",
                    self.id,
                    self.image.place,
                    expected="an image with a CRS",
                    hint="say the side of a pixel in px of the image: --resolution 2",
                )
            if math.isclose(here, gsd, rel_tol=SAME):
                return self
            resolution = math.sqrt(abs(grid.transform.determinant)) * gsd / here
        crs = self.image.grid.crs if isinstance(self.image.grid, TargetGrid) else None
        target = TargetGrid(band=self.image.grid_band, crs=crs, resolution=resolution, resampling="bilinear")
        return replace(self, image=Image.model_validate({**dict(self.image), "grid": target}))

    def check(self, inputs: Inputs) -> list[str]:
        """Raise ImageError if the values of an overview are in another unit than the training values.

        Returns warnings.
        """
        with self.open(inputs) as scene:
            assert isinstance(scene.raster, InUnits)
            values, valid = scene.raster.overview(OVERVIEW)
        seen = _by_band(values, valid, len(inputs.statistics))
        wrong = _unlike(seen, inputs)
        if wrong is None:
            empty = [band.band for band, some in zip(inputs.statistics, seen, strict=True) if not some.size]
            return [f"{self.id}: no value was seen in {', '.join(empty)}, from afar"] if empty else []
        band, statistics = inputs.bands[wrong], inputs.statistics[wrong]
        meaning = f"(× {band.scale:g} + {band.offset:g} is {band.unit})"
        raise ImageError(
            f"the values of band {band.name} are unlike all that the model learnt from, as in another unit",
            self.id,
            self.image.file_of(band.name),
            expected=f"{statistics.min:g} to {statistics.max:g}, {statistics.mean:.4g} on average {meaning}",
            got=f"{seen[wrong].min():g} to {seen[wrong].max():g}, {seen[wrong].mean():.4g} on average",
            hint=f"say what they mean: with --scale and --offset, value × scale + offset is {band.unit}; "
            "or --unchecked, if they are right",
        )


def offered(path: str, inputs: Inputs, reading: Reading) -> list[Offered]:
    """Return the images of ``path``: a file with several bands, one file per ``{band}``, or a catalog's scenes.

    Bands have the names that the file gives them, or those of ``reading``; their scale and offset are the file's,
    and the model's where it has none; on another grid, they are resampled as those that the model learnt from, or
    bilinearly. Raises ImageError if a band of the model isn't there.
    """
    if path.endswith((".yaml", ".yml")):
        if reading.given:
            raise ImageError(
                "a catalog says itself what its bands are and mean",
                file=path,
                hint="leave out --bands, --scale, --offset and --nodata",
            )
        return [Offered(scene.id, scene.image, scene.aoi) for scene in read_catalog(Path(path))]
    if inputs.dates:
        raise ImageError(
            "the model learnt from time series, and a path alone doesn't say which dates there are",
            file=path,
            expected=f"a catalog (.yaml) with an image of {inputs.dates} dates",
            hint="describe the image in a catalog, with its 'dates', and apply the bundle to that",
        )
    bands = inputs.bands
    whole = _by_file(path, bands, reading) if "{band}" in path else _in_one_file(path, bands, reading)
    return [Offered(_stem(path), resampled_as(whole, inputs))]


def resampled_as(image: Image, inputs: Inputs) -> Image:
    """Return an image with a source for each band of ``inputs``, in order, resampled as the model's were."""
    pairs = zip(image.sources, inputs.statistics, strict=True)
    sources = (source.model_copy(update={"resampling": s.resampling or "bilinear"}) for source, s in pairs)
    return image.model_copy(update={"sources": tuple(sources)})


def _by_file(path: str, bands: Sequence[Band], reading: Reading) -> Image:
    if reading.bands is not None:
        raise ImageError("with a file for each band, the path names the bands", file=path, hint="leave out --bands")
    sources, sides = [], []
    for band in bands:
        if not PLAIN.fullmatch(band.name):
            raise ImageError("a band's name can't be part of a file's", file=path, got=shown(band.name))
        file = path.replace("{band}", band.name)
        with _dataset(file) as dataset:
            if dataset.count != 1:
                raise ImageError("the file of a single band holds several", file=file, got=f"{dataset.count} bands")
            sources.append(_source(path, 1, dataset, band, reading))
            sides.append(abs(dataset.transform.determinant))
    return Image(grid=bands[int(np.argmin(sides))].name, sources=tuple(sources))


def _in_one_file(path: str, bands: Sequence[Band], reading: Reading) -> Image:
    with _dataset(path) as dataset:
        named = list(reading.bands or dataset.descriptions)
        hint = "name the file's bands as the model does, in order: --bands B02,B03,…"
        numbers = [n + 1 for n in places(named, dataset.count, bands, Holder("the file", "--bands", hint, path))]
        sources = [_source(path, n, dataset, b, reading) for b, n in zip(bands, numbers, strict=True)]
    return Image(grid=bands[0].name, sources=tuple(sources))


@dataclass(frozen=True)
class Said:
    """What an image itself says of the values of a band; None where it says nothing."""

    scale: float | None = None
    offset: float | None = None
    nodata: float | None = None
    unit: str | None = None


def source(path: str, number: int, said: Said, learnt: Band, reading: Reading) -> Source:
    """Return a source of one band of a file, the band ``learnt`` of the model.

    Scale, offset and nodata are those of ``reading``, else those that the image says, else the model's.
    """
    pairs = ((reading.scale, reading.offset), (said.scale, said.offset), (learnt.scale, learnt.offset))
    factor, summand = next(pair for pair in pairs if pair != (None, None))
    scale, offset = 1.0 if factor is None else factor, summand or 0.0
    nodata = reading.nodata
    if nodata is None and said.nodata is None and (scale, offset) == (learnt.scale, learnt.offset):
        nodata = learnt.nodata
    return Source(
        path=path,
        bands={learnt.name: number},
        unit=said.unit or learnt.unit,
        scale=scale,
        offset=offset,
        nodata=nodata,
        ignore_tags=any(value is not None for value in (reading.scale, reading.offset, reading.nodata)),
    )


def _source(path: str, number: int, dataset: Any, learnt: Band, reading: Reading) -> Source:
    unit = (dataset.units[number - 1] or "").strip()
    if (reading.scale, reading.offset) == (None, None) and _plain(unit) not in {*NO_UNITS, _plain(learnt.unit)}:
        raise ImageError(
            f"band {learnt.name} is in another unit than what the model learnt from",
            file=path,
            expected=learnt.unit,
            got=unit,
            hint=f"convert the image, or say with --scale and --offset how its values become {learnt.unit}",
        )
    meaning = (dataset.scales[number - 1], dataset.offsets[number - 1])
    scale, offset = (None, None) if meaning == (1, 0) else meaning  # GDAL's values for a file without tags
    return source(path, number, Said(scale, offset, nodata_of(dataset)[number - 1]), learnt, reading)


def _plain(unit: str) -> str:
    return "m" if unit.casefold() in METRES else unit.casefold()


@contextmanager
def _dataset(path: str) -> Iterator[Any]:
    try:
        with environment((path,)), open_raster(path) as dataset:
            grid_of(dataset, path)
            yield dataset
    except TROUBLE as error:
        raise ImageError("the image can't be opened", file=path, got=error, hint="check the path") from error


def _stem(path: str) -> str:
    """Return the file's name without its ending and ``{band}``."""
    stem = PurePosixPath(path.replace("\\", "/")).name.replace("{band}", "")
    return stem.rsplit(".", 1)[0].strip("._- ") or "image"


def _by_band(values: NDArray[np.float32], valid: NDArray[np.bool_], count: int) -> list[NDArray[np.float32]]:
    """Return the valid values of each of ``count`` bands, of all dates together."""
    parts = [some[known] for some, known in zip(values, valid, strict=True)]
    return [np.concatenate(parts[number::count]) for number in range(count)]


def _unlike(seen: Sequence[NDArray[np.float32]], inputs: Inputs) -> int | None:
    """Return the number of a band whose valid values can't be in the model's unit, or None.

    Either most of them lie far out of the training pixels' range, or all bands' are far smaller and closer together.
    """
    small = []
    for number, (values, learnt) in enumerate(zip(seen, inputs.statistics, strict=True)):
        if not values.size:
            continue
        low = learnt.min / WIDE if learnt.min > 0 else learnt.min - (learnt.max - learnt.min)
        high = learnt.max * WIDE if learnt.max > 0 else learnt.max + (learnt.max - learnt.min)
        if ((values < low) | (values > high)).mean() > 0.5:
            return number
        small.append(abs(values.mean()) < abs(learnt.mean) / FAR and values.std() < learnt.std / FAR)
    return next(n for n, values in enumerate(seen) if values.size) if small and all(small) else None
