"""Counts of labels by class: exact by pixels, or estimated without reading pixels."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ImageError, LabelError, QuadratError
from quadrat.geo.sources.bands import dates_of, names_of
from quadrat.preflight.label_survey import LabelSurvey
from quadrat.preflight.survey import Finding, Survey
from quadrat.scenes.scene import Split
from quadrat.tasks import Task

Flags = NDArray[np.bool_]
"""(K,), by class."""


@dataclass(frozen=True)
class SceneCounts:
    """Counts of a scene: px of the image, px within the AOI, valid px of these; and labels by class."""

    pixels: int
    inside: int
    valid: int
    class_counts: NDArray[np.int64]

    def __add__(self, other: "SceneCounts") -> "SceneCounts":
        """Return both counts together."""
        return SceneCounts(
            self.pixels + other.pixels,
            self.inside + other.inside,
            self.valid + other.valid,
            self.class_counts + other.class_counts,
        )


def count_errors(surveys: Sequence[Survey], scene_counts: Sequence[SceneCounts], task: Task) -> list[QuadratError]:
    """Return errors from the counts of pixels: scenes without data, and classes without training labels."""
    found: list[QuadratError] = [
        ImageError(
            "no pixel of the scene is valid within its area of interest",
            one.scene.id,
            one.scene.image.file_of(one.bands[0].name),
            expected=f"a pixel with a value in every one of the bands {', '.join(names_of(one.bands))}"
            + (", on one date at least" if dates_of(one.bands) else ""),
            hint="check 'nodata' in the catalog, and that each band has data there",
        )
        for one, counts in zip(surveys, scene_counts, strict=True)
        if not counts.valid
    ]
    learnt = _by_split(surveys, scene_counts)["train"]
    counts = [f"{name} {int(count)} {task.unit}" for name, count in zip(task.names, learnt, strict=True)]
    return [*found, *_without_class(task, learnt == 0, counts)]


def count_warnings(surveys: Sequence[Survey], scene_counts: Sequence[SceneCounts], task: Task) -> list[str]:
    """Return a warning for each class that a scored split lacks."""
    by_split = _by_split(surveys, scene_counts)
    return list(_unscored({split: counts == 0 for split, counts in by_split.items()}, task))


def seen(findings: Sequence[Finding], task: Task) -> dict[Split, LabelSurvey]:
    """Return the labels of each split, as far as they are known without pixels."""
    found: dict[Split, LabelSurvey] = {}
    for finding in findings:
        one = finding.survey.labels if finding.survey else LabelSurvey.nothing(len(task.classes), hidden=True)
        split = finding.scene.split
        found[split] = found[split] + one if split in found else one
    return found


def unlabelled(findings: Sequence[Finding], task: Task) -> Iterator[QuadratError]:
    """Yield the error of classes that certainly have no training label."""
    learnt = seen(findings, task).get("train")
    if learnt is not None:
        numbers = zip(task.names, learnt.features, learnt.pixels, strict=True)
        shown = [f"{n} {f} features" + (f" and {p} px" if learnt.pixels.any() else "") for n, f, p in numbers]
        yield from _without_class(task, learnt.absent, shown)


def unscored(findings: Sequence[Finding], task: Task) -> list[str]:
    """Return a warning for each class that certainly has no label in a scored split."""
    return list(_unscored({split: one.absent for split, one in seen(findings, task).items()}, task))


def _by_split(surveys: Sequence[Survey], scene_counts: Sequence[SceneCounts]) -> dict[Split, NDArray[np.int64]]:
    none = np.zeros_like(scene_counts[0].class_counts)
    return {
        split: sum((c.class_counts for s, c in zip(surveys, scene_counts, strict=True) if s.scene.split == split), none)
        for split in dict.fromkeys(one.scene.split for one in surveys)
    }


def _without_class(task: Task, absent: Flags, counts: Sequence[str]) -> Iterator[QuadratError]:
    if absent.any():
        yield LabelError(
            "no training label has this class",
            expected=", ".join(name for name, none in zip(task.names, absent, strict=True) if none),
            got=", ".join(counts),
            hint="label it in a train scene, add the labels' value to its 'from', or take it out of task.classes",
        )


def _unscored(absent: Mapping[Split, Flags], task: Task) -> Iterator[str]:
    for split, flags in absent.items():
        if split in ("validation", "test"):
            for name, none in zip(task.names, flags, strict=True):
                if none:
                    yield f"split '{split}' has no label of class {name}: its metrics will be undefined there"
