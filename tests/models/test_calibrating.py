"""A calibration finds the temperature that scores were heated by, in every runtime, and sets of classes as NumPy's."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scipy.special import expit

from quadrat.errors import ModelError
from quadrat.geo.grids.tiling import Blended
from quadrat.geo.grids.windows import Window
from quadrat.models.common.onnx_graphs import probable
from quadrat.models.training import calibrating
from quadrat.models.training.calibrating import calibrate, least, temperature
from quadrat.tasks.common.calibration import Calibration
from quadrat.tasks.common.parts import layers_of, loss_of
from quadrat.tasks.semantic_segmentation.section import SegmentationLayers
from tests.ground import cells, detection, segmentation

TASK = segmentation("a", "b", "c")
HEAT = st.floats(0.3, 8)


class Held:
    """Validation chips in memory, whose pixels are their own scores' logits."""

    def __init__(self, logits: np.ndarray, classes: np.ndarray) -> None:
        self.logits, self.classes = logits, classes

    def __len__(self) -> int:
        return len(self.logits)

    def read(self, indices: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        return self.logits[indices], {"classes": self.classes[indices]}

    def class_counts(self) -> np.ndarray:
        return np.array([(self.classes == number).sum() for number in range(self.logits.shape[1])])


def softmax(logits: np.ndarray, axis: int = 1) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis, keepdims=True))
    return (powers / powers.sum(axis, keepdims=True)).astype(np.float32)


def drawn(heat: float, chips: int = 6, side: int = 64, seed: int = 1) -> Held:
    """Return chips with labels drawn from softmax(logits), whose pixels are the logits times ``heat``."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (chips, 3, side, side)).astype(np.float32)
    steps = softmax(logits).cumsum(1)
    classes = (generator.random((chips, 1, side, side)) > steps).sum(1).clip(0, 2).astype(np.uint8)
    classes[generator.random(classes.shape) < 0.2] = 255
    return Held(logits * np.float32(heat), classes)


def said(pixels: np.ndarray) -> dict[str, np.ndarray]:
    return {"scores": softmax(pixels)}


@pytest.mark.parametrize("heat", [0.5, 1, 3])
def test_it_finds_the_temperature_that_scores_were_heated_by(heat: float) -> None:
    found = calibrate(said, drawn(heat), TASK, seed=1)
    assert found is not None
    assert found.temperatures[0] == pytest.approx(heat, rel=0.03)


def test_it_is_the_minimum_over_a_grid_of_the_loss_of_torch() -> None:
    held = drawn(2, chips=2, side=32)
    truth = held.classes[held.classes < 255]
    scores = np.moveaxis(softmax(held.logits), 1, -1)[held.classes < 255]
    logs, labels = torch.from_numpy(scores.astype(np.float64)).log(), torch.from_numpy(truth.astype(np.int64))
    grid = np.geomspace(0.5, 8, 2001)
    losses = [float(torch.nn.functional.cross_entropy(logs / heat, labels)) for heat in grid]
    assert temperature(truth, scores, np.ones(len(truth))) == pytest.approx(grid[int(np.argmin(losses))], rel=3e-3)


def test_pixels_of_large_classes_are_drawn_and_weigh_more(monkeypatch: pytest.MonkeyPatch) -> None:
    held = drawn(2)
    held.classes[(held.classes == 0) & (np.random.default_rng(2).random(held.classes.shape) < 0.97)] = (
        255  # a rare class
    )
    every = calibrate(said, held, TASK, seed=1)
    monkeypatch.setattr(calibrating, "KEPT", 3 * 1000)
    some = calibrate(said, held, TASK, seed=1)
    assert every is not None
    assert some is not None
    assert some != every
    assert some == calibrate(said, held, TASK, seed=1)
    assert some.temperatures[0] == pytest.approx(every.temperatures[0], rel=0.1)


def test_too_few_labels_and_no_chips_leave_scores_as_they_are() -> None:
    held = drawn(2, chips=1, side=8)
    held.classes[:] = 255
    assert calibrate(said, held, TASK, seed=1) is None
    assert calibrate(said, Held(held.logits[:0], held.classes[:0]), TASK, seed=1) is None


@pytest.mark.parametrize("classes", [2, 20])
def test_networks_that_are_very_sure_of_many_classes_are_cooled_enough(classes: int) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, (20_000, classes))
    truth = (softmax(logits).cumsum(1) > generator.random((len(logits), 1))).argmax(1).astype(np.uint8)
    found = temperature(truth, softmax(4 * logits), np.ones(len(truth)))
    assert found == pytest.approx(4, rel=0.03)


@pytest.mark.parametrize(("heat", "off"), [(4, 0.03), (8, 0.12)])
def test_networks_that_are_very_sure_of_a_class_by_itself_are_cooled_enough(heat: float, off: float) -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(-1, 3, (100_000, 2)).astype(np.float32)
    there = (generator.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    several = cells("a", "b", multi_label=True)
    held = Held(logits[..., None, None], there)
    found = calibrate(lambda pixels: {"scores": expit(pixels[..., 0, 0] * np.float32(heat))}, held, several, 1)
    assert found is not None
    assert found.temperatures == pytest.approx([heat, heat], rel=off)  # of float32, the largest are 1


def test_scores_of_zero_say_little() -> None:
    generator = np.random.default_rng(3)
    trees = (generator.multinomial(10, (0.5, 0.3, 0.2), 5000) / 10).astype(
        np.float32
    )  # a forest's: some are 0 of the truth
    truth = generator.choice(3, 5000, p=(0.5, 0.3, 0.2)).astype(np.uint8)
    assert (trees[np.arange(5000), truth] == 0).any()
    cut = np.maximum(trees, np.float32(calibrating.LEAST))
    assert temperature(truth, trees, np.ones(5000)) == temperature(truth, cut, np.ones(5000))


def test_of_several_classes_each_has_its_own_temperature() -> None:
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 2, (4000, 3)).astype(np.float32)
    there = (generator.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    there[:50] = 255
    there[:, 2] = 255  # of which nothing is known
    heats = np.array([0.5, 3, 1], np.float32)
    several = cells("a", "b", "c", multi_label=True)

    def predictor(pixels: np.ndarray) -> dict[str, np.ndarray]:
        return {"scores": 1 / (1 + np.exp(-pixels[..., 0, 0] * heats))}

    found = calibrate(predictor, Held(logits[..., None, None], there), several, seed=1)
    assert found is not None
    assert not found.exclusive
    assert found.least is None
    assert found.temperatures == pytest.approx(heats.tolist(), rel=0.1)


def test_of_boxes_it_is_how_likely_they_find_an_object() -> None:
    task = detection("tree", "house")
    generator = np.random.default_rng(4)
    chips, places = 60, 30
    corners = np.stack(np.meshgrid(np.arange(6), np.arange(5)), -1).reshape(-1, 2) * 20.0
    boxes = np.broadcast_to(np.concatenate([corners, corners + 10], 1), (chips, places, 4)).astype(np.float32)
    logits = generator.normal(0, 1.5, (chips, places)).astype(np.float32)
    scores = np.zeros((chips, places, 2), np.float32)
    scores[..., 1] = 1 / (1 + np.exp(-logits * 2))  # twice as sure as it may be
    labels = np.concatenate([boxes, np.ones((chips, places, 1), np.float32)], -1)
    labels[generator.random((chips, places)) >= 1 / (1 + np.exp(-logits))] = np.nan

    class Chips:
        def __len__(self) -> int:
            return chips

        def read(self, indices: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
            return np.asarray(indices, float)[:, None, None, None], {"boxes": labels[indices]}

        def class_counts(self) -> np.ndarray:
            return np.array([0, 1])

    def predictor(pixels: np.ndarray) -> dict[str, np.ndarray]:
        mine = pixels[:, 0, 0, 0].astype(int)
        return {"scores": scores[mine], "boxes": boxes[mine]}

    found = calibrate(predictor, Chips(), task, seed=1)
    assert found is not None
    assert found.temperatures[0] == 1  # of which there is none
    assert found.temperatures[1] == pytest.approx(2, rel=0.15)


@given(HEAT, st.integers(0, 99))
def test_it_is_softmax_of_cooler_logits_and_changes_no_label(heat: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(0, 3, (2, 3, 4, 5)).astype(np.float32)
    scores, cool = softmax(logits), Calibration(temperatures=(heat,), exclusive=True)
    found = cool.applied(scores, 1)
    np.testing.assert_allclose(found, softmax(logits / np.float32(heat)), atol=2e-6)
    np.testing.assert_allclose(cool.undone(found, 1), scores, atol=1e-5)
    on_device = torch.stack([cool.applied_to(each) for each in torch.from_numpy(scores)])
    np.testing.assert_allclose(on_device.numpy(), found, atol=2e-6)


@given(HEAT, HEAT)
def test_of_classes_by_themselves_it_is_the_sigmoid_and_keeps_a_half(one: float, other: float) -> None:
    logits = np.linspace(-9, 9, 40, dtype=np.float32).reshape(20, 2)
    scores, heat = 1 / (1 + np.exp(-logits)), Calibration(temperatures=(one, other), exclusive=False)
    found = heat.applied(scores, 1)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits / np.array([one, other]))), atol=1e-5)
    np.testing.assert_array_equal(heat.of_class(scores[:, 1], np.ones(20, np.uint8)), found[:, 1])
    assert heat.applied(np.full((1, 2), 0.5, np.float32), 1).tolist() == [[0.5, 0.5]]


def graph(shape: list[Any]) -> bytes:
    """Return a graph whose scores are its pixels, used by a second output."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("pixels", "scores", "other")]
    nodes = [helper.make_node("Identity", ["pixels"], ["scores"]), helper.make_node("Abs", ["scores"], ["other"])]
    made = helper.make_graph(nodes, "plain", values[:1], values[1:])
    opsets = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString())


@pytest.mark.parametrize(
    ("shape", "axis", "calibration"),
    [
        ((2, 3, 4, 5), 1, Calibration(temperatures=(2.5,), exclusive=True)),
        ((6, 3), 1, Calibration(temperatures=(0.25,), exclusive=True)),
        ((6, 3), 1, Calibration(temperatures=(0.5, 1.0, 4.0), exclusive=False)),
        ((2, 7, 3), 2, Calibration(temperatures=(0.5, 1.0, 4.0), exclusive=False)),
    ],
)
def test_a_graph_gives_what_numpy_does(shape: tuple[int, ...], axis: int, calibration: Calibration) -> None:
    scores = np.random.default_rng(3).random(shape, np.float32)
    if calibration.exclusive:
        scores /= scores.sum(1, keepdims=True)
    session = onnxruntime.InferenceSession(probable(graph([None] * len(shape)), calibration, axis))
    found, other = session.run(["scores", "other"], {"pixels": scores})
    np.testing.assert_allclose(found, calibration.applied(scores, axis), atol=2e-6)
    np.testing.assert_array_equal(other, scores)
    none = calibration.model_copy(update={"temperatures": (1.0,) * len(calibration.temperatures)})
    assert probable(graph([None]), none, axis) == probable(graph([None]), None, axis) == graph([None])


def naive(scores: np.ndarray, share: float) -> float:
    """Return the smallest score of sets that lack the truth with at most ``share``, by the definition."""
    wrong = sorted(1 - scores.astype(float))
    rank = math.ceil((len(wrong) + 1) * (1 - share))
    return 0.0 if rank > len(wrong) else 1 - wrong[rank - 1]


@pytest.mark.parametrize("count", [1, 5, 19, 20, 500])
def test_smallest_scores_of_sets_are_those_of_the_definition(count: int) -> None:
    scores = np.random.default_rng(count).random(count, np.float32)
    found = least(scores)
    for percent in (1, 5, 10, 33, 50):
        assert found[percent - 1] == pytest.approx(naive(scores, percent / 100), abs=2e-6)


def classes_of(seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the scores (pixel, class) of pixels of each class, of which all are alike but for chance."""
    generator = np.random.default_rng(seed)
    for number in range(3):
        logits = generator.normal(0, 1, (4000, 3))
        logits[:, number] += (0.5, 1, 2)[number]
        yield softmax(logits)[:2000], softmax(logits)[2000:]


def test_sets_hold_the_truth_as_often_as_promised_where_pixels_are_exchangeable() -> None:
    for share in (0.05, 0.1, 0.3):
        held = []
        for number, (learnt, new) in enumerate(classes_of(4)):
            smallest = least(learnt[:, number])[round(100 * share) - 1]
            held.append(float((new[:, number] >= smallest).mean()))
        assert held == pytest.approx([1 - share] * 3, abs=0.03)  # of 2000 and 2000, three deviations are 0.03


def test_labels_are_bit_identical_and_other_layers_are_of_probabilities() -> None:
    generator = np.random.default_rng(5)
    scores = np.moveaxis(generator.dirichlet([0.4] * 3, (20, 30)), -1, 0).astype(np.float32)
    scores[:, 3] = scores[::-1, 3]
    scores[0, 4] = scores[1, 4]  # ties
    covered = generator.random((20, 30)) < 0.9
    section = SegmentationLayers(kind="semantic_segmentation", scores=True, uncertainty="margin", confidence=True)
    heat = Calibration(temperatures=(2.0,), exclusive=True)
    plain, cool = (layers_of(TASK, one).decisions(section, Window(0, 0, 20, 30)) for one in (None, heat))
    assert plain is not None
    assert cool is not None
    before, after = (each.decide(Blended(0, 0, scores, covered)) for each in (plain, cool))
    np.testing.assert_array_equal(after["labels"], before["labels"])
    expected = softmax(np.log(np.maximum(scores, 1e-30)) / 2, 0)
    np.testing.assert_allclose(after["scores"][:, covered] / 250, expected[:, covered], atol=0.0021)
    np.testing.assert_array_equal(after["confidence"][1], before["confidence"][1])
    np.testing.assert_allclose(after["confidence"][0][covered] / 250, expected.max(0)[covered], atol=0.0021)
    assert (after["confidence"][:, ~covered] == 255).all()
    there = cool.decide_tensors(torch.from_numpy(scores), torch.from_numpy(covered))
    for name in ("labels", "scores", "confidence", "uncertainty"):
        assert np.abs(there[name].numpy().astype(int) - after[name]).max() <= (name != "labels")


def test_sets_are_those_of_the_smallest_probabilities_on_the_processor_and_a_device() -> None:
    scores = np.moveaxis(np.random.default_rng(6).dirichlet([0.4] * 3, (9, 8)), -1, 0).astype(np.float32)
    smallest = tuple(tuple(0.6 - 0.01 * n - 0.05 * number for n in range(50)) for number in range(3))
    learnt = Calibration(temperatures=(1.5,), exclusive=True, least=smallest)
    section = SegmentationLayers(kind="semantic_segmentation", conformal=0.2)
    covered = np.ones((9, 8), np.bool_)
    covered[2, 3] = False
    decisions = layers_of(TASK, learnt).decisions(section, Window(0, 0, 9, 8))
    assert decisions is not None
    expected = learnt.applied(scores, 0) >= np.array([each[19] for each in smallest], np.float32)[:, None, None]
    here = decisions.decide(Blended(0, 0, scores, covered))["conformal"]
    there = decisions.decide_tensors(torch.from_numpy(scores), torch.from_numpy(covered))["conformal"].numpy()
    for found in (here, there):
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found[:3, covered], expected[:, covered])
        np.testing.assert_array_equal(found[3, covered], expected.sum(0)[covered] > 1)
        assert (found[:, 2, 3] == 255).all()
    assert set(np.unique(expected.sum(0))) >= {1, 2}


@pytest.mark.parametrize("calibration", [None, Calibration(temperatures=(2.0,), exclusive=True)])
def test_a_model_that_knows_no_sets_is_refused(calibration: Calibration | None) -> None:
    section = SegmentationLayers(kind="semantic_segmentation", conformal=0.1)
    with pytest.raises(ModelError, match=r"(.|\n)*hint: label a scene of the split validation"):
        layers_of(TASK, calibration).check(section)
    layers_of(TASK, calibration).check(section.plain())


@pytest.mark.parametrize("share", [0.001, 0.125, 0.6])
def test_shares_are_whole_percents(share: float) -> None:
    with pytest.raises(ValueError, match="conformal"):
        SegmentationLayers(kind="semantic_segmentation", conformal=share)


def test_a_calibration_of_other_classes_is_refused() -> None:
    learnt = Calibration(temperatures=(1.5,), exclusive=True, least=((0.1,) * 50,) * 3)
    assert learnt.fits(3)
    assert not learnt.fits(2)
    assert Calibration(temperatures=(1.5,), exclusive=True).fits(7)
    assert not Calibration(temperatures=(1.5, 1.0), exclusive=False).fits(3)
    with pytest.raises(ValueError, match="one temperature"):
        Calibration(temperatures=(1.5, 1.0), exclusive=True)
    with pytest.raises(ValueError, match="smallest"):
        Calibration(temperatures=(1.5,), exclusive=True, least=((0.1,),))


def test_the_axis_of_classes_is_that_of_the_signature() -> None:
    axes = loss_of(TASK).signature().axes["scores"]
    assert axes[loss_of(TASK).class_axis] == len(TASK.classes)
