"""The chip store: raw pixels and targets in few large ``.npy`` files, and an index that opens in QGIS.

data/chips/chips.json              bands, class names and chip size
data/chips/index.parquet           GeoParquet, a row for each chip
data/chips/<scene>/                the same two of the scene's chips alone, and
data/chips/<scene>/pixels-000.npy  (chip, band, y, x), raw
data/chips/<scene>/classes-000.npy (chip, …): the targets by name

A target of any length (boxes) is stored end to end, with the end of each chip's part in ``<name>_ends-000.npy``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ChipError
from quadrat.geo.geometry.footprints import EARTH
from quadrat.geo.sources.bands import Band, names_of, undated
from quadrat.runtime.files import replaced, write_json
from quadrat.runtime.formats.section import Section

if TYPE_CHECKING:
    import pandas as pd

ABOUT, INDEX = "chips.json", "index.parquet"

COLUMNS = ("scene", "split", "row", "col", "height", "width", "shard", "slot", "valid")
"""The columns of the index before the label counts and the footprint."""

TOGETHER = 64
"""Number of scenes whose rows are concatenated at once."""


class About(Section):
    """``chips.json``: what a chip holds."""

    bands: tuple[Band, ...]
    classes: tuple[str, ...]
    """The columns of the index that count labels, by class id."""
    size: int
    """Height and width, px."""


def write_index(folder: Path, scenes: Sequence[str]) -> dict[str, int]:
    """Write the index of the chips of all ``scenes``; it is written last, because it marks a complete store.

    Returns the number of chips per split; raises ChipError if bands have different meanings.
    """
    import geopandas

    about = _read_about(folder / scenes[0])
    for scene in scenes:
        bands = _read_about(folder / scene).bands
        if undated(bands) != undated(about.bands):
            raise ChipError("bands differ between scenes", scene, expected=about.bands, got=bands)
    write_about(folder, about)
    rows, ground, placed = _rows_of([folder / scene for scene in scenes])
    if placed.any():  # chips that are not on Earth get no footprint beside chips that are
        ground[~placed] = None
    index = geopandas.GeoDataFrame(rows, geometry=geopandas.GeoSeries(ground, crs=EARTH if placed.any() else None))
    with replaced(folder / INDEX, synced=True) as part:
        index.to_parquet(part, write_covering_bbox=False)
    return {str(split): int(count) for split, count in index["split"].value_counts().items()}


def ground_of(folder: Path, split: str) -> tuple[float, float, float, float] | None:
    """Return west, south, east and north of a split's chips; None where they have no place on Earth.

    West is larger than east where they are nearest to each other across 180° (RFC 7946, 5.2).
    """
    import geopandas
    import shapely

    index = geopandas.read_parquet(folder / INDEX, columns=["split", "geometry"])
    if index.crs is None or not (index["split"] == split).any():
        return None
    bounds = shapely.bounds(shapely.get_parts(index.geometry[index["split"] == split].to_numpy()))
    if not len(bounds):
        return None
    (west, south), (east, north) = bounds[:, :2].min(0).tolist(), bounds[:, 2:].max(0).tolist()
    bounds = bounds[bounds[:, 0].argsort()]
    ends = np.maximum.accumulate(bounds[:-1, 2])
    gaps = bounds[1:, 0] - ends
    if gaps.max(initial=0) > 360 - (east - west):
        west, east = float(bounds[1 + gaps.argmax(), 0]), float(ends[gaps.argmax()])
    return west, south, east, north


def write_about(folder: Path, about: About, *, synced: bool = True) -> None:
    """Write ``chips.json``."""
    write_json(folder / ABOUT, about.model_dump(mode="json"), synced=synced)


def _read_about(folder: Path) -> About:
    return About.model_validate_json((folder / ABOUT).read_bytes())


def _rows_of(folders: Sequence[Path]) -> tuple["pd.DataFrame", NDArray[np.object_], NDArray[np.bool_]]:
    """Return the rows of all scenes' indices, their footprints, and which of these are on Earth."""
    import pandas as pd
    import shapely
    from pyarrow.parquet import read_table

    blocks: list[pd.DataFrame] = []
    frames: list[pd.DataFrame] = []
    ground: list[NDArray[np.object_]] = []
    placed: list[NDArray[np.bool_]] = []
    for folder in folders:
        table = read_table(folder / INDEX)  # geopandas takes 25 ms per file to parse the CRS
        if len(table) or not (frames or blocks):  # an empty table has no column types
            about = json.loads(table.schema.metadata[b"geo"])["columns"]["geometry"]
            frames.append(table.drop_columns(["geometry"]).to_pandas())
            ground.append(shapely.from_wkb(table["geometry"].to_numpy()))
            placed.append(np.full(len(table), about["crs"] is not None))
        if len(frames) > TOGETHER:  # many small frames take more memory than their rows
            blocks.append(pd.concat([some for some in frames if len(some)], ignore_index=True))
            frames = []
    frames = [*blocks, *frames]
    rows = pd.concat([some for some in frames if len(some)] or frames, ignore_index=True)
    return rows, np.concatenate(ground), np.concatenate(placed)


@dataclass(frozen=True)
class Chips:
    """The chips of one split, mapped: pixels move only when they are read."""

    bands: tuple[Band, ...]
    index: "pd.DataFrame"
    shards: tuple[Mapping[str, NDArray[Any]], ...]
    shard: NDArray[np.intp]
    slot: NDArray[np.intp]
    columns: tuple[str, ...]
    """The columns of ``index`` that count labels, by class id."""
    folder: Path
    split: str

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle where the chips are, without their pixels."""
        return open_chips, (self.folder.absolute(), self.split, self.columns, names_of(self.bands))

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.slot)

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Return the pixels (chip, band, y, x) and the targets by name of the chips at ``indices``, in that order.

        Targets of any length are filled up with NaN to the longest.
        """
        shard, slot = self.shard[indices], self.slot[indices]
        ragged = {name.removesuffix("_ends") for name in self.shards[0] if name.endswith("_ends")}
        gathered = {
            name: np.empty((len(indices), *array.shape[1:]), array.dtype)
            for name, array in self.shards[0].items()
            if name.removesuffix("_ends") not in ragged
        }
        for name, array in gathered.items():
            for row, (number, place) in enumerate(zip(shard.tolist(), slot.tolist(), strict=True)):
                array[row] = self.shards[number][name][place]  # one copy, from the mapped file
        pixels = gathered.pop("pixels")
        return pixels, gathered | {name: self._filled_up(name, shard, slot) for name in sorted(ragged)}

    def class_counts(self) -> NDArray[np.int64]:
        """Return how many labels of each class (K,) the chips hold together."""
        return self.index[list(self.columns)].sum().to_numpy(np.int64)

    def _filled_up(self, name: str, shard: NDArray[np.intp], slot: NDArray[np.intp]) -> NDArray[Any]:
        parts = []
        for number, place in zip(shard, slot, strict=True):
            ends = self.shards[number][f"{name}_ends"]
            parts.append(self.shards[number][name][ends[place - 1] if place else 0 : ends[place]])
        filled = np.full((len(parts), max(map(len, parts), default=0), *parts[0].shape[1:]), np.nan, parts[0].dtype)
        for row, part in zip(filled, parts, strict=True):
            row[: len(part)] = part
        return filled


def open_chips(folder: Path, split: str, columns: Sequence[str], bands: Sequence[str]) -> Chips:
    """Map the chips of ``split``; raise ChipError if the store is missing or was made for other classes or bands."""
    import geopandas

    try:
        about = _read_about(folder)
        index = geopandas.read_parquet(folder / INDEX)
    except FileNotFoundError as error:
        raise ChipError("there is no complete chip store", file=folder, hint="run the stage 'chip'") from error
    for what, made, expected in (
        ("classes", about.classes, tuple(columns)),
        ("bands", names_of(about.bands), tuple(bands)),
    ):
        if made != expected:
            raise ChipError(
                f"the chips were cut for other {what}",
                file=folder,
                expected=expected,
                got=made,
                hint="run 'chip' again",
            )
    index = index[index["split"] == split].reset_index(drop=True)
    if index.empty:
        raise ChipError(
            f"no chip of split '{split}'",
            file=folder,
            hint=f"give a scene the split '{split}', or lower chip.min_valid_fraction and chip.min_targets",
        )
    keys = index[["scene", "shard"]].drop_duplicates().reset_index(drop=True)
    shards = tuple(_shard(folder / scene, number) for scene, number in keys.itertuples(index=False))
    number = index.merge(keys.assign(number=keys.index), on=["scene", "shard"], how="left")["number"]
    places = number.to_numpy(np.intp), index["slot"].to_numpy(np.intp)
    return Chips(about.bands, index, shards, *places, tuple(columns), folder, split)


def _shard(folder: Path, number: int) -> dict[str, NDArray[Any]]:
    files = sorted(folder.glob(f"*-{number:03}.npy"))
    mapped = ((file.stem.rsplit("-", 1)[0], np.load(file, mmap_mode="r")) for file in files)
    return {name: np.asarray(array) for name, array in mapped}  # a view of a plain array costs half of a memmap's
