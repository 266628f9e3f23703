"""Neural networks: a decoder of segmentation-models-pytorch over an encoder of timm."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from quadrat.errors import ModelError
from quadrat.models.model import Fitted, Inputs, Model, Outputs, Pixels, Predictor, Recipe, Samples
from quadrat.tasks import Task

if TYPE_CHECKING:
    import torch

    from quadrat.models.normaliser import Normalised

Architecture = Literal[
    "unet", "unetplusplus", "manet", "linknet", "fpn", "deeplabv3", "deeplabv3plus", "upernet", "segformer"
]


class Network(Model):
    """A network for dense outputs, trained from scratch or from an encoder's pretrained weights."""

    kind: Literal["network"]
    architecture: Architecture
    """The network's class in segmentation-models-pytorch, by its name there."""
    encoder: str
    """Name of a timm model; ``timm.list_models()`` lists them."""
    pretrained: bool
    """Begin with timm's weights of the encoder (fetched by timm), its first layer adapted to the number of bands."""
    depth: int = Field(ge=3, le=5)
    """How many times the encoder halves the resolution."""
    decoder: Mapping[str, JsonValue]
    """Further arguments of the architecture's class in segmentation-models-pytorch, e.g. ``decoder_channels``."""
    dropout: float = Field(ge=0, lt=1)
    """Share of the decoder's channels that are left out in training, before the last layer."""

    @property
    def context(self) -> int:
        """Not known: the receptive field is larger than a chip."""
        return 0

    @property
    def divisor(self) -> int:
        """Windows' sides must be multiples of this, px."""
        return 32

    def fit(
        self, training: Samples, validation: Samples, task: Task, inputs: Inputs, recipe: Recipe, checkpoint: Path
    ) -> Fitted:
        """Learn on the best device there is; see ``quadrat.models.fitting``."""
        from quadrat.models.fitting import fit

        return fit(build(self, task, inputs, recipe.seed), training, validation, task, recipe, checkpoint)

    def restore(self, weights: Mapping[str, NDArray[Any]], task: Task, inputs: Inputs) -> Predictor:
        """Return the network with ``weights`` on the best device there is."""
        import torch

        from quadrat.models.devices import autocast, device

        network = _loaded(self, weights, task, inputs).to(device()).to(memory_format=torch.channels_last)

        def predictor(pixels: Pixels) -> Outputs:
            with torch.inference_mode(), autocast():
                raw = torch.from_numpy(as_float(pixels)).to(device(), memory_format=torch.channels_last)
                outputs = task.activate(network(raw))
            return {name: values.float().cpu().numpy() for name, values in outputs.items()}

        return predictor

    def onnx(self, weights: Mapping[str, NDArray[Any]], task: Task, inputs: Inputs) -> bytes:
        """Return the network as an ONNX graph; its windows' sides are multiples of ``divisor``."""
        import torch

        from quadrat.models.normaliser import Activated

        network = Activated(_loaded(self, weights, task, inputs), task.activate)
        names = list(task.activate(torch.zeros(1, task.channels, 1, 1)))
        example = torch.zeros(2, len(inputs.bands), 2 * self.divisor, 3 * self.divisor)
        axes = {0: "chip", 2: "y", 3: "x"}
        written = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracing exporter is what follows any size of window
            torch.onnx.export(
                network,
                (example,),
                written,  # type: ignore[arg-type]  # its stubs lack what it takes
                input_names=["pixels"],
                output_names=names,
                dynamic_axes=dict.fromkeys(["pixels", *names], axes),
                opset_version=17,
                dynamo=False,
            )
        return written.getvalue()


def as_float(pixels: Pixels) -> NDArray[np.float32]:
    """Return raw pixels as the float32 that networks take."""
    return np.ascontiguousarray(pixels, np.float32)


def build(network: Network, task: Task, inputs: Inputs, seed: int) -> "Normalised":
    """Return the untrained network: raw pixels (chip, band, y, x) in, logits (chip, channel, y, x) out."""
    import segmentation_models_pytorch as smp
    import torch

    from quadrat.models.normaliser import Normalised

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            body = smp.create_model(
                network.architecture,
                encoder_name=f"tu-{network.encoder}",
                encoder_weights="imagenet" if network.pretrained else None,
                encoder_depth=network.depth,
                in_channels=len(inputs.bands),
                classes=task.channels,
                **network.decoder,
            )
        except (TypeError, ValueError, RuntimeError, LookupError, AttributeError, OSError) as error:
            raise ModelError(
                "no network can be built of these parameters",
                got=f"{type(error).__name__}: {error}",
                mend="check encoder, depth and decoder of 'model' in params.yaml; pretrained weights must be fetched",
            ) from error
        body.segmentation_head = torch.nn.Sequential(torch.nn.Dropout2d(network.dropout), body.segmentation_head)
    return Normalised(body, inputs)


def _loaded(network: Network, weights: Mapping[str, NDArray[Any]], task: Task, inputs: Inputs) -> "torch.nn.Module":
    import torch

    untrained = network.model_copy(update={"pretrained": False})  # its weights are in ``weights``
    module = build(untrained, task, inputs, seed=0)
    module.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in weights.items()})
    return module.eval()
