"""Outlines of polygons: never invalid, never of much other area, and right angles where buildings have them."""

import geopandas
import numpy as np
import pytest
import shapely
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter
from rasterio.features import rasterize
from scipy import ndimage
from shapely import affinity

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.semantic_segmentation.layers import outlines
from quadrat.tasks.semantic_segmentation.layers.outlines import draw, filled
from quadrat.tasks.semantic_segmentation.layers.polygoniser import Polygoniser, Polygons
from quadrat.tasks.semantic_segmentation.section import Edges, Outline, RightAngled, Simplified

SQUARE = RightAngled(kind="right_angled", tolerance=2.0)
SIMPLE = Simplified(kind="simplified", tolerance=2.0)

label_rasters = st.tuples(st.integers(1, 24), st.integers(1, 24), st.floats(0, 2), st.integers(0, 999)).map(
    lambda drawn: blobs(*drawn)
)
drawings = st.one_of(
    st.builds(Simplified, kind=st.just("simplified"), tolerance=st.floats(0.5, 20)),
    st.builds(RightAngled, kind=st.just("right_angled"), tolerance=st.floats(1, 20)),
)
angles = st.floats(0, 90)
sides = st.floats(14, 60)


def blobs(height: int, width: int, grain: float, seed: int) -> NDArray[np.uint8]:
    """Return patches of three classes: of one pixel, or of many."""
    noise = np.random.default_rng(seed).random((3, height, width))
    return ndimage.gaussian_filter(noise, (0, grain, grain)).argmax(0).astype(np.uint8)


def polygonise(labels: NDArray[np.uint8]) -> Polygons:
    polygoniser = Polygoniser()
    found = polygoniser.add(0, labels, np.ones(labels.shape, np.float32))
    return Polygons.joined([found, polygoniser.close()])


def pixels_of(building: shapely.Polygon, size: int = 128) -> NDArray[np.object_]:
    """Return the polygon along pixel edges of a building, as a model that errs nowhere would find it."""
    labels = rasterize([(building, 0)], (size, size), fill=IGNORE, dtype=np.uint8)
    return polygonise(labels).geometry


def turned(building: shapely.Polygon, angle: float, east: float, south: float) -> shapely.Polygon:
    """Return a building about the middle of the raster."""
    return affinity.translate(affinity.rotate(building, angle, origin=(0, 0)), 64 + east, 64 + south)


def rectangle(width: float, height: float) -> shapely.Polygon:
    return shapely.box(-width / 2, -height / 2, width / 2, height / 2)


def iou(one: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.float64]:
    return shapely.area(shapely.intersection(one, other)) / shapely.area(shapely.union(one, other))


def corners(ring: shapely.LinearRing) -> int:
    return len(ring.coords) - 1


def bends(ring: shapely.LinearRing) -> NDArray[np.float64]:
    """Return how far each angle is from a right one, in radians."""
    sides = np.diff(np.asarray(ring.coords), axis=0)
    following = np.roll(sides, -1, axis=0)
    return np.abs(np.arctan2((sides * following).sum(1), np.abs(np.linalg.det(np.stack([sides, following], 1)))))


@given(label_rasters, drawings)
@example(np.zeros((1, 1), np.uint8), SQUARE)
@example(np.eye(9, dtype=np.uint8), SQUARE)
@example(np.indices((8, 9)).sum(0).astype(np.uint8) % 2, SQUARE)
def test_are_valid_polygons_near_the_pixel_edges(labels: NDArray[np.uint8], outline: Simplified | RightAngled) -> None:
    edges = polygonise(labels).geometry
    drawn = draw(outline, edges)
    assert len(drawn) == len(edges)
    assert set(shapely.get_type_id(drawn)) == {shapely.GeometryType.POLYGON}
    assert shapely.is_valid(drawn).all()
    assert iou(drawn, edges).min() >= outlines.LEAST_IOU - 1e-9
    assert shapely.hausdorff_distance(drawn, edges).max() <= 2 * outline.tolerance


@given(label_rasters, drawings)
@example(blobs(5, 24, 0.5, 54), RightAngled(kind="right_angled", tolerance=9.0))  # some make no walls at all
def test_outlines_do_not_depend_on_other_polygons(labels: NDArray[np.uint8], outline: Simplified | RightAngled) -> None:
    edges = polygonise(labels).geometry
    alone = np.concatenate([draw(outline, edges[i : i + 1]) for i in range(len(edges))])
    np.testing.assert_array_equal(shapely.to_wkb(draw(outline, edges)), shapely.to_wkb(alone))


@given(sides, sides, angles, st.floats(0, 1), st.floats(0, 1))
def test_a_rectangle_at_any_angle_is_a_rectangle(
    width: float, height: float, angle: float, east: float, south: float
) -> None:
    building = turned(rectangle(width, height), angle, east, south)
    edges = pixels_of(building)
    (drawn,) = draw(SQUARE, edges)
    assert corners(drawn.exterior) == 4
    assert bends(drawn.exterior).max() < 1e-6
    assert iou(drawn, edges[0]) >= 0.9
    assert iou(drawn, building) >= iou(edges[0], building) - 0.01


@given(sides, sides, st.floats(0.35, 0.6), st.floats(0.35, 0.6), angles, st.floats(0, 1))
def test_an_l_shaped_building_has_six_corners(
    width: float, height: float, east: float, south: float, angle: float, by: float
) -> None:
    cut = shapely.box(width * (0.5 - east), height * (0.5 - south), width, height)
    building = turned(rectangle(width, height) - cut, angle, by, by)
    edges = pixels_of(building)
    (drawn,) = draw(SQUARE, edges)
    assert corners(drawn.exterior) == 6
    assert bends(drawn.exterior).max() < 1e-6
    assert iou(drawn, building) >= iou(edges[0], building) - 0.02


@given(angles, st.floats(0, 1))
def test_a_court_is_parallel_to_its_building(angle: float, by: float) -> None:
    building = turned(rectangle(50, 40) - rectangle(20, 16), angle, by, by)
    edges = pixels_of(building)
    (drawn,) = draw(SQUARE, edges)
    (court,) = drawn.interiors
    assert (corners(drawn.exterior), corners(court)) == (4, 4)
    walls = np.concatenate([np.diff(np.asarray(ring.coords), axis=0) for ring in (drawn.exterior, court)])
    direction = np.exp(4j * np.arctan2(walls[:, 1], walls[:, 0]))
    np.testing.assert_allclose(direction, direction[0], atol=1e-9)
    assert iou(drawn, building) >= iou(edges[0], building) - 0.01


def test_right_angles_are_nearer_to_slanting_buildings_than_pixel_edges_are() -> None:
    rng = np.random.default_rng(2)
    buildings = np.array([turned(rectangle(20, 30), angle, *rng.random(2)) for angle in rng.uniform(0, 90, 50)])
    edges = np.concatenate([pixels_of(building) for building in buildings])
    assert iou(draw(SQUARE, edges), buildings).mean() > 0.98 > 0.97 > iou(edges, buildings).mean()


def test_walls_shorter_than_the_tolerance_are_left_out() -> None:
    bay = rectangle(40, 30) | shapely.box(-4, 15, 4, 18)
    edges = pixels_of(turned(bay, 0, 0, 0))
    counts = [
        corners(draw(RightAngled(kind="right_angled", tolerance=tolerance), edges)[0].exterior)
        for tolerance in (2.0, 4.0)
    ]
    assert counts == [8, 4]


def test_what_is_not_rectangular_is_simplified() -> None:
    silo, barn = shapely.Point(64, 64).buffer(25), shapely.Polygon([(20, 20), (100, 20), (60, 90)])
    for building in (silo, barn):
        edges = pixels_of(building)
        (drawn,) = draw(SQUARE, edges)
        assert drawn == draw(SIMPLE, edges)[0]
        assert corners(drawn.exterior) < corners(edges[0].exterior) / 4


@given(label_rasters, st.integers(0, 30))
def test_holes_are_filled_up_to_a_size(labels: NDArray[np.uint8], largest: int) -> None:
    edges = polygonise(labels).geometry
    for drawn, edge in zip(filled(edges, largest), edges, strict=True):
        kept = [hole for hole in edge.interiors if shapely.Polygon(hole).area > largest]
        assert drawn == shapely.Polygon(edge.exterior, kept)


def test_pixel_edges_stay_as_they_are() -> None:
    edges = polygonise(blobs(30, 40, 1.5, 0)).geometry
    assert draw(Edges(kind="edges"), edges) is edges
    assert filled(edges, 0) is edges


@given(label_rasters)
def test_pixel_edges_can_be_simplified_together(labels: NDArray[np.uint8]) -> None:
    """As the docs say of maps without gaps: once all polygons are there, geopandas keeps neighbours joined."""
    edges = geopandas.GeoSeries(polygonise(labels).geometry)
    together = edges.simplify_coverage(2, simplify_boundary=False)
    assert together.is_valid.all()
    assert together.area.sum() == pytest.approx(together.union_all().area) == pytest.approx(labels.size)


def test_polygons_of_very_many_corners_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = polygonise(blobs(60, 60, 2, 1)).geometry
    monkeypatch.setattr(outlines, "MOST_CORNERS", 40)
    large = shapely.get_num_coordinates(edges) > 40
    assert 0 < large.sum() < len(edges)
    for outline in (SQUARE, SIMPLE):
        same = shapely.get_num_coordinates(draw(outline, edges)) == shapely.get_num_coordinates(edges)
        assert same[large].all()
        assert not same[~large].all()


def test_many_polygons_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = polygonise(blobs(60, 60, 1, 1)).geometry
    whole = draw(SQUARE, edges)
    monkeypatch.setattr(outlines, "AT_ONCE", 100)
    np.testing.assert_array_equal(shapely.to_wkb(draw(SQUARE, edges)), shapely.to_wkb(whole))


@pytest.mark.parametrize("outline", [SQUARE, SIMPLE, Edges(kind="edges")])
def test_no_polygons_give_no_outlines(outline: Outline) -> None:
    nothing = np.zeros(0, np.object_)
    assert len(draw(outline, filled(nothing, 5))) == 0


def test_an_outline_is_chosen_by_its_kind() -> None:
    chosen = TypeAdapter(Outline).validate_python({"kind": "right_angled", "tolerance": 2.0})
    assert chosen == SQUARE
