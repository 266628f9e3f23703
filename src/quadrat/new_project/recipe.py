"""The parameters of a new project: a recipe for each task, with sizes that fit the images and labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quadrat.errors import ImageError
from quadrat.new_project.areas import PIECES, Area
from quadrat.new_project.labels.legend import Legend
from quadrat.new_project.labels.maps import LabelMap

FINE = 2.0
"""Ground sample distance, m, below which chips are larger, because objects have more pixels."""

DIVISOR = 32
"""Sides of chips and windows are multiples of this, px, as encoders need it."""

COVER = 6
"""How often chips cover the labelled ground for training."""

BUDGET = 90e6
"""Pixels of chips times epochs: minutes on two cores."""

MOST, FEWEST = 8e6, 64
"""Largest number of pixels of all training chips, and smallest number of chips."""

EPOCHS = 5, 20
"""Fewest and most epochs."""

LAYERS: dict[str, dict[str, Any]] = {
    "object_detection": {"min_score": 0.05, "max_detections": 1000, "nms": {"measure": "iou", "overlap": 0.5}},
    "semantic_segmentation": {"confidence": True},
}
"""Section ``predict.layers`` where it says more than nothing."""

LOSSES: dict[str, dict[str, float]] = {
    "semantic_segmentation": {"dice": 0.5, "label_smoothing": 0.05, "class_balance": 0.5},
    "chip_classification": {"label_smoothing": 0.05, "class_balance": 0.5},
}
"""Section ``train.loss`` where it says more than nothing."""

TITLES = {
    "semantic_segmentation": "Map",
    "object_detection": "Boxes",
    "chip_classification": "Cells",
    "pixel_regression": "Values",
}
"""How the bundle's title begins."""


@dataclass(frozen=True)
class Sizes:
    """Sizes in px."""

    chip: int
    window: int
    stride: int
    cell: int
    """Of chip classification, the side of a cell."""
    object: float
    """Of detection, the median side of a box."""


def sizes_of(kind: str, maps: Sequence[LabelMap], *, divided: bool) -> Sizes:
    """Return sizes that fit pixels, images and objects; ``divided`` images are cut into three areas.

    Raises ImageError if images are too small.
    """
    fine = all(one.look.grid.crs is None or one.look.grid.gsd < FINE for one in maps)
    sides = np.concatenate([one.sides for one in maps])
    median, large = (float(side) for side in np.percentile(sides, (50, 90))) if sides.size else (0.0, 0.0)
    chip = 64 * (1 + fine) // (1 + (kind == "chip_classification"))
    while chip < 4 * large and chip < 256:
        chip *= 2
    shapes = [one.look.grid.shape for one in maps]
    labelled = [one.extent(0).shape for one in maps] if divided else shapes
    pieces = PIECES if divided else 1
    rooms = [min(*shape, max(part) // pieces) for shape, part in zip(shapes, labelled, strict=True)]
    room = min(rooms)
    while chip > max(room, DIVISOR):
        chip //= 2
    if room < chip:
        height, width = labelled[rooms.index(room)]
        raise ImageError(
            "the labelled part of the image is too small for three areas with gaps"
            if divided
            else "the image is too small for a chip",
            file=maps[rooms.index(room)].look.files[0].file,
            expected=f"at least {pieces * chip} × {chip} px",
            got=f"{width} × {height} px",
            hint="label a larger area, or give more images: with three or more, whole images are held out",
        )
    if kind == "chip_classification":
        return Sizes(chip, chip, chip // 2, chip // 2, median)
    window = 2 * chip
    overlap = DIVISOR * -(-int(large) // DIVISOR)
    stride = max(DIVISOR, window - overlap) if kind == "object_detection" else chip
    return Sizes(chip, window, stride, 0, median)


def task_of(kind: str, legend: Legend, cell: int) -> dict[str, Any]:
    """Return the section ``task``."""
    more: dict[str, dict[str, Any]] = {
        "object_detection": {"min_inside_fraction": 0.5, "partial": "drop"},
        "chip_classification": {
            "cell_size": cell,
            "rule": {"share_of": "cell", "min_share": 0.5, "choose": "largest"},
        },
        "pixel_regression": {"range": [*(legend.span or (0.0, 1.0))]},
    }
    return {"kind": kind, "classes": [one.section for one in legend.classes], **more.get(kind, {})}


def params_of(name: str, task: dict[str, Any], areas: Sequence[Area], sizes: Sizes, labels: int) -> dict[str, Any]:
    """Return the content of ``params.yaml``; ``labels`` are all labels for training, in the task's unit."""
    kind, look = task["kind"], areas[0].labels.look
    shown = ", ".join(one["name"] for one in task["classes"][:4]) + (", …" if len(task["classes"]) > 4 else "")
    detection = kind == "object_detection"
    return {
        "scenes": "data/scenes.yaml",
        "raw": f"data/raw/{name}",
        "aoi": "data/aoi" if any(area.window for area in areas) else f"data/raw/{name}",
        "seed": 1,
        "task": task,
        "bands": [*look.bands],
        "analyze": {},
        **_learning(kind, areas, sizes, labels),
        "predict": {
            "window_size": sizes.window,
            "stride": sizes.stride,
            **({"layers": LAYERS[kind]} if kind in LAYERS else {}),
        },
        "eval": {
            **({"match": {"iou": 0.5, "score": 0.4}} if detection else {}),
            "pictures": {"bands": look.pictured},
        },
        "bundle": {"title": f"{TITLES[kind]} of {shown} from {len(look.bands)} bands: {name}"},
    }


def _learning(kind: str, areas: Sequence[Area], sizes: Sizes, labels: int) -> dict[str, Any]:
    """Return the sections of chips, model and training, for about as many chips as cover the labels COVER times."""
    ground = [area.place.size for area in areas if area.split == "train"]
    labelled = {"object_detection": sum(ground), "chip_classification": labels * sizes.cell**2}.get(kind, labels)
    share = min(1.0, labelled / sum(ground))
    total = int(np.clip(COVER * share * sum(ground) / sizes.chip**2, FEWEST, max(FEWEST, MOST / sizes.chip**2)))
    drawn = total / max(0.25, share)  # windows without labels are left out
    epochs = int(np.clip(BUDGET / (total * sizes.chip**2), *EPOCHS))
    batch = int(np.clip(2 ** int(np.log2(total / 8)), 4, 16 if sizes.chip <= 64 else 8))
    in_pixels = kind in {"semantic_segmentation", "pixel_regression"}
    return {
        "chip": {
            "chip_size": sizes.chip,
            "windows": {"kind": "random", "count": -(-round(drawn) // len(ground))},
            "min_valid_fraction": 0.5,
            "min_targets": max(1, int(share * sizes.chip**2 / 4)) if in_pixels else 1,
            "negatives": 0.1 if kind == "object_detection" else 0,
        },
        "model": _model(kind, sizes),
        "baseline": _baseline(kind, sizes, areas[0].labels.look.bands),
        "lr": 0.002,
        "epochs": epochs,
        "batch_size": batch,
        "train": {
            **({"loss": LOSSES[kind]} if kind in LOSSES else {}),
            "augment": {"flip_rotate": True, "gain": 0.1, "offset": 0.1},
            "weight_decay": 0.05,
            "warmup": 0.1,
            "gradient_clip_norm": 5.0 if kind == "object_detection" else 1.0,
            "ema_decay": 0.99 if epochs * total // batch > 500 else 0.9,
        },
    }


def _model(kind: str, sizes: Sizes) -> dict[str, Any]:
    if kind == "chip_classification":
        return {"kind": "classifier", "encoder": "resnet18", "dropout": 0.1}
    if kind == "object_detection":
        stride = 4 if sizes.object < 12 else 8 if sizes.object < 48 else 16
        sides = {"strides": [stride, 2 * stride], "channels": 64, "depth": 2}
        return {"kind": "detector", "architecture": {"kind": "fcos"}, "encoder": "mobilenetv4_conv_small", **sides}
    decoder = {"decoder_channels": [128, 64, 32, 32]}
    network = {"architecture": "unet", "encoder": "resnet18", "depth": 4, "decoder": decoder, "dropout": 0.1}
    return {"kind": "segmenter", **network}


def _baseline(kind: str, sizes: Sizes, bands: Sequence[str]) -> dict[str, Any] | None:
    if kind == "pixel_regression":
        return None
    if kind == "object_detection":
        distance, smoothing = max(2, round(sizes.object / 3)), max(1.0, round(sizes.object / 5, 1))
        return {"kind": "peaks", "bands": dict.fromkeys(bands, 1), "smoothing": smoothing, "distance": distance}
    return {"kind": "forest", "trees": 50, "radius": 4, "samples": 100000}
