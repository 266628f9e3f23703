"""Pooling over dates: against loops over pixels and dates; what isn't there, and the order of dates, change nothing."""

import warnings
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from quadrat.errors import ModelError
from quadrat.geo.sources.bands import Band
from quadrat.geo.statistics.band_statistics import BandStatistics
from quadrat.models import Forest, Inputs, Peaks, Recipe, Segmenter, Train
from quadrat.models.common.dates import Pooled
from quadrat.models.common.model import Pooling
from quadrat.models.segmenter.segmenter import Architecture
from quadrat.models.training.neural import build
from tests.ground import cells
from tests.models.boxes import Boxes
from tests.models.test_classifier import CLASSIFIER
from tests.models.test_detector import detector
from tests.models.test_network import SMALL, TRAIN, Memory
from tests.models.test_network import TASK as CLASSES

POOLINGS = get_args(Pooling)
NODATA = 0.0


class Twice(nn.Module):
    """An encoder whose maps are known: the bands themselves, and their means over 4 × 4 px."""

    output_stride = 4

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x, nn.functional.avg_pool2d(x, 4)]


def network(pooling: str | None, **options: Any) -> Segmenter:
    small = {"architecture": "unet", "depth": 3, "decoder": {"decoder_channels": [16, 8, 8]}, "dropout": 0.1}
    return Segmenter.model_validate({**SMALL, **small, "dates": pooling, **options})


def inputs(dates: int = 3, names: str = "xyz") -> Inputs:
    meaning = {"dtype": "uint16", "unit": "DN", "scale": 1.0, "offset": 0.0, "nodata": NODATA}
    bands = [Band(name=n, date=f"d{d}" if dates else None, **meaning) for d in range(max(1, dates)) for n in names]
    about: dict[str, Any] = {"count": 9, "min": 0.0, "max": 2000.0, "percentiles": {}, "histogram": (9,)}
    statistics = [BandStatistics(band=n, mean=500.0 + 100 * i, std=250.0, **about) for i, n in enumerate(names)]
    return Inputs(tuple(bands), tuple(statistics))


def series(chips: int, dates: int, size: int, seed: int) -> NDArray[np.uint16]:
    """Return (chip, date, band, y, x) of 3 bands with holes: pixels, bands, and a whole date."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(1, 2000, (chips, dates, 3, size, size)).astype(np.uint16)
    pixels[generator.random((chips, dates, 1, size, size)).repeat(3, 2) < 0.2] = NODATA
    pixels[generator.random(pixels.shape) < 0.05] = NODATA
    pixels[0, -1] = NODATA
    pixels[:, :, :, :4, :4] = NODATA
    return pixels


def flat(pixels: NDArray[np.uint16]) -> torch.Tensor:
    return torch.from_numpy(pixels.reshape(len(pixels), -1, *pixels.shape[-2:]).astype(np.float32))


@given(
    chips=st.integers(1, 2), dates=st.integers(1, 4), bands=st.integers(1, 3), share=st.floats(0, 1), seed=st.integers()
)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_maps_are_pooled_over_the_dates_that_have_a_value(
    pooling: Pooling, chips: int, dates: int, bands: int, share: float, seed: int
) -> None:
    generator = np.random.default_rng(abs(seed))
    values = generator.normal(0, 2, (chips, dates, bands, 8, 8))
    values[generator.random(values.shape) < share / bands] = np.nan
    pooled = Pooled(Twice(), bands, dates, pooling).eval()
    query = generator.normal(0, 1, bands)
    if pooled.score is not None:
        pooled.score.weight.data = torch.tensor(query, dtype=torch.float32)[None, :, None, None]
    fine, coarse = pooled(torch.tensor(values, dtype=torch.float32).flatten(1, 2))
    known = ~np.isnan(values).any(2)
    zeroed = np.where(known[:, :, None], values, 0)
    means = zeroed.reshape(chips, dates, bands, 2, 4, 2, 4).mean((4, 6))
    scores = np.einsum("b,cdbyx->cdyx", query, means)
    for found, maps, step in ((fine, zeroed, 1), (coarse, means, 4)):
        judged = torch.nn.functional.interpolate(
            torch.tensor(scores), size=maps.shape[-2:], mode="bilinear", align_corners=False
        ).numpy()
        for chip, y, x in np.ndindex(chips, *maps.shape[-2:]):
            weights, seen = [], []
            for date in range(dates):
                cell = known[chip, date, y * step : (y + 1) * step, x * step : (x + 1) * step]
                if cell.any():
                    weights.append(cell.mean() * (np.exp(judged[chip, date, y, x]) if pooling == "attention" else 1))
                    seen.append(maps[chip, date, :, y, x])
            expected = np.zeros(bands)
            if seen:
                expected = np.max(seen, 0) if pooling == "max" else np.average(seen, 0, weights)
            np.testing.assert_allclose(found[chip, :, y, x].detach().numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_pooled_by_the_share_of_the_chip(pooling: Pooling) -> None:
    vectors = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    values = torch.rand(2, 3, 2, 8, 8)
    values[:, 0] = torch.nan
    values[:, 1, :, :4] = torch.nan
    found = Pooled(vectors, 2, 3, pooling).eval()(values.flatten(1, 2))
    half, full = values[:, 1].nan_to_num().mean((2, 3)), values[:, 2].mean((2, 3))
    expected = torch.maximum(half, full) if pooling == "max" else (half * 0.5 + full) / 1.5
    torch.testing.assert_close(found, expected)


def scored(model: nn.Module) -> nn.Module:
    """Give the attention something to say: it begins as the mean."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, Pooled) and module.score is not None:
            nn.init.normal_(module.score.weight)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    return model.eval()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_order_of_dates_and_what_is_not_there_change_nothing(pooling: str) -> None:
    pixels = series(2, 3, 64, 0)
    model = scored(build(network(pooling), CLASSES, inputs(), 0))
    scores = model(flat(pixels))["scores"]
    torch.testing.assert_close(model(flat(pixels[:, [2, 0, 1]]))["scores"], scores)
    empty = np.full_like(pixels[:, :1], NODATA)
    longer = scored(build(network(pooling), CLASSES, inputs(4), 0))
    longer.load_state_dict({n: v for n, v in model.state_dict().items() if "." in n}, strict=False)
    torch.testing.assert_close(longer(flat(np.concatenate([pixels[:, :1], empty, pixels[:, 1:]], 1)))["scores"], scores)
    other = pixels.copy()
    lacking = (pixels == NODATA).any(2, keepdims=True).repeat(3, 2)
    other[lacking & (pixels != NODATA)] = 1234  # of bands of a date that lacks another
    torch.testing.assert_close(model(flat(other))["scores"], scores)
    shown = pixels.copy()
    shown[1, 2, :, 40:, 40:] = 1900
    assert (model(flat(shown))["scores"] - scores)[1].abs().max() > 1e-3
    alike = np.repeat(pixels[:, :1], 3, 1)
    once = scored(build(network(pooling), CLASSES, inputs(1), 0))
    once.load_state_dict({n: v for n, v in model.state_dict().items() if "." in n}, strict=False)
    torch.testing.assert_close(model(flat(alike))["scores"], once(flat(pixels[:, :1]))["scores"])


def test_attention_begins_as_the_mean_and_learns() -> None:
    pixels = flat(series(2, 3, 32, 0))
    mean, attention = (build(network(pooling, dropout=0.0), CLASSES, inputs(), 0) for pooling in ("mean", "attention"))
    torch.testing.assert_close(attention.eval()(pixels)["scores"], mean.eval()(pixels)["scores"])
    target = {"classes": torch.randint(0, 3, (2, 32, 32), dtype=torch.uint8)}
    loss = Train.model_validate(TRAIN).loss
    attention.train().loss(attention.normalise(pixels), target, loss, torch.ones(3)).backward()
    (query,) = (value.grad for name, value in attention.named_parameters() if "score" in name)
    assert query is not None
    assert query.abs().max() > 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in attention.parameters())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_empty_dates_have_no_part_in_the_means_of_batches(pooling: Pooling) -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4, momentum=1.0))
    values = torch.rand(2, 3, 3, 8, 8)
    values[0, 1] = values[1, 0] = torch.nan
    found = Pooled(encoder, 4, 3, pooling).train()(values.flatten(1, 2))
    there = torch.stack([values[0, 0], values[0, 2], values[1, 1], values[1, 2]])
    torch.testing.assert_close(encoder[1].running_mean, encoder[0](there).mean((0, 2, 3)))
    expected = encoder(there).unflatten(0, (2, 2))
    torch.testing.assert_close(found, expected.amax(1) if pooling == "max" else expected.mean(1))
    nothing = torch.full((2, 9, 8, 8), torch.nan)
    assert torch.isfinite(Pooled(encoder, 4, 3, pooling).train()(nothing)).all()


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_every_architecture_pools(architecture: str) -> None:
    dense = network("attention", architecture=architecture, depth=5, decoder={})
    scores = build(dense, CLASSES, inputs(), 0).eval()(flat(series(1, 3, 64, 0)))["scores"]
    assert scores.shape == (1, 3, 64, 64)
    assert torch.isfinite(scores).all()


@pytest.mark.parametrize("encoder", ["test_convnext", "vgg11_bn", "test_efficientnet"])
def test_encoders_of_all_styles_pool_here_and_as_onnx(encoder: str) -> None:
    """Those without a map of half the resolution give one without channels, others give one of the full resolution."""
    dense = network("attention", encoder=encoder, architecture="fpn", depth=5, decoder={})
    model = scored(build(dense, CLASSES, inputs(), 0))
    pixels = flat(series(1, 3, 64, 0))[:, :, :, :32]
    scores = model(pixels)["scores"].detach().numpy()
    assert np.isfinite(scores).all()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    session = onnxruntime.InferenceSession(dense.onnx(weights, CLASSES, inputs()))
    np.testing.assert_allclose(session.run(["scores"], {"pixels": pixels.numpy()})[0], scores, atol=1e-5)


class Dated(Memory):
    """Chips of 3 dates whose mean alone tells the class: what is added on one date is taken away on another."""

    def __init__(self, count: int, seed: int, size: int = 32) -> None:
        super().__init__(count, seed, size)
        generator = np.random.default_rng([seed, 1])
        shifts = generator.uniform(-300, 300, (count, 3, 3, size // 8, size // 8)).repeat(8, 3).repeat(8, 4)
        shifts -= shifts.mean(1, keepdims=True)
        self.pixels = np.clip(self.pixels[:, None] + shifts, 1, 9999).astype("u2")
        self.pixels[generator.random(self.pixels.shape[:2]) < 0.1] = 0
        self.pixels = self.pixels.reshape(count, 9, size, size)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_restored_and_exported_it_says_the_same(pooling: str, tmp_path: Path) -> None:
    recipe = Recipe(1, 0.01, 2, 4, Train.model_validate(TRAIN))
    dated = network(pooling)
    fitted = dated.fit(Dated(10, 0), Dated(4, 1), CLASSES, inputs(), recipe, tmp_path)
    assert all(np.isfinite(values).all() for name, values in fitted.weights.items() if name != "nodata")
    predictor = dated.restore(fitted.weights, CLASSES, inputs())
    session = onnxruntime.InferenceSession(dated.onnx(fitted.weights, CLASSES, inputs()))
    pixels = Dated(3, 7, 96).pixels
    pixels[0, :, :9] = pixels[1, 3:6] = 0
    for window in (pixels, pixels[:1, :, :32, :], pixels[:, :, :, :64]):
        scores = predictor(window)["scores"]
        exported = session.run(["scores"], {"pixels": window.astype(np.float32)})[0]
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
        np.testing.assert_allclose(exported, scores, atol=1e-5)
    other = pixels.astype(np.float32)
    other[other == 0] = np.nan
    np.testing.assert_allclose(session.run(["scores"], {"pixels": other})[0], predictor(pixels)["scores"], atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", ["classifier", "detector"])
def test_other_networks_pool_alike(kind: str, pooling: Pooling) -> None:
    if kind == "classifier":
        model: Any = CLASSIFIER.model_copy(update={"dates": pooling})
        task: Any = cells("a", "b", "c")
    else:
        model, task = detector(dates=pooling), Boxes()
    built = scored(build(model, task, inputs(), 0))
    pixels = series(2, 3, 64, 0)
    outputs = built(flat(pixels))
    for name, values in built(flat(pixels[:, [1, 2, 0]])).items():
        torch.testing.assert_close(values, outputs[name])
    lacking = (pixels == NODATA).any(2, keepdims=True).repeat(3, 2)
    for name, values in built(flat(np.where(lacking, NODATA, pixels))).items():
        torch.testing.assert_close(values, outputs[name])
    weights = {name: value.numpy() for name, value in built.state_dict().items()}
    session = onnxruntime.InferenceSession(model.onnx(weights, task, inputs()))
    for window in (flat(pixels), flat(pixels[:1, :, :, :, :32])):
        expected = {name: values.detach().numpy() for name, values in built(window).items()}
        for name, values in zip(expected, session.run([*expected], {"pixels": window.numpy()}), strict=True):
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-4)


def test_peaks_are_of_the_mean_over_dates() -> None:
    pixels = series(1, 3, 24, 0)[0]
    peaks = Peaks(kind="peaks", bands={"x": 1.0, "z": -2.0}, smoothing=1.0, distance=2)
    surface = peaks._surface(pixels.reshape(9, 24, 24), inputs())
    shifted = (pixels.astype(float) - np.array([500, 600, 700])[:, None, None]) / 250
    known = (pixels[:, [0, 2]] != NODATA).all(1)
    sums = np.where(known, shifted[:, 0] - 2 * shifted[:, 2], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pixels that no date knows
        mean = np.nanmean(sums, 0)
    single = Inputs(inputs(0).bands[:1], (inputs(0).statistics[0].model_copy(update={"mean": 0.0, "std": 1.0}),))
    expected = peaks.model_copy(update={"bands": {"x": 1.0}})._surface(mean[None], single)
    np.testing.assert_allclose(surface, expected, atol=1e-5)
    np.testing.assert_array_equal(np.isfinite(surface), known.any(0))


def test_a_forest_takes_the_dates_as_they_come(tmp_path: Path) -> None:
    forest = Forest(kind="forest", trees=3, radius=1, max_depth=6, min_samples_leaf=4, samples=2000)
    recipe = Recipe(1, 0.01, 2, 4, Train.model_validate(TRAIN))
    fitted = forest.fit(Dated(6, 0), Dated(3, 1), CLASSES, inputs(), recipe, tmp_path)
    pixels = Dated(2, 5).pixels
    scores = forest.restore(fitted.weights, CLASSES, inputs())(pixels)["scores"]
    session = onnxruntime.InferenceSession(forest.onnx(fitted.weights, CLASSES, inputs()))
    np.testing.assert_array_equal(session.run(["scores"], {"pixels": pixels.astype(np.float32)})[0], scores)


def test_images_and_parameters_that_do_not_go_together() -> None:
    with pytest.raises(ModelError, match=r"time series, and the network doesn't pool(.|\n)*got: 3 dates"):
        build(network(None), CLASSES, inputs(), 0)
    with pytest.raises(ModelError, match=r"pools over dates, and the images have none(.|\n)*model.dates to null"):
        build(network("mean"), CLASSES, inputs(0), 0)


def test_dates_share_their_bands_statistics() -> None:
    with pytest.raises(ValueError, match="differ in names or order"):
        Inputs(inputs().bands[:5], inputs().statistics)
    raw = torch.full((1, 9, 1, 1), 750.0)
    raw[0, 4] = NODATA
    normalised = build(network("mean"), CLASSES, inputs(), 0).normalise(raw).flatten()
    expected = torch.tensor([1.0, 0.6, 0.2] * 3)
    expected[4] = torch.nan
    torch.testing.assert_close(normalised, expected, equal_nan=True)
