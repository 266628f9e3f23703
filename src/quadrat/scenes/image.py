"""Images of the catalog: their bands, grid, dates, and clear pixels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from pydantic import Field, model_validator

from quadrat.errors import ImageError
from quadrat.geo.sources.channel import Channel, Origin
from quadrat.geo.sources.dates import PLACE, Date, listed
from quadrat.geo.sources.source import Source
from quadrat.geo.sources.target_grid import TargetGrid
from quadrat.runtime.formats.section import Section

if TYPE_CHECKING:
    from quadrat.geo.reading.open_image import Raster


class Clear(Section):
    """The pixels that count, by the values of a band, such as a cloud mask."""

    band: str
    """The band; it need not be in ``bands`` of ``params.yaml``."""
    values: tuple[int, ...] = Field(min_length=1)
    """Its raw values where a pixel counts."""


class Image(Section):
    """An image of the catalog: its sources, and the band that defines the grid.

    With ``dates``, it is a time series: each band on each date.
    """

    grid: str | TargetGrid = ""
    """The band whose file defines the grid; for a time series, that of the first date. Left out: the first
    band of the first source. Or a CRS and a size of pixels that the image is brought to."""
    dates: tuple[str, ...] | Mapping[str, str] | None = None
    """For a time series, its dates in order, e.g. 2014-01-15, which replace ``{date}`` in paths; or dates with the text
    in paths: ``{2014-01-15: "2014015"}``. A source without ``{date}`` is the same on all dates."""
    clear: Clear | None = None
    """The pixels that count, by the values of a band; left out: all with values."""
    sources: tuple[Source, ...]
    """The sources of the bands."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = self.bands
        if names:
            self._complete(names[0])
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"each band comes from one source, but these come from several: {', '.join(twice)}")
        for key, band in (("grid", self.grid_band), ("clear.band", self.clear and self.clear.band)):
            if band is not None and band not in names:
                what = "the band whose pixels are the image's" if key == "grid" else "the band that tells what counts"
                raise ValueError(f"{key} names {what}: {band} is none of {[*names]}")
        if self.clear and self._source(self.clear.band).resampling not in {"nearest", None}:
            raise ValueError(f"band {self.clear.band} tells what counts by its values: its resampling is 'nearest'")
        self._check_dates()
        return self

    def _complete(self, first: str) -> None:
        """Write down what is left out, as if it stood there: the band of the grid, and what it says of sources."""
        if not isinstance(self.grid, TargetGrid):
            object.__setattr__(self, "grid", self.grid or first)
            return
        target = self.grid.model_copy(update={"band": self.grid.band or first})
        object.__setattr__(self, "grid", target)
        said = tuple(s.model_copy(update={"resampling": s.resampling or target.resampling}) for s in self.sources)
        object.__setattr__(self, "sources", said)

    @property
    def grid_band(self) -> str:
        """The band whose file says where the grid lies."""
        return self.grid.band if isinstance(self.grid, TargetGrid) else self.grid

    def _check_dates(self) -> None:
        dated = any(source.dated for source in self.sources)
        if self.dates is None:
            if dated:
                raise ValueError(f"a path holds {PLACE}: name the image's 'dates'")
            return
        texts = [date.text for date in listed(self.dates)]
        if not texts or len({*texts}) < len(texts) or len({*self.dates}) < len(texts):
            raise ValueError(f"dates names each date once, and at least one: {', '.join(self.dates)}")
        if not dated and not any(source.stac for source in self.sources):
            raise ValueError(f"all dates would be the same: let {PLACE} stand for each in the path of a source")

    @property
    def bands(self) -> tuple[str, ...]:
        """The names of all bands, in the order of the sources."""
        return tuple(band for source in self.sources for band in source.names)

    def files(self) -> Iterator[str]:
        """Yield the paths of all files of all bands, and of STAC files."""
        for source in self.sources:
            if source.stac:
                yield from dict.fromkeys(date.path(source.stac) for date in self._dates)
        for channel in self.channels(self.bands):
            yield from channel.files

    @property
    def place(self) -> str:
        """Its source as in the catalog, for errors."""
        paths = (source.stac or source.path for source in self.sources)
        return ", ".join(path if isinstance(path, str) else ", ".join(path or ()) for path in paths)

    def file_of(self, band: str) -> str:
        """Return the path of the first file of ``band``, for errors."""
        return self._channels([band], self._dates[:1])[0].files[0]

    def channels(self, bands: Sequence[str]) -> list[Channel]:
        """Return the channels of ``bands``: all of the first date, then all of the next, if the image has dates.

        Raises ImageError for a missing band.
        """
        return self._channels(bands, self._dates)

    def open(self, bands: Sequence[str]) -> "Raster":
        """Open ``bands``, in this order; raise ImageError for a missing band, or a file that can't be read."""
        from quadrat.geo.reading.open_image import Raster

        return Raster(self.origin(bands))

    def origin(self, bands: Sequence[str]) -> Origin:
        """Return what is read of the files for ``bands``."""
        (grid,) = self._channels([self.grid_band], self._dates[:1])
        telling = self.channels([self.clear.band]) if self.clear else []
        target = self.grid if isinstance(self.grid, TargetGrid) else None
        values = self.clear.values if self.clear else ()
        return Origin(grid, tuple(self.channels(bands)), tuple(telling), values, target)

    @property
    def _dates(self) -> tuple[Date, ...]:
        return listed(self.dates)

    def _source(self, band: str) -> Source:
        return next(source for source in self.sources if band in source.names)

    def _channels(self, bands: Sequence[str], dates: Sequence[Date]) -> list[Channel]:
        missing = next((band for band in bands if band not in self.bands), None)
        if missing is not None:
            raise ImageError(
                "the image has no such band",
                file=self.file_of(self.grid_band),
                expected=missing,
                got=", ".join(self.bands),
                hint="name a band that the image has under 'bands' in params.yaml, or add a source to the catalog",
            )
        named: dict[object, set[int]] = {}
        for source in self.sources:
            named.setdefault(source.path, set()).update(map(source.number, source.names))
        found: dict[tuple[str | None, str], Channel] = {}
        for source in self.sources:
            names = [band for band in source.names if band in bands]
            if names:
                for channel in source.channels(names, dates, frozenset(named[source.path])):
                    found[channel.date, channel.name] = channel
        return [found[date.name, band] for date in dates for band in bands]
