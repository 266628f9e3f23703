"""Opens a bundle and makes its model ready to predict; ``quadrat.models.common.bundle_zip`` reads the file."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from quadrat.bundle.onnx_process import Confined
from quadrat.errors import BundleError, QuadratError
from quadrat.models import Outputs, Predictor
from quadrat.models.common.bundle_zip import CheckedBundle, checked
from quadrat.models.common.model import DevicePredictor, Pixels
from quadrat.models.common.onnx_graphs import GPU, ROUNDING, apart, threads
from quadrat.models.model_folder import ModelCard, card_of, weights_of
from quadrat.models.training.neural import WRONG
from quadrat.runtime.formats.npy import of_npy
from quadrat.runtime.formats.parsing import parsed
from quadrat.runtime.provenance.origin import Parent, known
from quadrat.tasks import Task
from quadrat.tasks.common.outputs import Signature
from quadrat.tasks.common.parts import loss_of

if TYPE_CHECKING:
    from torch import Tensor

TEXTS = ("model.json", "params.yaml")
"""Members that are read whenever a bundle is opened."""

MOST_CHIPS = 16
"""Most chips of a sample."""

LONGEST_SIDE = 4096
"""Largest side of a sample's chips, px."""

GPU_ROUNDING = 0.05
"""Largest difference by rounding on a GPU, which onnxruntime has round factors to TF32."""

Runtime = Literal["torch", "onnx"]
"""The runtime of a model: its own library (torch; for a forest scikit-learn), or onnxruntime."""

RUNTIMES: tuple[Runtime, ...] = ("torch", "onnx")


@dataclass(frozen=True)
class Agreement:
    """The agreement of a runtime's outputs with the expected ones."""

    difference: float
    """The largest difference of all outputs, relative for values beyond 1; infinite if shapes or names differ."""
    equal: int
    """Pixels with the expected label."""
    pixels: int
    tolerance: float

    @property
    def good(self) -> bool:
        """Whether the outputs differ by rounding only; then labels differ only where two classes tie."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        """Return it as one line."""
        return f"largest difference {self.difference:.2g}, {self.equal} of {self.pixels} labels equal"


@dataclass(frozen=True)
class OpenBundle:
    """A bundle with correct checksums. ``predictor`` reads the model."""

    files: CheckedBundle
    card: ModelCard
    params: Mapping[str, Any]
    """The parameters that made it, as in ``params.yaml``."""
    sample: NDArray[Any]
    """Raw pixels (chip, band, y, x)."""
    expected: Outputs
    """The expected outputs of the sample."""

    @property
    def path(self) -> Path:
        """The file."""
        return self.files.path

    def predictor(self, runtime: Runtime | None, seconds: float | None = None) -> Predictor:
        """Return the model, ready to predict by ``runtime``; None takes the runtime of the stage predict.

        Its scores are uncalibrated, as layers take them; ``card.probabilities`` makes them what the graph gives.
        With ``onnx``, a batch may take ``seconds``. Raises BundleError if the runtime is not installed, or the outputs
        are not those of the task or not finite; ModelError if the model can't be read.
        """
        card = self.card
        held = "model.onnx" if runtime == "onnx" else "model.safetensors"
        try:
            plain: Predictor
            if runtime == "onnx":
                graph = Confined(self.files.read(held), threads(), seconds)
                plain = partial(_uncalibrated, card, graph)
            else:
                make = card.model.restore if runtime else card.model.served
                plain = make(weights_of(self.files.read(held)), card.task, card.inputs)
        except ModuleNotFoundError as error:
            raise BundleError(
                f"the runtime '{runtime or 'torch'}' needs a package that isn't installed",
                file=self.path,
                expected=error.name,
                hint="install it, or take the other runtime (torch or onnx)",
            ) from error
        except QuadratError as error:
            error.file = error.file or self.path / held
            raise
        return self._checked(plain, self.path / held)

    def parent(self) -> Parent:
        """Return the bundle as the parent in an output's origin."""
        path = self.path / "provenance.json"
        origin = known(parsed(self.files.read(path.name), BundleError, path))
        return Parent(kind="bundle", md5=self.files.md5(), origin=origin)

    def _checked(self, plain: Predictor, file: Path) -> Predictor:
        """Return the model; its failures and wrong outputs raise BundleError."""
        rules = _Rules(loss_of(self.card.task).signature(), file)
        if isinstance(plain, DevicePredictor):
            return _CheckedOnDevice(plain, rules)
        return partial(rules.outputs, plain)


@dataclass(frozen=True)
class _Rules:
    """What a model's outputs must be, on the processor or on a device."""

    signature: Signature
    file: Path

    def outputs(self, run: Callable[[Any], dict[str, Any]], pixels: Any) -> dict[str, Any]:
        """Run a model; raise BundleError if it fails, or its outputs are wrong."""
        try:
            outputs = run(pixels)
        except QuadratError as error:
            error.file = error.file or self.file
            raise
        except (*WRONG, MemoryError, ArithmeticError) as error:
            expected = f"outputs for windows {tuple(pixels.shape)}"
            raise _wrong("the model can't be run", self.file, expected, error) from error
        if not self.signature.fits(outputs, pixels.shape):
            got = {name: tuple(values.shape) for name, values in outputs.items()}
            raise _wrong("the model's outputs are not those of its task", self.file, dict(self.signature.axes), got)
        for name, values in outputs.items():
            if 0 not in values.shape and not np.isfinite([float(values.min()), float(values.max())]).all():
                raise _wrong(
                    f"the model's {name} are not numbers", self.file, "finite values", "NaN or infinite values"
                )
        return outputs


class _CheckedOnDevice(DevicePredictor):
    """A predictor on a device, whose outputs are checked there."""

    def __init__(self, plain: DevicePredictor, rules: _Rules) -> None:
        super().__init__()
        self.turn = plain.turn
        self._plain, self._rules = plain, rules

    def __call__(self, pixels: Pixels) -> Outputs:
        return self._rules.outputs(self._plain, pixels)

    def tensors(self, pixels: "Tensor") -> "dict[str, Tensor]":
        return self._rules.outputs(self._plain.tensors, pixels)

    def windows_at_once(self, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> int:
        return self._plain.windows_at_once(shape, dtype)


def _uncalibrated(card: ModelCard, graph: Predictor, pixels: Pixels) -> Outputs:
    """Return the outputs of a graph, whose scores are probabilities, as they were before the calibration."""
    outputs = graph(pixels)
    if not loss_of(card.task).signature().fits(outputs, pixels.shape):
        return outputs  # which the caller refuses
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):  # the graph may be a stranger's
        return card.uncalibrated(outputs)


def agreement(task: Task, expected: Outputs, outputs: Outputs, runtime: Runtime) -> Agreement:
    """Compare the outputs of ``runtime`` by name, and the labels that follow from them."""
    loss = loss_of(task)
    labels = loss.decided(expected)
    tolerance = GPU_ROUNDING if _on_gpu(runtime) else ROUNDING
    comparable = {name: v.shape for name, v in expected.items()} == {name: v.shape for name, v in outputs.items()}
    equal = int((loss.decided(outputs) == labels).sum()) if comparable else 0
    return Agreement(apart(expected, outputs), equal, labels.size, tolerance)


def read_bundle(path: Path) -> OpenBundle:
    """Open the bundle at ``path``; raise BundleError if it is missing, incomplete, damaged or not a bundle."""
    files = checked(path)
    texts = {name: parsed(files.read(name), BundleError, path / name) for name in TEXTS}
    card = card_of(texts["model.json"], BundleError, path / "model.json")
    if not isinstance(texts["params.yaml"], dict):
        raise _wrong(
            "the parameters are not sections of keys", path / "params.yaml", "sections", type(texts["params.yaml"])
        )
    arrays = {Path(name).stem: _array(files, name) for name in files.sums if name.startswith("sample/")}
    sample = arrays.pop("pixels")
    check_sample(path, card, sample, arrays)
    return OpenBundle(files, card, texts["params.yaml"], sample, arrays)


@contextmanager
def in_float32() -> Iterator[None]:
    """Let a model that torch runs compute in float32 on a GPU, too: by half precision, boxes are others."""
    if "torch" not in sys.modules:
        yield
        return
    from quadrat.models.common.devices import in_full

    with in_full():
        yield


def _on_gpu(runtime: Runtime) -> bool:
    if runtime == "onnx":
        import onnxruntime

        return GPU in onnxruntime.get_available_providers()
    torch = sys.modules.get("torch")  # models without torch have not loaded it
    return torch is not None and bool(torch.cuda.is_available())


def _array(files: CheckedBundle, name: str) -> NDArray[Any]:
    try:
        return of_npy(files.read(name))
    except ValueError as error:
        raise _wrong("the array can't be read", files.path / name, "numbers as NumPy writes them", error) from error


def check_sample(path: Path, card: ModelCard, sample: NDArray[Any], expected: Outputs) -> None:
    """Raise BundleError if the model can't take the sample, or the expected outputs are not those of its task."""
    model, least = card.model, card.task.labelled_size(1)
    fits = (
        sample.ndim == 4
        and 1 <= sample.shape[0] <= MOST_CHIPS
        and sample.shape[1] == len(card.bands)
        and all(least <= side <= LONGEST_SIDE and side % model.divisor == 0 for side in sample.shape[2:])
    )
    if not fits:
        sides = f"multiples of {model.divisor} px, {least} to {LONGEST_SIDE}"
        limits = f"up to {MOST_CHIPS} chips of {len(card.bands)} bands, their sides {sides}"
        raise _wrong("the sample does not fit the model", path / "sample/pixels.npy", limits, sample.shape)
    signature = loss_of(card.task).signature()
    if not signature.fits(expected, sample.shape) or any(values.dtype != np.float32 for values in expected.values()):
        got = {name: f"{values.dtype} {values.shape}" for name, values in expected.items()}
        raise _wrong("the sample's outputs are not those of the task", path / "sample", dict(signature.axes), got)


def _wrong(problem: str, file: Path, expected: object, got: object) -> BundleError:
    return BundleError(
        problem, file=file, expected=expected, got=str(got)[:1000], hint="fetch or make the bundle again"
    )
