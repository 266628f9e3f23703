"""Whether a device gives the same answers: of a training that is repeated, and of labels in half precision."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rasterio
import torch
from numpy.typing import NDArray

from benchmarks import plan
from benchmarks.device_clock import compiling, variable
from benchmarks.device_work import Setting, network_of, recipe
from benchmarks.job import Job
from quadrat.models import Fitted
from quadrat.models.common.devices import device, in_full, on_device
from quadrat.models.common.torch_predictor import TorchPredictor
from quadrat.models.training.fitting import fit

EPOCHS = 5
BATCH = 32
MOST = 256
"""Chips to learn from, and to label."""


@dataclass(frozen=True)
class Chips:
    """Chips in memory: ``pixels`` (chip, band, y, x) and ``classes`` (chip, y, x), of so many ``kinds``."""

    pixels: NDArray[Any]
    classes: NDArray[np.uint8]
    kinds: int

    @classmethod
    def of(cls, setting: Setting, scene: int) -> "Chips":
        """Return the first chips of a scene."""
        ground, side = setting.ground, setting.sizes.chip
        with rasterio.open(ground.images[scene]) as image, rasterio.open(ground.labels[scene]) as labels:
            pixels, classes = image.read(), labels.read(1)
        rows, cols = ground.height // side, ground.width // side
        cut = [
            np.s_[..., r * side : (r + 1) * side, c * side : (c + 1) * side] for r in range(rows) for c in range(cols)
        ]
        some = cut[: min(MOST, setting.sizes.held)]
        pixels, classes = (np.stack([whole[place] for place in some]) for whole in (pixels, classes))
        return cls(pixels, classes, ground.classes)

    def __len__(self) -> int:
        """Return the number of chips."""
        return len(self.pixels)

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Return chips and their targets."""
        return self.pixels[indices], {"classes": self.classes[indices]}

    def class_counts(self) -> NDArray[np.int64]:
        """Return the px of each class."""
        return np.bincount(self.classes.ravel(), minlength=self.kinds)


def answers(setting: Setting) -> dict[str, Any]:
    """Train in each precision twice, label unseen chips in each, and tell what is the same."""
    learnt, unseen, told = Chips.of(setting, 0), Chips.of(setting, setting.ground.count - 1), []
    fitted: list[Fitted] = []
    with compiling(compiled=False):
        for precision in setting.sizes.precisions:
            with variable("QUADRAT_PRECISION", precision):
                one, again = (_trained(setting, learnt, number) for number in range(2))
            fitted.append(one)
            told.append(f"Trained twice in {precision}, {apart(one.weights, again.weights)}.")
        network = network_of(setting)
        network.load_state_dict(
            {name: torch.from_numpy(np.array(values)) for name, values in fitted[0].weights.items()}
        )
        run = TorchPredictor(network.to(device()).eval())
        with in_full():
            expected = _labels(run, unseen)
        for precision in setting.sizes.precisions:
            with variable("QUADRAT_PRECISION", precision):
                same = (_labels(run, unseen) == expected).mean()
            told.append(f"{100 * same:.2f} % of {expected.size:,} labels in {precision} are those in float32.")
    return {"told": told}


def apart(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> str:
    """Return in words how far two networks' weights are apart."""
    wrong = [name for name, values in one.items() if not np.array_equal(values, other[name], equal_nan=True)]
    if not wrong:
        return f"all {len(one)} arrays of weights are the same bit by bit"
    most = max(float(np.nanmax(np.abs(one[name].astype(np.float64) - other[name]))) for name in wrong)
    return f"{len(wrong)} of {len(one)} arrays of weights differ, by {most:.2g} at most"


def _trained(setting: Setting, chips: Chips, number: int) -> Fitted:
    job = Job(setting.ground, setting.ground.folder)
    how = replace(recipe(min(BATCH, len(chips) // 2)), epochs=min(EPOCHS, setting.sizes.steps), lr=1e-3)
    few = replace(chips, pixels=chips.pixels[:4], classes=chips.classes[:4])
    return fit(network_of(setting), chips, few, plan.task(setting.ground), how, plan.fresh(job, f"repeated-{number}"))


def _labels(run: TorchPredictor, chips: Chips) -> NDArray[np.int64]:
    """Return the classes of chips (chip, y, x)."""
    parts = (on_device(chips.pixels[first : first + BATCH]) for first in range(0, len(chips), BATCH))
    return np.concatenate([run.tensors(pixels)["scores"].argmax(1).cpu().numpy() for pixels in parts])
