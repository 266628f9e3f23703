"""A scene knows where it counts."""

import json
from pathlib import Path

import numpy as np
import pytest

from quadrat.errors import CatalogError
from quadrat.geo.grids.windows import Window
from quadrat.scenes.catalog import read_catalog
from quadrat.team.report import OWN as FILES
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


def test_an_id_leaves_room_for_what_is_put_around_it(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    content = json.loads(catalog.read_text())
    content["scenes"][0]["id"] = longest = "a" * 244
    catalog.write_text(json.dumps(content))
    assert read_catalog(catalog)[0].id == longest
    for name in (f".part-{longest}", f".lock-{longest}", f"{longest}.png", *(f.replace("*", longest) for f in FILES)):
        (tmp_path / Path(name).name).touch()
    content["scenes"][0]["id"] = longest + "a"
    catalog.write_text(json.dumps(content))
    with pytest.raises(CatalogError, match="an id has at most 244 characters; this one has 245"):
        read_catalog(catalog)
