"""What holds for every task: the stages rely on this, and on nothing else."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, TypeAdapter

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.grids.windows import Window, cover, strips
from quadrat.labels.labels import LabelSource
from quadrat.models import Outputs
from quadrat.pipeline.eval import Eval
from quadrat.prediction.reader import Prediction
from quadrat.prediction.sliding_window import Predict, predict_scene
from quadrat.scenes.scene import OpenScene, Scene
from quadrat.tasks import Layers, Loss, Task, TaskSection
from quadrat.tasks.common.layers import TaskLayers
from quadrat.tasks.common.loss import TaskLoss
from quadrat.tasks.common.outputs import RasterLayer
from quadrat.tasks.common.parts import layers_of, loss_of, scoring_of, targets_of
from quadrat.tasks.common.scoring import TaskScoring
from quadrat.tasks.common.targets import TaskTargets
from quadrat.tasks.common.truth import Truth
from tests.ground import cells, detection, image, pixel_box, regression, segmentation, write_areas, write_raster

SOURCES: TypeAdapter[Any] = TypeAdapter(LabelSource)
SHAPE = (61, 90)
NAMES = ("tree", "car", "pool")
SIZE, STRIDE = 32, 16

Target = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A task with its sections, and what a model that knows all says of a window with such a target."""

    task: TaskSection
    loss_section: Mapping[str, Any]
    layers_section: Mapping[str, Any]
    match: Mapping[str, Any] | None
    outputs: Callable[[Target], Outputs]
    numbers: bool = False
    """Whether its labels are a raster of numbers; else features of every class."""

    @property
    def targets(self) -> TaskTargets[Any]:
        return targets_of(self.task)

    @property
    def loss(self) -> TaskLoss[Any]:
        return loss_of(self.task)

    @property
    def layers(self) -> TaskLayers[Any]:
        return layers_of(self.task)

    @property
    def scoring(self) -> TaskScoring[Any]:
        return scoring_of(self.task)


def of_pixels(target: Target) -> Outputs:
    ids = target["classes"]
    return {"scores": np.stack([np.where(ids == k, 0.9, 0.05) for k in range(len(NAMES))]).astype(np.float32)}


def of_boxes(target: Target) -> Outputs:
    boxes, scores = np.zeros((30, 4), np.float32), np.zeros((30, len(NAMES)), np.float32)
    for place, (*box, class_id) in enumerate(row for row in target["boxes"] if row[4] < IGNORE):
        boxes[place], scores[place, int(class_id)] = box, 0.9
    return {"scores": scores, "boxes": boxes}


def of_a_cell(target: Target) -> Outputs:
    held = np.atleast_1d(target["classes"])
    there = held == 1 if len(held) > 1 else held == range(len(NAMES))
    return {"scores": np.where(there, 0.9, 0.05).astype(np.float32)}


def of_values(target: Target) -> Outputs:
    return {"values": np.nan_to_num(target["values"])[None]}


RULE = {"share_of": "polygon", "min_share": 0.3, "choose": "largest"}
CELLS = Case(
    cells(*NAMES, rule=RULE),
    {"kind": "chip_classification", "label_smoothing": 0.0, "class_balance": 0.5},
    {"kind": "chip_classification", "cells": "cells.parquet"},
    None,
    of_a_cell,
)
CASES = {
    "chip_classification": CELLS,
    "chip_classification, several": replace(CELLS, task=cells(*NAMES, rule=RULE, multi_label=True)),
    "semantic_segmentation": Case(
        segmentation(*NAMES),
        {"kind": "semantic_segmentation", "dice": 0.5, "label_smoothing": 0.0, "class_balance": 0.5},
        {
            "kind": "semantic_segmentation",
            "scores": True,
            "polygons": "polygons.parquet",
            "min_pixels": 1,
            "polygon_classes": None,
            "max_hole_pixels": 0,
            "outlines": {"kind": "edges"},
        },
        None,
        of_pixels,
    ),
    "object_detection": Case(
        detection(*NAMES),
        {"kind": "object_detection", "classification": 1.0, "boxes": 1.0},
        {
            "kind": "object_detection",
            "detections": "detections.parquet",
            "min_score": 0.1,
            "max_detections": 100,
            "nms": {"measure": "iou", "overlap": 0.5},
        },
        {"iou": 0.5, "score": 0.5},
        of_boxes,
    ),
    "pixel_regression": Case(
        regression("height"),
        {"kind": "pixel_regression", "beta": 0.1},
        {"kind": "pixel_regression"},
        None,
        of_values,
        numbers=True,
    ),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@contextmanager
def opened(root: Path, case: Case) -> Iterator[tuple[OpenScene, Truth]]:
    """Open an image whose pixels say where they are, with labels of every class and an AOI that is not a rectangle."""
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    path = write_raster(root / "image.tif", np.stack([rows, cols]).astype(np.float32))
    areas, kinds = [], []
    for number, (col, row) in enumerate((c, r) for r in range(2, 52, 15) for c in range(1, 80, 14)):
        areas.append(pixel_box(col, row, col + 5 + number % 6, row + 10 - number % 5))
        kinds.append(NAMES[number % 3])
    write_areas(root / "labels.gpkg", areas, {"kind": kinds})
    aoi = pixel_box(0, 0, 70, 61).union(pixel_box(70, 20, 90, 50))
    write_areas(root / "aoi.gpkg", [aoi])
    heights = (0.3 + np.hypot(rows, cols)).astype(np.float32)
    heights[20:30, 40:50] = np.nan
    write_raster(root / "heights.tif", heights[None])
    vector = {"kind": "vector", "path": str(root / "labels.gpkg"), "field": "kind"}
    raster = {"kind": "raster", "path": str(root / "heights.tif"), "values": "numbers"}
    source = SOURCES.validate_python(raster if case.numbers else vector, strict=False)
    scene = Scene("s", "test", image(path, ("row", "col")), (source,), (str(root / "aoi.gpkg"),))
    with scene.open(("row", "col"), case.task) as open_scene:
        yield open_scene, Truth(open_scene, open_scene.needed_labels())


def everywhere(scene: OpenScene, window: Window) -> np.ndarray:
    """Return where the AOI counts, within the grid."""
    counted = np.zeros(window.shape, bool)
    inside = window.intersection(scene.grid.area)
    if inside:
        counted[inside.slices(window)] = True
    return scene.counted(window, counted)


def knowing(case: Case, scene: OpenScene) -> Callable[[np.ndarray], Outputs]:
    """Return a model that sees from the pixels where a window lies, and knows what is there."""

    def start(values: np.ndarray) -> int:
        rising = int(np.flatnonzero(np.diff(values) == 1)[0])  # mirrored ones fall
        return int(values[rising]) - rising

    def predictor(pixels: np.ndarray) -> Outputs:
        said = []
        for rows, cols in pixels:
            window = Window(start(rows[:, 0]), start(cols[0]), *rows.shape)
            counted = np.zeros(window.shape, bool)
            inside = window.intersection(scene.grid.area)
            assert inside
            counted[inside.slices(window)] = True
            said.append(case.outputs(case.targets.target(scene.needed_labels(), window, counted)))
        return {name: np.stack([outputs[name] for outputs in said]) for name in said[0]}

    return predictor


def test_sections_of_every_task_are_told_apart_by_kind(case: Case) -> None:
    for section, union in ((case.task, Task), (case.loss_section, Loss), (case.layers_section, Layers)):
        content = section.model_dump(by_alias=True, mode="json") if isinstance(section, BaseModel) else section
        one = TypeAdapter(union).validate_python(content, strict=False)
        assert one.kind == case.task.kind
        assert TypeAdapter(union).validate_json(one.model_dump_json(by_alias=True)) == one
    assert (case.match is not None) == case.task.matches


def test_label_counts_take_each_label_once_and_a_target_the_same(case: Case, tmp_path: Path) -> None:
    with opened(tmp_path, case) as (scene, truth):
        counted = everywhere(scene, scene.area)
        whole = case.targets.label_counts(truth.labels, scene.area, counted)
        parts = [
            case.targets.label_counts(truth.labels, strip, counted[strip.slices(scene.area)])
            for strip in strips(scene.area, 7)
        ]
        np.testing.assert_array_equal(sum(parts), whole)
        assert whole.shape == (len(case.task.classes),)
        assert whole.all()
        windows = case.targets.validation_windows(scene.area, 128)
        targets = [case.targets.target(truth.labels, window, everywhere(scene, window)) for window in windows]
        np.testing.assert_array_equal(sum(map(case.targets.class_counts, targets)), whole)
        nowhere = case.targets.target(truth.labels, scene.area, np.zeros_like(counted))
        assert not case.targets.class_counts(nowhere).any()


def test_targets_are_alike_but_for_the_length_of_ragged_ones(case: Case, tmp_path: Path) -> None:
    with opened(tmp_path, case) as (scene, truth):
        windows = [*cover(scene.area, SIZE, STRIDE, 8), Window(200, 200, SIZE, SIZE)]
        targets = [case.targets.target(truth.labels, window, everywhere(scene, window)) for window in windows]
    assert case.targets.ragged <= set(targets[0])
    for target in targets:
        for name, values in target.items():
            first = targets[0][name]
            assert values.dtype == first.dtype
            assert np.ndim(values) == np.ndim(first)
            held = 1 if name in case.targets.ragged else 0
            assert np.shape(values)[held:] == np.shape(first)[held:]


@pytest.mark.parametrize("symmetry", range(8))
def test_a_turned_target_holds_the_same_labels_and_turns_back(case: Case, tmp_path: Path, symmetry: int) -> None:
    window = Window(10, 20, SIZE, SIZE)
    with opened(tmp_path, case) as (scene, truth):
        target = case.targets.target(truth.labels, window, everywhere(scene, window))
    tensors = {name: torch.tensor(values[None]) for name, values in target.items()}
    turned = case.targets.turn(tensors, torch.tensor([symmetry]), SIZE)
    assert {name: (t.shape, t.dtype) for name, t in turned.items()} == {
        n: (t.shape, t.dtype) for n, t in tensors.items()
    }
    counts = case.targets.class_counts({name: values[0].numpy() for name, values in turned.items()})
    np.testing.assert_array_equal(counts, case.targets.class_counts(target))
    back = [case.targets.turn(turned, torch.tensor([inverse]), SIZE) for inverse in range(8)]
    assert any(
        all(torch.allclose(one[name].float(), tensors[name].float(), equal_nan=True) for name in one) for one in back
    )


def test_who_knows_all_scores_full_marks_on_chips(case: Case, tmp_path: Path) -> None:
    counts = case.scoring.no_counts()
    with opened(tmp_path, case) as (scene, truth):
        for window in case.targets.validation_windows(scene.area, SIZE):
            target = case.targets.target(truth.labels, window, everywhere(scene, window))
            outputs = {name: values[None] for name, values in case.outputs(target).items()}
            counts = counts + case.scoring.chip_counts({name: values[None] for name, values in target.items()}, outputs)
    assert counts.summary()[case.scoring.monitor] == pytest.approx(1)


def test_who_knows_all_scores_full_marks_on_scenes(case: Case, tmp_path: Path) -> None:
    plan = {"window_size": SIZE, "stride": STRIDE, "layers": case.layers_section}
    predict = Predict.model_validate(plan, strict=False)
    match = Eval.model_validate({"match": case.match, "pictures": None}, strict=False).match
    with opened(tmp_path, case) as (scene, truth):
        predict_scene(scene, knowing(case, scene), case.task, predict, tmp_path / "out", 3)
        with Prediction(tmp_path / "out", scene.grid, "s") as made:
            counts, other = case.scoring.score(truth, [made, made], match)
            shown = case.scoring.outlines(truth, made, match)
            maps = [
                case.scoring.label_map(truth, made, scene.area),
                case.scoring.predicted_map(made, scene.area),
            ]
    files = {layer.name: getattr(layer, "file", f"{layer.name}.tif") for layer in case.layers.written(predict.layers)}
    assert {path.name for path in (tmp_path / "out").iterdir()} >= set(files.values())
    _check_figures(case, counts)
    assert other.overall() == counts.overall()
    assert [m.shape for m in maps] == [scene.area.shape] * 2
    assert [m.dtype for m in maps] == [np.uint8] * 2
    if shown is None:
        assert (maps[0] != IGNORE).any()
        assert max(shown_map[shown_map != IGNORE].max() for shown_map in maps) < len(case.scoring.painted)
    else:
        labels, predicted = shown
        assert labels.right.all()
        assert predicted.right.all()
        assert len(labels.geometry) == len(labels.class_ids) == len(labels.right)


def _check_figures(case: Case, counts: Any) -> None:
    summary, overall = counts.summary(), counts.overall()
    assert summary[case.scoring.monitor] == pytest.approx(1)
    assert list(overall)[: len(summary)] == list(summary)
    assert {"support", case.scoring.monitor} <= set(summary)
    assert len(counts.per_class()) == len(case.task.classes)
    assert all("support" in row for row in counts.per_class())
    pairs = counts.confused()
    if not case.numbers:  # by the same names for every task that has classes
        assert "macro_f1" in summary
        assert {"macro_precision", "macro_recall"} <= set(overall)
        assert all({"precision", "recall", "f1"} <= set(row) for row in counts.per_class())
        assert [row["f1"] for row in counts.per_class()] == pytest.approx([1] * len(NAMES))
        assert pairs.shape in {(len(NAMES),) * 2, (len(NAMES) + 1,) * 2}
    np.testing.assert_array_equal(pairs, np.diag(np.diag(pairs)))
    empty = case.scoring.no_counts()
    assert (empty + empty).summary()[case.scoring.monitor] is None
    always = counts.always(0)
    assert always is None or always.summary()[case.scoring.monitor] < 1


def test_layers_can_be_fewer_and_more(case: Case) -> None:
    layers = TypeAdapter(Layers).validate_python(case.layers_section, strict=False)
    names = [[layer.name for layer in case.layers.written(some)] for some in (layers.plain(), layers, layers.full())]
    assert set(names[0]) <= set(names[1]) <= set(names[2])
    assert names[0]
    for layer in case.layers.written(layers.full()):
        assert isinstance(layer, RasterLayer) or layer.file.startswith(layer.name)


def test_what_it_gives_is_what_its_signature_says(case: Case, tmp_path: Path) -> None:
    window = Window(10, 20, SIZE, SIZE)
    with opened(tmp_path, case) as (scene, truth):
        target = case.targets.target(truth.labels, window, everywhere(scene, window))
    outputs = {name: values[None] for name, values in case.outputs(target).items()}
    signature = case.loss.signature()
    assert list(signature.outputs) == list(outputs)
    exec(signature.decide, {"np": np, "print": lambda *_: None, **outputs})  # noqa: S102 (it stands in a bundle's README)
    decided = case.loss.decided(outputs)
    assert (decided == case.loss.decided({name: values + 1e-6 for name, values in outputs.items()})).all()
    assert (decided != case.loss.decided({name: 1 - values for name, values in outputs.items()})).any()
