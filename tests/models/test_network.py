"""Networks: raw values in, the same out wherever they run, and the same weights for the same seed, killed or not."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from quadrat.errors import ModelError
from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Inputs, Recipe, Segmenter, Train
from quadrat.models.common.devices import compiled, compiles
from quadrat.models.common.trainable import Normalised
from quadrat.models.segmenter.segmenter import Architecture
from quadrat.models.training import fitting
from quadrat.models.training.augment import jittered, noise, symmetries, turned
from quadrat.models.training.batches import Batch, Batches, Order
from quadrat.models.training.learner import Learner
from quadrat.models.training.neural import build
from quadrat.tasks.common.parts import targets_of
from tests.ground import segmentation

TASK = segmentation("a", "b", "c")
SMALL = {"kind": "segmenter", "encoder": "test_resnet", "dates": None}
NETWORK = Segmenter.model_validate(
    {**SMALL, "architecture": "unet", "depth": 3, "decoder": {"decoder_channels": [16, 8, 8]}, "dropout": 0.1}
)
TRAIN = {
    "loss": {"kind": "semantic_segmentation", "dice": 0.5, "label_smoothing": 0.05, "class_balance": 0.5},
    "augment": {"flip_rotate": True, "gain": 0.05, "offset": 0.05},
    "weight_decay": 0.01,
    "warmup": 0.1,
    "gradient_clip_norm": 1.0,
    "ema_decay": 0.5,
    "patience": 10,
}


class Memory:
    """Chips in memory: three bands, whose first says the class."""

    def __init__(self, count: int, seed: int, size: int = 32) -> None:
        generator = np.random.default_rng(seed)
        self.classes = np.repeat(np.repeat(generator.integers(0, 3, (count, size // 8, size // 8)), 8, 1), 8, 2)
        noise = generator.normal(0, 30, (count, 3, size, size))
        self.pixels = (500 + 300 * np.stack([self.classes, 2 - self.classes, self.classes * 0], 1) + noise).astype("u2")
        self.classes[generator.random(self.classes.shape) < 0.1] = 255
        self.classes = self.classes.astype(np.uint8)

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        return self.pixels[indices], {"classes": self.classes[indices]}

    def class_counts(self) -> NDArray[np.int64]:
        return np.bincount(self.classes.ravel(), minlength=256)[:3]


def inputs(nodata: float | None = 0.0) -> Inputs:
    bands = tuple(Band(name=n, dtype="uint16", unit="DN", scale=1.0, offset=0.0, nodata=nodata) for n in "xyz")
    about = {"count": 9, "min": 0.0, "max": 2000.0, "percentiles": {}, "histogram": (9,)}
    means = zip("xyz", (800.0, 800.0, 500.0), strict=True)
    return Inputs(bands, tuple(BandStatistics(band=n, mean=m, std=250.0, **about) for n, m in means))  # type: ignore[arg-type]


def fit(checkpoint: Path, epochs: int = 3, seed: int = 1) -> Any:
    recipe = Recipe(seed, 0.01, epochs, 4, Train.model_validate(TRAIN))
    return NETWORK.fit(Memory(10, 0), Memory(4, 1), TASK, inputs(), recipe, checkpoint)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return fit(tmp_path_factory.mktemp("whole"))


def test_it_learns(fitted: Any) -> None:
    assert fitted.metrics["accuracy"] > 0.5
    assert [row["epoch"] for row in fitted.history] == [0, 1, 2]
    assert fitted.history[-1]["lr"] < fitted.history[0]["lr"]
    assert fitted.metrics["epoch"] == max(fitted.history, key=lambda r: r["validation_macro_f1"])["epoch"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(fitted: Any, tmp_path: Path) -> None:
    again = fit(tmp_path / "again")
    assert again.history == fitted.history
    for name, values in fitted.weights.items():
        np.testing.assert_array_equal(again.weights[name], values, err_msg=name)
    assert fit(tmp_path / "other", seed=2, epochs=1).history != fitted.history[:1]


def test_memory_is_not_filled_while_it_learns_and_is_afterwards_as_before(tmp_path: Path) -> None:
    mode: Any = torch.utils.deterministic
    seen: list[bool] = []
    recipe = Recipe(1, 0.01, 1, 4, Train.model_validate(TRAIN), lambda _: seen.append(mode.fill_uninitialized_memory))
    before = mode.fill_uninitialized_memory
    NETWORK.fit(Memory(4, 0), Memory(4, 1), TASK, inputs(), recipe, tmp_path)
    assert seen == [False]
    assert before is mode.fill_uninitialized_memory is True


def test_gradients_and_their_means_lie_in_memory_as_the_weights_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's fused AdamW of processors (2.14) takes them for such unseen, and steps elsewhere where they aren't."""
    laid_out: list[tuple[tuple[int, ...], ...]] = []

    def look(learner: Learner, optimizer: torch.optim.Optimizer) -> None:
        for weight in learner.network.parameters():
            state = optimizer.state.get(weight, {})
            others = [weight.grad, state.get("exp_avg"), state.get("exp_avg_sq")]
            laid_out.append((weight.stride(), *(other.stride() for other in others if other is not None)))

    monkeypatch.setattr(Learner, "on_before_optimizer_step", look)
    fit(tmp_path, epochs=2)
    assert max(map(len, laid_out)) == 4
    assert any(len(strides[0]) == 4 and strides[0][1] == 1 for strides in laid_out)  # channels last
    assert all(len(set(strides)) == 1 for strides in laid_out)


def test_restored_and_exported_it_says_the_same(fitted: Any) -> None:
    predictor = NETWORK.restore(fitted.weights, TASK, inputs())
    session = onnxruntime.InferenceSession(NETWORK.onnx(fitted.weights, TASK, inputs()))
    pixels = Memory(3, 7, 64).pixels
    pixels[0, :, :9] = 0  # nodata
    for window in (pixels, pixels[:1, :, :32, :], pixels[:, :, :, :32]):
        scores = predictor(window)["scores"]
        assert scores.shape == (len(window), 3, *window.shape[2:])
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
        exported = session.run(["scores"], {"pixels": window.astype(np.float32)})[0]
        np.testing.assert_allclose(exported, scores, atol=1e-5)
    assert (predictor(pixels)["scores"].argmax(1) == Memory(3, 7, 64).classes)[1:].mean() > 0.5


def test_the_normaliser_takes_raw_values_and_makes_nothing_of_nodata() -> None:
    raw = torch.tensor([0.0, 800.0, 1050.0, float("nan"), float("inf")]).reshape(1, 1, 1, 5).repeat(1, 3, 1, 1)
    normalised = Normalised(torch.nn.Identity(), inputs(), TASK).normalise(raw)
    torch.testing.assert_close(normalised[0, 0, 0], torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]))
    without = Normalised(torch.nn.Identity(), inputs(nodata=None), TASK).normalise(raw)
    torch.testing.assert_close(without[0, 0, 0], torch.tensor([-3.2, 0.0, 1.0, 0.0, 0.0]))


def test_networks_are_compiled_on_request_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: asked.append(type(self).__name__))
    compiled(Normalised(torch.nn.Identity(), inputs(), TASK))
    assert asked == []
    monkeypatch.setenv("QUADRAT_COMPILE", "1")
    compiled(Normalised(torch.nn.Identity(), inputs(), TASK))
    assert asked == ["Identity"]


@pytest.mark.parametrize("nodata", [0.0, None])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16])
def test_pixels_as_stored_are_normalised_as_floats_are(dtype: torch.dtype, nodata: float | None) -> None:
    raw = torch.randint(0, 200, (2, 3, 4, 5)).to(dtype)
    network = Normalised(torch.nn.Identity(), inputs(nodata=nodata), TASK)
    before = raw.clone()
    assert network.normalise(raw).equal(network.normalise(raw.float()))
    assert raw.equal(before)


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_every_architecture_takes_any_bands(architecture: str) -> None:
    network = Segmenter.model_validate(
        {**SMALL, "architecture": architecture, "depth": 5, "decoder": {}, "dropout": 0.0}
    )
    scores = build(network, TASK, inputs(), seed=0).eval()(torch.rand(1, 3, 64, 64))["scores"]
    assert scores.shape == (1, 3, 64, 64)


def test_turning_is_one_of_eight_symmetries_alike_for_pixels_and_targets() -> None:
    chips = torch.rand(64, 2, 5, 5)
    drawn = symmetries(64, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == set(range(8))
    moved, target = turned(chips, {"classes": chips[:, 0]}, targets_of(TASK).turn, drawn)
    torch.testing.assert_close(moved[:, 0], target["classes"])
    for chip, other, number in zip(chips, moved, drawn.tolist(), strict=True):
        mirrored = chip.transpose(-1, -2) if number >= 4 else chip
        np.testing.assert_array_equal(np.rot90(mirrored, number % 4, (-2, -1)), other)


def test_jitter_is_one_factor_and_summand_a_band_of_a_chip() -> None:
    chips = torch.rand(6, 3, 4, 4)
    moved = jittered(chips, 0.1, 0.2, noise(6, 3, torch.Generator().manual_seed(0)))
    lines = set()
    for band, other in zip(chips.flatten(0, 1), moved.flatten(0, 1), strict=True):
        line = np.polyfit(band.flatten(), other.flatten(), 1)
        np.testing.assert_allclose(np.polyval(line, band.flatten()), other.flatten(), atol=1e-5)
        lines.add(tuple(line))
    assert len(lines) == 18
    torch.testing.assert_close(jittered(chips, 0.0, 0.0, noise(6, 3, torch.Generator())), chips)


def test_batches_are_shuffled_anew_in_each_epoch_and_hold_each_chip_once() -> None:
    epochs = iter((0, 1))
    order = Order(10, 3, 5, lambda: next(epochs))
    first, second = list(order), list(order)
    assert len(first) == len(order) == 3
    assert len(np.unique(np.concatenate(first))) == 9
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert np.concatenate(list(Order(10, 3, None, lambda: 0))).tolist() == list(range(10))
    assert len(list(Order(2, 8, 1, lambda: 0))) == 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_batches_are_the_same_from_any_number_of_threads_and_sent_ahead(threads: int) -> None:
    chips, order = Memory(23, 0, 16), Order(23, 2, 5, lambda: 3)
    sent: list[int] = []
    here = threading.get_ident()

    def send(batch: Batch) -> Callable[[], Batch]:
        sent.append(threading.get_ident())

        def arrived() -> Batch:
            assert threading.get_ident() == here
            return batch

        return arrived

    batches = Batches(chips, order, threads, send)
    assert len(batches) == 11
    for _ in range(2):
        sent.clear()
        begun = iter(batches)
        given = [next(begun)]
        assert len(sent) <= 2 * threads
        given += begun
        assert len(given) == len(sent) == 11
        assert (here in sent) == (threads == 1)
        for indices, (pixels, target) in zip(order, given, strict=True):
            np.testing.assert_array_equal(pixels.numpy(), chips.pixels[indices])
            np.testing.assert_array_equal(target["classes"].numpy(), chips.classes[indices])


def test_a_batch_that_can_not_be_read_is_told_where_it_is_wanted() -> None:
    class Broken(Memory):
        def read(self, indices: NDArray[np.intp]) -> Any:
            if 7 in indices:
                raise OSError("no such chip")
            return super().read(indices)

    batches = iter(Batches(Broken(20, 0, 16), Order(20, 2, None, lambda: 0), 2, lambda batch: lambda: batch))
    assert len([next(batches) for _ in range(3)]) == 3
    with pytest.raises(OSError, match="no such chip"):
        next(batches)


@pytest.mark.parametrize(("asked", "default", "expected"), [(None, True, True), ("0", True, False), ("1", False, True)])
def test_the_environment_decides_what_is_compiled(
    asked: str | None, default: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if asked:
        monkeypatch.setenv("QUADRAT_COMPILE", asked)
    assert compiles(default=default) is expected


def test_a_long_fit_on_a_gpu_alone_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(NETWORK, TASK, inputs(), seed=0)
    assert not fitting._pays(network, 10**6)
    monkeypatch.setattr(fitting, "device", lambda: torch.device("cuda"))
    assert fitting._pays(network, 10**6)
    assert not fitting._pays(network, 100)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"encoder": "nosuch"}, "nosuch"),
        ({"decoder": {"bogus": 1}}, "bogus"),
        ({"decoder": {"decoder_channels": [16]}}, "decoder"),
    ],
)
def test_a_network_that_can_not_be_built_is_told(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=rf"no network can be built(.|\n)*{message}"):
        build(NETWORK.model_copy(update=wrong), segmentation("a", "b"), inputs(), 0)
