"""What labels say of cells, against a loop over every cell and every polygon."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from shapely.geometry import LineString, Polygon, box

from quadrat.geo.grids.cells import as_cells
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.labels.labels import Labels, open_labels
from quadrat.labels.raster import RasterLabels
from quadrat.labels.vector import VectorLabels
from quadrat.tasks.chip_classification.section import Rule
from quadrat.tasks.chip_classification.targets.cell_rule import CellRule
from tests.ground import NORTH_UP, UTM, cells, pixel_box, write_areas, write_raster
from tests.tasks.labelling import NONE, Areas, Pixels

K = 3
GRID = Grid(CRS.from_string(UTM), NORTH_UP, (64, 96))


@st.composite
def parts(draw: st.DrawFn) -> Areas | Pixels:
    """Draw labels on a grid of half pixels, where many shares are exactly what the rule asks for."""
    generator = np.random.default_rng(draw(st.integers(0, 9999)))
    background = draw(st.sampled_from([0, 2, NONE, NONE]))
    if draw(st.booleans()):
        blocks = generator.choice(np.array([0, 1, 2, NONE], np.uint8), (40, 40))
        return Pixels(np.kron(blocks, np.ones((4, 4), np.uint8)), background)
    count = draw(st.integers(0, 9))
    corner = generator.integers(-40, 120, (count, 2)) / 2
    size = generator.integers(1, 60, (count, 2)) / 2
    shapes = [box(*c, *(c + s)) for c, s in zip(corner, size, strict=True)]
    return Areas(tuple(shapes), tuple(generator.choice([0, 1, 2, NONE], count).tolist()), background)


windows = st.builds(Window, st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 20), st.integers(1, 20))
rules = st.builds(
    Rule,
    share_of=st.sampled_from(["polygon", "cell"]),
    min_share=st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]),
    choose=st.sampled_from(["largest", "lowest_id"]),
)


def naive(rule: Rule, part: Areas | Pixels, window: Window) -> tuple[dict[int, float], dict[int, float], float]:
    """Return the area of each class that claims the cell, of each class, and what is unlabelled: px²."""
    area = window.height * window.width
    if isinstance(part, Pixels):
        ids = part.class_ids(window, all_touched=False)
        held = {k: float((ids == k).sum()) for k in range(K)}
        claims = {k: a for k, a in held.items() if a >= rule.min_share * area - 1e-6}
        return claims, held, float((ids == NONE).sum())
    square = box(window.col, window.row, window.right, window.bottom)
    claims, held = {}, {}
    for k in (*range(K), NONE):
        mine = [g for g, i in zip(part.geometry, part.ids, strict=True) if i == k]
        held[k] = square.intersection(shapely.union_all(mine)).area
        if rule.share_of == "polygon":
            mine = [g for g in mine if g.intersection(square).area >= rule.min_share * g.area - 1e-9]
            claimed = square.intersection(shapely.union_all(mine)).area
            claims |= {k: claimed} if claimed > 0 else {}
        elif held[k] >= rule.min_share * area - 1e-6:
            claims[k] = held[k]
    known = shapely.union_all([g for g, i in zip(part.geometry, part.ids, strict=True) if i != NONE])
    dropped = shapely.union_all([g for g, i in zip(part.geometry, part.ids, strict=True) if i == NONE])
    unlabelled = square.difference(known) if part.background == NONE else square.intersection(dropped).difference(known)
    return claims, held, unlabelled.area


def naive_id(rule: Rule, labels: list[Areas | Pixels], window: Window) -> int:
    for part in labels:
        claims, held, _ = naive(rule, part, window)
        if isinstance(part, Pixels):
            most = max(held.values())
            labelled = sum(held.values())
            if labelled >= rule.min_share * window.height * window.width - 1e-6 and labelled:
                return min(k for k in range(K) if held[k] == most)
            continue
        classes = [k for k in claims if k != NONE]
        if classes and rule.choose == "lowest_id":
            return min(classes)
        if classes:
            most = max(claims[k] for k in classes)
            return min(k for k in classes if claims[k] > most - 1e-7)
        if NONE not in claims and part.background != NONE:
            return part.background
    return NONE


def naive_presence(rule: Rule, labels: list[Areas | Pixels], window: Window) -> list[int]:
    least = rule.min_share * window.height * window.width - 1e-6
    said = []
    for part in labels:
        claims, held, unlabelled = naive(rule, part, window)
        row = []
        for k in range(K):
            things = rule.share_of == "polygon" and isinstance(part, Areas)
            could = unlabelled > 1e-6 and (things or held[k] + unlabelled >= least)
            row.append(1 if k in claims else NONE if could else 0)
        said.append(row)
    together = [1 if 1 in column else 0 if 0 in column else NONE for column in zip(*said, strict=True)]
    background = [part.background for part in labels if part.background != NONE]
    if background and together == [0] * K:
        together[background[0]] = 1
    return together


@given(rules, st.lists(parts(), min_size=1, max_size=3), st.lists(windows, max_size=8))
def test_class_ids_are_those_of_a_loop(rule: Rule, labels: list[Areas | Pixels], some: list[Window]) -> None:
    found = CellRule(rule, K).class_ids(labels, as_cells(some))
    assert found.dtype == np.uint8
    assert found.tolist() == [naive_id(rule, labels, window) for window in some]


@given(rules, st.lists(parts(), min_size=1, max_size=3), st.lists(windows, max_size=8))
def test_presence_is_that_of_a_loop(rule: Rule, labels: list[Areas | Pixels], some: list[Window]) -> None:
    found = CellRule(rule, K).presence(labels, as_cells(some))
    assert found.tolist() == [naive_presence(rule, labels, window) for window in some]


def rule(share_of: str = "cell", min_share: float = 0.5, choose: str = "largest") -> Rule:
    return Rule.model_validate({"share_of": share_of, "min_share": min_share, "choose": choose})


def labels(root: Path, shapes: list[Any], kinds: list[str], to_crs: str | None = None, **options: Any) -> Labels:
    """Open labels of a file, of classes a, b and c."""
    path = write_areas(root / "l.gpkg", shapes, {"kind": kinds}, to_crs=to_crs)
    source = VectorLabels.model_validate(
        {"kind": "vector", "path": str(path), "field": "kind", **options}, strict=False
    )
    with open_labels([source], GRID, cells("a", "b", "c"), "s") as opened:
        assert opened is not None
        return opened


CELLS = as_cells([Window(row, col, 16, 16) for row in range(0, 64, 16) for col in range(0, 96, 16)])


def test_adjoining_areas_of_a_class_claim_a_cell_together(tmp_path: Path) -> None:
    shapes = [pixel_box(16, 16, 20, 32), pixel_box(20, 16, 25, 32), pixel_box(25, 16, 32, 32)]
    found = CellRule(rule(), K).class_ids(labels(tmp_path, shapes, ["a", "a", "b"]).ranked, CELLS)
    assert found.reshape(4, 6)[1, 1] == 0  # 9 of 16 columns
    assert (np.delete(found, 7) == NONE).all()


def test_exactly_the_least_share_is_enough(tmp_path: Path) -> None:
    opened = labels(tmp_path, [pixel_box(0, 0, 16, 8), pixel_box(32, 0, 48, 7.999)], ["a", "b"], "EPSG:4326")
    found = CellRule(rule(), K).class_ids(opened.ranked, CELLS)
    assert found[:3].tolist() == [0, NONE, NONE]


@pytest.mark.parametrize("to_crs", [None, "EPSG:4326", "EPSG:3857"])
def test_cells_given_as_polygons_get_their_own_class(tmp_path: Path, to_crs: str | None) -> None:
    kinds = np.random.default_rng(0).choice(["a", "b", "c"], len(CELLS)).tolist()
    shapes = [pixel_box(*cell) for cell in CELLS.tolist()]
    opened = labels(tmp_path, shapes, kinds, to_crs)
    for share_of in ("polygon", "cell"):
        found = CellRule(rule(share_of, 0.99), K).class_ids(opened.ranked, CELLS)
        assert found.tolist() == ["abc".index(kind) for kind in kinds]


def test_what_is_tiny_in_coarse_pixels_has_its_own_class(tmp_path: Path) -> None:
    """A plant of 300 m² is 4e-7 of a pixel of 0.25°."""
    shapes = [pixel_box(2, 2, 2.0006, 2.0006), pixel_box(12, 2, 12.0002, 2.0002), pixel_box(14, 2, 14.0004, 2.0004)]
    opened = labels(tmp_path, shapes, ["b", "c", "b"])
    two = as_cells([Window(0, 0, 8, 8), Window(0, 8, 8, 8)])
    found = CellRule(rule("polygon"), K).class_ids(opened.ranked, two)
    assert found.tolist() == [1, 1]


def test_cells_given_as_polygons_of_another_size_or_place(tmp_path: Path) -> None:
    shapes = [pixel_box(2, 1, 18, 17), pixel_box(32, 0, 64, 32), pixel_box(70, 20, 74, 24)]
    opened = labels(tmp_path, shapes, ["a", "b", "c"])
    # a: 14 × 15 of its 16 × 16 px lie in the first cell; b covers four cells; c lies in one
    assert CellRule(rule("cell", 0.75), K).class_ids(opened.ranked, CELLS).reshape(4, 6).tolist() == [
        [0, NONE, 1, 1, NONE, NONE],
        [NONE, NONE, 1, 1, NONE, NONE],
        [NONE] * 6,
        [NONE] * 6,
    ]
    assert CellRule(rule("polygon", 0.75), K).class_ids(opened.ranked, CELLS).reshape(4, 6)[:2].tolist() == [
        [0, NONE, NONE, NONE, NONE, NONE],
        [NONE, NONE, NONE, NONE, 2, NONE],
    ]


def test_self_crossing_and_repeating_outlines_are_repaired_not_lost(tmp_path: Path) -> None:
    def ground(points: list[tuple[float, float]]) -> Polygon:
        return Polygon([NORTH_UP @ point for point in points])

    bow = ground([(0, 0), (16, 16), (16, 0), (0, 16)])  # two triangles that fill half of the first cell
    twice = ground([(16, 0), (32, 0), (32, 16), (16, 16), (16, 0), (32, 0), (32, 16), (16, 16)])
    spike = ground([(32, 0), (48, 0), (48, 16), (90, 16), (48, 16), (32, 16)])
    assert not bow.is_valid
    opened = labels(tmp_path, [bow, twice, spike], ["a", "b", "c"])
    found = CellRule(rule("cell", 0.5), K).class_ids(opened.ranked, CELLS)
    assert found[:4].tolist() == [0, 1, 2, NONE]
    assert CellRule(rule("cell", 0.51), K).class_ids(opened.ranked, CELLS)[0] == NONE


def test_lines_have_the_area_of_their_width(tmp_path: Path) -> None:
    road = LineString([NORTH_UP @ (0, 8), NORTH_UP @ (96, 8)])
    opened = labels(tmp_path, [road], ["b"], width={"unit": "px", "default": 4.0})
    assert CellRule(rule("cell", 0.25), K).class_ids(opened.ranked, CELLS).reshape(4, 6)[:, 2].tolist() == [
        1,
        NONE,
        NONE,
        NONE,
    ]
    assert (CellRule(rule("cell", 0.3), K).class_ids(opened.ranked, CELLS) == NONE).all()


def test_what_is_dropped_is_unknown_where_all_else_is_outside(tmp_path: Path) -> None:
    shapes = [pixel_box(0, 0, 16, 16), pixel_box(16, 0, 32, 16), pixel_box(32, 0, 48, 7)]
    opened = labels(tmp_path, shapes, ["a", "cloud", "cloud"], drop=["cloud"], background="c")
    assert CellRule(rule(), K).class_ids(opened.ranked, CELLS)[:4].tolist() == [0, NONE, 2, 2]
    many = CellRule(rule("cell", 0.4), K).presence(opened.ranked, CELLS)
    assert many[:4].tolist() == [[1, 0, 0], [NONE] * 3, [NONE] * 3, [0, 0, 1]]


def test_without_any_label_all_is_unknown_or_outside(tmp_path: Path) -> None:
    nothing = labels(tmp_path, [], [], background="b")
    assert (CellRule(rule(), K).class_ids(nothing.ranked, CELLS) == 1).all()
    assert CellRule(rule(), K).presence(nothing.ranked, CELLS).tolist() == [[0, 1, 0]] * len(CELLS)


def test_a_raster_gives_the_majority_and_of_equals_the_first(tmp_path: Path) -> None:
    ids = np.full((64, 96), 9, np.uint8)
    ids[:16, :16] = 7  # all b
    ids[:16, 16:24], ids[:16, 24:32] = 7, 3  # half b, half a
    ids[:16, 32:40] = 0  # half unlabelled
    ids[:16, 48:57] = 0  # more than half
    ids[:16, 64:80] = np.repeat([3, 7, 9, 9], 4)  # a quarter each of a and b, half c
    path = write_raster(tmp_path / "l.tif", ids[None], nodata=0)
    source = RasterLabels.model_validate({"kind": "raster", "path": str(path), "values": "ids"})
    classes = [{"name": name, "color": "#000000", "from": [value]} for name, value in ("a3", "b7", "c9")]
    key = cells("a", "b", "c", classes=classes)
    with open_labels([source], GRID, key, "s") as opened:
        assert opened is not None
        found = CellRule(rule("polygon", 0.5, "lowest_id"), K).class_ids(opened.ranked, CELLS)
        assert found[:6].tolist() == [1, 0, 2, NONE, 2, 2]
        many = CellRule(rule("cell", 0.25), K).presence(opened.ranked, CELLS)
        unknown = [NONE, NONE, 1]
        assert many[:6].tolist() == [[0, 1, 0], [1, 1, 0], unknown, unknown, [1, 1, 1], [0, 0, 1]]
