"""How images look: which bands are red, green and blue, and what is black and full colour."""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.sources.bands import Band
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

    def drawn(self, key: str, scene: OpenScene, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return ``values`` (band, y, x) as red, green, blue and opacity (4, y, x); ``key`` names the scene."""
        low, high = self._limits(key, scene)[..., None, None]
        with np.errstate(invalid="ignore"):
            scaled = np.clip((values[[*self.places]] - low) / np.where(high > low, high - low, 1), 0, 1)
        shown = np.where(np.isfinite(scaled) & valid, np.rint(np.nan_to_num(scaled) * 255), 0).astype(np.uint8)
        return np.concatenate([np.broadcast_to(shown, (3, *valid.shape)), valid[None] * np.uint8(255)])

    def overview(self, key: str, scene: OpenScene, side: int) -> NDArray[np.uint8]:
        """Return the whole image in at most ``side`` px, drawn."""
        assert isinstance(scene.raster, InUnits)
        values, valid = scene.raster.overview(side)
        return self.drawn(key, scene, values, np.asarray(valid.all(0)))

    def _limits(self, key: str, scene: OpenScene) -> NDArray[np.float64]:
        """Return the values (2, band) that are black and full colour."""
        with self._lock:
            if key not in self._known:
                assert isinstance(scene.raster, InUnits)
                values, valid = scene.raster.overview(SEEN)
                self._known[key] = np.array([self._spread(values[p], valid[p]) for p in self.places]).T
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
            return self._known[key]

    def _spread(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> tuple[float, float]:
        seen = values[valid & np.isfinite(values)]
        low, high = np.percentile(seen, self.percentiles) if seen.size else (0.0, 1.0)
        return float(low), float(high)
