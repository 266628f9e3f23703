"""Pools the dates of a time series: one encoder sees each date, and its maps are combined.

As in U-TAE (Garnot & Landrieu 2021, "Panoptic segmentation of satellite image time series with convolutional temporal
attention networks"), the maps of every scale are pooled, and the attention is computed at the deepest one and upsampled
to the others. As in L-TAE (Garnot & Landrieu 2020), its query is learnt, so a date's score is linear in its features.
Unlike there, dates have no positional encoding: their order does not matter, and years may differ.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

from quadrat.models.common.model import Pooling

SMALLEST = 1e-6
"""Less than the weight of any date with a value: one valid px of 512 × 512 in a map's cell weighs more."""


class Pooled(nn.Module):
    """An encoder that sees each date by itself; its maps are pooled over the dates with values.

    A date's weight in a cell of a map is the share of its px there with all bands. Cells without any value are 0. In
    training, the encoder skips dates without any value in a chip.
    """

    def __init__(self, encoder: nn.Module, channels: int, dates: int, pooling: Pooling) -> None:
        """Take an encoder of a date's bands (chip, band, y, x) that gives one map (chip, channel, y, x), or several.

        ``attention`` uses its last map, of ``channels``, and starts as the mean. Maps may be vectors (chip, channel)
        of whole chips.
        """
        super().__init__()
        self.encoder = encoder
        self._dates, self._pooling = dates, pooling
        self.score = nn.Conv2d(channels, 1, 1, bias=False) if pooling == "attention" else None
        if self.score is not None:
            nn.init.zeros_(self.score.weight)

    @property
    def output_stride(self) -> int:
        """The encoder's output stride, px."""
        return int(cast("Any", self.encoder).output_stride)

    def forward(self, series: Tensor) -> Any:
        """Return the encoder's maps, pooled over dates, of (chip, date × band, y, x) with NaN for no value."""
        chips, channels, height, width = series.shape
        each = series.reshape(chips * self._dates, channels // self._dates, height, width)
        valid = ~torch.isnan(each).any(1, keepdim=True)  # (chip × date, 1, y, x)
        found = self._seen(torch.where(valid, each, 0.0), valid)
        maps = [found] if isinstance(found, Tensor) else list(found)
        scores = None if self.score is None else self.score(_as_map(maps[-1]))
        pooled = [self._pool(one, valid, scores).flatten(one.ndim - 1) for one in maps]
        return pooled[0] if isinstance(found, Tensor) else pooled

    def _seen(self, each: Tensor, valid: Tensor) -> Any:
        """Return the encoder's maps of all dates; in training, they are 0 for a date without a value.

        So missing dates do not change the statistics of batch normalisation.
        """
        if not self.training:
            return self.encoder(each)
        there = valid.flatten(1).any(1)
        if bool(there.all()) or not bool(there.any()):
            return self.encoder(each)
        found = self.encoder(each[there])
        whole = [_spread(one, there) for one in ([found] if isinstance(found, Tensor) else found)]
        return whole[0] if isinstance(found, Tensor) else whole

    def _pool(self, flat: Tensor, valid: Tensor, scores: Tensor | None) -> Tensor:
        """Return (chip, channel, y, x) of a map (chip × date, channel, y, x)."""
        cells = _as_map(flat)
        by_date = self._by_date(cells)
        share = self._by_date(_share(valid, flat))
        if self._pooling == "max":
            largest = torch.where(share > 0, by_date, torch.finfo(by_date.dtype).min).amax(1)
            return torch.where((share > 0).any(1), largest, 0.0)
        weight = share
        if scores is not None:
            judged = interpolate(scores.float(), size=cells.shape[2:], mode="bilinear", align_corners=False)
            judged = self._by_date(judged)
            there = torch.where(share > 0, judged, torch.finfo(judged.dtype).min)
            weight = share * (there - there.amax(1, keepdim=True)).exp()
        return (weight * by_date).sum(1) / weight.sum(1).clamp_min(SMALLEST)

    def _by_date(self, flat: Tensor) -> Tensor:
        """Return (chip, date, channel, y, x)."""
        return flat.reshape(flat.shape[0] // self._dates, self._dates, *flat.shape[1:])


def _as_map(one: Tensor) -> Tensor:
    return one[..., None, None] if one.ndim == 2 else one


def _share(valid: Tensor, one: Tensor) -> Tensor:
    """Return (chip × date, 1, y, x): the share of valid px in each cell of a map."""
    if one.ndim == 2:
        return valid.float().mean((2, 3), keepdim=True)
    return avg_pool2d(valid.float(), int(valid.shape[-1] // one.shape[-1]))


def _spread(some: Tensor, there: Tensor) -> Tensor:
    whole = some.new_zeros(len(there), *some.shape[1:])
    whole[there] = some
    return whole
