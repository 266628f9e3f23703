"""chip: cut the scenes that are learnt from into chips with targets."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import geopandas
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.catalog import read_catalog
from quadrat.chips import SceneChips, write_index
from quadrat.errors import ChipError
from quadrat.executor import Executor
from quadrat.progress import console, track
from quadrat.scenes.bands import Band
from quadrat.scenes.scene import OpenScene, Scene
from quadrat.section import Section
from quadrat.tasks import Task
from quadrat.windows import Window, cover, scatter


class Sliding(Section):
    """Windows ``stride`` px apart that cover all of the area of interest."""

    kind: Literal["sliding"]
    stride: int = Field(ge=1)
    """Px between two windows."""
    padding: int = Field(ge=0)
    """Px by which the first windows begin outside the area, and the last end outside it."""


class Random(Section):
    """``count`` windows a scene, drawn uniformly."""

    kind: Literal["random"]
    count: int = Field(ge=1)
    """Windows a scene."""
    padding: int = Field(ge=0)
    """Px by which windows may reach over the area's edge."""


class Chip(Section):
    """How train scenes are cut. Validation scenes are cut without overlap, each pixel once."""

    chip_size: int = Field(ge=8)
    """Height and width of a chip, px."""
    windows: Annotated[Sliding | Random, Field(discriminator="kind")]
    """Where train scenes are cut."""
    least_valid: float = Field(ge=0, le=1)
    """Least share of a chip's px that are valid and within the AOI."""
    target_classes: tuple[str, ...] | None
    """The classes whose px make a chip worth keeping; null for all."""
    least_target_pixels: int = Field(ge=0)
    """Fewest px of the target classes that a train chip must hold."""
    survival: float = Field(ge=0, le=1)
    """Share of the chips with fewer target px that is kept all the same."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.windows, Sliding) and self.windows.stride > self.chip_size:
            raise ValueError(f"windows.stride {self.windows.stride} leaves gaps between chips of size {self.chip_size}")
        return self


def chip(
    *,
    scenes: Path,
    seed: int,
    task: Task,
    bands: tuple[str, ...],
    chip: Chip,
    table: Path,
    chips: Path,
    executor: Executor,
) -> None:
    """Write the chips of all train and validation scenes, and their index, to the folder ``chips``.

    ``table`` is what analyze found of the scenes: no chip is cut before it has passed.
    """
    if not table.exists():
        raise ChipError("the scenes are not analysed", file=table, mend="run the stage 'analyze' first")
    learnt = [scene for scene in read_catalog(scenes) if scene.split in ("train", "validation")]
    shutil.rmtree(chips, ignore_errors=True)
    chips.mkdir(parents=True)
    work = partial(_chip_scene, seed=seed, task=task, bands=bands, chip=chip, chips=chips)
    done = list(track(executor.map(work, learnt), "chip", len(learnt), "scenes"))
    write_index(
        chips, [index for index, _ in done], _same_bands(learnt, [b for _, b in done]), task.names, chip.chip_size
    )
    counts = {
        s: sum(len(i) for (i, _), scene in zip(done, learnt, strict=True) if scene.split == s)
        for s in ("train", "validation")
    }
    console.print(f"chips: {counts['train']} to train, {counts['validation']} to validate")


def _chip_scene(
    scene: Scene, *, seed: int, task: Task, bands: Sequence[str], chip: Chip, chips: Path
) -> tuple[geopandas.GeoDataFrame, tuple[Band, ...]]:
    generator = np.random.default_rng([seed, *hashlib.sha256(scene.id.encode()).digest()])
    with (
        scene.open(bands, task) as opened,
        SceneChips(chips, scene.id, scene.split, opened.grid, task.names) as store,
    ):
        labels = opened.needed_labels()
        for window, pixels, counted in _candidates(opened, chip, generator):
            if counted.mean() < chip.least_valid:
                continue
            target = task.target(labels, window, counted)
            class_pixels = task.class_pixels(target)
            if scene.split == "train" and not _worth(class_pixels, task, chip, generator):
                continue
            if class_pixels.any() or chip.least_target_pixels == 0:
                store.append(window, pixels, target, float(counted.mean()), class_pixels)
        index = store.index()
    return index, opened.raster.bands


def _candidates(
    scene: OpenScene, chip: Chip, generator: np.random.Generator
) -> Iterator[tuple[Window, NDArray[np.generic], NDArray[np.bool_]]]:
    if scene.split == "validation":
        windows = cover(scene.area, chip.chip_size, chip.chip_size)
    elif isinstance(chip.windows, Sliding):
        windows = cover(scene.area, chip.chip_size, chip.windows.stride, chip.windows.padding)
    else:
        windows = scatter(scene.area, chip.chip_size, chip.windows.count, generator, chip.windows.padding)
    for piece in scene.cut(windows):
        yield piece.window, piece.values, scene.counted(piece.window, piece.valid)


def _worth(class_pixels: NDArray[np.int64], task: Task, chip: Chip, generator: np.random.Generator) -> bool:
    wanted = task.names if chip.target_classes is None else chip.target_classes
    found = sum(int(n) for name, n in zip(task.names, class_pixels, strict=True) if name in wanted)
    lucky = generator.random() < chip.survival  # drawn for every chip, so that one chip's fate moves no other's
    return found >= chip.least_target_pixels or lucky


def _same_bands(scenes: Sequence[Scene], bands: Sequence[tuple[Band, ...]]) -> tuple[Band, ...]:
    for scene, other in zip(scenes, bands, strict=True):
        if other != bands[0]:
            raise ChipError("bands differ between scenes", scene.id, expected=bands[0], got=other)
    return bands[0]
