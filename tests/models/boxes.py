"""A small world of boxes for tests of models: blobs of two classes on a plain, and a task that counts them."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Inputs, Recipe
from quadrat.models.common.model import Augment
from quadrat.tasks.common.symmetries import turn_boxes


@dataclass(frozen=True)
class Weights:
    """The section ``train.loss``."""

    classification: float = 1.0
    boxes: float = 1.0


@dataclass(frozen=True)
class Training:
    """The section ``train``."""

    loss: Weights = Weights()
    augment: Augment = field(default_factory=lambda: Augment(flip_rotate=True, gain=0.0, offset=0.0))
    weight_decay: float = 0.01
    encoder_lr: float = 1.0
    warmup: float = 0.1
    gradient_clip_norm: float = 1.0
    ema_decay: float = 0.9
    patience: int = 1000


@dataclass(frozen=True)
class Found:
    """How many objects there are, and how many are the best guess of some location."""

    objects: int
    found: int

    def __add__(self, other: "Found") -> "Found":
        return Found(self.objects + other.objects, self.found + other.found)

    def summary(self) -> dict[str, float | int | None]:
        return {"map50": self.found / self.objects if self.objects else None, "support": self.objects}


class Boxes:
    """A task: an object is found where the best box near it, by its class's score, hits it with at least 0.3."""

    kind = "boxes_in_tests"
    unit = "boxes"
    monitor = "map50"
    names = ("bright", "dark")

    def __init__(self, classes: tuple[Any, ...] = names) -> None:
        self.classes = classes

    def model_copy(self, update: Mapping[str, Any]) -> "Boxes":
        return Boxes(**update)

    def turn(self, target: Mapping[str, torch.Tensor], symmetry: int, size: int) -> dict[str, torch.Tensor]:
        boxes = target["boxes"]
        return {"boxes": torch.cat([turn_boxes(boxes[..., :4], symmetry, size), boxes[..., 4:]], -1)}

    def tally(self, *_: Any) -> None:
        """Count arrays alone."""

    def no_counts(self) -> Found:
        return Found(0, 0)

    def chip_counts(self, target: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]) -> Found:
        found = objects = 0
        for labels, boxes, scores in zip(target["boxes"], outputs["boxes"], outputs["scores"], strict=True):
            for label in labels[labels[:, 4] < IGNORE]:
                middle = (boxes[:, :2] + boxes[:, 2:] - label[:2] - label[2:4]) / 2
                near = np.where((np.abs(middle) < 8).all(1), scores[:, int(label[4])], 0)
                found += bool(near.max() >= 0.3) and overlap(boxes[near.argmax()], label) > 0.5
                objects += 1
        return Found(objects, found)


for part in ("targets", "scoring"):  # the task is both
    module = ModuleType(f"quadrat.tasks.{Boxes.kind}.{part}")
    setattr(module, part.title(), lambda task: task)
    sys.modules[module.__name__] = module


class Memory:
    """Chips in memory: bright discs in the first band, dark squares in the last, on a noisy plain."""

    def __init__(self, count: int, seed: int, size: int = 64, bands: int = 3) -> None:
        generator = np.random.default_rng(seed)
        self.pixels = generator.normal(100, 8, (count, bands, size, size))
        self.boxes = np.full((count, 4, 5), np.nan, np.float32)
        y, x = np.mgrid[:size, :size] + 0.5
        for chip in range(count):
            for place in range(generator.integers(0, 5)):
                half = generator.uniform(4, 9)
                centre = np.array([place % 2, place // 2]) * size / 2 + size / 4 + generator.uniform(-4, 4, 2)
                inside = np.hypot(x - centre[0], y - centre[1]) < half
                if place % 2:
                    inside = (np.abs(x - centre[0]) < half) & (np.abs(y - centre[1]) < half)
                self.pixels[chip, -1 if place % 2 else 0][inside] += -60 if place % 2 else 60
                self.boxes[chip, place] = *(centre - half), *(centre + half), place % 2
        self.pixels = self.pixels.clip(0, 255).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        return self.pixels[indices], {"boxes": self.boxes[indices]}

    def class_counts(self) -> NDArray[np.int64]:
        return np.array([(self.boxes[..., 4] == number).sum() for number in range(2)])


def inputs(bands: int = 3) -> Inputs:
    """Return bands with the statistics of ``Memory``."""
    about = {"count": 9, "min": 0.0, "max": 255.0, "percentiles": {}, "histogram": (9,)}
    names = [f"b{number}" for number in range(bands)]
    return Inputs(
        tuple(Band(name=n, dtype="uint8", unit="DN", scale=1.0, offset=0.0, nodata=None) for n in names),
        tuple(BandStatistics(band=n, mean=100.0, std=20.0, **about) for n in names),  # type: ignore[arg-type]
    )


def recipe(epochs: int, lr: float = 0.003, seed: int = 1) -> Recipe:
    """Return how to learn ``Boxes``."""
    return Recipe(seed, lr, epochs, 8, Training())  # type: ignore[arg-type]  # what ``Train`` holds


def overlap(one: Any, other: Any) -> float:
    """Return the IoU of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return float(both / (areas - both))
