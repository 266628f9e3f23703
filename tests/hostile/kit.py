"""Small good bundles of every kind of model, and how to change them."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Classifier, Detector, Forest, Inputs, Segmenter
from quadrat.models.common.bundle_zip import SUMS
from quadrat.models.common.onnx_graphs import CPU, runner
from quadrat.models.model_folder import ModelCard
from quadrat.models.training.neural import build
from quadrat.runtime.formats.npy import as_npy
from quadrat.runtime.formats.yaml import dumped
from tests.ground import cells, detection, segmentation

Content = dict[str, bytes]
"""What a bundle holds, by name."""

BANDS = ("red", "green")
SIDE = 64
"""Of the sample and of windows, px."""

INPUTS = Inputs(
    tuple(Band(name=name, dtype="uint16", unit="DN", scale=1.0, offset=0.0, nodata=None) for name in BANDS),
    tuple(
        BandStatistics(band=name, count=9, mean=500.0, std=200.0, min=0.0, max=999.0, percentiles={}, histogram=(9,))
        for name in BANDS
    ),
)

ANCHORS: dict[str, Any] = {"scales": (2.0, 4.0), "ratios": (1.0,)}
PLAIN: dict[str, Any] = {"encoder": "test_resnet", "dates": None}
TASKS = {"forest": segmentation("a", "b"), "segmenter": segmentation("a", "b"), "classifier": cells("a", "b")}
MODELS: dict[str, Any] = {
    "forest": Forest(kind="forest", trees=2, radius=1, max_depth=None, min_samples_leaf=1, samples=10),
    "segmenter": Segmenter(
        kind="segmenter", architecture="unet", depth=3, dropout=0.0, decoder={"decoder_channels": [8, 8, 8]}, **PLAIN
    ),
    "classifier": Classifier(kind="classifier", dropout=0.0, **PLAIN),
} | {
    str(architecture["kind"]): Detector.model_validate(
        {"kind": "detector", "architecture": architecture, "strides": (4, 8), "channels": 16, "depth": 1, **PLAIN}
    )
    for architecture in (
        {"kind": "fcos"},
        {"kind": "retinanet", **ANCHORS},
        {"kind": "faster_rcnn", **ANCHORS, "proposals": 8},
    )
}
KINDS = tuple(MODELS)

LAYERS: dict[str, dict[str, Any]] = {
    "semantic_segmentation": {
        "scores": False,
        "polygons": None,
        "min_pixels": 1,
        "polygon_classes": None,
        "max_hole_pixels": 0,
        "outlines": {"kind": "edges"},
    },
    "chip_classification": {"cells": "cells.geojson"},
    "object_detection": {
        "detections": "detections.geojson",
        "min_score": 0.1,
        "max_detections": 10,
        "nms": {"measure": "iou", "overlap": 0.5},
    },
}


def good(kind: str) -> Content:
    """Return the content of a bundle of a model that has learnt nothing."""
    return dict(_good(kind))


@cache
def _good(kind: str) -> Content:
    model, task = MODELS[kind], TASKS.get(kind, detection("a", "b"))
    weights = grove() if kind == "forest" else drawn(model, task)
    card = ModelCard(
        format=1,
        task=task,
        model=model,
        bands=INPUTS.bands,
        statistics=INPUTS.statistics,
        size=SIDE,
        gsd=10.0,
        class_counts={"a": 1, "b": 1},
        versions={},
    )
    graph = model.onnx(weights, task, INPUTS)
    sample = np.random.default_rng(0).integers(1, 999, (1, len(BANDS), SIDE, SIDE)).astype(np.uint16)
    expected = runner(graph, [CPU])(sample)
    predict = {"window_size": SIDE, "stride": 16, "layers": {"kind": task.kind, **LAYERS[task.kind]}}
    return {
        "README.md": b"A model for tests.\n",
        "metrics.json": b"{}\n",
        "model.json": card.model_dump_json(by_alias=True).encode(),
        "model.onnx": graph,
        "model.safetensors": tensors(weights),
        "params.yaml": dumped({"predict": predict}),
        "provenance.json": b"{}\n",
        "sample/pixels.npy": as_npy(sample),
        **{f"sample/{name}.npy": as_npy(values) for name, values in expected.items()},
    }


def grove() -> dict[str, np.ndarray]:
    """Return a forest of two trees, of three leaves and of two."""
    half = 1 << 23
    return {
        "roots": np.array([0, 5, 8], np.int64),
        "left": np.array([1, -1, 3, -1, -1, 1, -1, -1], np.int32),
        "right": np.array([2, -1, 4, -1, -1, 2, -1, -1], np.int32),
        "feature": np.array([0, -1, 3, -2, -3, 1, -4, -5], np.int32),
        "threshold": np.array([500, 0, 400, 0, 0, 300, 0, 0], np.float32),
        "votes": np.array([[half, 0], [0, half], [half // 2, half // 2], [half, 0], [0, half]], np.int32),
    }


def drawn(model: Any, task: Any) -> dict[str, np.ndarray]:
    """Return a network's weights at random."""
    return {name: tensor.numpy() for name, tensor in build(model, task, INPUTS, 0).state_dict().items()}


def tensors(weights: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as a file of weights."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(values) for name, values in weights.items()})


def sealed(path: Path, content: Content, sums: bytes | None = None) -> Path:
    """Write a bundle of any content, with right checksums, or the ``sums`` that are given."""
    right = "".join(f"{hashlib.sha256(some).hexdigest()}  {name}\n" for name, some in content.items()).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, some in {**content, SUMS: right if sums is None else sums}.items():
            file.writestr(zipfile.ZipInfo(name), some)
    return path


def carded(content: Content, *keys: str | int, value: Any) -> Content:
    """Return the content with another value at ``keys`` of model.json."""
    return {**content, "model.json": json.dumps(put(json.loads(content["model.json"]), keys, value)).encode()}


def put(whole: Any, keys: tuple[str | int, ...], value: Any) -> Any:
    """Return JSON's ``whole`` with another value at ``keys``."""
    place = whole
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return whole
