"""Sources of the catalog: the files or STAC items of an image's bands."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from quadrat.errors import ImageError
from quadrat.geo.grids.resampling import ResamplingName
from quadrat.geo.sources.channel import Channel, expand
from quadrat.geo.sources.dates import PLACE, Date
from quadrat.geo.sources.stac import AssetBand, Item, of_date, read_items, same
from quadrat.runtime.formats.section import Section


class Source(Section):
    """Bands from files of the same kind: a file per band (``{band}`` in the path), one file, or assets of STAC.

    Bands on another grid are resampled to the image's grid by ``resampling``. NaN and infinity are never values.
    """

    path: str | tuple[str, ...] | None = None
    """The file, from the project's root, or an ``s3://`` or ``https://`` address; a list or a pattern like ``*.tif``:
    files that form one image; the first with a value is used. ``{band}`` stands for each band's name, ``{date}`` for
    each of the image's dates."""
    stac: str | None = None
    """Instead of ``path``: file or address of a STAC Item, or of an ItemCollection whose items form one image. If the
    image has dates, an item belongs to the date that its datetime begins with, unless this holds ``{date}``."""
    bands: tuple[str, ...] | Mapping[str, Annotated[int, Field(ge=1)]]
    """Names of the bands: a file each, or the files' bands from the first on; or their numbers by name. With ``stac``:
    keys of assets, or names of bands within assets."""
    resampling: ResamplingName | None = None
    """The resampling of bands on another grid; left out: that of the image's ``grid``, or else ``nearest``."""
    unit: str | None = None
    """The unit of ``value × scale + offset``, e.g. reflectance; left out: the unit in the items or files, or DN."""
    scale: float | None = None
    """Factor from raw values to the unit; left out together with ``offset``: as in the items or files, or 1."""
    offset: float | None = None
    """Summand, in the unit; left out: 0, or as ``scale``."""
    nodata: int | float | None = None
    """The raw value for no data; left out or null: as in the items or the file."""
    mask: bool | None = None
    """Whether masked (transparent) pixels have no value; left out or null: true if the files have a mask, or an alpha
    band that is not one of ``bands``."""
    ignore_tags: bool = False
    """Whether scale, offset and nodata may differ from the items or the files; else a difference is an error."""

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, scale: float | None) -> float | None:
        if scale == 0:
            raise ValueError("a scale of 0 makes all values one")
        return scale

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.bands or bool(self.path) == bool(self.stac):
            raise ValueError("a source has at least one band, and either 'path' or 'stac'")
        if self.stac and isinstance(self.bands, Mapping):
            raise ValueError("with 'stac', the items say the numbers of bands: list their names")
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

    @property
    def dated(self) -> bool:
        """Whether ``{date}`` stands in its paths."""
        return any(PLACE in path for path in (*self._paths, self.stac or ""))

    def channels(self, bands: Sequence[str], dates: Sequence[Date], numbers: frozenset[int]) -> Iterator[Channel]:
        """Yield the channels of ``bands`` on each date.

        ``numbers`` are the numbers of all named bands in the files.
        """
        if self.stac:
            for date, items in self._items(self.stac, dates):
                yield from (self._of_assets(band, date, [item.band(band) for item in items]) for band in bands)
            return
        scale, offset = self.scale, self.offset
        if (scale, offset) != (None, None):  # the catalog decides, if it gives one of them
            scale, offset = _first(scale, 1.0), _first(offset, 0.0)
        meaning = (self.unit, scale, offset, self.nodata)
        for date in dates:
            paths = [date.path(path) for path in self._paths]
            for band in bands:
                files = dict.fromkeys(file for path in paths for file in expand(path.replace("{band}", band)))
                pieces = tuple((file, self.number(band)) for file in files)
                yield self._channel(band, date, pieces, meaning, numbers)

    def _items(self, stac: str, dates: Sequence[Date]) -> Iterator[tuple[Date, list[Item]]]:
        """Yield the items of each date; each file is read once."""
        read = {path: read_items(path) for path in dict.fromkeys(date.path(stac) for date in dates)}
        for date in dates:
            items = read[date.path(stac)]
            yield date, items if date.name is None or self.dated else of_date(items, date.text)

    def _of_assets(self, band: str, date: Date, found: Sequence[AssetBand]) -> Channel:
        stated = same(band, found)
        pieces = tuple((each.href, each.number) for each in found)
        for what in () if self.ignore_tags else ("unit", "scale", "offset", "nodata"):
            mine, theirs = getattr(self, what), getattr(stated, what)
            unlike = None not in (mine, theirs) and mine != theirs
            if unlike and not (what == "nodata" and math.isnan(theirs)):  # NaN is never a value
                raise ImageError(
                    f"STAC item and catalog have different {what} for band {band}",
                    file=f"{self.stac}, item {stated.item}",
                    expected=f"{mine} (the catalog's)",
                    got=f"{theirs} (the item's)",
                    hint="correct the catalog; if the item is wrong, say so there with 'ignore_tags: true'",
                )
        plain = (stated.unit, stated.scale, stated.offset) != (None, None, None)  # the item defines the values
        unit = self.unit or stated.unit
        scale = _first(self.scale, stated.scale, 1.0 if plain else None)
        offset = _first(self.offset, stated.offset, 0.0 if plain else None)
        if unit is None or not scale or offset is None:
            raise ImageError(
                f"neither the catalog nor the STAC item defines the values of band {band}",
                file=f"{self.stac}, item {stated.item}",
                got=f"unit {unit}, scale {scale}, offset {offset}",
                hint="set unit, scale and offset of the source in the catalog",
            )
        meaning = (unit, scale, offset, _first(self.nodata, stated.nodata))
        return self._channel(band, date, pieces, meaning, stated.named)

    def _channel(
        self,
        band: str,
        date: Date,
        pieces: tuple[tuple[str, int], ...],
        meaning: tuple[str | None, float | None, float | None, float | None],
        numbers: frozenset[int],
    ) -> Channel:
        alone = self._by_band and not isinstance(self.bands, Mapping)
        return Channel(
            band, pieces, *meaning, self.resampling or "nearest", self.mask, self.ignore_tags, numbers, alone, date.name
        )

    @property
    def _by_band(self) -> bool:
        return any("{band}" in path for path in self._paths)

    @property
    def _paths(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path or ()


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
