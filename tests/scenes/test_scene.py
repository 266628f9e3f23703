"""A scene knows where it counts."""

from pathlib import Path

import numpy as np

from quadrat.geo.grids.windows import Window
from quadrat.scenes.catalog import read_catalog
from tests.ground import BANDS, KINDS, segmentation, write_world


def test_within_the_area_of_interest_is_what_counts_of_valid_pixels(tmp_path: Path) -> None:
    scenes = {scene.id: scene for scene in read_catalog(write_world(tmp_path))}
    window = Window(0, 90, 120, 40)
    every = np.ones(window.shape, np.bool_)
    with scenes["w"].open(BANDS, segmentation(*KINDS)) as opened:  # its area ends at column 110
        inside = opened.inside(window)
        np.testing.assert_array_equal(inside, opened.counted(window, every))
        assert inside[:, :20].all()
        assert not inside[:, 20:].any()
    with scenes["all"].open(BANDS, segmentation(*KINDS)) as opened:  # which has none
        assert opened.inside(window).all()
