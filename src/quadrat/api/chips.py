"""Chips of a split as a dataset of torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from quadrat.chips.store import ABOUT, About, Chips, open_chips
from quadrat.errors import ChipError
from quadrat.geo.sources.bands import Band, names_of
from quadrat.runtime.formats.yaml import load

if TYPE_CHECKING:
    import geopandas

Chip = tuple[Tensor, dict[str, Tensor]]
"""Raw pixels (band, y, x), and targets by name, whose shapes the class ``Targets`` of the task tells."""


class ChipDataset(Dataset[Chip]):
    """The chips of one split of a chip store (``data/chips``), in the order of its index.

    A chip is raw pixels (band, y, x) in their own data type and unit, and its targets by name: ``classes`` (y, x) with
    255 where nothing is learnt (semantic segmentation), ``values`` (y, x) with NaN (pixel regression), ``boxes``
    (box, 5) in px with the class id, or 255 where a box is neither object nor background (object detection),
    ``classes`` () or (class,) (chip classification).

    Files are mapped, so pixels move when they are read. Workers of a DataLoader map them anew and copy nothing; where
    chips have boxes, the DataLoader needs ``collate_fn=ChipDataset.collate``.
    """

    def __init__(self, folder: str | Path, split: str) -> None:
        """Map the chips of ``split`` in ``folder``; raise ChipError if there are none, or the store isn't complete."""
        self._folder, self._split = Path(folder), split
        if not (self._folder / ABOUT).is_file():
            raise ChipError("there is no complete chip store", file=folder, hint="run the stage 'chip'")
        about = load(self._folder / ABOUT, About, ChipError)
        self._chips: Chips = open_chips(self._folder, split, about.classes, names_of(about.bands))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as the folder and the split: workers open the files themselves."""
        return type(self), (self._folder, self._split)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self._chips)

    def __getitem__(self, index: int) -> Chip:
        """Return a chip; raise IndexError beyond the last."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"chip {index} of {len(self)}")
        pixels, targets = self._chips.read(np.array([index % len(self)], np.intp))
        return torch.from_numpy(pixels[0]), {name: torch.from_numpy(values)[0] for name, values in targets.items()}

    @property
    def bands(self) -> tuple[Band, ...]:
        """Name, data type, unit, scale, offset and nodata of each band of a chip."""
        return self._chips.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by id."""
        return tuple(column.partition("_")[2] for column in self._chips.columns)

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """How many labels of each class (class,) the chips hold together."""
        return self._chips.class_counts()

    @property
    def index(self) -> "geopandas.GeoDataFrame":
        """A row for each chip, in order: scene, place, labels of each class, and footprint."""
        return self._chips.index

    @staticmethod
    def collate(chips: Sequence[Chip]) -> Chip:
        """Return chips as one batch (chip, …); targets of several lengths are filled up with NaN to the longest."""
        pixels = torch.stack([pixels for pixels, _ in chips])
        return pixels, {name: _stacked([targets[name] for _, targets in chips]) for name in chips[0][1]}


def _stacked(parts: Sequence[Tensor]) -> Tensor:
    if len({part.shape for part in parts}) == 1:
        return torch.stack(list(parts))
    longest = max(len(part) for part in parts)
    batch = parts[0].new_full((len(parts), longest, *parts[0].shape[1:]), torch.nan)
    for filled, part in zip(batch, parts, strict=True):
        filled[: len(part)] = part
    return batch
