"""Exports networks as ONNX graphs, and runs them with onnxruntime."""

import io
import os
import warnings
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ModelError
from quadrat.models.common.model import Outputs, Pixels, Predictor
from quadrat.runtime.parallel import cores
from quadrat.tasks.common.calibration import Calibration

if TYPE_CHECKING:
    from torch import Tensor

    from quadrat.models.common.trainable import TrainableModule

CPU = "CPUExecutionProvider"
GPU = "CUDAExecutionProvider"

ROUNDING = 1e-3
"""Largest difference between two runtimes' outputs that counts as rounding of float32."""

OPSET = 17
"""The version of ONNX's operators; old enough for most runtimes."""

EXPORTING = Lock()
"""Guards torch's export, whose state all threads share."""

Axes = Mapping[str, Mapping[int, str]]
"""The names of those axes of inputs and outputs that may be of any length."""


def export(network: "TrainableModule", example: "Tensor", axes: Axes) -> bytes:
    """Return the network as a serialised graph: input ``pixels``, of the example's type, outputs by name.

    Raises ModelError if ONNX lacks an operation of the network.
    """
    import torch

    from quadrat.models.common.trainable import Listed

    written = io.BytesIO()
    with EXPORTING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # only the tracing exporter supports any size of window
        try:
            torch.onnx.export(
                Listed(network).eval(),  # else the exporter leaves the network in training mode
                (example,),
                written,  # type: ignore[arg-type]  # its stubs lack what it takes
                input_names=["pixels"],
                output_names=[name for name in axes if name != "pixels"],
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
        except RuntimeError as error:  # the exporter's errors are RuntimeErrors too
            hint = "choose another 'model' in params.yaml"
            raise ModelError("the network can't be exported to ONNX", got=error, hint=hint) from error
    return written.getvalue()


def probable(graph: bytes, calibration: Calibration | None, axis: int) -> bytes:
    """Return a graph whose output ``scores``, with classes along ``axis``, is made probabilities by its last steps."""
    if calibration is None or set(calibration.temperatures) == {1.0}:
        return graph
    import onnx

    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        for number, name in enumerate(node.output):
            if name == "scores":
                node.output[number] = "uncalibrated"
        for number, name in enumerate(node.input):
            if name == "scores":
                node.input[number] = "uncalibrated"
    powers = np.array([1 / each for each in calibration.temperatures], np.float32)
    constants: dict[str, NDArray[Any]] = {"power": powers}
    steps: list[tuple[str, list[str], str]] = [("Pow", ["uncalibrated", "calibration/power"], "calibration/yes")]
    if calibration.exclusive:
        constants["axis"] = np.array([axis], np.int64)
        steps += [("ReduceSum", ["calibration/yes", "calibration/axis"], "calibration/sum")]
    else:  # these classes are along the last axis, as the powers are
        constants["one"] = np.array(1, np.float32)
        steps += [
            ("Sub", ["calibration/one", "uncalibrated"], "calibration/rest"),
            ("Pow", ["calibration/rest", "calibration/power"], "calibration/no"),
            ("Add", ["calibration/yes", "calibration/no"], "calibration/sum"),
        ]
    for operator, taken, made in [*steps, ("Div", ["calibration/yes", "calibration/sum"], "scores")]:
        model.graph.node.append(onnx.helper.make_node(operator, taken, [made]))
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, f"calibration/{name}"))
    serialised: bytes = model.SerializeToString()
    return serialised


def threads() -> int:
    """Return the number of threads for a graph: one per core, or OMP_NUM_THREADS."""
    told = os.environ.get("OMP_NUM_THREADS", "")  # an executor's processes share the cores
    return int(told) if told.isdecimal() and int(told) else cores()


def runner(graph: bytes, providers: Sequence[str] = (GPU, CPU)) -> Predictor:
    """Return a serialised graph, ready to predict with the first available of onnxruntime's ``providers``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    # spinning threads slow down reading and writing
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    known = [name for name in providers if name in onnxruntime.get_available_providers()]
    session = onnxruntime.InferenceSession(graph, options, providers=known)
    names = [output.name for output in session.get_outputs()]
    taken = session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype("float32" if taken == "float" else taken)

    def predictor(pixels: NDArray[Any]) -> Outputs:
        values = session.run(names, {"pixels": np.ascontiguousarray(pixels, dtype)})
        return dict(zip(names, values, strict=True))

    return predictor


def swift(network: "TrainableModule", plain: Predictor) -> Predictor:
    """Return a network that onnxruntime runs on the processor, faster than ``plain`` (torch), equal up to rounding.

    The first windows of each type and size are run by both; if the export fails or the outputs differ, torch runs the
    network.
    """
    known: dict[tuple[Any, ...], Predictor] = {}
    making = Lock()

    def predictor(pixels: Pixels) -> Outputs:
        key = pixels.dtype, pixels.shape[1:]
        with making:
            if key not in known:
                known[key] = _same(network, plain, pixels) or plain
        return known[key](pixels)

    return predictor


def apart(expected: Outputs, outputs: Outputs) -> float:
    """Return the largest difference of outputs, relative for values beyond 1; infinite if names or shapes differ."""
    shapes = [{name: values.shape for name, values in some.items()} for some in (expected, outputs)]
    if shapes[0] != shapes[1]:
        return float("inf")
    difference = float(np.max([_apart(values, outputs[name]) for name, values in expected.items()]))
    return float("inf") if np.isnan(difference) else difference


def _apart(expected: NDArray[np.float32], values: NDArray[np.float32]) -> float:
    return float((np.abs(values - expected) / np.maximum(1, np.abs(expected))).max(initial=0))


def _same(network: "TrainableModule", plain: Predictor, pixels: Pixels) -> Predictor | None:
    """Return the network's graph for windows like ``pixels``; None if its outputs differ from torch's."""
    from onnxruntime.capi import onnxruntime_pybind11_state as told

    cannot = ModelError, told.Fail, told.InvalidArgument, told.InvalidGraph, told.NotImplemented, told.RuntimeException
    try:
        found = runner(_traced(network, pixels), [CPU])
        alike = all(apart(plain(some), found(some)) <= ROUNDING for some in (pixels[:1], pixels[:3]))
    except cannot:  # some networks can't be expressed in ONNX
        return None
    return found if alike else None


def _traced(network: "TrainableModule", pixels: Pixels) -> bytes:
    """Return the graph for any number of windows like ``pixels``, in their stored type."""
    import torch

    from quadrat.models.common.devices import as_tensor

    example = as_tensor(np.stack([pixels[0], pixels[0]]))
    unnamed = example.dtype == torch.uint16  # onnxruntime supports it, the exporter does not
    with torch.inference_mode():
        names = [*network(example)]
    axes = {name: {0: "chip"} for name in ("pixels", *names)}
    graph = export(network, example.int() if unnamed else example, axes)
    return _taking_uint16(graph) if unnamed else graph


def _taking_uint16(graph: bytes) -> bytes:
    import onnx

    model = onnx.load_from_string(graph)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT16
    return bytes(model.SerializeToString())
