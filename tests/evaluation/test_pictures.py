"""Pictures show each pixel in its colour."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from shapely.geometry import box

from quadrat.evaluation.figure import draw
from quadrat.evaluation.pictures import LOST, NONE, OUTSIDE, RIGHT, WRONG, Picture, Pictures
from quadrat.tasks.common.outputs import Outlines
from tests.ground import segmentation

TASK = segmentation("wood", "lake", "field")
SIZE = 40


def picture(**options: Any) -> Picture:
    """Return 40 × 40 px: left half labelled wood, then lake; predicted lake, but for a row and the last columns."""
    truth = np.zeros((SIZE, SIZE), np.uint8)
    truth[:, 20:], truth[:5] = 1, 255
    predicted = np.ones((SIZE, SIZE), np.uint8)
    predicted[30:35] = 255
    inside = np.ones((SIZE, SIZE), np.bool_)
    inside[:, 38:] = False
    image = np.random.default_rng(0).random((3, SIZE, SIZE))
    return Picture(
        **{"image": image, "inside": inside, "predicted": predicted, "truth": truth, "side": 10.0, "unit": "m"}
        | options
    )


def drawn(some: Picture, path: Path) -> np.ndarray:
    draw(some, TASK.classes, "a title", (2, 98), path)
    return np.asarray(Image.open(path))[..., :3]


def panels(pixels: np.ndarray, zoom: int) -> list[np.ndarray]:
    """Cut the panels out of a picture of two columns or four, one pixel for each of theirs."""
    frame = SIZE * zoom
    step = frame + 12
    columns, rows = (pixels.shape[1] - 12) // step, (pixels.shape[0] - 38) // (frame + 22 + 12)
    return [
        pixels[38 + 22 + r * (frame + 34) :, 12 + c * step :][zoom // 2 : frame : zoom, zoom // 2 : frame : zoom]
        for r in range(rows)
        for c in range(columns)
    ]


def test_each_pixel_has_its_colour(tmp_path: Path) -> None:
    image, labels, prediction, error = panels(drawn(picture(), tmp_path / "p.png"), zoom=10)
    wood, lake, _ = (c.rgb for c in TASK.classes)
    for panel, (row, col), color in (
        (labels, (10, 10), wood),
        (labels, (10, 30), lake),
        (labels, (2, 10), NONE),
        (labels, (10, 39), OUTSIDE),
        (prediction, (10, 10), lake),
        (prediction, (32, 10), NONE),
        (error, (10, 19), WRONG),
        (error, (10, 20), RIGHT),
        (error, (32, 20), LOST),
        (error, (2, 20), NONE),
        (error, (20, 38), OUTSIDE),
    ):
        np.testing.assert_array_equal(panel[row, col], color, f"{row}, {col}")
    assert image[:30, 38:].mean() > image[:30, :38].mean() + 50


def test_the_image_is_stretched_band_by_band(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, SIZE * SIZE).reshape(SIZE, SIZE)
    some = picture(image=np.stack([ramp * 1000, ramp * -5, ramp * 0 + 7]), inside=np.ones((SIZE, SIZE), np.bool_))
    image = panels(drawn(some, tmp_path / "p.png"), zoom=10)[0].astype(float)
    expected = 255 * np.clip((ramp - 0.02) / 0.96, 0, 1)
    clear = np.s_[:30]  # the scale bar lies below
    np.testing.assert_allclose(image[clear][..., 0], expected[clear], atol=1)
    np.testing.assert_allclose(image[clear][..., 1], 255 - expected[clear], atol=1)
    np.testing.assert_array_equal(image[clear][..., 2], 0)


def test_one_band_is_grey_and_what_is_no_value_is_white(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).random((1, SIZE, SIZE))
    grey[0, 10:20] = np.nan
    image = panels(drawn(picture(image=grey), tmp_path / "p.png"), zoom=10)[0]
    assert (np.ptp(image[:30], axis=2) == 0).all()
    assert (image[10:20] == 255).all()


def test_a_scene_that_is_not_scored_has_image_and_prediction(tmp_path: Path) -> None:
    assert len(panels(drawn(picture(truth=None), tmp_path / "p.png"), zoom=10)) == 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (900, 2), (37, 411)])
def test_any_shape_can_be_drawn(tmp_path: Path, shape: tuple[int, int]) -> None:
    maps = {"predicted": np.zeros(shape, np.uint8), "truth": np.zeros(shape, np.uint8)}
    some = picture(image=np.full((1, *shape), np.nan), inside=np.ones(shape, np.bool_), **maps, side=0.05, unit="px")
    assert max(drawn(some, tmp_path / "p.png").shape) < 4 * max(shape) + 1000


def test_outlines_lie_on_the_image_and_never_move_it(tmp_path: Path) -> None:
    labels = Outlines(
        np.array([box(4, 6, 12, 16), box(-30, 20, 5, 60)], object), np.array([0, 1], np.uint8), np.array([True, False])
    )
    found = Outlines(np.array([box(20, 4, 30, 10)], object), np.zeros(1, np.uint8), np.zeros(1, bool))
    whole = drawn(picture(drawn=(labels, found)), tmp_path / "p.png")
    plain, *others = (whole[60 + r * 434 :, 12 + c * 412 :][:400, :400] for r in range(2) for c in range(2))
    wood = np.array(TASK.classes[0].rgb)
    for panel, edge, quiet in zip(others, ((60, 80), (40, 250), (40, 250)), (200, 120, 250), strict=True):
        np.testing.assert_array_equal(panel[quiet:360, 200:], plain[quiet:360, 200:])  # the scale bar lies below
        row, col = edge
        assert (panel[row - 3 : row + 4, col] != plain[row - 3 : row + 4, col]).any()
    assert (np.abs(others[0][57:64, 80].astype(int) - wood).sum(1) < 60).any()


def test_the_users_own_style_changes_nothing(tmp_path: Path) -> None:
    first = drawn(picture(), tmp_path / "a.png")
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 50, "image.cmap": "jet"}):
        second = drawn(picture(), tmp_path / "b.png")
        assert mpl.rcParams["font.size"] == 20
    np.testing.assert_array_equal(first, second)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("bands", ["a", "b"], "three bands"),
        ("stretch", [98, 2], "lower one first"),
        ("stretch", [2, 101], "percentages"),
    ],
)
def test_looks_that_make_no_sense_are_refused(key: str, value: object, said: str) -> None:
    content = {"longest_side": 256, "bands": ["a"], "stretch": [2, 98], key: value}
    with pytest.raises(ValidationError, match=said):
        Pictures.model_validate(content, strict=False)
