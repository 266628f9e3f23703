"""Networks of the user's own: a plugin builds the network, and quadrat normalises, trains, exports and runs it."""

import copy
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from quadrat.errors import MissingPluginError, ModelError, PluginError
from quadrat.models.common.encoders import DESCRIPTION, LONGEST, Encoder
from quadrat.models.common.model import Inputs
from quadrat.models.training.neural import Neural
from quadrat.plugins.calling import make
from quadrat.plugins.finding import failed, find
from quadrat.plugins.section import Plugin
from quadrat.runtime.progress import warn
from quadrat.tasks.common.classes import Unit
from quadrat.tasks.common.parts import logit_loss_of, loss_of
from quadrat.tasks.common.section import TaskSection

if TYPE_CHECKING:
    from quadrat.models.common.trainable import TrainableModule

LEAST = 32
"""Px that the sides of windows have at least where a network is tried and exported."""


class PluginModel(Neural, Plugin):
    """A network of your own for segmentation, regression or chip classification: see [Plugins](plugins.md)."""

    units: ClassVar[frozenset[Unit]] = frozenset({"px", "cells", "values"})
    hint: ClassVar[str] = "set model.multiple, or correct the plugin"
    key: ClassVar[str] = "model"
    role: ClassVar[str] = "architecture"
    given: ClassVar[tuple[str, ...]] = ("bands", "channels")

    kind: Literal["plugin"]
    multiple: int = Field(default=32, ge=1, le=1024)
    """Windows' sides must be multiples of this, px: as often as the network halves them, two to that power."""

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.start.kind == "timm":
            raise ValueError("start {kind: timm} is for networks over an encoder of timm: load them in the plugin")
        return self

    @property
    def divisor(self) -> int:
        """Windows' sides must be multiples of this, px."""
        return self.multiple

    @property
    def example(self) -> tuple[int, int, int]:
        """Chips, height and width, px, that the export traces; no two alike, so that none stands for another."""
        step = self.multiple * -(-LEAST // self.multiple)
        return 3, 2 * step, 3 * step

    def origin(self, weights: Mapping[str, NDArray[Any]] | None = None) -> Encoder:
        """Return the plugin in place of an encoder: its name and version.

        Warns where ``weights`` were trained with another version; raises MissingPluginError, with the version that is
        wanted, where there is no such plugin.
        """
        learnt = None if weights is None else _version(weights)
        try:
            version = find(self).version
        except MissingPluginError as error:
            error.name = self.name if learnt is None else f"the plugin {self.name}, version {learnt}"
            if learnt is not None:
                error.expected = f"{error.expected}, version {learnt}"
            raise
        if learnt not in {None, version}:
            warn(f"the model was trained with version {learnt} of the plugin {self.name}, and here is {version}")
        return Origin(self.name, {"version": version})

    def assemble(self, task: TaskSection, inputs: Inputs, encoder: Encoder) -> "TrainableModule":
        """Return the untrained network: logits (chip, channel, y, x) or (chip, channel) become the task's outputs.

        Raises PluginError where the plugin doesn't return such a network.
        """
        import torch

        from quadrat.models.common.dates import Pooled
        from quadrat.models.common.trainable import Normalised

        del encoder  # there is none
        channels = logit_loss_of(task).channels
        body = make(self, bands=len(inputs.statistics), channels=channels)
        if not isinstance(body, torch.nn.Module):
            raise PluginError(
                f"model: {self.name} is no architecture", expected="a torch.nn.Module", got=type(body).__name__
            )
        own = getattr(body, "encoder", None)
        if self.dates:
            body = Pooled(body, channels, inputs.dates, self.dates)
        network = Normalised(body, inputs, task)
        network.one_graph = False  # whatever it does
        if isinstance(own, torch.nn.Module):
            network.set_encoder(own)
        return network

    def check_windows(self, network: "TrainableModule", task: TaskSection, inputs: Inputs, size: int) -> None:
        """Look at the outputs and at the ONNX graph too, for the network may be anything.

        Raises ModelError where the outputs are not the task's, or where the graph can't be made, or gives others.
        """
        import torch

        from quadrat.models.common.onnx_graphs import CPU, ROUNDING, apart, runner

        super().check_windows(network, task, inputs, size)
        still = copy.deepcopy(network).eval()
        _, height, width = self.example
        pixels = torch.linspace(-2, 2, len(inputs.bands) * height * width).reshape(1, len(inputs.bands), width, height)
        pixels = pixels * still.std + still.mean
        try:
            with torch.inference_mode():
                outputs = {name: values.numpy() for name, values in still(pixels).items()}
        except Exception as error:  # whatever the user's code raises
            raise failed(self, "fails", error) from error
        signature = loss_of(task).signature()
        if not signature.fits(outputs, tuple(pixels.shape)):
            raise ModelError(
                f"the network of {self.name} gives other outputs than the task's models",
                expected=dict(signature.axes),
                got={name: values.shape for name, values in outputs.items()},
                hint="return logits, one channel for each of 'channels', of every px; of whole chips for cells",
            )
        difference = apart(outputs, runner(self.exported(still, inputs), [CPU])(pixels.numpy()))
        if difference > ROUNDING:
            raise ModelError(
                f"the ONNX graph of {self.name} gives other outputs than the network",
                expected=f"differences of at most {ROUNDING}",
                got=f"{difference:.2g}",
                hint="take sizes from tensors while the network runs, and let nothing else depend on values",
            )


@dataclass(frozen=True)
class Origin(Encoder):
    """The name and version of a plugin, in place of an encoder."""

    @property
    def side(self) -> None:
        """Not known."""
        return

    @property
    def of_timm(self) -> bool:
        """It isn't."""
        return False

    def description(self) -> dict[str, NDArray[np.uint8]]:
        """Return name and version to store among a model's weights."""
        content = json.dumps({"name": self.name, **self.arguments}, sort_keys=True)
        return {DESCRIPTION: np.frombuffer(content.encode(), np.uint8)}


def _version(weights: Mapping[str, NDArray[Any]]) -> str:
    """Return the version of the plugin that ``weights`` were trained with; they may be a stranger's."""
    with suppress(LookupError, TypeError, ValueError, RecursionError):
        version = json.loads(weights[DESCRIPTION][:LONGEST].tobytes())["version"]
        if isinstance(version, str) and version.isprintable():
            return version[:100]
    return "unknown"
