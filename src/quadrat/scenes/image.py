"""Images of the catalog: where their bands come from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from quadrat.errors import ImageError
from quadrat.scenes.files import Channel, expand
from quadrat.scenes.raster import Raster
from quadrat.section import Section

ResamplingName = Literal["nearest", "bilinear", "cubic", "average"]


class Source(Section):
    """Bands that come from alike files: one file each (``{band}`` in the path) or all from the same.

    Bands whose files have another grid than the image's are brought to it by ``resampling``. NaN and
    infinity are no values in any band.
    """

    path: str | tuple[str, ...]
    """The file, from the project's root, or an ``s3://`` or ``https://`` address; a list or a pattern like ``*.tif``:
    files that make up one image, of which the first that has a value counts; ``{band}`` stands for each band's name."""
    bands: tuple[str, ...] | Mapping[str, Annotated[int, Field(ge=1)]]
    """Names of the bands: a file each, or the files' bands from the first on; or their numbers by name."""
    resampling: ResamplingName
    """How pixels of another grid are brought to the image's."""
    unit: str
    """The unit of ``value × scale + offset``, e.g. reflectance."""
    scale: float
    """Factor from raw values to the unit."""
    offset: float
    """Summand, in the unit."""
    nodata: float | None = None
    """The raw value that is none; left out or null: what the file says."""
    mask: bool | None = None
    """Whether masked (transparent) pixels are without value; left out or null: where the files have a mask or an alpha
    band that isn't one of ``bands``."""
    ignore_tags: bool = False
    """Whether scale and offset may be others than the files say; else that is an error."""

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: float) -> float:
        if not scale:
            raise ValueError("a scale of 0 makes all values one")
        return scale

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.bands or not self.path:
            raise ValueError("a source names at least one file and one band")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the bands."""
        return tuple(self.bands)

    def number(self, band: str) -> int:
        """Return the number of ``band`` in its files, from 1."""
        if isinstance(self.bands, Mapping):
            return self.bands[band]
        return 1 if self._by_band else self.bands.index(band) + 1

    def files_of(self, band: str) -> tuple[str, ...]:
        """Return the files that hold ``band``; raise ImageError where a pattern matches none."""
        paths = (self.path,) if isinstance(self.path, str) else self.path
        return tuple(dict.fromkeys(file for path in paths for file in expand(path.replace("{band}", band))))

    def channel(self, band: str, numbers: frozenset[int]) -> Channel:
        """Return where ``band`` is, and what its values mean; ``numbers`` are those of all bands of its files."""
        return Channel(
            band,
            tuple((file, self.number(band)) for file in self.files_of(band)),
            self.unit,
            self.scale,
            self.offset,
            self.nodata,
            self.resampling,
            self.mask,
            self.ignore_tags,
            numbers,
            self._by_band and not isinstance(self.bands, Mapping),
        )

    @property
    def _by_band(self) -> bool:
        return any("{band}" in path for path in ((self.path,) if isinstance(self.path, str) else self.path))


class Image(Section):
    """An image of the catalog: its sources, and the band whose file's grid is the image's."""

    grid: str
    """The band whose files' pixels are the image's."""
    sources: tuple[Source, ...]
    """Where the bands come from."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = self.bands
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each band comes from one source, but these come from several: {', '.join(twice)}")
        if self.grid not in names:
            raise ValueError(f"grid names the band whose pixels are the image's: {self.grid} is none of {[*names]}")
        return self

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of all bands, in the order of the sources."""
        return tuple(band for source in self.sources for band in source.names)

    def files(self) -> Iterator[str]:
        """Give the paths of all files of all bands."""
        for source in self.sources:
            for band in source.names:
                yield from source.files_of(band)

    def file_of(self, band: str) -> str:
        """Return the path of the (first) file of ``band``, to name it."""
        return self.channels([band])[0].files[0]

    def channels(self, bands: Sequence[str]) -> list[Channel]:
        """Return where ``bands`` are; raise ImageError for one that isn't there."""
        sources = {band: source for source in self.sources for band in source.names}
        missing = next((band for band in bands if band not in sources), None)
        if missing is not None:
            raise ImageError(
                "the image has no such band",
                file=self.file_of(self.grid),
                expected=missing,
                got=", ".join(self.bands),
                mend="name a band that the image has under 'bands' in params.yaml, or add a source to the catalog",
            )
        named: dict[object, set[int]] = {}
        for band, source in sources.items():
            named.setdefault(source.path, set()).add(source.number(band))
        return [sources[band].channel(band, frozenset(named[sources[band].path])) for band in bands]

    def open(self, bands: Sequence[str]) -> Raster:
        """Open ``bands``, in this order; raise ImageError for a band or file that isn't there or can't be read."""
        return Raster(self.channels([self.grid])[0], self.channels(bands))
