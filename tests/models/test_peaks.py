"""Peaks, against a loop over pixels, and on planted blobs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import load, save
from scipy.ndimage import gaussian_filter

from quadrat.errors import ChipError, ModelError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Inputs, Peaks
from quadrat.models.peaks.peaks import KNOTS, _knots
from tests.models.boxes import Boxes, Memory, inputs, overlap, recipe


@dataclass
class Held:
    """Chips in memory, with boxes."""

    pixels: NDArray[Any]
    boxes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        return self.pixels[indices], {"boxes": self.boxes[indices]}

    def class_counts(self) -> NDArray[np.int64]:
        return np.array([(self.boxes[..., 4] == number).sum() for number in range(2)])


def kind(**changed: Any) -> Peaks:
    return Peaks(**{"kind": "peaks", "bands": {"b0": 1.0}, "smoothing": 2.0, "distance": 6} | changed)


def fit(model: Peaks, training: Any, validation: Any, bands: Inputs | None = None) -> Any:
    return model.fit(training, validation, Boxes(), bands or inputs(), recipe(1), Path("unused"))  # type: ignore[arg-type]


def bright(count: int, seed: int) -> Held:
    """Return chips with bright discs alone."""
    chips = Memory(count, seed)
    chips.boxes[chips.boxes[..., 4] == 1] = np.nan
    return Held(chips.pixels, chips.boxes)


def test_it_finds_planted_blobs() -> None:
    model, training, validation = kind(), bright(32, 0), bright(8, 1)
    learnt = fit(model, training, validation)
    known = training.boxes[np.isfinite(training.boxes).all(-1)]
    assert learnt.weights["class_id"].tolist() == [0]
    np.testing.assert_allclose(learnt.weights["sides"], (known[:, 2:4] - known[:, :2]).mean(0), rtol=1e-5)
    found = model.restore(learnt.weights, Boxes(), inputs())(validation.pixels)  # type: ignore[arg-type]
    assert (found["scores"][..., 1] == 0).all()
    hits = total = wrong = 0
    for scores, boxes, labels in zip(found["scores"], found["boxes"], validation.boxes, strict=True):
        likely = boxes[scores[:, 0] >= 0.5]
        objects = labels[np.isfinite(labels).all(1)]
        hits += sum(max((overlap(box, label) for box in likely), default=0) >= 0.5 for label in objects)
        total += len(objects)
        wrong += len(likely)
    assert total > 5
    assert hits / total > 0.6
    assert wrong <= 1.5 * total
    assert learnt.metrics["map50"] > 0.3
    assert "support" not in learnt.metrics


def test_a_box_that_the_chips_edge_cuts_finds_what_is_left_of_an_object() -> None:
    """The whole box would have an IoU of 0.43 with it."""
    pixels, boxes = np.full((8, 3, 64, 64), 100, np.uint8), np.full((8, 2, 5), np.nan, np.float32)
    for chip, middle in enumerate((20, 24, 28, 32, 36, 40, 44, 48)):
        for place, row in enumerate((0.0, 40.0)):
            boxes[chip, place] = middle - 8, max(0.0, row - 8), middle + 8, row + 8, 0
            y, x = np.mgrid[:64, :64] + 0.5
            pixels[chip, 0] += (100 * np.exp(-((x - middle) ** 2 + (y - row) ** 2) / 40)).astype(np.uint8)
    chips = Held(pixels, boxes)
    learnt = fit(kind(), chips, chips)
    found = kind().restore(learnt.weights, Boxes(), inputs())(pixels)["boxes"]  # type: ignore[arg-type]
    assert found.min() == 0
    assert found.max() <= 64
    assert learnt.metrics["map50"] == 1


def test_it_learns_the_most_frequent_class() -> None:
    chips = Memory(32, 0)
    chips.boxes[chips.boxes[..., 4] == 0] = np.nan
    learnt = fit(kind(bands={"b2": -1.0}), chips, chips)
    assert learnt.weights["class_id"].tolist() == [1]
    assert learnt.metrics["map50"] > 0.3


@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    distance=st.integers(1, 6),
    holes=st.booleans(),
    seed=st.integers(0, 99),
)
def test_peaks_are_those_of_a_loop(shape: tuple[int, int], distance: int, holes: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(1, 255, (2, *shape)).astype(np.uint8)
    if holes:
        pixels[:, generator.random(shape) < 0.2] = 0
    bands = inputs_of(nodata=0.0)
    heights, places = kind(bands={"x": 2.0, "y": -1.0}, smoothing=0.7, distance=distance)._peaks(pixels, bands)
    surface = naive(pixels, 0.7)
    rows, cols = (-(-length // (distance + 1)) for length in shape)
    assert heights.shape == (rows * cols,)
    assert places.shape == (rows * cols, 2)
    expected = {
        (y, x)
        for y, x in np.ndindex(shape)
        if surface[y, x] > -np.inf
        and surface[y, x]
        == surface[max(0, y - distance) : y + distance + 1, max(0, x - distance) : x + distance + 1].max()
    }
    found = {(int(y), int(x)) for (x, y), height in zip(places, heights, strict=True) if height > -np.inf}
    assert found == expected
    for (x, y), height in zip(places[heights > -np.inf], heights[heights > -np.inf], strict=True):
        assert height == pytest.approx(surface[int(y), int(x)], rel=1e-4, abs=1e-4)


def naive(pixels: NDArray[Any], smoothing: float) -> NDArray[np.float32]:
    """Return 2 x - y, normalised, smoothed over valid pixels; distinct, so that no two are alike by rounding."""
    valid = (pixels != 0).all(0)
    total = np.where(valid, 2 * (pixels[0] - 100.0) / 20 - (pixels[1] - 100.0) / 20, 0)
    both = [gaussian_filter(a, smoothing, mode="constant", truncate=4.0) for a in (total, valid.astype(float))]
    return np.where(valid, both[0] / np.where(valid, both[1], 1), -np.inf).astype(np.float32)


def inputs_of(nodata: float | None) -> Inputs:
    about = {"count": 9, "min": 0.0, "max": 255.0, "percentiles": {}, "histogram": (9,)}
    return Inputs(
        tuple(Band(name=n, dtype="uint8", unit="DN", scale=1.0, offset=0.0, nodata=nodata) for n in "xy"),
        tuple(BandStatistics(band=n, mean=100.0, std=20.0, **about) for n in "xy"),  # type: ignore[arg-type]
    )


def test_a_chip_without_a_value_has_no_peak() -> None:
    heights, _ = kind(bands={"x": 1.0})._peaks(np.zeros((2, 20, 20), np.uint8), inputs_of(nodata=0.0))
    assert (heights == -np.inf).all()


def test_scores_are_halved_where_f1_is_best() -> None:
    heights = np.arange(100, dtype=np.float32)[::-1].copy()
    right = np.zeros(100, np.bool_)
    right[:10] = True  # the ten highest, and no others
    knots = _knots(heights, right, 10)
    assert knots.shape == (KNOTS,)
    assert (np.diff(knots) > 0).all()
    scores = np.interp(heights, knots, np.linspace(0, 1, KNOTS))
    assert ((scores >= 0.5) == right).all()
    assert (np.diff(scores) < 0).all()


def test_what_lies_on_an_ignored_box_counts_nowhere() -> None:
    pixels = np.full((1, 1, 40, 40), 100, np.uint8)
    pixels[0, 0, 10, 10] = pixels[0, 0, 30, 30] = 200
    boxes = np.array([[[6, 6, 15, 15, 0], [20, 20, 40, 40, IGNORE]]], np.float32)
    model = kind(smoothing=1.0)
    heights, right = model._ranked(Held(pixels, boxes), 0, np.float32([9, 9]), inputs(1))  # type: ignore[arg-type]
    assert right.sum() == 1
    high = heights > 0.5
    assert right[high].tolist() == [True]


def test_weights_pass_through_safetensors_and_windows_may_be_of_any_size() -> None:
    model, chips = kind(), bright(8, 0)
    learnt = fit(model, chips, chips)
    expected = model.restore(learnt.weights, Boxes(), inputs())(chips.pixels)  # type: ignore[arg-type]
    predictor = model.restore(load(save(dict(learnt.weights))), Boxes(), inputs())  # type: ignore[arg-type]
    for name, values in predictor(chips.pixels).items():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected[name])
    found = predictor(chips.pixels[:2, :, :33, :50])
    assert found["scores"].shape == (2, 5 * 8, 2)
    assert found["boxes"].shape == (2, 5 * 8, 4)
    assert ((expected["scores"] >= 0) & (expected["scores"] <= 1)).all()


def test_what_can_not_be_learnt_from_is_refused() -> None:
    chips = bright(4, 0)
    with pytest.raises(ModelError, match=r"the baseline has bands(.|\n)*got: green"):
        fit(kind(bands={"green": 1.0, "b0": 1.0}), chips, chips)
    with pytest.raises(ChipError, match="no training chip holds a box"):
        fit(kind(), Held(chips.pixels, np.full_like(chips.boxes, np.nan)), chips)
    empty = Held(np.zeros((1, 2, 8, 8), np.uint8), np.array([[[0, 0, 4, 4, 0]]], np.float32))
    with pytest.raises(ChipError, match="no training chip has a valid pixel"):
        fit(kind(bands={"x": 1.0}), empty, empty, inputs_of(nodata=0.0))


@pytest.mark.parametrize("wrong", [{"bands": {}}, {"smoothing": 0.0}, {"distance": 0}, {"more": 1}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**wrong)


def test_context_is_what_a_peak_depends_on() -> None:
    model = kind(smoothing=1.5, distance=3)
    assert model.context == 9
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (3, 60, 60)).astype(np.uint8)
    changed = pixels.copy()
    changed[:, :, 31 + model.context :] = 9
    before, after = (model._peaks(some, inputs()) for some in (pixels, changed))
    mine = before[1][:, 0] < 31
    for one, other in zip(before, after, strict=True):
        there = np.isfinite(before[0][mine])
        np.testing.assert_allclose(one[mine][there], other[mine][there], rtol=1e-6)
