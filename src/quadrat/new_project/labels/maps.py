"""Where labels lie on an image: coarse maps, sides of objects, and exact counts."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pydantic import TypeAdapter

from quadrat.errors import LabelError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import STRIP_ROWS, Window, strips
from quadrat.labels.labels import Labels, LabelSource
from quadrat.new_project.imagery import Look
from quadrat.new_project.inputs import Given
from quadrat.new_project.labels.legend import BACKGROUND, Legend
from quadrat.tasks import Task
from quadrat.tasks.common.parts import targets_of

SOURCES: TypeAdapter[LabelSource] = TypeAdapter(LabelSource)


@dataclass(frozen=True)
class LabelMap:
    """The labels of an image, looked at coarsely."""

    look: Look
    source: LabelSource
    ids: NDArray[np.uint8]
    """(y, x), on the grid ``look.coarse``: class ids; IGNORE for no label, no value of the image, and background."""
    sides: NDArray[np.float64]
    """(object,) √(width × height) of objects, px of the image; empty for other tasks than detection."""

    @property
    def scale(self) -> NDArray[np.float64]:
        """Coarse pixels per pixel, along rows and columns."""
        return np.array(self.ids.shape) / self.look.grid.shape

    def counts(self, window: Window, classes: int) -> NDArray[np.int64]:
        """Return the number of coarse labels of each class (K,) in a window of the image."""
        row, col = (np.array([window.row, window.col]) * self.scale).astype(int)
        bottom, right = np.ceil(np.array([window.bottom, window.right]) * self.scale).astype(int)
        some = self.ids[row:bottom, col:right]
        found: NDArray[np.int64] = np.bincount(some[some != IGNORE], minlength=classes)
        return found

    def extent(self, margin: int) -> Window:
        """Return the window of the image with all labels, and ``margin`` px around them; the whole without labels."""
        labelled = self.ids != IGNORE
        if not labelled.any():
            return self.look.grid.area
        spans = [np.flatnonzero(labelled.any(axis))[[0, -1]] for axis in (1, 0)]
        ends = [
            (max(0, int(first / scale) - margin), min(side, int(np.ceil((last + 1) / scale)) + margin))
            for (first, last), scale, side in zip(spans, self.scale, self.look.grid.shape, strict=True)
        ]
        (top, bottom), (left, right) = ends
        return Window(top, left, bottom - top, right - left)


def map_of(look: Look, label: Given, legend: Legend, task: Task) -> LabelMap:
    """Return where the labels of a file lie on an image; raise LabelError if none does, or if they can't be read."""
    source, coarse = SOURCES.validate_python(legend.entry(label.file), strict=False), look.coarse
    sides = np.empty(0)
    with source.open(look.grid if task.blanks else coarse, task, look.id) as opened:
        objects = opened.objects(look.grid.area) if task.blanks else None
        if objects is None:
            ids = opened.class_ids(coarse.area, all_touched=False).copy()
        else:
            boxes = shapely.bounds(objects.geometry).reshape(-1, 4)
            sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
            ids = np.full(coarse.shape, IGNORE, np.uint8)
            centres = (boxes[:, :2] + boxes[:, 2:]) / 2 * np.divide(coarse.shape, look.grid.shape)[::-1]
            cols, rows = np.clip(centres.astype(int), 0, np.array(coarse.shape)[::-1] - 1).T
            ids[rows, cols] = objects.class_ids
    ids[~look.valid] = IGNORE
    if "background" in legend.keys:
        ids[ids == legend.names.index(BACKGROUND)] = IGNORE
    elif not (ids != IGNORE).any() and not task.blanks:
        hint = "check that both belong together"
        raise LabelError("no label lies on a pixel of the image with a value", look.id, label.file, hint=hint)
    return LabelMap(look, source, ids, sides)


def exact_counts(one: LabelMap, task: Task, window: Window) -> NDArray[np.int64]:
    """Return the number of labels of each class (K,) of a task in a window of an image, in the task's unit."""
    look, targets, total = one.look, targets_of(task), np.zeros(len(task.classes), np.int64)
    with one.source.open(look.grid, task, look.id) as opened:
        labels = Labels((opened,), look.grid, look.id)
        for strip in strips(window, STRIP_ROWS):
            rows = (np.arange(strip.row, strip.bottom) * one.scale[0]).astype(int)
            cols = (np.arange(strip.col, strip.right) * one.scale[1]).astype(int)
            total += targets.label_counts(labels, strip, look.valid[np.ix_(rows, cols)])
    return total
