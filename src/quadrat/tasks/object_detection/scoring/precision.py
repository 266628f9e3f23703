"""COCO's average precision (Lin et al. 2014) by faster-coco-eval, for images with any number of boxes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quadrat.tasks.object_detection.targets.matching import Seen, candidates, within_ignored
from quadrat.tasks.object_detection.targets.overlaps import Boxes

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""IoUs from which a detection is correct."""

GROUP = 64
"""Approximate number of boxes in a group."""

SLACK = 1e-6
"""Largest rounding difference between the overlaps of this module and of the library."""


def average_precision(images: Sequence[Seen], classes: int) -> NDArray[np.float64]:
    """Return the average precision (class, threshold) for each of THRESHOLDS; NaN for a class without truth.

    There is no limit of 100 detections per image. Detections on ignored boxes are neither correct nor wrong. Equal
    scores are ordered by image and place in it, as in COCO's programs; for a result that does not depend on the input
    order, rank the detections first (``Detections.ranked``).
    """
    from faster_coco_eval import COCO, COCOeval_faster

    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    count = 0
    for seen, ranks in zip(images, _ranks(images), strict=True):
        count += _add(seen, ranks, count, classes, truth, found)
    about = {"images": [{"id": n} for n in range(count)], "categories": [{"id": n} for n in range(classes)]}
    evaluation = COCOeval_faster(
        COCO({**about, "annotations": truth}), COCO({**about, "annotations": found}), "bbox", print_function=_silent
    )
    most = max(Counter(row["image_id"] for row in found).values(), default=1)
    evaluation.params.maxDets = [most]  # of any image, because the library allocates this many for each
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, np.inf]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, 0]  # (threshold, recall, class), -1 without truth
    means: NDArray[np.float64] = np.where(precision < 0, np.nan, precision).mean(1).T
    return means


def _ranks(images: Sequence[Seen]) -> list[NDArray[np.float64]]:
    """Return the rank of each image's detections (detection,) among all images; the best has the largest."""
    scores = np.concatenate([np.empty(0, np.float32), *(seen.found.scores for seen in images)])
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores), 0, -1)
    return np.split(ranks, np.cumsum([len(seen.found) for seen in images])[:-1]) if images else []


def _add(
    seen: Seen,
    ranks: NDArray[np.float64],
    first: int,
    classes: int,
    truth: list[dict[str, Any]],
    found: list[dict[str, Any]],
) -> int:
    """Add an image's boxes as COCO annotations of groups, from number ``first`` on; return the number of groups.

    The library compares all boxes of an image with each other, which takes too much memory for a scene. So boxes that
    overlap enough to match form a group, and each group is passed as an image, with the same result. The library breaks
    ties of scores by image, so distinct ``ranks`` replace the scores. An ignored box is in the group of each detection
    on it, for every class.
    """
    groups = _groups(seen) + first
    of_truth, of_found = groups[: len(seen.truth)], groups[len(seen.truth) :]
    counted = np.flatnonzero(seen.counted)
    one, other = within_ignored(seen, THRESHOLDS[0] - SLACK)
    around = np.unique(np.stack([of_found[one], other]), axis=1)
    truth += _rows(len(truth), of_truth[counted], seen.class_ids[counted], seen.truth[counted], iscrowd=0)
    for class_id in range(classes):
        truth += _rows(len(truth), around[0], np.full_like(around[0], class_id), seen.truth[around[1]], iscrowd=1)
    rows = _rows(len(found), of_found, seen.found.class_ids, seen.found.boxes)
    found += [{**row, "score": rank} for row, rank in zip(rows, ranks.tolist(), strict=True)]
    return int(groups.max(initial=first - 1)) - first + 1


def _groups(seen: Seen) -> NDArray[np.intp]:
    """Return the group, from 0, of each box of the truth, then of each detection; possible matches share a group."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    boxes, total = len(seen.truth), len(seen.truth) + len(seen.found)
    found, truth, _ = candidates(seen, THRESHOLDS[0] - SLACK)
    links = coo_array((np.ones(len(found)), (truth, found + boxes)), shape=(total, total))
    _, component = connected_components(links, directed=False)
    groups: NDArray[np.intp] = (np.cumsum(np.bincount(component)) // GROUP)[component]
    return groups


def _rows(start: int, images: NDArray[Any], class_ids: NDArray[Any], boxes: Boxes, **more: Any) -> list[dict[str, Any]]:
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    columns: Iterable[Any] = zip(images.tolist(), class_ids.tolist(), sides.tolist(), strict=True)
    return [
        {"id": start + n, "image_id": image, "category_id": class_id, "bbox": box, "area": box[2] * box[3], **more}
        for n, (image, class_id, box) in enumerate(columns, 1)
    ]


def _silent(*_: object) -> None:
    """Print nothing."""
