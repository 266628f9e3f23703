"""What a network can't take is told before it learns, at any size in no time; and what it can take, never."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from quadrat.errors import ModelError
from quadrat.models import Recipe, Segmenter, Sizes, Train
from quadrat.models.common.trainable import Normalised
from quadrat.models.segmenter.segmenter import Architecture
from quadrat.models.training import trials
from quadrat.models.training.neural import build
from tests.ground import cells
from tests.models import boxes, test_classifier, test_dates
from tests.models.test_detector import ARCHITECTURES, detector
from tests.models.test_network import SMALL, TASK, TRAIN, Memory, inputs

SIZES = Sizes(chip=64, batch=4, window=96)


def network(architecture: str, depth: int, **changed: Any) -> Segmenter:
    decoder: dict[str, Any] = (
        {"decoder_channels": [8] * depth} if architecture in {"unet", "unetplusplus", "manet"} else {}
    )
    if architecture == "upernet":
        decoder = {"decoder_channels": 16}
    own = {"architecture": architecture, "depth": depth, "decoder": decoder, "dropout": 0.0, "encoder": "test_resnet"}
    return Segmenter.model_validate({**SMALL, **own, **changed})


def check(model: Any, task: Any = TASK, about: Any = None, **sizes: int) -> None:
    model.check(task, about or inputs(), Sizes(**{"chip": 64, "batch": 4, "window": 96, **sizes}))


@pytest.mark.parametrize(
    ("architecture", "depth"), [*((name, depth) for name in get_args(Architecture) for depth in (3, 5)), ("fpn", 4)]
)
def test_check_tells_the_architectures_whose_output_is_of_another_size(architecture: str, depth: int) -> None:
    """As a forward pass with values tells."""
    model = network(architecture, depth)
    with torch.no_grad():
        found: Any = build(model, TASK, inputs(), 0).eval()
        scores = found.body(torch.zeros(1, 3, 64, 64))
    if scores.shape[2:] == (64, 64):
        check(model)
    else:
        assert architecture == "fpn"
        with pytest.raises(
            ModelError, match=r"output is of another size(.|\n)*expected: 96 × 64 px(.|\n)*model.depth to 5"
        ):
            check(model)


def test_train_tells_it_too_before_it_learns(tmp_path: Path) -> None:
    recipe = Recipe(1, 0.01, 1, 4, Train.model_validate(TRAIN))
    with pytest.raises(ModelError, match="output is of another size"):
        network("fpn", 4).fit(Memory(4, 0), Memory(2, 1), TASK, inputs(), recipe, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("size", [64, 224])
def test_encoders_of_windows_of_one_size_are_told(size: int) -> None:
    """Also at that size: the bundle's graph, and apply, take others."""
    swin = "swin_tiny_patch4_window7_224"
    said = r"can't take such windows(.|\n)*96 × 64 px(.|\n)*model.encoder: swin_\S+ takes windows of 224 px alone"
    with pytest.raises(ModelError, match=said):
        check(network("fpn", 5, encoder=swin), chip=size, window=size)
    with pytest.raises(ModelError, match=r"can't take such windows(.|\n)*model.encoder"):
        check(detector(encoder=swin), boxes.Boxes(), boxes.inputs(), chip=size, window=size)


@pytest.mark.parametrize(("sizes", "key"), [({"chip": 16}, "chip.chip_size"), ({"window": 16}, "predict.window_size")])
def test_the_size_that_is_wrong_is_named(sizes: dict[str, int], key: str) -> None:
    model = test_classifier.CLASSIFIER.model_copy(update={"encoder": "convnext_atto"})
    with pytest.raises(ModelError, match=rf"can't take such(.|\n)*16 × 16 px(.|\n)*set another {key}"):
        check(model, test_classifier.ONE, **sizes)


def test_a_batch_that_leaves_nothing_to_normalise_by_is_told() -> None:
    model = network("deeplabv3", 3)
    with pytest.raises(ModelError, match=r"batch is too small(.|\n)*batches of 1, of chips of 64 px"):
        check(model, batch=1)
    check(model, batch=2)
    check(network("unet", 3), batch=1)


@pytest.mark.parametrize("dates", [None, "attention"])
@pytest.mark.parametrize("kind", ["network", "classifier", *ARCHITECTURES])
def test_networks_that_take_their_windows_pass_and_stay_as_they_are(kind: str, dates: Any) -> None:
    about = test_dates.inputs() if dates else inputs()
    made = {
        "network": (network("unet", 3, dates=dates), TASK),
        "classifier": (test_classifier.CLASSIFIER.model_copy(update={"dates": dates}), cells("a", "b", "c")),
    }
    model, task = made.get(kind) or (detector(kind, dates=dates), boxes.Boxes())
    check(model, task, about)
    built = build(model, task, about, 0)  # type: ignore[arg-type]
    before = {name: values.clone() for name, values in built.state_dict().items()}
    assert built.training
    trials.take(built, (64, 64), "chips", "")
    trials.learn(built, 4, 64)
    assert built.training
    for name, values in built.state_dict().items():
        torch.testing.assert_close(values, before[name], equal_nan=True)


class Looking(torch.nn.Module):
    """Looks at values, which tensors that have a shape alone can't show."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels * float(pixels.max())


def test_a_network_that_looks_at_values_is_tried_with_them() -> None:
    looking = Normalised(Looking(), inputs(), TASK)
    trials.take(looking, (64, 96), "windows", "")
    trials.take(looking, (1 << 17, 1 << 17), "windows", "")  # not all of that, which can't be held


def test_windows_larger_than_memory_are_tried_by_their_shapes() -> None:
    built = build(network("unet", 3), TASK, inputs(), 0)
    trials.take(built, (1 << 17, 1 << 17), "windows", "")
