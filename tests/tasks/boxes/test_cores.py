"""Each detection has a window that it is taken from."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from quadrat.geo.grids.windows import Window, cover
from quadrat.tasks.object_detection.layers.cores import Cores
from quadrat.tasks.object_detection.targets.overlaps import overlaps


@st.composite
def plans(draw: st.DrawFn) -> tuple[Cores, list[Window]]:
    size = draw(st.integers(2, 40))
    stride = draw(st.integers(1, size))
    area = Window(*(draw(st.integers(0, 9)) for _ in range(2)), *(draw(st.integers(1, 90)) for _ in range(2)))
    margin = (size - stride) // 2
    return Cores(area, size, stride, margin), cover(area, size, stride, margin)


@given(plans(), st.integers(0, 999))
def test_every_point_of_the_area_lies_in_the_core_of_one_window_that_sees_it(
    plan: tuple[Cores, list[Window]], seed: int
) -> None:
    cores, windows = plan
    area = cores.area
    points = np.random.default_rng(seed).uniform((area.col, area.row), (area.right, area.bottom), (20, 2))
    boxes = np.concatenate([points, points], axis=1)  # no larger than a point: their middle half is one
    owners = np.stack([cores.owned(window, boxes) for window in windows])
    np.testing.assert_array_equal(owners.sum(0), 1)
    for owner, (x, y) in zip(owners.argmax(0), points, strict=True):
        window = windows[owner]
        assert window.col <= x <= window.right
        assert window.row <= y <= window.bottom


@given(st.integers(12, 40), st.integers(0, 9999))
def test_however_windows_see_an_object_one_of_them_takes_it(stride: int, seed: int) -> None:
    """Each window has a box of its own of each object; where all of these overlap by half, one of them is taken."""
    size, generator = 40, np.random.default_rng(seed)
    area = Window(3, 5, 70, 50)
    margin = (size - stride) // 2
    cores, windows = Cores(area, size, stride, margin), cover(area, size, stride, margin)
    centre = generator.uniform((area.col, area.row), (area.right, area.bottom), (200, 2))
    half = generator.uniform(0.5, 12, (200, 2))
    true = np.concatenate([centre - half, centre + half], axis=1)
    moved = generator.uniform(-0.25, 0.25, (len(windows), 200, 4)) * generator.uniform(0, 1, (200, 1))
    boxes = true + moved * np.tile(half * 2, 2)
    alike = np.ones(200, bool)
    for one in boxes:
        for other in boxes:
            alike &= overlaps(one, other, "iou") >= 0.5
    owned = np.array([cores.owned(window, own) for window, own in zip(windows, boxes, strict=True)])
    assert alike.any()
    assert owned[:, alike].any(0).all()
