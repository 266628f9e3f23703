"""The forest, against a naive loop, scikit-learn and onnxruntime."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.numpy import load, save
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score

from quadrat.errors import ChipError
from quadrat.geo.grids.class_ids import IGNORE
from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models.common.model import Fitted, Inputs, Recipe
from quadrat.models.forest import features as near
from quadrat.models.forest import forest as module
from quadrat.models.forest.features import features
from quadrat.models.forest.forest import Forest
from quadrat.tasks import SemanticSegmentation
from tests.ground import segmentation


@dataclass
class Held:
    """Chips in memory, which remember how many were read at once."""

    pixels: np.ndarray
    classes: np.ndarray
    most: int = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        self.most = max(self.most, len(indices))
        return self.pixels[indices], {"classes": self.classes[indices]}

    def class_counts(self) -> np.ndarray:
        return np.bincount(self.classes.ravel(), minlength=256)[:3]


def inputs_of(dtype: str, *nodata: float | None) -> Inputs:
    about = {"dtype": dtype, "unit": "DN", "scale": 1.0, "offset": 0.0}
    numbers = {"count": 1, "mean": 0.0, "std": 1.0, "min": 0.0, "max": 1.0, "percentiles": {}, "histogram": (1,)}
    bands = tuple(Band(name=f"b{n}", nodata=value, **about) for n, value in enumerate(nodata))
    return Inputs(bands, tuple(BandStatistics(band=band.name, **numbers) for band in bands))


def scattered(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return pixels of the dtype's whole range; every seventh is 0, and NaN where there is one."""
    generator = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        pixels = generator.normal(0, 1000, shape).astype(dtype)
        pixels[generator.random(shape) < 1 / 7] = np.nan
    else:
        limits = np.iinfo(dtype)
        pixels = generator.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    pixels[generator.random(shape) < 1 / 7] = 0
    return pixels


def chips(dtype: str = "uint16", bands: int = 3, count: int = 4, size: int = 24, classes: int = 3) -> Held:
    """Return chips whose classes show in their pixels, noisily; a third is not labelled."""
    generator = np.random.default_rng(7)
    blocks = generator.integers(0, classes, (count, -(-size // 6), -(-size // 6)))
    truth = blocks.repeat(6, 1).repeat(6, 2)[:, :size, :size].astype(np.uint8)
    levels = generator.uniform(60, 190, (classes, bands))
    pixels = np.moveaxis(levels[truth], -1, 1) + generator.normal(0, 25, (count, bands, size, size))
    pixels = pixels.clip(1, 250).astype(dtype)
    pixels[generator.random(pixels.shape) < 0.05] = 0
    truth[generator.random(truth.shape) < 1 / 3] = IGNORE
    return Held(pixels, truth)


def kind(**changed: Any) -> Forest:
    return Forest(
        **{"kind": "forest", "trees": 7, "radius": 2, "max_depth": None, "min_samples_leaf": 1, "samples": 10**9}
        | changed
    )


def recipe(seed: int = 3) -> Recipe:
    return Recipe(seed, lr=0.0, epochs=0, batch_size=0, train=None)  # type: ignore[arg-type]  # not the forest's


def fitted(
    model: Forest, held: Held, inputs: Inputs, names: str = "abc", seed: int = 3
) -> tuple[Fitted, SemanticSegmentation]:
    task = segmentation(*names)
    return model.fit(held, held, task, inputs, recipe(seed), Path("unused")), task


def naive(pixels: np.ndarray, inputs: Inputs, radius: int) -> np.ndarray:
    """Return features of (band, y, x), a pixel at a time."""
    bands, height, width = pixels.shape
    described = np.zeros((2 * bands, height, width), np.float32)
    for b, band in enumerate(inputs.bands):
        known = {
            (y, x): pixels[b, y, x].item()
            for y, x in np.ndindex(height, width)
            if pixels[b, y, x] != band.nodata and not math.isnan(pixels[b, y, x])
        }
        for y, x in np.ndindex(height, width):
            near = [v for (j, i), v in known.items() if abs(j - y) <= radius and abs(i - x) <= radius]
            described[b, y, x] = known.get((y, x), 0)
            if near:
                described[bands + b, y, x] = np.float32(math.fsum(near)) / np.float32(len(near))
    return described


@given(
    dtype=st.sampled_from(["uint8", "uint16", "int16"]),
    nodata=st.lists(st.sampled_from([None, 0.0, 7.0, -9999.0]), min_size=1, max_size=3),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    radius=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_features_of_integers_are_those_of_a_loop_to_the_bit(
    dtype: str, nodata: list[float | None], shape: tuple[int, int], radius: int, seed: int
) -> None:
    inputs = inputs_of(dtype, *nodata)
    pixels = scattered(dtype, (len(nodata), *shape), seed)
    found = features(pixels, inputs, radius)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, naive(pixels, inputs, radius))


@given(
    nodata=st.sampled_from([None, 0.0]),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    radius=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_features_of_floats_are_those_of_a_loop(
    nodata: float | None, shape: tuple[int, int], radius: int, seed: int
) -> None:
    inputs = inputs_of("float32", nodata)
    pixels = scattered("float32", (1, *shape), seed)
    np.testing.assert_allclose(features(pixels, inputs, radius), naive(pixels, inputs, radius), rtol=1e-5, atol=1e-2)


def test_sums_of_the_largest_integers_are_exact() -> None:
    inputs = inputs_of("uint16", None)
    pixels = np.full((1, 9, 9), 65_535, np.uint16)
    pixels[0, 4, 4] = 65_534
    assert features(pixels, inputs, 4)[1, 4, 4] == np.float32(81 * 65_535 - 1) / np.float32(81)


def test_nodata_beyond_float32_is_nodata() -> None:
    low = float(np.finfo(np.float64).min)
    pixels = np.array([[[low, 2.0, 4.0]]])
    np.testing.assert_array_equal(features(pixels, inputs_of("float64", low), 1), [[[0, 2, 4]], [[2, 3, 3]]])


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_features_at_places_are_those_of_the_whole_chip(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "CUT", 10)
    inputs = inputs_of(dtype, 0.0, None)
    pixels = scattered(dtype, (3, 2, 11, 7))
    places = np.unravel_index(np.random.default_rng(1).permutation(3 * 11 * 7)[:95], (3, 11, 7))
    chip, y, x = places
    expected = features(pixels, inputs, 3)[chip, :, y, x]
    np.testing.assert_array_equal(near.features_at(pixels, places, inputs, 3), expected)


def oracle(model: Forest, held: Held, inputs: Inputs, seed: int) -> tuple[RandomForestClassifier, np.ndarray]:
    """Fit scikit-learn's forest to all labelled pixels, and return it with all pixels' features."""
    table = np.moveaxis(features(held.pixels, inputs, model.radius), 1, -1).reshape(-1, 2 * len(inputs.bands))
    truth = held.classes.ravel()
    forest = RandomForestClassifier(
        model.trees,
        max_depth=model.max_depth,
        min_samples_leaf=model.min_samples_leaf,
        class_weight="balanced",
        random_state=seed,
    )
    return forest.fit(table[truth != IGNORE], truth[truth != IGNORE]), table


@pytest.mark.parametrize(
    ("dtype", "bands", "changed"),
    [
        ("uint16", 3, {}),
        ("uint8", 13, {"max_depth": 5}),
        ("float32", 1, {"min_samples_leaf": 4, "trees": 1}),
        ("int16", 2, {"radius": 4, "trees": 100}),
    ],
)
def test_restored_says_what_scikit_learn_says(dtype: str, bands: int, changed: dict[str, Any]) -> None:
    model, held, inputs = kind(**changed), chips(dtype, bands), inputs_of(dtype, *[0.0] * bands)
    learnt, task = fitted(model, held, inputs)
    scores = model.restore(learnt.weights, task, inputs)(held.pixels)["scores"]
    forest, table = oracle(model, held, inputs, 3)
    expected = forest.predict_proba(table).reshape(*held.classes.shape, 3)
    assert scores.dtype == np.float32
    vote = 2 * model.trees / 2**24  # or smaller: a tree's votes are a power of 2
    np.testing.assert_allclose(np.moveaxis(scores, 1, -1), expected, rtol=0, atol=vote + 1e-7)
    np.testing.assert_allclose(scores.sum(1), 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("trees", [1, 2, 7, 64, 65])
def test_every_leaf_casts_all_its_votes_and_float32_holds_the_sum(trees: int) -> None:
    model, held, inputs = kind(trees=trees, min_samples_leaf=5), chips(), inputs_of("uint16", 0.0, 0.0, 0.0)
    votes = fitted(model, held, inputs)[0].weights["votes"]
    cast = np.unique(votes.sum(1))
    assert votes.min() >= 0
    assert len(cast) == 1
    assert 2**23 < cast[0] * trees <= 2**24


def test_thresholds_between_neighbouring_floats_split_as_scikit_learn_does() -> None:
    held, inputs = chips("float32", 1), inputs_of("float32", None)
    held.pixels = (1 + held.pixels.round() * np.finfo(np.float32).eps).astype(np.float32)
    model = kind(trees=20)
    learnt, task = fitted(model, held, inputs)
    forest, table = oracle(model, held, inputs, 3)
    thresholds = np.concatenate([tree.tree_.threshold for tree in forest.estimators_])
    assert (thresholds.astype(np.float32) > thresholds).any()  # else this test shows nothing
    scores = model.restore(learnt.weights, task, inputs)(held.pixels)["scores"]
    expected = forest.predict_proba(table).reshape(*held.classes.shape, 3)
    np.testing.assert_allclose(np.moveaxis(scores, 1, -1), expected, rtol=0, atol=2**-16)


def served(graph: bytes, pixels: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"pixels": pixels.astype(np.float32)})[0]


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [
        ("uint8", [0.0, None, 255.0]),
        ("uint16", [0.0]),
        ("int16", [-32768.0, -9999.0]),
        ("float32", [None, 0.0]),
        ("float32", [-9999.9]),
        ("uint16", [0.0] * 13),
    ],
)
@pytest.mark.parametrize("shape", [(24, 24), (1, 1), (5, 61), (70, 3)])
def test_onnx_says_the_same_to_the_bit(dtype: str, nodata: list[float | None], shape: tuple[int, int]) -> None:
    model, held, inputs = kind(trees=9, radius=4), chips(dtype, len(nodata)), inputs_of(dtype, *nodata)
    learnt, task = fitted(model, held, inputs)
    graph = model.onnx(learnt.weights, task, inputs)
    onnx.checker.check_model(graph, full_check=True)
    predictor = model.restore(learnt.weights, task, inputs)
    strange = scattered(dtype, (2, len(nodata), *shape))
    strange[0, 0, 0, : shape[1] // 2] = 0 if nodata[0] is None else nodata[0]
    alike = held.pixels[:2, :, : shape[0], : shape[1]]
    for pixels in (strange, alike):
        np.testing.assert_array_equal(served(graph, pixels), predictor(pixels)["scores"])


def test_features_of_floats_in_onnx_are_the_same_to_the_bit() -> None:
    model, held, inputs = kind(radius=4), chips("float32", 2), inputs_of("float32", 0.0, None)
    learnt, task = fitted(model, held, inputs)
    graph = onnx.load_from_string(model.onnx(learnt.weights, task, inputs))
    table = next(node.input[0] for node in graph.graph.node if node.op_type == "TreeEnsembleRegressor")
    graph.graph.output.insert(0, onnx.helper.make_tensor_value_info(table, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pixels = scattered("float32", (2, 2, 30, 20))
    expected = np.moveaxis(features(pixels, inputs, 4), 1, -1).reshape(-1, 4)
    np.testing.assert_array_equal(session.run([table], {"pixels": pixels})[0], expected)


def test_sums_in_onnx_are_ordered_so_that_few_parts_are_in_memory_at_once() -> None:
    """Runtimes that go depth first take the operand first that was made last: it must be the sum so far."""
    model, held, inputs = kind(trees=30), chips(), inputs_of("uint16", 0.0, 0.0, 0.0)
    learnt, task = fitted(model, held, inputs)
    nodes = onnx.load_from_string(model.onnx(learnt.weights, task, inputs)).graph.node
    made = {node.output[0]: number for number, node in enumerate(nodes)}
    sums = [node for node in nodes if node.op_type == "Add" and nodes[made[node.input[0]]].op_type == "Add"]
    assert len(sums) == 28 + 2 * 2 * 3
    assert all(made[node.input[1]] < made[node.input[0]] for node in sums)


def test_onnx_of_nodata_beyond_float32() -> None:
    low = float(np.finfo(np.float64).min)
    model, held, inputs = kind(), chips("float64", 1), inputs_of("float64", low)
    held.pixels[held.pixels == 0] = low
    learnt, task = fitted(model, held, inputs)
    with np.errstate(over="ignore"):
        found = served(model.onnx(learnt.weights, task, inputs), held.pixels)
    np.testing.assert_array_equal(found, model.restore(learnt.weights, task, inputs)(held.pixels)["scores"])


def same(one: Fitted, other: Fitted) -> bool:
    assert one.weights.keys() == other.weights.keys()
    return one.metrics == other.metrics and all(np.array_equal(one.weights[n], other.weights[n]) for n in one.weights)


def test_the_same_seed_gives_the_same_forest_and_another_another() -> None:
    model, held, inputs = kind(samples=300), chips(), inputs_of("uint16", 0.0, 0.0, 0.0)
    first = fitted(model, held, inputs)[0]
    assert same(first, fitted(model, held, inputs)[0])
    assert not same(first, fitted(model, held, inputs, seed=4)[0])


def test_nothing_depends_on_processors_or_on_how_much_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, held, inputs = kind(samples=500), chips(size=31), inputs_of("uint16", 0.0, 0.0, 0.0)
    many, task = fitted(model, held, inputs)
    scores = model.restore(many.weights, task, inputs)(held.pixels)["scores"]
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert joblib.effective_n_jobs(-1) == 1
    for place, name in ((module, "READ"), (near, "CUT"), (module, "BLOCK")):
        monkeypatch.setattr(place, name, 100)
    held.most = 0
    one, _ = fitted(model, held, inputs)
    assert held.most == 1
    assert same(one, many)
    np.testing.assert_array_equal(model.restore(one.weights, task, inputs)(held.pixels)["scores"], scores)


@pytest.mark.parametrize("samples", [1, 40, 250, 10**6])
def test_pixels_are_drawn_once_each_from_the_labelled_ones(samples: int) -> None:
    pixels = np.arange(1, 401, dtype=np.uint16).reshape(4, 1, 10, 10)  # each pixel's value is its name
    held = Held(pixels, chips(count=4, size=10).classes)
    labelled = {int(v): int(c) for v, c in zip(pixels.ravel(), held.classes.ravel(), strict=True) if c != IGNORE}
    inputs, task = inputs_of("uint16", None), segmentation(*"abc")
    table, classes = kind(samples=samples)._drawn(held, task, inputs, 5)
    drawn = [int(value) for value in table[:, 0]]
    assert len(set(drawn)) == len(drawn) == min(samples, len(labelled))
    assert [labelled[value] for value in drawn] == classes.tolist()


def test_every_labelled_pixel_is_as_likely_to_be_drawn() -> None:
    held = Held(np.arange(1, 101, dtype=np.uint16).reshape(4, 1, 5, 5), np.zeros((4, 5, 5), np.uint8))
    model, inputs, task = kind(samples=20), inputs_of("uint16", None), segmentation(*"ab")
    drawn = np.concatenate([model._drawn(held, task, inputs, seed)[0][:, 0] for seed in range(400)]).astype(int)
    times = np.bincount(drawn, minlength=101)[1:]  # binomial: 400 draws of 1 in 5
    assert abs(times - 80).max() < 5 * math.sqrt(400 * 0.2 * 0.8)


def test_a_class_without_training_pixels_is_never_predicted() -> None:
    model, held, inputs = kind(), chips(), inputs_of("uint16", 0.0, 0.0, 0.0)
    held.classes[held.classes == 1] = IGNORE
    learnt, task = fitted(model, held, inputs, "abcd")
    scores = model.restore(learnt.weights, task, inputs)(held.pixels)["scores"]
    assert scores.shape[1] == 4
    assert (scores[:, [1, 3]] == 0).all()
    assert (scores[:, [0, 2]] > 0).any((0, 2, 3)).all()
    np.testing.assert_array_equal(served(model.onnx(learnt.weights, task, inputs), held.pixels), scores)


def test_trees_that_are_a_single_leaf() -> None:
    model, held, inputs = kind(), chips(), inputs_of("uint16", 0.0, 0.0, 0.0)
    held.classes[held.classes != IGNORE] = 2
    learnt, task = fitted(model, held, inputs)
    scores = model.restore(learnt.weights, task, inputs)(held.pixels)["scores"]
    np.testing.assert_array_equal(scores, np.broadcast_to(np.float32([0, 0, 1])[:, None, None], scores.shape))
    np.testing.assert_array_equal(served(model.onnx(learnt.weights, task, inputs), held.pixels), scores)


def test_weights_pass_through_safetensors() -> None:
    model, held, inputs = kind(), chips(), inputs_of("uint16", 0.0, 0.0, 0.0)
    learnt, task = fitted(model, held, inputs)
    stored = load(save(dict(learnt.weights)))
    expected = model.restore(learnt.weights, task, inputs)(held.pixels)["scores"]
    np.testing.assert_array_equal(model.restore(stored, task, inputs)(held.pixels)["scores"], expected)


def test_metrics_are_scikit_learns_on_the_labelled_validation_pixels() -> None:
    model, held, inputs, task = kind(max_depth=2), chips(), inputs_of("uint16", 0.0, 0.0, 0.0), segmentation(*"abcd")
    seen = Held(held.pixels[2:], held.classes[2:])
    learnt = model.fit(Held(held.pixels[:2], held.classes[:2]), seen, task, inputs, recipe(), Path("unused"))
    predicted = model.restore(learnt.weights, task, inputs)(seen.pixels)["scores"].argmax(1)
    truth = seen.classes
    pairs = truth[truth != IGNORE], predicted[truth != IGNORE]
    assert learnt.metrics == {
        "accuracy": pytest.approx(accuracy_score(*pairs)),
        "macro_f1": pytest.approx(f1_score(*pairs, average="macro")),
    }
    assert learnt.history == []


def test_metrics_of_no_labelled_pixel_are_none() -> None:
    model, held, inputs, task = kind(), chips(), inputs_of("uint16", 0.0, 0.0, 0.0), segmentation(*"abc")
    for blank in (Held(held.pixels, np.full_like(held.classes, IGNORE)), Held(held.pixels[:0], held.classes[:0])):
        learnt = model.fit(held, blank, task, inputs, recipe(), Path("unused"))
        assert learnt.metrics == {"accuracy": None, "macro_f1": None}


def test_what_can_not_be_learnt_from_is_refused() -> None:
    inputs = inputs_of("float32", None)
    held = chips("float32", 1)
    with pytest.raises(ChipError, match="no training chip has a labelled pixel"):
        fitted(kind(), Held(held.pixels, np.full_like(held.classes, IGNORE)), inputs)
    held.pixels[0, 0, 3, 2:5] = 3e38
    with pytest.raises(ChipError, match="infinite"):
        fitted(kind(), held, inputs)


def test_infinite_values_are_none_here_and_in_onnx() -> None:
    model, held, inputs = kind(), chips("float32", 2), inputs_of("float32", 0.0, None)
    held.pixels[0, 0, 3, 3], held.pixels[1, 1, 5, 5] = np.inf, -np.inf
    assert np.isfinite(features(held.pixels, inputs, 2)).all()
    learnt, task = fitted(model, held, inputs)
    found = served(model.onnx(learnt.weights, task, inputs), held.pixels)
    np.testing.assert_array_equal(found, model.restore(learnt.weights, task, inputs)(held.pixels)["scores"])


def test_an_index_of_other_chips_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Held, "class_counts", lambda *_: np.array([100, 0, 0]))
    with pytest.raises(ChipError, match="does not fit the chips"):
        fitted(kind(), chips(), inputs_of("uint16", 0.0, 0.0, 0.0))


@pytest.mark.parametrize(
    "wrong", [{"trees": 0}, {"trees": 2000}, {"radius": 0}, {"max_depth": 0}, {"samples": 0}, {"more": 1}]
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError):
        kind(**wrong)


def test_context_is_the_radius() -> None:
    model, held, inputs = kind(radius=3), chips(count=1), inputs_of("uint16", 0.0, 0.0, 0.0)
    assert model.context == 3
    learnt, task = fitted(model, held, inputs)
    predictor = model.restore(learnt.weights, task, inputs)
    near = predictor(held.pixels[:, :, 5:19, 5:19])["scores"][:, :, 3:-3, 3:-3]
    np.testing.assert_array_equal(near, predictor(held.pixels)["scores"][:, :, 8:16, 8:16])
