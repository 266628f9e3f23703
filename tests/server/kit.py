"""Bundles without a model of their own: what is predicted follows from a window's pixels, and from its place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Inputs
from quadrat.prediction.sliding_window import Predict, predict_scene
from quadrat.server.blocks import blocks as module
from quadrat.server.blocks.blocks import Blocks
from quadrat.server.blocks.cache import BlockCache
from quadrat.server.blocks.gallery import Gallery, Served
from quadrat.server.blocks.look import Look
from quadrat.server.blocks.making import Maker
from quadrat.server.metering import Meters
from quadrat.serving.new_images import Reading, offered
from quadrat.serving.ready import Plan, Ready
from tests.ground import cells, detection, regression, segmentation, write_raster

SIZE, STRIDE = 32, 20
SIDE = 64
"""Of a window, between two, and of a block, px."""

Case = tuple[Any, dict[str, Any], Callable[[np.ndarray], dict[str, np.ndarray]]]


def seen(pixels: np.ndarray) -> np.ndarray:
    """Return numbers (window, y, x) of 0 … 1, which depend on the place in the window: unblended, there are seams."""
    ramp = np.linspace(0.2, 1, pixels.shape[-1])
    return (pixels[:, 0] / 255 * ramp * ramp[:, None]).astype(np.float32)


def of_pixels(pixels: np.ndarray) -> dict[str, np.ndarray]:
    one = seen(pixels)
    scores = np.stack([one, 0.5 * (1 - one), 0.5 * (1 - one) ** 2], 1)
    return {"scores": (scores / scores.sum(1, keepdims=True)).astype(np.float32)}


def of_values(pixels: np.ndarray) -> dict[str, np.ndarray]:
    return {"values": seen(pixels)[:, None] * 40}


def of_cells(pixels: np.ndarray) -> dict[str, np.ndarray]:
    part = 1 / (1 + np.exp(-100 * (seen(pixels).mean((1, 2)) - 0.18)))
    scores = np.stack([part, 1 - part], 1)
    return {"scores": (scores / scores.sum(1, keepdims=True)).astype(np.float32)}


def of_boxes(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Return a box around each of some bright pixels, not quite the same from each window that sees them."""
    count = 6
    scores, boxes = [], []
    for window in pixels[:, 0].astype(np.float64):
        order = np.argsort(window, axis=None)[::-1][: count * 9 : 9]
        rows, cols = np.unravel_index(order, window.shape)
        half = 2 + window[rows, cols] / 64
        boxes.append(np.stack([cols - half, rows - half, cols + 1 + half, rows + half], 1))
        share = window[rows, cols] / 255 * (0.5 + 0.5 * rows / len(window))
        scores.append(np.stack([share, 0.6 * share], 1))
    return {"scores": np.array(scores, np.float32), "boxes": np.array(boxes, np.float32)}


NMS = {"measure": "iou", "overlap": 0.3}
CASES: dict[str, Case] = {
    "pixels": (segmentation("a", "b", "c"), {"kind": "semantic_segmentation"}, of_pixels),
    "values": (regression("height"), {"kind": "pixel_regression"}, of_values),
    "cells": (cells("a", "b", cell_size=20), {"kind": "chip_classification", "cells": "cells.parquet"}, of_cells),
    "boxes": (
        detection("tree", "car"),
        {"kind": "object_detection", "min_score": 0.05, "max_detections": 50, "nms": NMS},
        of_boxes,
    ),
}


def ground(root: Path, shape: tuple[int, int] = (190, 230), **profile: Any) -> Path:
    """Write an image of one band with noise, of which a corner and a spot have no value."""
    pixels = np.random.default_rng(3).integers(1, 255, (1, *shape)).astype(np.uint8)
    pixels[0, :30, :45] = 0
    pixels[0, 100:103, 100:160] = 0
    return write_raster(root / "image.tif", pixels, nodata=0, **profile)


def ready_for(case: str) -> Ready:
    """Return a bundle that is ready."""
    task, layers, model = CASES[case]
    predict = Predict.model_validate({"window_size": SIZE, "stride": STRIDE, "layers": layers})
    bands = (Band(name="a", dtype="uint8", unit="DN", scale=1.0, offset=0.0, nodata=0.0),)
    known = {"count": 9, "mean": 128.0, "std": 70.0, "min": 1.0, "max": 254.0, "percentiles": {}, "histogram": (9,)}
    inputs = Inputs(bands, (BandStatistics.model_validate({"band": "a", **known}),))
    card = SimpleNamespace(task=task, bands=bands, inputs=inputs, gsd=10.0, calibration=None)
    bundle: Any = SimpleNamespace(card=card, path=Path("bundle.zip"), params={})
    ready = Ready(bundle, Plan(), predict)
    vars(ready)["loaded"] = (model, 3)
    return ready


@contextmanager
def blocks_of(ready: Ready, cache: Path, most: int = 1 << 30) -> Iterator[Blocks]:
    """Give blocks of SIDE px."""
    predict = ready.predict.model_copy(update={"layers": ready.predict.layers.shown()})
    before, module.SIDE = module.SIDE, SIDE
    try:
        look = Look((0,))
        blocks = Blocks(lambda: Maker(ready, predict, look), SIZE, "digest", BlockCache(cache, most), Meters())
    finally:
        module.SIDE = before
    try:
        yield blocks
    finally:
        blocks.close(10)


def served(ready: Ready, path: Path, aoi: tuple[str, ...] = ()) -> Served:
    """Return an image as it is served."""
    from dataclasses import replace

    (one,) = offered(str(path), ready.bundle.card.inputs, Reading(bands=("a",), unchecked=True))
    gallery = Gallery([replace(one, aoi=aoi)], ready, Reading(unchecked=True))
    return gallery.get("image")


def applied(ready: Ready, one: Served, folder: Path) -> Path:
    """Write what the stage predict writes."""
    predict = ready.predict.model_copy(update={"layers": ready.predict.layers.shown()})
    model, batch = ready.loaded
    with one.one.open(ready.bundle.card.inputs) as scene:
        predict_scene(scene, model, ready.bundle.card.task, predict, folder, batch)
    return folder
