"""STAC Items and ItemCollections: where the assets are, and what is said that their bands mean.

The JSON is read as it stands: core 1.0 (eo:bands, raster:bands) and 1.1 (bands). What is said of projections is not
read, for the files say it themselves.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from quadrat.errors import ImageError, QuadratError

Json = Mapping[str, Any]


@dataclass(frozen=True)
class AssetBand:
    """A band of an asset: its file, its number there from 1, and what the item says of it (None: nothing)."""

    item: str
    href: str
    number: int
    unit: str | None
    scale: float | None
    offset: float | None
    nodata: float | None
    named: frozenset[int]
    """The numbers of all bands that the item names in the asset."""

    @property
    def meaning(self) -> str:
        """What the item says of the band, in words."""
        return f"unit {self.unit}, scale {self.scale}, offset {self.offset}, nodata {self.nodata}"


@dataclass(frozen=True)
class Item:
    """An item of the file or address ``path``."""

    path: str
    content: Json

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.content.get("id", "?"))

    @property
    def time(self) -> str:
        """When it was seen, or the first time if over a while: a text of RFC 3339; empty where it doesn't say."""
        properties: Json = self.content.get("properties") or {}
        return str(properties.get("datetime") or properties.get("start_datetime") or "")

    def band(self, name: str) -> AssetBand:
        """Return the band called ``name``: an asset's key, or else the name of a band within one asset.

        Of several assets with a band of that name, one whose role is ``data`` counts; else it is an error.
        """
        assets: Mapping[str, Json] = self.content.get("assets", {})
        if name in assets:
            bands = _bands(assets[name])
            if len(bands) > 1:
                raise self._error(f"asset {name} has several bands: name one of them", name)
            return self._found(assets[name], 0)
        found = [
            (key, number)
            for key, asset in assets.items()
            for number, band in enumerate(_bands(asset))
            if band.get("name") == name
        ]
        data = [(key, number) for key, number in found if "data" in assets[key].get("roles", ())]
        chosen = data if len(found) > 1 and data else found
        if len(chosen) != 1:
            several = f"several assets have a band {name}: {', '.join(key for key, _ in chosen)}"
            raise self._error(several if chosen else "the item has no asset and no band of that name", name)
        key, number = chosen[0]
        return self._found(assets[key], number)

    def file(self, asset: Json) -> str:
        """Return the path or address of an asset's file; a relative one counts from the item's own place."""
        return _absolute(str(asset["href"]), self.path)

    def _found(self, asset: Json, number: int) -> AssetBand:
        bands = _bands(asset)
        said = {**asset, **bands[number]} if bands else asset  # core 1.1: what all bands share stands at the asset
        return AssetBand(
            self.id,
            self.file(asset),
            number + 1,
            said.get("unit"),
            _number(said.get("raster:scale", said.get("scale"))),
            _number(said.get("raster:offset", said.get("offset"))),
            _number(said.get("nodata")),
            frozenset(range(1, len(bands) + 1)) or frozenset({1}),
        )

    def _error(self, problem: str, name: str) -> ImageError:
        keys = [
            key + (f" ({', '.join(str(b.get('name', '?')) for b in _bands(asset))})" if _bands(asset) else "")
            for key, asset in self.content.get("assets", {}).items()
        ]
        return ImageError(
            problem,
            file=f"{self.path}, item {self.id}",
            expected=name,
            got=", ".join(keys) or "no assets",
            mend="name assets, or bands of assets, under 'bands' of the source",
        )


def same(name: str, bands: Sequence[AssetBand]) -> AssetBand:
    """Return the first of the items' bands; raise ImageError where another means something else."""
    for other in bands[1:]:
        if other.meaning != bands[0].meaning:
            raise ImageError(
                f"band {name} means different things in different items of one image",
                file=other.href,
                expected=f"{bands[0].meaning} (item {bands[0].item})",
                got=f"{other.meaning} (item {other.item})",
                mend="make them images of their own",
            )
    return bands[0]


def of_date(items: Sequence[Item], date: str) -> list[Item]:
    """Return the items whose time begins with ``date``; raise ImageError where there is none."""
    found = [item for item in items if item.time.startswith(date)]
    if found:
        return found
    raise ImageError(
        "no item is of this date",
        file=items[0].path,
        expected=f"an item whose datetime begins with {date}",
        got=", ".join(sorted({item.time or "none" for item in items})),
        mend="correct 'dates' of the image in the catalog, or search for items of that date",
    )


def read_items(path: str, error: type[QuadratError] = ImageError) -> list[Item]:
    """Return the items of a local file or an address: one of an Item, all of an ItemCollection, in its order.

    Raises ``error`` where there are none.
    """
    try:
        content = json.loads(_text(path))
    except (OSError, ValueError) as cause:
        raise error("the STAC file can't be read", file=path, got=cause, mend="check the path") from cause
    kind = content.get("type") if isinstance(content, dict) else None
    items = {"Feature": [content], "FeatureCollection": content.get("features", []) if kind else []}.get(str(kind), [])
    if not items:
        raise error(
            "the file is neither a STAC Item nor an ItemCollection with items",
            file=path,
            expected="type Feature, or FeatureCollection with features",
            got=f"type {kind}",
            mend="search the catalog for items (e.g. with pystac-client), and save them as one ItemCollection",
        )
    return [Item(path, item) for item in items]


def _text(path: str) -> str:
    if "://" not in path:
        return Path(path).read_text(encoding="utf-8")
    import fsspec  # takes its time

    with fsspec.open(path, "rt", encoding="utf-8") as file:
        return str(file.read())


def _bands(asset: Json) -> list[Json]:
    """Return what is said of each band: ``bands``, or else ``eo:bands`` and ``raster:bands`` side by side."""
    if "bands" in asset:
        return list(asset["bands"])
    names, values = asset.get("eo:bands", []), asset.get("raster:bands", [])
    return [dict(_merged(names, values, number)) for number in range(max(len(names), len(values)))]


def _merged(names: list[Json], values: list[Json], number: int) -> Iterator[tuple[str, Any]]:
    for said in (names, values):
        if number < len(said):
            yield from said[number].items()


def _absolute(href: str, path: str) -> str:
    if "://" in href or href.startswith("/"):
        return href
    if "://" in path:
        scheme, _, rest = path.partition("://")  # urljoin knows no s3://
        return f"{scheme}://{urljoin(f'http://{rest}', href).removeprefix('http://')}"
    return (Path(path).parent / href).as_posix()


def _number(value: object) -> float | None:
    """Return a number, None where nothing is said; JSON has no NaN, so STAC writes "nan"."""
    return None if value is None else math.nan if value == "nan" else float(str(value))
