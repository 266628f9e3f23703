"""How images look: which bands are red, green and blue, and what is black and full colour."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.sources.bands import Band, dates_of
from quadrat.scenes.scene import OpenScene
from quadrat.serving.units import InUnits

SEEN = 512
"""Side of the overview by whose values a picture is stretched, px."""

KEPT = 64
"""Images whose stretch is remembered."""


@dataclass
class Look:
    """Bands and stretch of pictures; the same for a whole image, so that tiles fit each other."""

    places: tuple[int, ...]
    """Of three bands, or one, among those of the model."""
    percentiles: tuple[float, float] = (2, 98)
    _known: OrderedDict[str, NDArray[np.float64]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, params: Mapping[str, Any], bands: Sequence[Band]) -> Self:
        """Return the look of ``eval.pictures`` of parameters; else the first three bands, or the first."""
        names = [band.name for band in bands]
        section = params.get("eval")
        pictures = section.get("pictures") if isinstance(section, dict) else None
        wanted = pictures.get("bands") if isinstance(pictures, dict) else None
        stretch = pictures.get("stretch") if isinstance(pictures, dict) else None
        if isinstance(wanted, list) and len(wanted) in {1, 3} and all(name in names for name in wanted):
            places = tuple(names.index(name) for name in wanted)
        else:
            places = (0, 1, 2) if len(names) >= 3 else (0,)
        if isinstance(stretch, list) and len(stretch) == 2 and all(isinstance(v, int | float) for v in stretch):
            low, high = stretch
            if 0 <= low < high <= 100:
                return cls(places, (low, high))
        return cls(places)

    def drawn(self, key: str, scene: OpenScene, values: NDArray[Any], seen: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return ``values`` (date × band, y, x) as red, green, blue and opacity (4, y, x); ``key`` names the scene.

        Each pixel is of the first date on which it is ``seen`` (date, y, x).
        """
        pixels, valid = _of_first_date(values, seen)
        low, high = self._limits(key, scene)[..., None, None]
        with np.errstate(invalid="ignore"):
            scaled = np.clip((pixels[[*self.places]] - low) / np.where(high > low, high - low, 1), 0, 1)
        shown = np.where(np.isfinite(scaled) & valid, np.rint(np.nan_to_num(scaled) * 255), 0).astype(np.uint8)
        return np.concatenate([np.broadcast_to(shown, (3, *valid.shape)), valid[None] * np.uint8(255)])

    def overview(self, key: str, scene: OpenScene, side: int) -> NDArray[np.uint8]:
        """Return the whole image in at most ``side`` px, drawn."""
        return self.drawn(key, scene, *_afar(scene, side))

    def _limits(self, key: str, scene: OpenScene) -> NDArray[np.float64]:
        """Return the values (2, band) that are black and full colour."""
        with self._lock:
            if key not in self._known:
                pixels, valid = _of_first_date(*_afar(scene, SEEN))
                self._known[key] = np.array([self._spread(pixels[p], valid) for p in self.places]).T
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
            return self._known[key]

    def _spread(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[float, float]:
        seen = values[valid & np.isfinite(values)]
        low, high = np.percentile(seen, self.percentiles) if seen.size else (0.0, 1.0)
        return float(low), float(high)


def _afar(scene: OpenScene, side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return an image in at most ``side`` px: values (date × band, y, x), and where all bands have one (date, y, x)."""
    assert isinstance(scene.raster, InUnits)
    values, valid = scene.raster.overview(side)
    dates = max(1, len(dates_of(scene.raster.bands)))
    return values, np.logical_and.reduce(valid.reshape(dates, -1, *valid.shape[1:]), axis=1)


def _of_first_date(values: NDArray[Any], seen: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return values (band, y, x) of the first date on which a pixel is ``seen`` (date, y, x), and where one is."""
    by_date = values.reshape(len(seen), -1, *seen.shape[1:])
    return np.take_along_axis(by_date, seen.argmax(0)[None, None], 0)[0], np.logical_or.reduce(seen)
