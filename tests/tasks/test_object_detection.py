"""Boxes teach where they count, are found once across windows, and are scored by centre."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from rasterio.crs import CRS

from quadrat.errors import PredictionError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window, cover, strips, whole
from quadrat.geo.vectors.burning import Areas
from quadrat.labels.labels import Labels, LabelSource
from quadrat.labels.objects import Objects
from quadrat.labels.vector import LabelledAreas
from quadrat.prediction.reader import Prediction
from quadrat.prediction.sliding_window import Predict, predict_scene
from quadrat.scenes.scene import Scene
from quadrat.tasks import Layers
from quadrat.tasks.common.outputs import Features
from quadrat.tasks.common.parts import layers_of, loss_of, scoring_of, targets_of
from quadrat.tasks.common.symmetries import turn as turned
from quadrat.tasks.common.truth import Truth
from quadrat.tasks.object_detection.scoring import VALIDATING
from quadrat.tasks.object_detection.section import DetectionMatch
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.overlaps import overlaps
from quadrat.tasks.object_detection.targets.suppression import suppressed
from quadrat.tasks.object_detection.targets.uncounted import MOST, covering
from tests.ground import NORTH_UP, UTM, detection, image, pixel_box, write_areas, write_raster
from tests.tasks.patches import BOXES, IDS, layers, marked, reader

TASK = detection("tree", "car")
MATCH = DetectionMatch(iou=0.5, score=0.5)


def labels(boxes: np.ndarray, ids: Sequence[int], shape: tuple[int, int]) -> Labels:
    """Return labels of upright boxes (box, 4) in pixel coordinates, as from a file."""
    objects = Objects(np.asarray(shapely.box(*np.reshape(boxes, (-1, 4)).T), object), np.array(ids, np.uint8))
    areas = Areas(objects.geometry[:0], objects.class_ids[:0])
    grid = Grid(CRS.from_string(UTM), NORTH_UP, shape)
    return Labels((LabelledAreas(areas, objects, 255),), grid, "s")


# ---- what a window teaches


def naive_target(boxes: np.ndarray, ids: Sequence[int], shape: tuple[int, int], window: Window, **task: Any) -> Any:
    """Return rows of a target, box by box; ``task`` are its parameters, and ``counted``."""
    rows = []
    for (left, top, right, bottom), class_id in zip(boxes.tolist(), ids, strict=True):
        x, y, end, low = max(left, 0), max(top, 0), min(right, shape[1]), min(bottom, shape[0])
        inner = max(x, window.col), max(y, window.row), min(end, window.right), min(low, window.bottom)
        width, height = inner[2] - inner[0], inner[3] - inner[1]
        if end <= x or low <= y or width <= 0 or height <= 0:
            continue
        on_grid = (end - x) * (low - y) / ((right - left) * (bottom - top))
        on_window = width * height / ((end - x) * (low - y))
        row, col = int((y + low) / 2) - window.row, int((x + end) / 2) - window.col
        counts = 0 <= row < window.height and 0 <= col < window.width and task["counted"][row, col]
        enough = on_window >= task["min_inside_fraction"] if task["partial"] == "clip" else on_window == 1
        taught = class_id if counts and enough and on_grid >= task["min_inside_fraction"] else 255
        place = inner[0] - window.col, inner[1] - window.row, inner[2] - window.col, inner[3] - window.row
        rows.append((*place, taught))
    return np.array(rows, np.float32).reshape(-1, 5)


@given(
    st.integers(0, 9999),
    st.integers(0, 15),
    st.sampled_from([0.1, 0.5, 0.8, 1.0]),
    st.sampled_from(["clip", "drop"]),
    st.data(),
)
def test_a_window_teaches_what_a_naive_loop_says(
    seed: int, count: int, least: float, cut: str, data: st.DataObject
) -> None:
    generator = np.random.default_rng(seed)
    shape = data.draw(st.sampled_from([(40, 50), (1, 1), (7, 60)]))
    corner = generator.integers(-8, 50, (count, 2)) / 2
    boxes = np.concatenate([corner, corner + generator.integers(1, 40, (count, 2)) / 2], axis=1)
    ids = generator.choice([0, 1, 255], count)
    window = Window(
        *(data.draw(st.integers(-9, 40)) for _ in range(2)), *(data.draw(st.integers(1, 40)) for _ in range(2))
    )
    counted = generator.random(window.shape) < 0.7
    rows, cols = np.mgrid[window.row : window.bottom, window.col : window.right]
    counted &= (rows >= 0) & (cols >= 0) & (rows < shape[0]) & (cols < shape[1])
    task = detection("tree", "car", min_inside_fraction=least, partial=cut)
    target = targets_of(task).target(labels(boxes, ids, shape), window, counted)
    expected = naive_target(boxes, ids, shape, window, min_inside_fraction=least, partial=cut, counted=counted)
    assert target["boxes"].dtype == np.float32
    taught, hidden = np.split(target["boxes"], [len(expected)])
    np.testing.assert_array_equal(taught, expected)
    assert (hidden[:, 4] == 255).all()
    for left, top, right, bottom in hidden[:, :4].astype(int):
        assert not counted[top:bottom, left:right].any()
    np.testing.assert_array_equal(
        targets_of(task).class_counts(target), [(expected[:, 4] == k).sum() for k in range(2)]
    )


@given(st.integers(0, 9999), st.integers(1, 30), st.integers(1, 60))
def test_over_all_strips_each_box_counts_once_where_its_centre_does(seed: int, count: int, height: int) -> None:
    generator = np.random.default_rng(seed)
    shape = (40, 50)
    corner = generator.uniform(-9, 50, (count, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(1, 25, (count, 2))], axis=1)
    ids = generator.choice([0, 1, 255], count)
    counted = generator.random(shape) < 0.7
    there = labels(boxes, ids, shape)
    area = Window(3, 5, 30, 40)
    label_counts = sum(
        targets_of(TASK).label_counts(there, window, counted[window.slices()]) for window in strips(area, height)
    )
    within = np.zeros(shape, bool)
    within[area.slices()] = counted[area.slices()]
    expected = targets_of(TASK).class_counts(targets_of(TASK).target(there, whole(shape), within))
    np.testing.assert_array_equal(label_counts, expected)


def test_boxes_over_the_window_and_over_the_image() -> None:
    """What is cut too much is ignored, and is no background; what is cut a little is taught as it is seen."""
    boxes = np.array(
        [[10, 10, 20, 20], [28, 10, 38, 20], [25, 25, 35, 35], [-1, 5, 9, 9], [-6, 12, 4, 18], [60, 0, 70, 9]]
    )
    there = labels(boxes, [0] * 6, (40, 80))
    window, counted = Window(0, 0, 40, 36), np.ones((40, 36), bool)
    expected = [
        [10, 10, 20, 20, 0],
        [28, 10, 36, 20, 0],  # four fifths are inside
        [25, 25, 35, 35, 0],
        [0, 5, 9, 9, 0],  # nine tenths are on the image
        [0, 12, 4, 18, 255],
    ]
    np.testing.assert_array_equal(targets_of(TASK).target(there, window, counted)["boxes"], expected)
    dropping = TASK.model_copy(update={"partial": "drop"})
    np.testing.assert_array_equal(
        targets_of(dropping).target(there, window, counted)["boxes"][:, 4], [0, 255, 0, 0, 255]
    )


def test_three_tenths_of_an_object_count_at_the_images_edge_and_not_at_a_windows() -> None:
    """On the image, the box is what is left, with its centre; a window must hold that centre."""
    boxes = np.array([[-7, 5, 3, 15], [33, 5, 43, 15], [34, 34, 44, 44]])
    there, image, window = labels(boxes, [0, 1, 0], (60, 60)), whole((60, 60)), Window(0, 0, 40, 36)
    for least, at_the_edge in ((0.2, 0), (0.3, 0), (0.31, 255), (0.5, 255)):
        task = detection("tree", "car", min_inside_fraction=least)
        target = targets_of(task).target(there, image, np.ones((60, 60), bool))["boxes"]
        np.testing.assert_array_equal(target[:, 4], [at_the_edge, 1, 0])
        np.testing.assert_array_equal(target[0, :4], [0, 5, 3, 15])
        cut = targets_of(task).target(there, window, np.ones(window.shape, bool))["boxes"]
        np.testing.assert_array_equal(cut[:, 4], [at_the_edge, 255, 255])
        counted = np.ones((60, 60), bool)
        counted[:, :1] = False  # an AOI that begins a column from the edge, where the middle of what is left counts
        assert targets_of(task).label_counts(there, image, counted)[0] == 1 + (at_the_edge == 0)
    corner = Window(0, 0, 40, 40)  # holds 36 % of the last box, and its centre
    for least, taught in ((0.2, 0), (0.36, 0), (0.37, 255)):
        task = detection("tree", "car", min_inside_fraction=least)
        np.testing.assert_array_equal(
            targets_of(task).target(there, corner, np.ones((40, 40), bool))["boxes"][-1], [34, 34, 40, 40, taught]
        )


def test_a_box_counts_by_its_centre_and_goes_with_its_class() -> None:
    boxes, ids = np.array([[0, 0, 10, 10], [6, 0, 16, 10], [12, 0, 22, 10]]), [1, 0, 1]
    counted = np.zeros((20, 30), bool)
    counted[:, 11:] = True  # an AOI: the centres lie in columns 5, 11 and 17
    target = targets_of(TASK).target(labels(boxes, ids, (20, 30)), whole((20, 30)), counted)
    taught = [[0, 0, 10, 10, 255], [6, 0, 16, 10, 0], [12, 0, 22, 10, 1]]
    np.testing.assert_array_equal(target["boxes"], [*taught, [0, 0, 11, 20, 255]])


def test_ground_that_does_not_count_is_neither_object_nor_background() -> None:
    """Beyond the AOI labels may lack; and beyond the image's edge, objects are mirrored."""
    boxes, window = np.array([[30, 30, 38, 38]]), Window(16, 16, 32, 32)
    counted = np.zeros(window.shape, bool)
    counted[:24, 4:24] = True  # of an image of 40 × 40 px, and an AOI from column 20 on
    target = targets_of(TASK).target(labels(boxes, [1], (40, 40)), window, counted)
    np.testing.assert_array_equal(target["boxes"][:1], [[14, 14, 22, 22, 1]])
    found = np.array([[[14, 14, 22, 22], [24, 14, 32, 22], [25, 25, 32, 32], [0, 8, 5, 16], [14, 2, 22, 10]]], float)
    scores = np.zeros((1, 5, 2), np.float32)
    scores[..., 1] = 0.9, 0.8, 0.8, 0.8, 0.7
    outputs = {"scores": scores, "boxes": found.astype(np.float32)}
    counts = scoring_of(TASK).chip_counts({"boxes": target["boxes"][None]}, outputs)
    assert counts.confused().tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0]]  # one found, one wrong: the last


masks = st.tuples(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 999))


@given(masks)
def test_boxes_of_ground_are_of_nothing_else(drawn: tuple[int, int, float, int]) -> None:
    height, width, share, seed = drawn
    mask = np.random.default_rng(seed).random((height, width)) < share
    covered = np.zeros_like(mask)
    found = covering(mask)
    for left, top, right, bottom in found:
        assert mask[top:bottom, left:right].all()
        covered[top:bottom, left:right] = True
    assert len(found) <= MOST
    assert (covered == mask).all() or len(found) == MOST


def test_straight_ground_is_covered_by_few_boxes() -> None:
    mask = np.ones((60, 80), bool)
    mask[10:30, 5:70] = False
    sides = [[0, 0, 5, 60], [0, 0, 80, 10], [0, 30, 80, 60], [70, 0, 80, 60]]
    assert sorted(covering(mask).tolist()) == sides
    assert covering(~np.ones((5, 5), bool)).shape == (0, 4)


def test_a_one_pixel_box_and_twins() -> None:
    there = labels(np.array([[3, 4, 4, 5], [3, 4, 4, 5], [0, 0, 2, 2]]), [0, 0, 1], (6, 6))
    np.testing.assert_array_equal(targets_of(TASK).label_counts(there, whole((6, 6)), np.ones((6, 6), bool)), [2, 1])


@pytest.mark.parametrize("symmetry", range(8))
def test_boxes_turn_as_the_pixels_do(symmetry: int) -> None:
    size, generator = 12, np.random.default_rng(symmetry)
    corner = generator.integers(0, 9, (5, 2))
    boxes = np.column_stack([corner, corner + generator.integers(1, 4, (5, 2)), [0, 1, 255, 0, 1]]).astype(np.float32)
    target = torch.tensor(np.stack([boxes, np.full_like(boxes, np.nan)]))
    moved = targets_of(TASK).turn({"boxes": target}, torch.full((2,), symmetry), size)["boxes"]
    assert moved[1].isnan().all()
    np.testing.assert_array_equal(moved[0, :, 4], boxes[:, 4])
    for one, other in zip(boxes[:, :4].astype(int), moved[0, :, :4].numpy().astype(int), strict=True):
        painted = torch.zeros(2, size, size)
        for canvas, (left, top, right, bottom) in zip(painted, (one, other), strict=True):
            canvas[top:bottom, left:right] = 1
        np.testing.assert_array_equal(turned(painted[:1], torch.tensor([symmetry]))[0], painted[1])


# ---- across windows

Reports = Callable[[Window], tuple[np.ndarray, np.ndarray]]


def pasted(reports: Reports, area: Window, size: int, stride: int, shape: tuple[int, int], **options: Any) -> Features:
    """Return what a canvas makes of what ``reports`` gives for each window: boxes (n, 4) of the grid, scores (n, K)."""
    canvas = layers_of(TASK).canvas(layers(**options), area, size, stride, shape)
    pieces = []
    for window in cover(area, size, stride, layers_of(TASK).margin(size, stride)):
        boxes, scores = reports(window)
        inside = window.intersection(area)
        valid = np.zeros(window.shape, bool)
        if inside:
            valid[inside.slices(window)] = True
        local = (boxes - [window.col, window.row] * 2).astype(np.float32)
        pieces += canvas.paste(window, {"scores": scores.astype(np.float32), "boxes": local}, valid)
    pieces += canvas.close()
    fields = {name: np.concatenate([piece.fields[name] for piece in pieces]) for name in ("class", "class_id", "score")}
    return Features("detections", np.concatenate([piece.geometry for piece in pieces]), fields)


def planted(generator: np.random.Generator, area: Window, largest: float, count: int) -> np.ndarray:
    """Draw boxes within ``area`` that keep off each other."""
    side = generator.uniform(0.4, 1, (count, 2)) * np.minimum(largest, [area.width, area.height])
    corner = generator.uniform(0, 1, (count, 2)) * ([area.width, area.height] - side) + [area.col, area.row]
    boxes = np.concatenate([corner, corner + side], axis=1)
    kept: list[np.ndarray] = []
    for box in boxes:
        grown = box + np.tile((box[2:] - box[:2]) * 0.2, 2) * [-1, -1, 1, 1]
        if all((overlaps(grown[None], other[None], "iou") == 0).all() for other in kept):
            kept.append(box)
    return np.array(kept)


@given(st.integers(0, 99_999), st.integers(4, 48), st.data())
def test_what_is_planted_is_found_once_whatever_the_windows(seed: int, size: int, data: st.DataObject) -> None:
    """Each window reports all that it sees, parts too, a little off and with scores of its own.

    Objects are at most three quarters as large as windows overlap. None is lost at a seam, and none is double.
    """
    stride = data.draw(st.integers(1, size - 2))
    overlap = (size - stride) // 2 * 2
    generator = np.random.default_rng(seed)
    shape = data.draw(st.integers(8, 90)), data.draw(st.integers(8, 90))
    row, col = data.draw(st.integers(0, 4)), data.draw(st.integers(0, 4))
    area = Window(row, col, shape[0] - row - data.draw(st.integers(0, 3)), shape[1] - col)
    assume(-(-area.height // stride) * -(-area.width // stride) < 800)
    truth = planted(generator, area, 0.75 * overlap, 25)
    classes = generator.integers(0, 2, len(truth))

    def reports(window: Window) -> tuple[np.ndarray, np.ndarray]:
        low, high = [window.col, window.row] * 2, [window.right, window.bottom] * 2
        inside = np.clip(truth, low, high)
        sides = inside[:, 2:] - inside[:, :2]
        sees = (sides > 0).all(1)
        moved = inside[sees] + np.random.default_rng([seed, window.row + 99, window.col + 99]).uniform(
            -0.05, 0.05, (sees.sum(), 4)
        ) * np.tile(sides[sees], 2)
        scores = np.full((sees.sum(), 2), 0.01)
        scores[np.arange(sees.sum()), classes[sees]] = generator.uniform(0.2, 1, sees.sum())
        return moved, scores

    found = pasted(reports, area, size, stride, shape)
    boxes, ids = shapely.bounds(found.geometry), found.fields["class_id"]
    assert len(boxes) == len(truth)
    for box, class_id in zip(truth, classes, strict=True):
        alike = overlaps(np.tile(box, (len(boxes), 1)), boxes, "iou") >= 0.5
        assert alike.sum() == 1
        assert ids[alike] == class_id


def test_without_overlap_what_lies_within_a_window_is_found() -> None:
    truth = np.array([[2, 2, 9, 9], [12, 3, 19, 8], [3, 12, 8, 20], [11, 11, 20, 20]], float)

    def reports(window: Window) -> tuple[np.ndarray, np.ndarray]:
        mine = truth[(truth[:, 0] // 10 * 10 == window.col) & (truth[:, 1] // 10 * 10 == window.row)]
        return mine, np.full((len(mine), 2), 0.9)

    found = pasted(reports, whole((20, 20)), 10, 10, (20, 20))
    assert sorted(map(tuple, shapely.bounds(found.geometry).tolist())) == sorted(map(tuple, truth.tolist()))


def test_of_a_location_the_best_class_counts_and_scores_choose() -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9], [0, 20, 9, 29], [5, 5, 5, 9], [np.nan, 1, 2, 2]])
    scores = np.array([[0.3, 0.6], [0.1, 0.05], [0.05, 0.09], [0.9, 0.1], [0.9, 0.1]])
    found = pasted(lambda _: (boxes, scores), whole((32, 32)), 32, 32, (32, 32))
    assert found.fields["class"].tolist() == ["car", "tree"]
    np.testing.assert_allclose(found.fields["score"], [0.6, 0.1], rtol=1e-6)
    assert (
        len(pasted(lambda _: (boxes, scores), whole((32, 32)), 32, 32, (32, 32), max_detections=3).geometry) == 1
    )  # 0.9, 0.9, 0.6


def test_classes_do_not_suppress_each_other() -> None:
    boxes, scores = np.array([[0, 0, 9, 9]] * 3), np.array([[0.9, 0.1], [0.1, 0.8], [0.7, 0.1]])
    found = pasted(lambda _: (boxes, scores), whole((32, 32)), 32, 32, (32, 32))
    assert found.fields["class"].tolist() == ["tree", "car"]


def test_boxes_end_at_the_image_and_what_is_centred_on_nothing_is_dropped() -> None:
    """At the edge a window shows the image mirrored, and an object with its mirror image."""
    canvas = layers_of(TASK).canvas(layers(), Window(0, 0, 20, 20), 16, 16, (20, 20))
    valid = np.ones((16, 16), bool)
    valid[:, 8:] = False
    boxes = np.array([[-4, 2, 5, 6], [6, 2, 12, 9], [1, 8, 30, 14]], np.float32)  # the second is centred on column 9
    pieces = list(
        canvas.paste(Window(0, 0, 16, 16), {"scores": np.full((3, 2), 0.9, np.float32), "boxes": boxes}, valid)
    )
    pieces += canvas.close()
    found = [shapely.bounds(piece.geometry).tolist() for piece in pieces if len(piece.geometry)]
    assert found == [[[0, 2, 5, 6]]]


def test_rows_are_given_out_as_soon_as_no_window_can_change_them() -> None:
    area, generator = Window(0, 0, 4000, 40), np.random.default_rng(0)
    canvas = layers_of(TASK).canvas(layers(), area, 32, 16, (4000, 40))
    seen, behind = 0, []
    for window in cover(area, 32, 16, layers_of(TASK).margin(32, 16)):
        corner = generator.uniform(0, 26, (20, 2))
        boxes = np.concatenate([corner, corner + 6], axis=1).astype(np.float32)
        scores = generator.uniform(0.2, 1, (20, 2)).astype(np.float32)
        for piece in canvas.paste(window, {"scores": scores, "boxes": boxes}, np.ones((32, 32), bool)):
            seen += len(piece.geometry)
            if len(piece.geometry):
                assert shapely.bounds(piece.geometry)[:, 3].max() <= window.row
                behind.append(window.row - shapely.bounds(piece.geometry)[:, 1].min())
    assert seen > 5000
    assert max(behind) < 150


# ---- from image to figures


@dataclass(frozen=True)
class World:
    scene: Scene
    out: Path

    def predict(self, size: int = 32, stride: int = 16, batch: int = 4, **options: Any) -> Path:
        plan = Predict(window_size=size, stride=stride, layers=layers(**options))
        with self.scene.open(("a",), TASK) as opened:
            predict_scene(opened, reader, TASK, plan, self.out, batch)
        return next(file for file in self.out.glob("detections.*") if file.suffix != ".qml")

    def score(self, match: DetectionMatch = MATCH) -> Any:
        with self.scene.open(("a",), TASK) as opened, Prediction(self.out, opened.grid, "s") as made:
            truth = Truth(opened, opened.needed_labels())
            return scoring_of(TASK).score(truth, [made], match)[0], scoring_of(TASK).outlines(truth, made, match)


@pytest.fixture
def world(tmp_path: Path) -> World:
    path = write_raster(tmp_path / "image.tif", marked((60, 100), BOXES, IDS), nodata=0)
    kinds = [TASK.names[k] for k in IDS]
    write_areas(tmp_path / "labels.gpkg", [pixel_box(*b) for b in BOXES], {"kind": kinds}, to_crs="EPSG:4326")
    return World(scene(path), tmp_path / "out")


def scene(path: Path, *aoi: Path, **options: Any) -> Scene:
    content = {"kind": "vector", "path": str(path.with_name("labels.gpkg")), "field": "kind", **options}
    source = TypeAdapter(LabelSource).validate_python(content, strict=False)
    return Scene("s", "test", image(path), (source,), tuple(map(str, aoi)))


@pytest.mark.parametrize(("size", "stride"), [(32, 16), (32, 12), (128, 128), (48, 20)])
@pytest.mark.parametrize("ending", ["parquet", "gpkg", "fgb", "geojson"])
def test_what_is_there_is_found_in_every_format(world: World, size: int, stride: int, ending: str) -> None:
    file = world.predict(size, stride, detections=f"detections.{ending}")
    frame = geopandas.read_parquet(file) if ending == "parquet" else geopandas.read_file(file, layer=0)
    assert set(frame.columns) == {"class", "class_id", "score", "uncalibrated", "geometry"}
    counts, (truth, found) = world.score()
    assert counts.overall() == {
        "map50": 1.0,
        "map": 1.0,
        "macro_f1": 1.0,
        "support": 7,
        "macro_precision": 1.0,
        "macro_recall": 1.0,
        "detections": 7,
    }
    assert truth.right.all()
    assert found.right.all()
    assert len(found.geometry) == len(truth.geometry) == 7
    if ending == "parquet":
        frame = frame.sort_values("score")
        in_pixels = sorted(
            shapely.bounds(shapely.transform(g, lambda xy: np.column_stack(~NORTH_UP @ tuple(xy.T)))).tolist()
            for g in frame.geometry
        )
        np.testing.assert_allclose(in_pixels, sorted(BOXES.tolist()))


def test_the_batch_changes_nothing(world: World) -> None:
    assert world.predict(batch=1).read_bytes() == world.predict(batch=7).read_bytes()


def test_only_what_is_centred_in_the_aoi_counts(world: World, tmp_path: Path) -> None:
    """The second tree reaches into the AOI, but its centre does not; the car's does, and it reaches out."""
    aoi = write_areas(tmp_path / "aoi.gpkg", [pixel_box(0, 0, 34, 60), pixel_box(67, 0, 100, 60)])
    inside = replace(world, scene=scene(tmp_path / "image.tif", aoi))
    file = inside.predict()
    assert len(geopandas.read_parquet(file)) == 5
    counts, (truth, _) = inside.score()
    assert counts.summary() == {"map50": 1.0, "map": 1.0, "macro_f1": 1.0, "support": 5}
    assert sorted(truth.class_ids.tolist()) == [0, 0, 0, 1, 1, 255, 255]
    with inside.scene.open(("a",), TASK) as opened:
        label_counts = targets_of(TASK).label_counts(
            opened.needed_labels(), opened.area, opened.counted(opened.area, np.ones((60, 100), bool))
        )
    np.testing.assert_array_equal(label_counts, [3, 2])
    world.predict()  # outside the AOI too
    assert inside.score()[0].overall() == counts.overall()


def test_detections_are_compared_by_what_of_them_lies_on_the_image(world: World, tmp_path: Path) -> None:
    (tmp_path / "labels.gpkg").unlink()
    write_areas(tmp_path / "labels.gpkg", [pixel_box(90, 50, 102, 60)], {"kind": ["tree"]})  # the image is 100 px wide
    world.out.mkdir()
    given = [pixel_box(90, 50, 112, 60), pixel_box(-9, 5, -1, 9)]
    write_areas(world.out / "detections.gpkg", given, {"class": ["tree", "tree"], "score": [0.9, 0.8]})
    counts, _ = world.score()
    assert counts.overall() | {"map": 1.0, "macro_precision": 1.0, "support": 1, "detections": 1} == counts.overall()


def test_what_lies_on_nodata_counts_nowhere(world: World, tmp_path: Path) -> None:
    pixels = marked((60, 100), BOXES, IDS)
    pixels[0, :, 58:75] = 0  # the second tree; the centre of the third car
    path = write_raster(tmp_path / "image.tif", pixels, nodata=0)
    broken = replace(world, scene=scene(path))
    broken.predict()
    counts, _ = broken.score()
    assert counts.summary() == {"map50": 1.0, "map": 1.0, "macro_f1": 1.0, "support": 5}


def test_what_is_dropped_is_ignored(world: World, tmp_path: Path) -> None:
    kinds = ["tree", "shrub", "tree", "car", "shrub", "tree", "tree"]
    (tmp_path / "labels.gpkg").unlink()
    write_areas(tmp_path / "labels.gpkg", [pixel_box(*b) for b in BOXES], {"kind": kinds})
    dropping = replace(world, scene=scene(tmp_path / "image.tif", drop=["shrub"]))
    dropping.predict()
    counts, _ = dropping.score()
    assert counts.overall() | {"support": 5, "detections": 5} == counts.overall()
    assert counts.summary()["map"] == 1.0


def test_mistakes_are_counted_and_drawn(world: World, tmp_path: Path) -> None:
    """A tree that is labelled a car, one that isn't labelled, and a car that is labelled where nothing is."""
    boxes = np.array([BOXES[0], *BOXES[2:], [40, 45, 50, 55]])
    kinds = ["car", "tree", "car", "car", "tree", "tree", "car"]
    (tmp_path / "labels.gpkg").unlink()
    write_areas(tmp_path / "labels.gpkg", [pixel_box(*b) for b in boxes], {"kind": kinds})
    world.predict()
    counts, (truth, found) = world.score()
    np.testing.assert_array_equal(counts.confused(), [[3, 0, 0], [1, 2, 1], [0, 1, 0]])
    tree, car = counts.per_class()
    assert (tree["precision"], tree["recall"], tree["support"]) == (0.75, 1.0, 3)
    assert (car["precision"], car["recall"], car["support"]) == (pytest.approx(2 / 3), 0.5, 4)
    assert sorted(truth.right.tolist()) == [False] * 2 + [True] * 5
    assert sorted(found.right.tolist()) == [False] * 2 + [True] * 5
    counts, (truth, found) = world.score(DetectionMatch(iou=0.5, score=0.99))
    assert not truth.right.any()
    assert not len(found.geometry)
    assert counts.per_class()[1] | {"precision": None, "recall": 0.0} == counts.per_class()[1]


def test_a_scene_that_is_not_scored_is_drawn(world: World) -> None:
    world.predict()
    with world.scene.open(("a",), TASK) as opened, Prediction(world.out, opened.grid, "s") as made:
        truth, found = scoring_of(TASK).outlines(None, made, MATCH)
    assert not len(truth.geometry)
    assert len(found.geometry) == 7
    assert found.right.all()


def test_nothing_found_is_a_layer_too(world: World) -> None:
    for ending in ("parquet", "gpkg", "fgb", "geojson"):
        world.predict(min_score=1.0, detections=f"detections.{ending}")
        counts, _ = world.score()
        assert counts.summary() == {"map50": 0.0, "map": 0.0, "macro_f1": 0.0, "support": 7}


def test_predictions_of_other_classes_are_refused(world: World) -> None:
    file = world.predict()
    frame = geopandas.read_parquet(file)
    frame.assign(**{"class": "bush"}).to_parquet(file)
    with pytest.raises(PredictionError, match=r"of other classes(.|\n)*expected: tree, car\n  got: bush"):
        world.score()
    frame.drop(columns="score").to_parquet(file)
    with pytest.raises(PredictionError, match=r"lack the field score(.|\n)*file: .*detections"):
        world.score()


def test_predictions_that_are_no_boxes_are_refused(world: World) -> None:
    file = world.predict()
    frame = geopandas.read_parquet(file)
    for shapes in (frame.centroid, frame.exterior):
        frame.set_geometry(shapes).to_parquet(file)
        with pytest.raises(PredictionError, match=r"not boxes(.|\n)*: .*detections(.|\n)*got: 7 of 7 without an area"):
            world.score()
    frame.assign(score=frame["score"] * 100).to_parquet(file)
    with pytest.raises(PredictionError, match=r"wrong scores"):
        world.score()


def test_predictions_may_lack_what_is_said_twice(world: World) -> None:
    file = world.predict()
    expected = world.score()[0].overall()
    frame = geopandas.read_parquet(file)
    for column in ("class", "class_id"):
        frame.drop(columns=column).to_parquet(file)
        assert world.score()[0].overall() == expected
    frame.assign(class_id=1 - frame["class_id"].astype(int)).to_parquet(file)
    with pytest.raises(PredictionError, match=r"class and class_id disagree"):
        world.score()


def test_scenes_smaller_than_a_window_and_without_objects(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "image.tif", np.ones((1, 1, 1), np.uint16))
    write_areas(tmp_path / "labels.gpkg", [pixel_box(0, 0, 1, 1)][:0], {"kind": []})
    tiny = World(scene(path), tmp_path / "out")
    tiny.predict()
    assert tiny.score()[0].summary() == {"map50": None, "map": None, "macro_f1": None, "support": 0}


# ---- sections, and what a bundle says


def test_what_a_readme_says_does_what_predict_does() -> None:
    generator = np.random.default_rng(0)
    corner = generator.uniform(0, 80, (3, 200, 2))
    boxes = np.concatenate([corner, corner + generator.uniform(5, 30, (3, 200, 2))], axis=2).astype(np.float32)
    scores = generator.random((3, 200, 2), np.float32)
    said: list[tuple[int, list[Any], list[Any]]] = []
    names = {"np": np, "scores": scores, "boxes": boxes, "print": lambda *row: said.append(row)}
    exec(loss_of(TASK).signature().decide, names)  # noqa: S102 (it is the text under test)
    for number in range(3):
        outputs = Detections(
            boxes[number].astype(np.float64), scores[number].argmax(1).astype(np.uint8), scores[number].max(1)
        )
        kept = suppressed(outputs.picked(outputs.scores >= 0.5), VALIDATING.nms)
        for class_id in range(2):
            mine = kept.picked(kept.class_ids == class_id)
            row = said[2 * number + class_id]
            assert row[0] == class_id
            np.testing.assert_array_equal(row[1], mine.boxes)
            np.testing.assert_array_equal(row[2], mine.scores)


@pytest.mark.parametrize(
    "name", ["crowns.parquet", "detections.shp", "detections", "a/detections.gpkg", "detections.gpkg.gpkg"]
)
def test_a_file_of_detections_must_be_called_detections(name: str) -> None:
    with pytest.raises(ValidationError, match="detections is called"):
        layers(detections=name)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_inside_fraction": 0.0},
        {"min_inside_fraction": 1.1},
        {"partial": "whole"},
        {"classes": []},
        {"all_touched": True},
    ],
)
def test_parameters_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        detection("tree", **wrong)


def test_layers_are_told_apart_by_kind() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Layers)
    assert adapter.validate_json(layers().model_dump_json()) == layers()
    assert layers().plain() == layers().full() == layers()
