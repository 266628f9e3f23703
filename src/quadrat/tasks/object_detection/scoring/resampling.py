"""Average precision of blocks that are drawn with replacement, and the split of a scene's boxes into blocks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from quadrat.geo.grids.blocks import Blocks
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.object_detection.scoring.precision import SLACK, THRESHOLDS
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.matching import Seen, candidates, matched, within_ignored

RECALLS = np.linspace(0, 1, 101)
"""Recalls at which COCO takes the precision."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """The detections of a class by falling score, and its boxes, each with the number of its part."""

    found: Sequence[NDArray[np.intp]]
    """Parts of the detections that count (detection,), at each threshold."""
    hits: Sequence[NDArray[np.intp]]
    """Places of the correct ones in ``found``, at each threshold."""
    boxes: NDArray[np.int64]
    """(part,), number of boxes that count."""

    @classmethod
    def of(cls, parts: Sequence[Sequence[Seen]], class_id: int, order: NDArray[np.intp], at: "_Matched") -> Self:
        """Return those of a class; ``order`` is of all detections."""
        mine = order[at.class_ids[order] == class_id]
        kept = [mine[~absorbed[mine]] for absorbed in at.absorbed]
        hits = [np.flatnonzero(right[some]) for right, some in zip(at.right, kept, strict=True)]
        boxes = [sum(int(np.count_nonzero(seen.class_ids == class_id)) for seen in images) for images in parts]
        return cls([at.owner[some] for some in kept], hits, np.array(boxes, np.int64))

    def average_precision(self, times: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return it (threshold,) with each part as often as ``times`` (part,) says; NaN without boxes.

        After COCO (Lin et al. 2014): the mean over RECALLS of the largest precision at that recall or beyond.
        """
        boxes = int(times @ self.boxes)
        if not boxes:
            return np.full(len(self.found), np.nan)
        means = np.zeros(len(self.found))
        for number, (found, hits) in enumerate(zip(self.found, self.hits, strict=True)):
            every, right = np.cumsum(times[found])[hits], np.cumsum(times[found[hits]])
            precision = np.append(right / np.maximum(every, 1), 0)
            best = np.maximum.accumulate(precision[::-1])[::-1]
            means[number] = best[np.searchsorted(right / boxes, RECALLS)].mean()
        return means

    def curve(self) -> NDArray[np.float64]:
        """Return recall and precision (point, 2) after each detection that counts, at the first threshold.

        A class without boxes, or without detections, has no point.
        """
        boxes, right = int(self.boxes.sum()), np.zeros(len(self.found[0]), np.int64)
        right[self.hits[0]] = 1
        hits = np.cumsum(right)
        points = np.column_stack([hits / max(boxes, 1), hits / np.arange(1, len(hits) + 1)])
        return points if boxes else points[:0]


@dataclass(frozen=True, eq=False)
class _Matched:
    """All detections: classes, scores and parts (detection,), and how they match (threshold, detection)."""

    class_ids: NDArray[np.uint8]
    scores: NDArray[np.float32]
    owner: NDArray[np.intp]
    right: NDArray[np.bool_]
    absorbed: NDArray[np.bool_]


def ranked_by_class(
    parts: Sequence[Sequence[Seen]], classes: int, thresholds: NDArray[np.float64] = THRESHOLDS
) -> list[Ranked]:
    """Return the ranked detections of each class of ``parts``, the images of each part, matched at ``thresholds``."""
    images = [(number, seen) for number, some in enumerate(parts) for seen in some]
    matches = [[matched(seen, threshold) for threshold in thresholds] for _, seen in images]
    none = np.empty((len(thresholds), 0), np.bool_)
    at = _Matched(
        np.concatenate([np.empty(0, np.uint8), *(seen.found.class_ids for _, seen in images)]),
        np.concatenate([np.empty(0, np.float32), *(seen.found.scores for _, seen in images)]),
        np.repeat([number for number, _ in images], [len(seen.found) for _, seen in images]).astype(np.intp),
        np.concatenate([none, *(np.stack([one.truth >= 0 for one in some]) for some in matches)], axis=1),
        np.concatenate([none, *(np.stack([one.absorbed for one in some]) for some in matches)], axis=1),
    )
    order = np.argsort(-at.scores, kind="stable")
    return [Ranked.of(parts, class_id, order, at) for class_id in range(classes)]


def split(seen: Sequence[Seen], blocks: Blocks, iou: float) -> Iterator[Mapping[int, Seen]]:
    """Yield the boxes and detections of each prediction of a scene by block, so that no possible match is split.

    What can match at an IoU of ``iou`` or of THRESHOLDS, of any class, stays together, in the block of its first box,
    or of its detection if there is no box. An ignored box is in each block with a detection on it. All predictions have
    the same blocks.
    """
    placed = [_placed(one, blocks, min(iou, THRESHOLDS[0]) - SLACK) for one in seen]
    numbers = np.unique(np.concatenate([np.empty(0, np.int64), *(np.concatenate(pair) for pair in placed)])).tolist()
    for one, (of_truth, of_found) in zip(seen, placed, strict=True):
        on, ignored = within_ignored(one, min(iou, THRESHOLDS[0]))
        parts = {}
        for number in numbers:
            mine = (of_truth == number) & one.counted
            mine[ignored[of_found[on] == number]] = True
            parts[number] = Seen(one.truth[mine], one.class_ids[mine], one.found.picked(of_found == number))
        yield parts


def joined(parts: Sequence[Seen]) -> Seen:
    """Return the boxes and detections of a scene's blocks, of which there is one at least, as ``split`` took them.

    Boxes that count come before ignored ones, each of which is there once.
    """
    truth, class_ids = (np.concatenate([getattr(p, name) for p in parts]) for name in ("truth", "class_ids"))
    counted = class_ids != IGNORE
    ignored = np.unique(truth[~counted], axis=0)
    found = Detections.joined([part.found for part in parts]).ranked()
    class_ids = np.append(class_ids[counted], np.full(len(ignored), IGNORE, np.uint8))
    return Seen(np.concatenate([truth[counted], ignored]), class_ids, found)


def _placed(seen: Seen, blocks: Blocks, iou: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the block of each box and of each detection."""
    boxes = np.concatenate([seen.truth, seen.found.boxes])
    cols, rows = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2).astype(np.int64).T
    component = _components(seen, iou)
    _, first = np.unique(component, return_index=True)
    placed = blocks.numbers(rows, cols)[first][component]
    return placed[: len(seen.truth)], placed[len(seen.truth) :]


def _components(seen: Seen, iou: float) -> NDArray[np.intp]:
    """Return the number, from 0, of the component of each box, then of each detection; what can match shares one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    class_ids = np.where(seen.counted, np.uint8(0), np.uint8(IGNORE))
    alike = Detections(seen.found.boxes, np.zeros(len(seen.found), np.uint8), seen.found.scores)
    found, truth, _ = candidates(Seen(seen.truth, class_ids, alike), iou)
    total = len(seen.truth) + len(seen.found)
    links = coo_array((np.ones(len(found)), (truth, found + len(seen.truth))), shape=(total, total))
    component: NDArray[np.intp] = connected_components(links, directed=False)[1]
    return component
