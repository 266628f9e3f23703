"""What neural networks of all kinds have in common: how they are fitted, restored and exported."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from quadrat.errors import ModelError
from quadrat.models.common.encoders import DESCRIPTION, Encoder, similar
from quadrat.models.common.model import (
    Fitted,
    Inputs,
    Model,
    Pooling,
    Predictor,
    Recipe,
    Samples,
    Sizes,
)
from quadrat.models.start.section import BundleStart, FileStart, Freeze, NoStart, Start
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from quadrat.models.common.trainable import TrainableModule
    from quadrat.models.training.processes import Job

WRONG = (AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What libraries raise of parameters of which no network can be built, and of windows that one can't take."""

SINGLE = "more than 1 value per channel"
"""What torch says where there is nothing to normalise a batch by."""


class Neural(Model):
    """A network, trained from random weights or from given ones."""

    hint: ClassVar[str]
    """What to change where it can't take its windows."""

    start: Start = NoStart(kind="none")
    """The weights before training."""
    freeze: Freeze = "none"
    """What is not trained of the weights that were taken as they are: none of them, the encoder, or the layers of
    normalisation in it. These keep their means and variances, too."""
    dates: Pooling | None = None
    """Of time series, how what the encoder sees on each date becomes one: the mean over the dates that have a value,
    the largest, or a mean whose weights are learnt (attention); null for images without dates."""

    @model_validator(mode="after")
    def _check_freeze(self) -> Self:
        if self.freeze != "none" and self.start.kind == "none":
            raise ValueError(f"freeze {self.freeze} would leave random weights untrained: start is {{kind: none}}")
        return self

    @property
    def context(self) -> int:
        """Not known: the receptive field is larger than a chip."""
        return 0

    @property
    def files(self) -> tuple[Path, ...]:
        """The weights to start from, if they are a file."""
        return (self.start.path,) if isinstance(self.start, FileStart | BundleStart) else ()

    def own_inputs(self, inputs: Inputs) -> Inputs:
        """Return ``inputs`` with the means and deviations that the weights to start from learnt with."""
        if self.start.kind == "none":
            return inputs
        from quadrat.models.start.given import inherited

        return inherited(self.start, inputs)

    @abstractmethod
    def origin(self, weights: Mapping[str, NDArray[Any]] | None = None) -> Encoder:
        """Return what the network is built over: by the parameters, or by the ``weights`` of a trained model."""

    @abstractmethod
    def assemble(self, task: TaskSection, inputs: Inputs, encoder: Encoder) -> "TrainableModule":
        """Return the untrained network over ``encoder``; random values are drawn from torch's own generator."""

    @property
    def example(self) -> tuple[int, int, int]:
        """Chips, height and width, px, that the export traces: no two alike, so that none stands for another."""
        return 2, 2 * self.divisor, 3 * self.divisor

    def check(self, task: TaskSection, inputs: Inputs, sizes: Sizes) -> None:
        """Set the network up, and send windows without values through it, as train, predict and bundle will.

        Raises ModelError where that can't be, or where pretrained weights can't be had; only a folder's are read.
        """
        from quadrat.models.training import trials

        network = build(self, task, inputs, seed=0)
        self.check_windows(network, task, inputs, sizes.chip)
        window = (sizes.window, sizes.window)
        trials.take(network, window, "windows", f"set another predict.window_size, or {self.hint}")
        if sizes.trains and not inputs.dates:  # what is normalised depends on the dates that are there
            trials.learn(network, sizes.batch, sizes.chip)
        encoder = self.origin()
        if self.start.kind == "timm" and not encoder.local:
            encoder.check_weights()
        elif self.start.kind != "none":
            from quadrat.models.training.starting import start

            begun = start(self, network, task, self.own_inputs(inputs))
            begun.show()
            if not sizes.trains:
                begun.check_whole()

    def check_windows(self, network: "TrainableModule", task: TaskSection, inputs: Inputs, size: int) -> None:
        """Raise ModelError where ``network`` can't take windows of more than one size, or chips of ``size`` px."""
        from quadrat.models.training import trials

        del task, inputs
        encoder = self.origin()
        side = encoder.side
        hint = f"choose another model.encoder: {encoder.name} takes windows of {side} px alone" if side else self.hint
        trials.take(network, self.example[1:], "windows, which bundle and apply need", hint)
        trials.take(network, (size, size), "chips", f"set another chip.chip_size, or {self.hint}")

    def fit(
        self,
        training: Samples,
        validation: Samples,
        task: TaskSection,
        inputs: Inputs,
        recipe: Recipe,
        checkpoint: Path,
    ) -> Fitted:
        """Learn on as many devices as were asked for; see ``quadrat.models.training.processes``.

        Raises ModelError where the network can't take the chips, or a batch leaves a single value of each channel,
        which can't be normalised.
        """
        from quadrat.models.training import processes

        job = processes.Job(training, validation, task, inputs, recipe, checkpoint)
        return processes.fit(self, job) if recipe.epochs else self.fit_here(job)

    def fit_here(self, job: "Job") -> Fitted:
        """Learn in this process, on the best device there is; see ``quadrat.models.training.fitting``."""
        from quadrat.models.training.fitting import fit

        training, validation, task, inputs, recipe, checkpoint = job
        pixels, _ = training.read(np.arange(1))
        network, encoder = build(self, task, inputs, recipe.seed), self.origin()
        self.check_windows(network, task, inputs, pixels.shape[-1])
        if self.start.kind != "none":
            from quadrat.models.training.starting import start

            begun = start(self, network, task, inputs)
            begun.show()
            if not recipe.epochs:
                begun.check_whole()
        try:
            fitted = fit(network, training, validation, task, recipe, checkpoint)
        except ValueError as error:
            if SINGLE not in str(error):
                raise
            batch = min(recipe.batch_size, len(training))
            raise too_small(f"batches of {batch}, of {len(training)} train chips") from error
        return replace(fitted, weights={**fitted.weights, **encoder.description()})

    def restore(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> Predictor:
        """Return the network with ``weights`` on the best device there is."""
        from quadrat.models.common.devices import device

        return _by_torch(loaded(self, weights, task, inputs).to(device()))

    def served(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> Predictor:
        """Return the same, on a processor by onnxruntime, which is faster there; not where torch is to compile it."""
        from quadrat.models.common.devices import compiles, device
        from quadrat.models.common.onnx_graphs import swift

        network = loaded(self, weights, task, inputs).to(device())
        plain = _by_torch(network)
        return plain if device().type != "cpu" or compiles() else swift(network, plain)

    def onnx(self, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> bytes:
        """Return the network as an ONNX graph; its windows' sides are multiples of ``divisor``.

        Raises ModelError where ONNX has not all that the network does.
        """
        return self.exported(loaded(self, weights, task, inputs), inputs)

    def exported(self, network: "TrainableModule", inputs: Inputs) -> bytes:
        """Return ``network``, which is ready to predict, as an ONNX graph; raise ModelError as ``onnx`` does."""
        import torch

        from quadrat.models.common.onnx_graphs import export

        chips, height, width = self.example
        example = torch.zeros(chips, len(inputs.bands), height, width)
        with torch.inference_mode():
            outputs = network(example)
        axes = {name: _dynamic(values.shape, (height, width)) for name, values in outputs.items()}
        return export(network, example, {"pixels": {0: "chip", 2: "y", 3: "x"}, **axes})


class Encoded(Neural):
    """A network over an encoder of timm."""

    if TYPE_CHECKING:  # each kind of network has it, in its own place among the keys
        encoder: str

    def origin(self, weights: Mapping[str, NDArray[Any]] | None = None) -> Encoder:
        """Return the encoder."""
        return Encoder.named(self.encoder) if weights is None else Encoder.of(weights, self.encoder)


def too_small(got: str) -> ModelError:
    """Return the error of a batch that leaves nothing to normalise by."""
    return ModelError(
        "a batch is too small for the network: its coarsest level is one value",
        expected="batches of more than one chip, or larger chips",
        got=got,
        hint="set a larger batch_size or chip.chip_size, or let more train chips be cut",
    )


def build(
    model: Neural, task: TaskSection, inputs: Inputs, seed: int, encoder: Encoder | None = None
) -> "TrainableModule":
    """Return the untrained network, over ``encoder`` or, without one, over what the parameters name.

    Raises ModelError where the parameters are those of none, or of other images.
    """
    import torch

    from quadrat.models.common.devices import forked

    _check_dates(model, inputs)
    with forked():
        torch.manual_seed(seed)
        try:
            return model.assemble(task, inputs, encoder or model.origin())
        except WRONG as error:
            near = similar(model.encoder) if isinstance(model, Encoded) else []
            hint = "check 'model' in params.yaml, its encoder first"
            raise ModelError(
                "no network can be built of these parameters",
                got=f"{type(error).__name__}: {error}"[:1000],
                hint=f"model.encoder: did you mean {' or '.join(near)}?" if near else hint,
            ) from error


def _check_dates(model: Neural, inputs: Inputs) -> None:
    if model.dates and not inputs.dates:
        raise ModelError(
            "the network pools over dates, and the images have none",
            expected=f"images with dates, for model.dates is {model.dates}",
            got="images without dates",
            hint="set model.dates to null, or give the images 'dates' in the catalog",
        )
    if inputs.dates and not model.dates:
        raise ModelError(
            "the images are time series, and the network doesn't pool over dates",
            expected="images without dates, for model.dates is null",
            got=f"{inputs.dates} dates",
            hint="set model.dates to mean, max or attention",
        )


def loaded(model: Neural, weights: Mapping[str, NDArray[Any]], task: TaskSection, inputs: Inputs) -> "TrainableModule":
    """Return the network with ``weights``, ready to predict; raise ModelError where they are not the network's."""
    import torch

    from quadrat.models.common.weight_checks import budget, check_room, check_weights

    encoder = model.origin(weights)
    arrays = {name: values for name, values in weights.items() if name != DESCRIPTION}
    with budget(arrays):
        network = build(model, task, inputs, seed=0, encoder=encoder)
    check_weights(network, arrays)
    chips, height, width = model.example
    check_room(network.eval(), (chips, len(inputs.bands), height, width))
    network.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in arrays.items()})
    return network.eval()


def _by_torch(network: "TrainableModule") -> Predictor:
    """Return what predicts by torch, on the network's device; on CUDA, outputs may stay there."""
    from quadrat.models.common.devices import device
    from quadrat.models.common.torch_predictor import TorchPredictor

    predictor = TorchPredictor(network)
    return predictor if device().type == "cuda" else predictor.__call__


def _dynamic(shape: tuple[int, ...], window: tuple[int, int]) -> dict[int, str]:
    """Return the names of an output's axes that follow the input: the chips; a map's rows and columns; locations."""
    if len(shape) == 4 and shape[2:] == window:
        return {0: "chip", 2: "y", 3: "x"}
    return {0: "chip", 1: "location"} if len(shape) == 3 else {0: "chip"}
