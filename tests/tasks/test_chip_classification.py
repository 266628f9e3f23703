"""Cells from labels to the score: where they lie, what they are, and that none is lost or counted twice."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
import torch
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rasterio.crs import CRS
from sklearn.metrics import confusion_matrix

from quadrat.errors import PredictionError
from quadrat.geo.grids.cells import as_cells, boxes, middle
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window, cover, strips, whole
from quadrat.labels.labels import Labels
from quadrat.prediction.reader import Prediction
from quadrat.prediction.sliding_window import Predict, predict_scene
from quadrat.prediction.writers import writer_for
from quadrat.scenes.scene import Scene
from quadrat.tasks import ChipClassification
from quadrat.tasks.chip_classification.scoring.multilabel_counts import Presence
from quadrat.tasks.chip_classification.section import CellLayers, ClassificationLoss
from quadrat.tasks.chip_classification.targets.cell_rule import labelled_cells
from quadrat.tasks.common.metrics import Confusion
from quadrat.tasks.common.outputs import Features
from quadrat.tasks.common.parts import layers_of, logit_loss_of, loss_of, scoring_of, targets_of
from tests.ground import NORTH_UP, UTM, cells, classes, image, write_raster
from tests.pairs import pairs
from tests.tasks.labelling import NONE, Areas, Pixels

FORMATS = ("parquet", "gpkg", "fgb", "geojson")
TASK, SEVERAL = cells("a", "b", "c"), cells("a", "b", "c", multi_label=True)


@dataclass(frozen=True)
class Truth:
    """A scene's labels, of which the part right of column ``left`` counts."""

    labels: Any
    area: Window
    left: int = 0

    def windows(self) -> Any:
        return strips(self.area, 16)

    def inside(self, window: Window) -> np.ndarray:
        return np.broadcast_to(np.arange(window.col, window.right) >= self.left, window.shape)


@dataclass(frozen=True)
class Predicted:
    """A prediction in memory."""

    own: Features

    def features(self, layer: str, window: Window | None = None) -> Features:
        assert layer == "cells"
        if window is None:
            return self.own
        frame = shapely.box(window.col, window.row, window.right, window.bottom)
        met = shapely.area(shapely.intersection(self.own.geometry, frame)) > 0
        return Features(layer, self.own.geometry[met], {n: v[met] for n, v in self.own.fields.items()})

    def class_ids(self, layer: str, window: Window, names: Any) -> np.ndarray:
        raise AssertionError(layer, window, names)


def labelled(*parts: Any, shape: tuple[int, int] = (999, 999)) -> Any:
    return Labels(parts, Grid(None, Affine.identity(), shape), "s")  # type: ignore[arg-type]  # stand-ins


def checkered(size: int, shape: tuple[int, int]) -> Areas:
    """Return a square of ``size`` px for each cell of a scene from its corner on, of a class by its place."""
    squares = [Window(row, col, size, size) for row in range(0, shape[0], size) for col in range(0, shape[1], size)]
    ids = [(w.row // size * 2 + w.col // size) % 3 for w in squares]
    return Areas(tuple(boxes(as_cells(squares))), tuple(ids))


def pasted(
    task: ChipClassification,
    area: Window,
    size: int,
    stride: int,
    scores: Mapping[Window, Any],
    valid: Any = None,
    shape: tuple[int, int] | None = None,
) -> list[Features]:
    """Return what the canvas gives of windows over an area, each with its own scores; the grid ends where it does."""
    windows = cover(area, size, stride, layers_of(task).margin(size, stride))
    layers = CellLayers(kind="chip_classification", cells="cells.parquet")
    canvas = layers_of(task).canvas(layers, area, size, stride, shape or (area.bottom, area.right))
    given = []
    for window in windows:
        seen = np.ones(window.shape, bool) if valid is None else valid(window)
        outputs = {"scores": np.array(scores[window], np.float32)}
        given += list(canvas.paste(window, outputs, seen))
    return given + list(canvas.close())


def drawn_scores(area: Window, task: ChipClassification, size: int, stride: int, seed: int = 0) -> dict[Window, Any]:
    generator = np.random.default_rng(seed)
    windows = cover(area, size, stride, layers_of(task).margin(size, stride))
    return dict(zip(windows, generator.dirichlet(np.ones(3), len(windows)).astype(np.float32), strict=True))


def joined(parts: list[Features]) -> Features:
    fields = {name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields}
    return Features("cells", np.concatenate([part.geometry for part in parts]), fields)


def test_a_chip_asks_about_its_middle() -> None:
    labels = labelled(checkered(16, (64, 64)))
    window = Window(8, 24, 32, 32)  # its middle is the cell of row 16, column 32
    counted = np.ones((32, 32), bool)
    target = targets_of(TASK).target(labels, window, counted)["classes"]
    assert (target.shape, target.dtype, int(target)) == ((), np.uint8, 1)
    assert targets_of(TASK).class_counts({"classes": target}).tolist() == [0, 1, 0]
    several = targets_of(SEVERAL).target(labels, window, counted)["classes"]
    assert (several.shape, several.dtype, several.tolist()) == ((3,), np.uint8, [0, 1, 0])
    assert targets_of(SEVERAL).class_counts({"classes": several}).tolist() == [0, 1, 0]


def test_a_cell_whose_centre_does_not_count_teaches_nothing() -> None:
    labels = labelled(checkered(16, (64, 64)))
    counted = np.ones((32, 32), bool)
    counted[16, 16] = False
    for task in (TASK, SEVERAL):
        target = targets_of(task).target(labels, Window(8, 24, 32, 32), counted)
        assert (target["classes"] == NONE).all()
        assert not targets_of(task).class_counts(target).any()
        assert not targets_of(task).is_useful(target)


def test_a_cell_that_is_known_to_have_no_class_teaches_that() -> None:
    thirds = tuple(shapely.box(24 + left, 8, 24 + left + 16 / 3, 24) for left in (0, 16 / 3, 32 / 3))
    target = targets_of(SEVERAL).target(
        labelled(Areas(thirds, (0, 1, 2))), Window(0, 16, 32, 32), np.ones((32, 32), bool)
    )
    assert target["classes"].tolist() == [0, 0, 0]
    assert targets_of(SEVERAL).is_useful(target)


@given(st.integers(1, 20), st.integers(1, 40), st.integers(1, 70), st.integers(1, 70), st.integers(0, 30))
def test_label_counts_take_each_cell_once_and_by_its_centre(
    size: int, height: int, rows: int, cols: int, left: int
) -> None:
    task = cells("a", "b", "c", cell_size=size)
    labels = labelled(checkered(size, (rows, cols)))
    found = np.zeros(3, np.int64)
    for strip in strips(whole((rows, cols)), height):
        counted = np.broadcast_to(np.arange(cols) >= left, strip.shape)
        found += targets_of(task).label_counts(labels, strip, counted)
    expected = np.zeros(3, int)
    for square, kind in zip(labels.ranked[0].geometry, labels.ranked[0].ids, strict=True):
        x, y = (int(v) for v in square.bounds[:2])
        expected[kind] += left <= x + size // 2 < cols and y + size // 2 < rows
    assert found.tolist() == expected.tolist()


@given(st.integers(1, 24), st.integers(0, 17), st.data())
def test_cells_come_in_row_order_cut_at_the_grids_edge_and_none_is_missing(
    size: int, context: int, data: st.DataObject
) -> None:
    task = cells("a", "b", "c", cell_size=size)
    stride = data.draw(st.integers(1, size))
    area = Window(*(data.draw(st.integers(low, 50)) for low in (0, 0, 1, 1)))
    shape = data.draw(st.integers(area.bottom, 130)), data.draw(st.integers(area.right, 130))
    scores = drawn_scores(area, task, size + context, stride)
    given_ = joined(pasted(task, area, size + context, stride, scores, shape=shape))
    edges = shapely.bounds(given_.geometry).astype(int)
    expected = [
        (col, row, min(col + size, shape[1]), min(row + size, shape[0]))
        for row in range(area.row, area.bottom, stride)
        for col in range(area.col, area.right, stride)
        if all(
            start == first or start - stride + size < last + context % 2  # an odd context is larger above and left
            for start, first, last in ((row, area.row, area.bottom), (col, area.col, area.right))
        )
    ]
    assert edges.tolist() == [list(cell) for cell in expected]


@pytest.mark.parametrize("share_of", ["cell", "polygon"])
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
@pytest.mark.parametrize("kind", ["areas", "pixels"])
@pytest.mark.parametrize("seed", range(4))
def test_a_cell_that_the_images_edge_cuts_is_the_same_where_it_is_counted_taught_and_scored(
    kind: str, several: bool, share_of: str, seed: int
) -> None:
    generator, shape, window = np.random.default_rng(seed), (45, 37), 24
    rule = {"share_of": share_of, "min_share": 0.4, "choose": "largest"}
    task = cells("a", "b", "c", multi_label=several, rule=rule)
    corner = generator.uniform(-10, 45, (15, 2))
    squares = tuple(shapely.box(*np.append(c, c + generator.uniform(4, 25, 2))) for c in corner)
    areas = Areas(squares, tuple(generator.integers(0, 3, 15).tolist()), background=2)
    labels = labelled(areas if kind == "areas" else Pixels(pixels(generator, 150), background=2), shape=shape)
    plan = cover(whole(shape), window, 16, layers_of(task).margin(window, 16))
    inside = [middle(w, 16).intersection(whole(shape)) for w in plan]
    taught = [targets_of(task).target(labels, w, seen_by(w, shape))["classes"] for w in plan]
    np.testing.assert_array_equal(taught, labelled_cells(task, labels, as_cells(inside)))
    assert len(np.unique(taught)) > 1
    label_counts = sum(
        targets_of(task).label_counts(labels, s, np.ones(s.shape, bool)) for s in strips(whole(shape), 10)
    )
    assert label_counts.tolist() == targets_of(task).class_counts({"classes": np.array(taught)}).tolist()
    right = {
        w: np.where(np.atleast_1d(t) == (1 if several else range(3)), 0.9, 0.0)
        for w, t in zip(plan, taught, strict=True)
    }
    found = joined(pasted(task, whole(shape), window, 16, right))
    (counts,) = scoring_of(task).score(Truth(labels, whole(shape)), [Predicted(found)])
    assert [one["support"] for one in counts.per_class()] == label_counts.tolist()
    assert counts.summary()["accuracy"] == 1


def test_of_a_cell_that_the_images_edge_cuts_the_part_on_the_image_is_taught() -> None:
    ground = Areas((shapely.box(0, 0, 21, 16), shapely.box(21, 0, 99, 16)), (0, 1))
    labels, counted = labelled(ground, shape=(16, 21)), np.ones((16, 16), bool)
    target = targets_of(TASK).target(labels, Window(0, 16, 16, 16), counted)
    assert int(target["classes"]) == 0
    elsewhere = targets_of(TASK).target(
        labelled(ground, shape=(16, 21)), Window(0, 21, 16, 16), np.ones((16, 16), bool)
    )
    assert int(elsewhere["classes"]) == NONE


def seen_by(window: Window, shape: tuple[int, int]) -> np.ndarray:
    """Return (y, x), True on the image."""
    rows, cols = np.mgrid[window.row : window.bottom, window.col : window.right]
    return (rows >= 0) & (cols >= 0) & (rows < shape[0]) & (cols < shape[1])


def pixels(generator: np.random.Generator, side: int) -> np.ndarray:
    """Return class ids in blocks of 5 px."""
    return np.kron(generator.choice(np.array([0, 1, NONE], np.uint8), (side // 5,) * 2), np.ones((5, 5), np.uint8))


def test_a_cell_without_a_valid_pixel_is_none() -> None:
    area = whole((32, 48))

    def valid(window: Window) -> np.ndarray:
        seen = np.ones(window.shape, bool)
        inner = Window(0, 16, 16, 16).intersection(window)
        if inner:
            seen[inner.slices(window)] = False  # all of the second cell
        return seen

    found = joined(pasted(TASK, area, 24, 16, drawn_scores(area, TASK, 24, 16), valid))
    assert shapely.bounds(found.geometry)[:, :2].astype(int).tolist() == [[0, 0], [32, 0], [0, 16], [16, 16], [32, 16]]
    nothing = pasted(TASK, area, 24, 16, drawn_scores(area, TASK, 24, 16), lambda window: np.zeros(window.shape, bool))
    assert [len(part.geometry) for part in nothing] == [0]
    assert list(nothing[0].fields) == ["class", "class_id", "score", "uncalibrated", "score_a", "score_b", "score_c"]


GRIDS = {
    "utm": Grid(CRS.from_string(UTM), NORTH_UP, (50, 61)),
    "fine": Grid(CRS.from_string(UTM), Affine(0.1, 0, 330_000.05, 0, -0.1, 5_822_040.03), (50, 61)),
    "south-up": Grid(CRS.from_string(UTM), Affine(10.0, 0, 330_000, 0, 10.0, 5_000_000), (50, 61)),
    "degrees": Grid(CRS.from_string("EPSG:4326"), Affine(2.7e-6, 0, -115.3, 0, -2.7e-6, 36.1), (50, 61)),
    "photo": Grid(None, Affine.identity(), (50, 61)),
}


@pytest.mark.parametrize("ending", FORMATS)
def test_names_that_are_not_refused_come_back_from_every_format(tmp_path: Path, ending: str) -> None:
    """Fields of cells are called after classes: none takes another's place, or that of the format's own columns."""
    names = [
        "fid",
        "geometry",
        "class",
        "id",
        "score",
        "a.b",
        "a, b",
        "a/b",
        "[x] 'q' \"w\"",
        "100 %",
        "é",
        "🌲",
        "x" * 999,
    ]
    task = cells(*names, rule={"share_of": "cell", "min_share": 0.5, "choose": "largest"})
    grid = Grid(CRS.from_string(UTM), NORTH_UP, (16 * len(names), 16))
    layers = CellLayers(kind="chip_classification", cells=f"cells.{ending}")  # type: ignore[arg-type]
    canvas = layers_of(task).canvas(layers, grid.area, 16, 16, grid.shape)
    scores = np.eye(len(names), dtype=np.float32)
    with writer_for(layers_of(task).written(layers)[0], grid, tmp_path, {}) as writer:
        for window, score in zip(cover(grid.area, 16, 16), scores, strict=True):
            for piece in canvas.paste(window, {"scores": score}, np.ones((16, 16), bool)):
                writer.write(piece)
        for piece in canvas.close():
            writer.write(piece)
    with Prediction(tmp_path, grid, "s") as prediction:
        fields = prediction.features("cells").fields
    order = np.argsort(fields["class_id"])
    assert fields["class"][order].tolist() == names
    np.testing.assert_array_equal(np.stack([fields[f"score_{name}"] for name in names])[:, order], scores)


@pytest.mark.parametrize(
    ("ending", "grid", "plan", "multi_label"),
    pairs(FORMATS, [*GRIDS], [(7, 7), (9, 4), (16, 16), (1, 1)], [False, True]),
)
def test_edges_and_classes_are_exact_after_they_were_written(
    tmp_path: Path, ending: str, grid: str, plan: tuple[int, int], multi_label: bool
) -> None:
    (size, stride), task = plan, SEVERAL if multi_label else TASK
    place = GRIDS[grid] if size > 1 else Grid(GRIDS[grid].crs, GRIDS[grid].transform, (9, 13))
    task = task.model_copy(update={"cell_size": size})
    layers = CellLayers.model_validate({"kind": "chip_classification", "cells": f"cells.{ending}"})
    scores = drawn_scores(place.area, task, size + 4, stride)
    parts = pasted(task, place.area, size + 4, stride, scores)
    with writer_for(layers_of(task).written(layers)[0], place, tmp_path, {}) as writer:
        for part in parts:
            writer.write(part)
    given_ = joined(parts)
    with Prediction(tmp_path, place, "s") as prediction:
        found = prediction.features("cells")
        order = np.lexsort(shapely.bounds(found.geometry).round()[:, :2].T)
        edges = shapely.bounds(found.geometry)[order]
        np.testing.assert_allclose(edges, shapely.bounds(given_.geometry), atol=0.01)
        for name in ("score_a", "score_b", "score_c"):
            np.testing.assert_allclose(found.fields[name][order], given_.fields[name], rtol=1e-7)  # GeoJSON is decimal
        assert found.fields["class"][order].tolist() == given_.fields["class"].tolist()
        upper = Window(0, 0, 5, place.shape[1])
        np.testing.assert_array_equal(
            scoring_of(task).predicted_map(prediction, place.area)[:5],
            scoring_of(task).predicted_map(prediction, upper),
        )
    alone = Predicted(given_)
    with Prediction(tmp_path, place, "s") as prediction:
        painted = scoring_of(task).predicted_map(prediction, place.area)
    np.testing.assert_array_equal(painted, scoring_of(task).predicted_map(alone, place.area))


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (20, 3), (33, 17)])
@pytest.mark.parametrize("task", [TASK, SEVERAL], ids=["one", "several"])
def test_scenes_smaller_than_a_window(tmp_path: Path, shape: tuple[int, int], task: ChipClassification) -> None:
    pixels = np.full((1, *shape), 7, np.uint8)
    path = write_raster(tmp_path / "image.tif", pixels)
    layers = CellLayers(kind="chip_classification", cells="cells.parquet")

    def predictor(pixels: np.ndarray) -> dict[str, np.ndarray]:
        assert (pixels == 7).all()  # mirrored beyond the edge
        return {"scores": np.tile(np.array([0.1, 0.7, 0.2], np.float32), (len(pixels), 1))}

    scene = Scene("s", "predict", image(path), (), ())
    with scene.open(("a",), task) as opened:
        predict_scene(
            opened, predictor, task, Predict(window_size=24, stride=16, layers=layers), tmp_path / "out", batch=3
        )
        with Prediction(tmp_path / "out", opened.grid, "s") as prediction:
            assert (scoring_of(task).predicted_map(prediction, opened.area) == 1).all()
            cells_ = shapely.bounds(prediction.features("cells").geometry)
    assert len(cells_) == -(-shape[0] // 16) * -(-shape[1] // 16)
    np.testing.assert_allclose(shapely.area(shapely.box(*cells_.T)).sum(), shape[0] * shape[1])


def test_the_fields_are_for_people_and_machines(tmp_path: Path) -> None:
    area = Window(0, 0, 16, 48)
    windows = cover(area, 16, 16)
    scores = dict(zip(windows, [(0.75, 0.125, 0.125), (0.125, 0.75, 0.125), (0.25, 0.25, 0.5)], strict=True))
    one = joined(pasted(TASK, area, 16, 16, scores))
    assert one.fields["class"].tolist() == ["a", "b", "c"]
    assert one.fields["class_id"].tolist() == [0, 1, 2]
    assert one.fields["score"].tolist() == [0.75, 0.75, 0.5]
    scores = dict(zip(windows, [(0.75, 0.5, 0.125), (0.25, 0.0, 0.49), (0.25, 0.25, 0.5)], strict=True))
    several = joined(pasted(SEVERAL, area, 16, 16, scores))
    assert several.fields["class"].tolist() == ["a, b", "", "c"]
    assert several.fields["score_b"].tolist() == [0.5, 0.0, 0.25]
    layer = layers_of(SEVERAL).written(CellLayers(kind="chip_classification", cells="cells.gpkg"))[0]
    with writer_for(layer, GRIDS["utm"], tmp_path, {}) as writer:
        writer.write(several)
    assert geopandas.read_file(tmp_path / "cells.gpkg", layer=0)["class"].tolist() == ["a, b", "", "c"]


def predicted(task: ChipClassification, area: Window, seed: int, keep: float = 1.0) -> Predicted:
    """Return a prediction of drawn scores, which lacks some of the cells."""
    found = joined(pasted(task, area, 16, 16, drawn_scores(area, task, 16, 16, seed)))
    some = np.random.default_rng(seed).permutation(
        np.flatnonzero(np.random.default_rng(seed).random(len(found.geometry)) < keep)
    )
    return Predicted(Features("cells", found.geometry[some], {n: v[some] for n, v in found.fields.items()}))


def by_cell(prediction: Predicted, field: str) -> dict[tuple[int, ...], Any]:
    edges = shapely.bounds(prediction.own.geometry).astype(int)
    return {tuple(cell): value for cell, value in zip(edges.tolist(), prediction.own.fields[field], strict=True)}


def test_the_score_counts_labelled_cells_of_the_aoi_that_all_predictions_have() -> None:
    area = whole((60, 100))
    labels = checkered(16, (64, 80))  # the last two columns of cells are unlabelled
    truth = Truth(labelled(labels, shape=(60, 100)), area, left=30)  # the centres of the second column lie left of it
    first, second = predicted(TASK, area, 1, 0.8), predicted(TASK, area, 2, 0.8)
    found = scoring_of(TASK).score(truth, [first, second])
    kinds = {tuple(int(v) for v in g.bounds): k for g, k in zip(labels.geometry, labels.ids, strict=True)}
    own = [by_cell(one, "class_id") for one in (first, second)]
    clipped = {(left, top, right, min(down, 60)): k for (left, top, right, down), k in kinds.items() if left >= 32}
    common = [cell for cell in clipped if all(cell in one for one in own)]
    lost = [cell for cell in clipped if any(cell in one for one in own) and cell not in common]
    assert len(common) > 5
    assert len(lost) > 1
    for counts, one in zip(found, own, strict=True):
        assert isinstance(counts, Confusion)
        expected = confusion_matrix([clipped[c] for c in common], [one[c] for c in common], labels=range(3))
        np.testing.assert_array_equal(counts.matrix, expected)
        np.testing.assert_array_equal(counts.unpredicted, [sum(clipped[c] == k for c in lost) for k in range(3)])
        assert counts.summary()["support"] == len(common)
    assert list(found[0].summary()) == ["accuracy", "macro_f1", "support"]


def test_the_score_of_several_classes_holds_every_score() -> None:
    area = whole((64, 96))
    truth = Truth(labelled(checkered(16, (64, 80))), area)
    one, other = predicted(SEVERAL, area, 1, 0.8), predicted(SEVERAL, area, 2)
    counts, _ = scoring_of(SEVERAL).score(truth, [one, other])
    assert isinstance(counts, Presence)
    scores = by_cell(one, "score_b")
    cell = (16, 32, 32, 48)
    assert scores[cell] in counts.scores[:, 1]
    known = (counts.truth != NONE).all(1)
    assert known.sum() + counts.unpredicted == 20
    assert (counts.truth[known].sum(1) == 1).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda cells: cells * [1, 1, 1, 1] + [0, 0, 16, 16], "another grid"),  # larger
        (lambda cells: cells // 2, "another grid"),  # smaller
        (lambda cells: cells.repeat(2, 0)[: len(cells)], "twice"),
        (lambda cells: cells[:, [0, 1, 0, 1]], "another grid"),  # without an area
    ],
)
@pytest.mark.parametrize("task", [TASK, SEVERAL], ids=["one", "several"])
def test_cells_of_another_size_are_refused(change: Any, said: str, task: ChipClassification) -> None:
    area = whole((32, 48))
    own = predicted(task, area, 1).own
    changed = boxes(change(shapely.bounds(own.geometry)))
    with pytest.raises(PredictionError, match=said):
        scoring_of(task).score(
            Truth(labelled(checkered(16, (32, 48))), area), [Predicted(Features("cells", changed, own.fields))]
        )


def test_what_is_no_square_is_refused() -> None:
    area = whole((32, 48))
    own = predicted(TASK, area, 1).own
    round_ = shapely.buffer(shapely.centroid(own.geometry), 8)
    with pytest.raises(PredictionError, match="another grid"):
        scoring_of(TASK).predicted_map(Predicted(Features("cells", round_, own.fields)), area)


def test_cells_beyond_the_image_count_nowhere() -> None:
    area = whole((32, 32))
    truth = Truth(labelled(checkered(16, (64, 64))), area)  # labels reach further
    more = predicted(TASK, whole((64, 64)), 1).own
    far = shapely.transform(more.geometry, lambda xy: xy + 2**40)
    every = Features("cells", np.concatenate([more.geometry, far]), joined([more, more]).fields)
    on = (shapely.bounds(more.geometry)[:, 2:] <= 32).all(1)
    inner = Predicted(Features("cells", more.geometry[on], {name: v[on] for name, v in more.fields.items()}))
    scoring = scoring_of(TASK)
    (found,), (expected,) = scoring.score(truth, [Predicted(every)]), scoring.score(truth, [inner])
    assert found == expected
    sure, right = (scoring.reliability(truth, one, found) for one in (Predicted(every), inner))
    assert sure.keys() == right.keys() == {"calibrated", "uncalibrated"}
    assert right["calibrated"].counts[0].sum() == found.summary()["support"]
    for name, one in right.items():
        np.testing.assert_array_equal(sure[name].counts, one.counts)


def test_a_prediction_that_is_not_of_this_task_is_refused() -> None:
    area = whole((32, 32))
    truth = Truth(labelled(checkered(16, (32, 32))), area)
    own = predicted(TASK, area, 1).own
    moved = Predicted(Features("cells", shapely.transform(own.geometry, lambda xy: xy + 0.3), own.fields))
    other = Predicted(Features("cells", own.geometry, {**own.fields, "class_id": own.fields["class_id"] + 3}))
    bare = Predicted(Features("cells", own.geometry, {"score": own.fields["score"]}))
    for wrong, message in ((moved, "another grid"), (other, "other classes"), (bare, "no class")):
        with pytest.raises(PredictionError, match=message):
            scoring_of(TASK).score(truth, [wrong])
    with pytest.raises(PredictionError, match="score_a"):
        scoring_of(SEVERAL).score(truth, [Predicted(Features("cells", own.geometry, {"class": own.fields["class"]}))])


def test_without_any_predicted_cell_nothing_is_counted() -> None:
    area = whole((32, 32))
    truth = Truth(labelled(checkered(16, (32, 32))), area)
    for task in (TASK, SEVERAL):
        own = predicted(task, area, 1).own
        empty = Predicted(Features("cells", own.geometry[:0], {n: v[:0] for n, v in own.fields.items()}))
        assert scoring_of(task).score(truth, [empty])[0].summary()["support"] == 0
        assert (scoring_of(task).predicted_map(empty, area) == NONE).all()
        assert (scoring_of(task).label_map(truth, empty, area) == NONE).all()


def test_pictures_show_the_cells_and_of_several_classes_one_that_is_right() -> None:
    area = Window(0, 0, 16, 64)
    ground = Areas((shapely.box(0, 0, 48, 16), shapely.box(0, 0, 32, 16)), (1, 2))
    truth = Truth(labelled(ground), area)
    windows = cover(area, 16, 16)
    scores = [(0.1, 0.2, 0.7), (0.9, 0.6, 0.0), (0.4, 0.3, 0.3), (0.2, 0.7, 0.1)]
    found = Predicted(joined(pasted(SEVERAL, area, 16, 16, dict(zip(windows, scores, strict=True)))))
    assert scoring_of(SEVERAL).predicted_map(found, area)[3, ::16].tolist() == [2, 0, NONE, 1]
    assert scoring_of(SEVERAL).label_map(truth, found, area)[3, ::16].tolist() == [2, 1, 1, NONE]
    one = Predicted(joined(pasted(TASK, area, 16, 16, dict(zip(windows, scores, strict=True)))))
    assert scoring_of(TASK).predicted_map(one, Window(4, 20, 8, 30))[3, ::10].tolist() == [0, 0, 0]
    assert scoring_of(TASK).label_map(truth, one, area)[3, ::16].tolist() == [1, 1, 1, NONE]


def loss(task: ChipClassification, outputs: Any, classes: Any, **options: float) -> float:
    section = ClassificationLoss(
        kind="chip_classification", **{"label_smoothing": 0.0, "class_balance": 0.0, **options}
    )
    target = {"classes": torch.tensor(classes, dtype=torch.uint8)}
    meaning = logit_loss_of(task)
    weights = torch.tensor(meaning.class_weights(section, [0.5, 0.4, 0.1]))
    return float(meaning.loss(section, torch.tensor(outputs), target, weights))


def test_the_loss_is_cross_entropy_of_what_is_known() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 3))
    likely = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert loss(TASK, logits, [2, 0, NONE, 1]) == pytest.approx(-np.log(likely[[0, 1, 3], [2, 0, 1]]).mean())
    weights = np.array([0.5, 0.4, 0.1]) ** -0.5
    each = -np.log(likely[[0, 1, 3], [2, 0, 1]]) * weights[[2, 0, 1]]
    balanced = loss(TASK, logits, [2, 0, NONE, 1], class_balance=0.5)
    assert balanced == pytest.approx(each.sum() / weights[[2, 0, 1]].sum())
    assert loss(TASK, logits, [NONE] * 4) == 0


def test_the_loss_of_several_classes_asks_each_that_is_known() -> None:
    logits = np.random.default_rng(0).normal(size=(2, 3))
    truth = np.array([[1, 0, NONE], [NONE, 1, 0]])
    yes = 1 / (1 + np.exp(-logits))
    each = -np.log(np.where(truth == 1, yes, 1 - yes))
    assert loss(SEVERAL, logits, truth) == pytest.approx(each[truth != NONE].mean())
    soft = -0.95 * np.log(np.where(truth == 1, yes, 1 - yes)) - 0.05 * np.log(np.where(truth == 1, 1 - yes, yes))
    assert loss(SEVERAL, logits, truth, label_smoothing=0.1) == pytest.approx(soft[truth != NONE].mean())
    assert loss(SEVERAL, logits, np.full((2, 3), NONE)) == 0


def test_outputs_become_scores_and_decisions() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0], [-1.0, 3.0, 2.0]])
    one = {name: values.numpy() for name, values in logit_loss_of(TASK).activate(logits).items()}
    np.testing.assert_allclose(one["scores"].sum(1), 1, rtol=1e-6)
    assert loss_of(TASK).decided(one).tolist() == [0, 1]
    several = {name: values.numpy() for name, values in logit_loss_of(SEVERAL).activate(logits).items()}
    np.testing.assert_allclose(several["scores"], 1 / (1 + np.exp(-logits.numpy())), rtol=1e-6)
    assert loss_of(SEVERAL).decided(several).tolist() == [[True, True, True], [False, True, True]]


def test_a_cell_does_not_turn_with_its_pixels() -> None:
    target = {"classes": torch.tensor([1, 2], dtype=torch.uint8)}
    assert targets_of(TASK).turn(target, torch.tensor([5, 6]), 32)["classes"].tolist() == [1, 2]


def test_pixels_learn_their_cells_class_and_what_is_around_nothing() -> None:
    classes = logit_loss_of(TASK).pixel_classes({"classes": np.array([2, NONE], np.uint8)}, (20, 20))
    assert (classes[0, 2:18, 2:18] == 2).all()
    assert (classes == 2).sum() == 256 == logit_loss_of(TASK).labelled_pixels(np.array([0, 0, 1]), 400)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell_size": 0}, "greater than or equal to 1"),
        ({"rule": {"share_of": "cell", "min_share": 0.0, "choose": "largest"}}, "greater than 0"),
        ({"rule": {"share_of": "cell", "min_share": 1.1, "choose": "largest"}}, "less than or equal to 1"),
        ({"rule": {"share_of": "ground", "min_share": 0.5, "choose": "largest"}}, "'polygon' or 'cell'"),
        ({"classes": [{"name": "a", "color": "#000000", "from": ["a"]}]}, "one class has no alternative"),
        ({"classes": classes(["a, b", "b"]), "multi_label": True}, "lists a cell's classes with ', '(.|\n)*: a, b"),
        ({"classes": classes(["Straße", "STRASSE"])}, "differ in more than case(.|\n)*Straße, STRASSE"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        cells("a", "b", **changes)
