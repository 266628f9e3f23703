"""chip: cut train and validation scenes into chips with targets."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.chips.store import ABOUT, INDEX, About, write_index
from quadrat.chips.writer import SceneChips
from quadrat.errors import ChipError
from quadrat.geo.grids.windows import Window, cover, scatter
from quadrat.labels.labels import Labels
from quadrat.runtime.cache.filling import Filling
from quadrat.runtime.cache.hashes import Hashed
from quadrat.runtime.cache.scene_cache import WHOLE, SceneCache, files_of, identity
from quadrat.runtime.cache.snapshot import Snapshot
from quadrat.runtime.failures import succeeded
from quadrat.runtime.formats.section import Name, Section
from quadrat.runtime.memory import keep_pieces_apart
from quadrat.runtime.progress import console, track
from quadrat.runtime.run import Paths, Run
from quadrat.scenes.catalog import read_catalog
from quadrat.scenes.input_files import InputFiles, input_files, raise_changes
from quadrat.scenes.pins import check_pins
from quadrat.scenes.scene import OpenScene, Scene
from quadrat.tasks import Task
from quadrat.tasks.common.parts import part_module, targets_of


class Sliding(Section):
    """Windows ``stride`` px apart that cover the whole area of interest."""

    kind: Literal["sliding"]
    stride: int = Field(ge=1)
    """Px between two windows."""
    padding: int = Field(default=0, ge=0)
    """Px by which the first and the last windows extend beyond the area."""


class Random(Section):
    """``count`` windows per scene, drawn uniformly."""

    kind: Literal["random"]
    count: int = Field(ge=1)
    """Windows per scene."""
    padding: int = Field(default=0, ge=0)
    """Px by which windows may extend beyond the area."""


class Chip(Section):
    """How train scenes are cut. Validation scenes are cut without overlap, each pixel once."""

    chip_size: int = Field(ge=8)
    """Height and width of a chip, px."""
    windows: Annotated[Sliding | Random, Field(discriminator="kind")]
    """Where train scenes are cut."""
    min_valid_fraction: float = Field(default=0, ge=0, le=1)
    """Smallest share of a chip's px that are valid and within the AOI."""
    target_classes: tuple[Name, ...] | None = None
    """The classes whose labels make a train chip positive; null for all."""
    min_targets: int = Field(default=0, ge=0)
    """Smallest number of labels of the target classes in a positive chip, in the task's unit (px, cells or boxes)."""
    negatives: float | None = Field(default=None, ge=0)
    """Largest number of train chips that are not positive per positive chip of the scene, drawn at random; null for
    all."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.windows, Sliding) and self.windows.stride > self.chip_size:
            raise ValueError(f"windows.stride {self.windows.stride} leaves gaps between chips of size {self.chip_size}")
        return self


@dataclass(frozen=True)
class ChipParams:
    """The sections that chip takes."""

    scenes: Path
    seed: int
    task: Task
    bands: tuple[str, ...]
    chip: Chip


def chip(params: ChipParams, paths: Paths, run: Run) -> None:
    """Write the chips of all train and validation scenes, and their index.

    Scenes whose chips were made of the same files, parameters and code are kept. Raises InputError if a file is changed
    meanwhile; of a scene that was read then, nothing is kept. Needs ``paths.table``, which analyze
    writes if the scenes have no errors.
    """
    keep_pieces_apart()
    if not paths.table.exists():
        raise ChipError("the scenes are not analysed", file=paths.table, hint="run the stage 'analyze' first")
    begun = Snapshot.of(params.scenes, paths.pins, paths.table)
    scenes = _learnt_from(params.scenes)
    shared = run.shared("chip")
    with SceneCache(paths.chips, paths.chip_manifest, paths.hashes, force=run.force, shared=shared) as cache:
        files = input_files([*scenes.values()], cache.hashes, check_pins([*scenes.values()], paths.pins))
        inputs = {one.scene.id: _identity(one, params) for one in files}
        stale, index_stale = cache.stale(inputs), cache.stale(_index_of(inputs))
        cache.check_own({ABOUT, INDEX, *(f"*/{name}" for name in (ABOUT, INDEX, "*.npy"))})
        if not stale and not index_stale:
            raise_changes(begun, files)
            cache.remove_others({ABOUT, INDEX})
            console.print(f"chips: all {len(scenes)} scenes are up to date")
            return
        (paths.chips / INDEX).unlink(missing_ok=True)  # the store is incomplete until all scenes are done
        stale = cache.fetch(stale)
        readers = run.executor.threads_each(len(stale))
        work = partial(_chip_scene, params=params, readers=readers, chips=paths.chips)
        outcomes = run.executor.map(work, [one for one in files if one.scene.id in stale])
        done = track(outcomes, "chip", len(stale), "scenes", lambda one: one.given[1] if one.given else 0)
        for name, _, written in succeeded(stale, done):
            cache.done(name, written)
        raise_changes(begun, files)
        cache.remove_others({ABOUT, INDEX})
        counts = write_index(paths.chips, list(scenes))
        _check_cut(paths.chips, scenes, counts)
        cache.done(WHOLE, files_of(paths.chips))
    shown = ", ".join(f"{counts.get(s, 0)} to {what}" for s, what in (("train", "train"), ("validation", "validate")))
    console.print(f"chips: {shown}; cut again for {len(stale)} of {len(scenes)} scenes")


def chip_part(params: ChipParams, paths: Paths, run: Run) -> None:
    """Cut the scenes of ``run.part`` that the shared cache lacks, and write them there alone.

    So machines that share no files cut all scenes together; chip then finds them there.
    """
    keep_pieces_apart()
    begun = Snapshot.of(params.scenes, paths.pins)
    with Filling.of(run, "chip") as filling:
        scenes = filling.mine([*_learnt_from(params.scenes).values()])
        files = input_files(scenes, filling.hashes, check_pins(scenes, paths.pins))
        inputs = {one.scene.id: _identity(one, params) for one in files}
        lacking = filling.lacking(inputs)
        due = [one for one in files if one.scene.id in lacking]
        readers = run.executor.threads_each(len(due))
        work = partial(_chip_scene, params=params, readers=readers, chips=filling.folder)
        done = track(run.executor.map(work, due), "chip", len(due), "scenes")
        for name, _, written in succeeded(lacking, done):
            filling.store(name, written)
        raise_changes(begun, files)
    console.print(f"chips: {len(due)} of {len(files)} scenes cut for the shared cache")


def _identity(files: InputFiles, params: ChipParams) -> str:
    """Return a hash of the inputs of a scene's chips."""
    given: dict[str, Any] = {"seed": params.seed, "task": params.task, "bands": params.bands, "chip": params.chip}
    targets = part_module(params.task.kind, "targets")
    return identity(__name__, targets, scene=files.scene, files=files.contents, **given)


def _index_of(inputs: Mapping[str, str]) -> dict[str, str]:
    """Return a hash of the inputs of the index, which are all scenes' chips; its key is the store itself."""
    return {WHOLE: hashlib.sha256(repr([*inputs.items()]).encode()).hexdigest()}


def _check_cut(chips: Path, learnt: Mapping[str, Scene], counts: Mapping[str, int]) -> None:
    """Raise ChipError if a split with scenes has no chips; then no index is written, and the store is incomplete."""
    for split in dict.fromkeys(scene.split for scene in learnt.values()):
        if not counts.get(split):
            (chips / INDEX).unlink()
            targets = ", lower chip.min_targets or raise chip.negatives" if split == "train" else ""
            raise ChipError(
                f"no chip of the {split} scenes could be kept",
                ", ".join(name for name, scene in learnt.items() if scene.split == split),
                expected="a chip with as many valid pixels and labels as the section chip requires",
                hint=f"lower chip.min_valid_fraction{targets}, or check labels and areas of interest",
            )


def _learnt_from(scenes: Path) -> dict[str, Scene]:
    """Return the catalog's train and validation scenes by id; raise ChipError if there is none."""
    learnt = {scene.id: scene for scene in read_catalog(scenes) if scene.split in ("train", "validation")}
    if not learnt:
        raise ChipError(
            "there is no scene to learn from", file=scenes, hint="give scenes the split 'train', and 'validation'"
        )
    return learnt


def _chip_scene(
    files: InputFiles, *, params: ChipParams, readers: int, chips: Path
) -> tuple[str, int, dict[str, Hashed]]:
    """Return the scene's id, its number of px, and the written files."""
    scene, task, chip = files.scene, params.task, params.chip
    generator = np.random.default_rng([params.seed, *hashlib.sha256(scene.id.encode()).digest()])
    with scene.open(params.bands, task, readers) as opened:
        about = About(bands=opened.raster.bands, classes=tuple(task.columns), size=chip.chip_size)
        labels, targets = opened.needed_labels(), targets_of(task)
        windows, drawn = _windows(opened, labels, task, chip, generator)
        new = SceneChips(chips, scene.id, scene.split, opened.grid, about, targets.ragged)
        with new as store, files.unchanged():
            for piece in opened.cut(windows):
                counted = opened.counted(piece.window, piece.valid)
                valid = np.count_nonzero(counted) / counted.size
                if valid >= chip.min_valid_fraction:
                    target = targets.target(labels, piece.window, counted)
                    class_counts = targets.class_counts(target)
                    kept = piece.window in drawn or _positive(class_counts, task, chip)
                    if kept and targets.is_useful(target):
                        store.append(piece.window, piece.values, target, valid, class_counts)
                del piece, counted  # frees the strip before the next is read
        return scene.id, opened.area.size, files_of(chips / scene.id)


def _windows(
    scene: OpenScene, labels: Labels, task: Task, chip: Chip, generator: np.random.Generator
) -> tuple[list[Window], frozenset[Window]]:
    """Return the windows in row order, and those whose chips are kept even if they are not positive."""
    size = chip.chip_size
    if scene.split == "validation":
        windows = targets_of(task).validation_windows(scene.area, size)
        return windows, frozenset(windows)
    if isinstance(chip.windows, Sliding):
        windows = cover(scene.area, size, chip.windows.stride, chip.windows.padding)
    else:
        windows = scatter(scene.area, size, chip.windows.count, generator, chip.windows.padding)
    if chip.negatives is None:
        return windows, frozenset(windows)
    if not chip.negatives:
        return windows, frozenset()
    return _thinned(scene, labels, windows, task, chip, generator)


def _thinned(
    scene: OpenScene, labels: Labels, windows: Sequence[Window], task: Task, chip: Chip, generator: np.random.Generator
) -> tuple[list[Window], frozenset[Window]]:
    """Return the positive windows, judged by labels only, with the chosen number of others, and these others."""
    targets = targets_of(task)
    positive: list[Window] = []
    others: list[Window] = []
    for window in windows:
        target = targets.target(labels, window, scene.inside(window))
        (positive if _positive(targets.class_counts(target), task, chip) else others).append(window)
    count = min(len(others), round((chip.negatives or 0) * len(positive)))
    picked = generator.choice(len(others), count, replace=False) if count else ()
    drawn = frozenset(others[n] for n in picked)
    return sorted([*positive, *(window for window in others if window in drawn)]), drawn


def _positive(class_counts: NDArray[np.int64], task: Task, chip: Chip) -> bool:
    names = task.names if chip.target_classes is None else chip.target_classes
    found = sum(int(n) for name, n in zip(task.names, class_counts, strict=True) if name in names)
    return found >= chip.min_targets
