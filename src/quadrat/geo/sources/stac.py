"""Reads STAC Items and ItemCollections: the assets, and the meaning of their bands.

It reads core 1.0 (eo:bands, raster:bands) and 1.1 (bands). Projections are taken from the files, not from the items.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from quadrat.errors import ImageError, QuadratError
from quadrat.geo.sources.channel import is_remote, spelling
from quadrat.geo.sources.hrefs import resolved
from quadrat.runtime.formats.parsing import MOST_BYTES, as_json, read_bytes

Json = Mapping[str, Any]

KINDS: Mapping[type, str] = {dict: "an object", list: "a list", str: "a text"}
"""Names of JSON types in errors."""

LISTS = "raster:bands", "eo:bands", "bands"
"""The parallel lists of bands; a field in a later list overrides the same field in an earlier one."""

LONGEST = 1000
"""Largest number of characters of a file in an error."""

SHARED = "unit", "nodata", "raster:scale", "raster:offset"
"""Fields of the item's properties that apply to all bands."""


@dataclass(frozen=True)
class AssetBand:
    """A band of an asset: its file, its number there from 1, and its fields in the item (None: absent)."""

    item: str
    href: str
    number: int
    unit: str | None
    scale: float | None
    offset: float | None
    nodata: float | None
    """An int if a float can't hold it."""
    named: frozenset[int]
    """The numbers of all bands that the item names in the asset."""

    @property
    def meaning(self) -> str:
        """The band's fields as text."""
        return f"unit {self.unit}, scale {self.scale}, offset {self.offset}, nodata {self.nodata}"


@dataclass(frozen=True)
class Item:
    """An item of the file or address ``path``; null means absent. Problems raise ``error``."""

    path: str
    content: Json
    error: type[QuadratError] = ImageError

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.content.get("id", "?"))

    @cached_property
    def properties(self) -> Json:
        """The item's properties."""
        return self._typed(self.content, "properties", dict) or {}

    @cached_property
    def assets(self) -> Mapping[str, Json]:
        """Its assets by their keys."""
        assets = self._typed(self.content, "assets", dict) or {}
        found = {key: self._typed(assets, key, dict, "assets.") for key in assets}
        return {key: asset for key, asset in found.items() if asset is not None}

    @property
    def time(self) -> str:
        """Its datetime, or start_datetime, as text (RFC 3339); empty if it has neither."""
        times = (self._typed(self.properties, name, str, "properties.") for name in ("datetime", "start_datetime"))
        return next((str(time) for time in times if time), "")

    def texts(self, fields: Json, name: str, place: str) -> list[str]:
        """Return the list of texts called ``name`` of an object at ``place``; empty if there is none."""
        found = self._typed(fields, name, list, place) or []
        if not all(isinstance(text, str) for text in found):
            raise self.field_error(f"{place}{name}", "a list of texts", found)
        return list(found)

    def roles(self, key: str) -> list[str]:
        """Return the roles of an asset."""
        return self.texts(self.assets[key], "roles", f"assets.{key}.")

    def band(self, name: str) -> AssetBand:
        """Return the band called ``name``: an asset's key, or else the name of a band within one asset.

        If several assets have a band of that name, exactly one must have the role ``data``; else it is an error.
        """
        assets = self.assets
        if name in assets:
            if len(self._bands(name)) > 1:
                raise self._error(f"asset {name} has several bands: name one of them", name)
            return self._found(name, 0)
        found = [
            (key, number) for key in assets for number, band in enumerate(self._bands(key)) if band.get("name") == name
        ]
        data = [(key, number) for key, number in found if "data" in self.roles(key)]
        chosen = data if len(found) > 1 and data else found
        if len(chosen) != 1:
            several = f"several assets have a band {name}: {', '.join(key for key, _ in chosen)}"
            raise self._error(several if chosen else "the item has no asset and no band of that name", name)
        return self._found(*chosen[0])

    def file(self, key: str) -> str:
        """Return the path or address of an asset's file; a relative one starts at the item's folder."""
        place = f"assets.{key}."
        href = self._typed(self.assets[key], "href", str, place)
        if not href:
            raise self.field_error(f"{place}href", "a path or an address", href)
        return resolved(href, self.path)

    def field_error(self, field: str, expected: str, got: object) -> QuadratError:
        """Return the error of a field with a wrong value."""
        return self.error(
            f"the STAC item's field {field} is wrong",
            file=f"{self.path}, item {self.id}",
            expected=expected,
            got="nothing" if got is None else json.dumps(got)[:200],
            hint="correct the item",
        )

    def _found(self, key: str, number: int) -> AssetBand:
        """Return a band with its fields: its own, or else the asset's, or else those of the item's properties."""
        asset, bands = self.assets[key], self._bands(key)
        band = bands[number] if bands else {}
        name = band.get("name", key)
        of_item = (one for one in self._listed(self.properties, "properties.") if one.get("name") == name)
        shared = {what: self.properties.get(what) for what in SHARED}
        levels = [band, asset, next(of_item, {}), shared]
        place = f"assets.{key} or properties, of band {name}: "
        fields = {
            what: next((one[n] for one in levels for n in (f"raster:{what}", what) if one.get(n) is not None), None)
            for what in ("unit", "scale", "offset", "nodata")
        }
        return AssetBand(
            self.id,
            self.file(key),
            number + 1,
            self._typed(fields, "unit", str, place),
            self._number(fields, "scale", place, finite=True),
            self._number(fields, "offset", place, finite=True),
            self._number(fields, "nodata", place, finite=False),
            frozenset(range(1, len(bands) + 1)) or frozenset({1}),
        )

    def _bands(self, key: str) -> list[Json]:
        """Return the fields of each band of an asset."""
        return self._listed(self.assets[key], f"assets.{key}.")

    def _listed(self, fields: Json, place: str) -> list[Json]:
        """Return the fields of each band from the lists of an object."""
        found: list[dict[str, Any]] = []
        for name in LISTS:
            for number, band in enumerate(self._typed(fields, name, list, place) or []):
                if band is not None and not isinstance(band, dict):
                    raise self.field_error(f"{place}{name}[{number}]", KINDS[dict], band)
                found += [{}] * (number >= len(found))
                found[number] = {**found[number], **{k: v for k, v in (band or {}).items() if v is not None}}
        return list(found)

    def _typed(self, fields: Json, name: str, kind: type, place: str = "") -> Any:
        """Return a field of an object at ``place``, None if it is absent; raise ``error`` if it has another type."""
        value = fields.get(name)
        if value is None or isinstance(value, kind):
            return value
        raise self.field_error(f"{place}{name}", KINDS[kind], value)

    def _number(self, fields: Json, name: str, place: str, *, finite: bool) -> float | None:
        """Return a number, None if absent; JSON has no NaN, so STAC writes "nan", "inf" and "-inf"."""
        value = fields.get(name)
        if value is None:
            return None
        try:
            number = None if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or (finite and not math.isfinite(number)):
            raise self.field_error(
                f"{place}{name}", "a number" if finite else 'a number, "nan", "inf" or "-inf"', value
            )
        return value if isinstance(value, int) and int(number) != value else number

    def _error(self, problem: str, name: str) -> QuadratError:
        named = {key: [str(band.get("name", "?")) for band in self._bands(key)] for key in self.assets}
        return self.error(
            problem,
            file=f"{self.path}, item {self.id}",
            expected=name,
            got=", ".join(key + (f" ({', '.join(bands)})" if bands else "") for key, bands in named.items())
            or "no assets",
            hint="name assets, or bands of assets, under 'bands' of the source",
        )


def same(name: str, bands: Sequence[AssetBand]) -> AssetBand:
    """Return the first of the items' bands; raise ImageError if another has a different meaning."""
    for other in bands[1:]:
        if other.meaning != bands[0].meaning:
            raise ImageError(
                f"band {name} has different meanings in the items of one image",
                file=other.href,
                expected=f"{bands[0].meaning} (item {bands[0].item})",
                got=f"{other.meaning} (item {other.item})",
                hint="make them separate images",
            )
    return bands[0]


def of_date(items: Sequence[Item], date: str) -> list[Item]:
    """Return the items whose time begins with ``date``; raise ImageError if there is none."""
    found = [item for item in items if item.time.startswith(date)]
    if found:
        return found
    raise ImageError(
        "no item has this date",
        file=items[0].path,
        expected=f"an item whose datetime begins with {date}",
        got=", ".join(sorted({item.time or "none" for item in items})),
        hint="correct 'dates' of the image in the catalog, or search for items of that date",
    )


def read_items(path: str, error: type[QuadratError] = ImageError) -> list[Item]:
    """Return the items of a local file or an address: the Item itself, or all of an ItemCollection, in order.

    Raises ``error`` if there are none.
    """
    try:
        content = as_json(_content(path, error).decode("utf-8-sig"), constant=float)
    except (OSError, ValueError, RecursionError, ImportError, QuadratError) as cause:
        told = str(cause)[:LONGEST]
        raise error(
            "the STAC file can't be read", file=path, got=told, hint=spelling(path) or "check the path"
        ) from cause
    kind = content.get("type") if isinstance(content, dict) else None
    items = {"Feature": [content], "FeatureCollection": content.get("features") if kind else []}.get(str(kind), [])
    if not items or not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise error(
            "the file is neither a STAC Item nor an ItemCollection with items",
            file=path,
            expected="type Feature, or FeatureCollection with features",
            got=f"type {kind if kind is None else json.dumps(kind)[:LONGEST].strip(chr(34))}",
            hint="search the catalog for items (e.g. with pystac-client), and save them as one ItemCollection",
        )
    return [Item(path, item, error) for item in items]


def _content(path: str, error: type[QuadratError]) -> bytes:
    if not is_remote(path):
        return read_bytes(Path(path.removeprefix("file://")), error)
    import fsspec  # slow
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError

    try:
        with fsspec.open(path, "rb") as file:
            content = bytes(file.read(MOST_BYTES + 1))
    except (ClientError, BotoCoreError) as cause:
        raise OSError(cause) from cause
    if len(content) > MOST_BYTES:
        raise error("the file is too large", file=path, expected=f"{MOST_BYTES} bytes at most")
    return content
