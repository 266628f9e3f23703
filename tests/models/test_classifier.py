"""Networks for whole windows: raw values in, one answer out, the same as ONNX, for windows of any size."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from quadrat.errors import ModelError
from quadrat.models import Classifier, Forest, Inputs, Recipe, Segmenter, Train, serving
from quadrat.models.training.neural import build
from quadrat.tasks import ChipClassification
from quadrat.tasks.common.parts import targets_of
from tests.ground import cells, segmentation
from tests.models.test_network import TRAIN as SEGMENTATION
from tests.models.test_network import inputs

ONE, SEVERAL = cells("a", "b", "c"), cells("a", "b", "c", multi_label=True)
CLASSIFIER = Classifier(kind="classifier", encoder="test_resnet", dates=None, dropout=0.1)
FOREST = Forest(kind="forest", trees=6, radius=1, max_depth=None, min_samples_leaf=2, samples=3000)
LOSS = {"kind": "chip_classification", "label_smoothing": 0.05, "class_balance": 0.5}
TRAIN = Train.model_validate({**SEGMENTATION, "loss": LOSS}, strict=False)


class Memory:
    """Chips in memory, of three bands: the first says the class of the middle, the second another class's."""

    def __init__(self, count: int, seed: int, task: ChipClassification = ONE, size: int = 24) -> None:
        generator = np.random.default_rng(seed)
        ids = generator.integers(0, 3, (count, 2))
        self.pixels = generator.normal(800, 30, (count, 3, size, size))
        self.pixels[:, 0, 4:20, 4:20] += 300 * (ids[:, :1, None] - 1)
        self.pixels[:, 1, 4:20, 4:20] += 300 * (ids[:, 1:, None] - 1) * task.multi_label
        self.pixels = self.pixels.astype("u2")
        self.classes = ids[:, 0].astype(np.uint8)
        if task.multi_label:
            self.classes = ((ids[:, :1] == range(3)) | (ids[:, 1:] == range(3))).astype(np.uint8)
        self.classes[generator.random(self.classes.shape) < 0.1] = 255
        self._task = task

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: NDArray[np.intp]) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        return self.pixels[indices], {"classes": self.classes[indices]}

    def class_counts(self) -> NDArray[np.int64]:
        return targets_of(self._task).class_counts({"classes": self.classes})


def fit(checkpoint: Path, task: ChipClassification, epochs: int = 6, seed: int = 1) -> Any:
    recipe = Recipe(seed, 0.005, epochs, 8, TRAIN)
    return CLASSIFIER.fit(Memory(80, 0, task), Memory(40, 1, task), task, inputs(), recipe, checkpoint)


@pytest.mark.parametrize("task", [ONE, SEVERAL], ids=["one", "several"])
def test_it_learns_and_says_the_same_restored_and_exported(tmp_path: Path, task: ChipClassification) -> None:
    fitted = fit(tmp_path, task)
    assert fitted.metrics["macro_f1"] > 0.7
    assert fitted.metrics["epoch"] == max(fitted.history, key=lambda row: row["validation_macro_f1"])["epoch"]
    assert ("macro_average_precision" in fitted.metrics) == task.multi_label
    predictor = CLASSIFIER.restore(fitted.weights, task, inputs())
    session = onnxruntime.InferenceSession(CLASSIFIER.onnx(fitted.weights, task, inputs()))
    pixels = Memory(5, 7, task, 64).pixels
    pixels[0, :, :9] = 0  # nodata
    for window in (pixels, pixels[:1, :, :32], pixels[:2, :, :24, :24], pixels[:3, :, :17, :51]):
        scores = predictor(window)["scores"]
        assert scores.shape == (len(window), 3)
        if not task.multi_label:
            np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
        exported = session.run(["scores"], {"pixels": window.astype(np.float32)})[0]
        np.testing.assert_allclose(exported, scores, atol=1e-5)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    one, again = (fit(tmp_path / name, ONE, epochs=2) for name in ("one", "again"))
    assert one.history == again.history
    assert fit(tmp_path / "other", ONE, epochs=1, seed=2).history != one.history[:1]


@pytest.mark.parametrize("encoder", ["mobilenetv3_small_050", "test_convnext", "tf_efficientnet_b0", "regnety_002"])
def test_encoders_of_timm_take_any_bands_and_windows_of_any_size(encoder: str) -> None:
    model = CLASSIFIER.model_copy(update={"encoder": encoder})
    network = build(model, ONE, inputs(), 0)
    with torch.inference_mode(), torch.random.fork_rng():
        torch.manual_seed(0)
        for _ in range(20):  # running means and deviations: without them, scores are all 0 or 1
            network.train()(torch.rand(4, 3, 64, 64) * 1000 + 300)
    weights = {name: values.numpy() for name, values in network.state_dict().items()}
    predictor = model.restore(weights, ONE, inputs())
    session = onnxruntime.InferenceSession(model.onnx(weights, ONE, inputs()))
    for shape in ((3, 3, 32, 32), (1, 3, 64, 97), (2, 3, 128, 128)):
        pixels = np.random.default_rng(0).integers(300, 1300, shape).astype(np.uint16)
        expected = predictor(pixels)["scores"]
        assert expected.min() > 1e-4
        exported = session.run(["scores"], {"pixels": pixels.astype(np.float32)})[0]
        np.testing.assert_allclose(exported, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("encoder", "message"), [("nosuch", "nosuch"), ("vit_tiny_patch16_224", "windows of one size only")]
)
def test_an_encoder_that_can_not_be_taken_is_told(encoder: str, message: str) -> None:
    with pytest.raises(ModelError, match=rf"no network can be built(.|\n)*{message}"):
        build(CLASSIFIER.model_copy(update={"encoder": encoder}), ONE, inputs(), 0)


def test_an_encoder_that_can_not_be_exported_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = {n: values.numpy() for n, values in build(CLASSIFIER, ONE, inputs(), 0).state_dict().items()}

    def refuse(*_: Any, **__: Any) -> None:  # as of vgg11, whose head pools to 7 × 7 px
        raise torch.onnx.OnnxExporterError("Unsupported: ONNX export of operator adaptive_avg_pool2d")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    with pytest.raises(ModelError, match=r"can't be exported(.|\n)*adaptive_avg_pool2d"):
        CLASSIFIER.onnx(weights, ONE, inputs())


def test_chips_that_are_too_small_for_the_encoder_are_told_before_it_learns(tmp_path: Path) -> None:
    model = CLASSIFIER.model_copy(update={"encoder": "convnext_atto"})
    small = Memory(4, 0, ONE, 24)
    small.pixels = small.pixels[:, :, :16, :16]
    with pytest.raises(ModelError, match=r"can't take such chips(.|\n)*16 × 16 px"):
        model.fit(small, small, ONE, inputs(), Recipe(1, 0.01, 1, 4, TRAIN), tmp_path)


def forest(task: ChipClassification = ONE) -> tuple[Any, Inputs]:
    recipe = Recipe(1, 0.01, 1, 4, TRAIN)
    return FOREST.fit(Memory(40, 0, task), Memory(20, 1, task), task, inputs(), recipe, Path("none")), inputs()


def test_the_forest_says_the_mean_of_a_cells_pixels_here_and_as_onnx() -> None:
    fitted, about = forest()
    assert fitted.metrics["macro_f1"] > 0.9
    session = onnxruntime.InferenceSession(FOREST.onnx(fitted.weights, ONE, about))
    for size in (16, 24, 31):
        pixels = Memory(3, 5, ONE, 31).pixels[:, :, :size, :size]
        scores = FOREST.restore(fitted.weights, ONE, about)(pixels)["scores"]
        single = FOREST.restore(fitted.weights, segmentation("a", "b", "c"), about)(pixels)["scores"]
        first = -((16 - size) // 2)
        inner = single[:, :, first : first + 16, first : first + 16]
        np.testing.assert_allclose(scores, inner.mean((2, 3)), rtol=1e-5)
        exported = session.run(["scores"], {"pixels": pixels.astype(np.float32)})[0]
        np.testing.assert_allclose(exported, scores, rtol=1e-5, atol=1e-7)


def test_kinds_of_model_serve_tasks_by_what_they_label() -> None:
    assert serving(ONE) == ["classifier", "forest", "plugin"]
    assert serving(SEVERAL) == ["classifier", "plugin"]
    assert "classifier" not in serving(segmentation("a", "b"))
    assert not Segmenter.serves(ONE)


def test_a_batch_that_leaves_one_value_of_a_channel_is_told(tmp_path: Path) -> None:
    recipe = Recipe(1, 0.005, 1, 1, TRAIN)
    with pytest.raises(ModelError, match="batch is too small"):
        CLASSIFIER.fit(Memory(2, 0, ONE), Memory(2, 1, ONE), ONE, inputs(), recipe, tmp_path)
