"""Writes the chips of a scene to the chip store."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from quadrat.chips.store import COLUMNS, INDEX, About, write_about
from quadrat.geo.geometry.footprints import EARTH, on_earth
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.runtime.files import ANY, replaced

if TYPE_CHECKING:
    import geopandas

SHARD_BYTES = 96 * 1024 * 1024
"""Approximate largest size of a file of pixels; then the next one begins."""


class SceneChips:
    """Writes the chips of one scene in order, all or none. A context manager."""

    def __init__(
        self, folder: Path, scene: str, split: str, grid: Grid, about: About, ragged: Collection[str] = ()
    ) -> None:
        """Write ``folder``/``scene``; ``ragged`` names the targets whose first axis may be of any length."""
        self._place, self._scene, self._split, self._grid = folder / scene, scene, split, grid
        self._about, self._ragged = about, frozenset(ragged)
        self._rows: list[tuple[Any, ...]] = []
        self._shard = -1
        self._slot = 0
        self._files: dict[str, _Appended] = {}
        self._open, self._whole = ExitStack(), ExitStack()

    def __enter__(self) -> Self:
        """Return itself."""
        self._folder = self._whole.enter_context(replaced(self._place, ANY))
        self._folder.mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the files, the index last; after an error, leave what was there before."""
        if kind is not None:
            self._open.__exit__(kind, error, traceback)
            self._whole.__exit__(kind, error, traceback)
            return
        with self._whole:
            self._open.close()
            write_about(self._folder, self._about, synced=False)
            self._index().to_parquet(self._folder / INDEX, write_covering_bbox=False)

    def append(
        self,
        window: Window,
        pixels: NDArray[Any],
        target: Mapping[str, NDArray[Any]],
        valid: float,
        class_counts: NDArray[np.int64],
    ) -> None:
        """Add a chip: ``pixels`` (band, y, x); ``valid`` is the share of px that count."""
        arrays = {"pixels": pixels[None]}
        for name, array in target.items():
            arrays[name] = array if name in self._ragged else array[None]
        if self._shard < 0 or (self._slot + 1) * pixels.nbytes > SHARD_BYTES:
            self._begin()
        for name in self._ragged & arrays.keys():
            end = self._files[name].count if name in self._files else 0
            arrays[f"{name}_ends"] = np.array([end + len(arrays[name])], np.int64)
        if not self._files:
            self._open_files(arrays)
        for name, array in arrays.items():
            self._files[name].extend(array)
        place = window.row, window.col, window.height, window.width, self._shard, self._slot
        row = (self._scene, self._split, *place, valid, *class_counts.tolist())
        self._rows.append(row)
        self._slot += 1

    def _index(self) -> "geopandas.GeoDataFrame":
        """Return a row for each chip, with its footprint in longitude and latitude (in px without a CRS)."""
        import geopandas
        import pandas as pd

        frame = pd.DataFrame(self._rows, columns=[*COLUMNS, *self._about.classes])
        footprints = self._grid.footprints(frame[["row", "col", "height", "width"]].to_numpy(np.int64))
        if not self._grid.on_earth:
            return geopandas.GeoDataFrame(frame, geometry=footprints)
        return geopandas.GeoDataFrame(frame, geometry=on_earth(footprints, self._grid.crs), crs=EARTH)

    def _begin(self) -> None:
        self._open.close()
        self._files = {}
        self._shard, self._slot = self._shard + 1, 0

    def _open_files(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._files = {
            name: self._open.enter_context(_Appended(self._folder / f"{name}-{self._shard:03}.npy", array))
            for name, array in arrays.items()
        }


class _Appended:
    """A ``.npy`` file that grows along its first axis; its header is written anew at the end."""

    def __init__(self, path: Path, first: NDArray[Any]) -> None:
        self._path, self._shape, self._dtype, self.count = path, first.shape[1:], first.dtype, 0
        self._laid_out = np.empty_like(first, order="C")  # reused, so that arrays do not each allocate memory

    def __enter__(self) -> Self:
        self._file: IO[bytes] = self._path.open("wb")
        self._header()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):  # the buffer may not fit on a full disk; the file is discarded anyway
                self._file.close()
            return
        with self._file:
            end = self._file.tell()
            self._file.seek(0)
            self._header()  # numpy pads the header, so a larger count fits into it
            assert self._file.tell() + self.count * int(np.prod(self._shape)) * self._dtype.itemsize == end

    def extend(self, array: NDArray[Any]) -> None:
        assert (array.shape[1:], array.dtype) == (self._shape, self._dtype)
        if not array.flags.c_contiguous and array.shape == self._laid_out.shape:
            np.copyto(self._laid_out, array)
            array = self._laid_out
        self._file.write(np.ascontiguousarray(array).data)
        self.count += len(array)

    def _header(self) -> None:
        shape = (self.count, *self._shape)
        header = {"descr": npy.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(self._file, header)
