"""Reads files of weights as arrays by name; no code in them is run."""

import pickle
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from quadrat.errors import ModelError

WRAPPERS = ("state_dict", "model_state_dict", "model", "weights")
"""Keys under which checkpoints hold their weights."""

WRONG = (OSError, SafetensorError, pickle.UnpicklingError, BadZipFile, RuntimeError, ValueError, KeyError, EOFError)
"""Errors of reading a file of weights that is damaged, or holds more than weights."""


def arrays_of(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Return the arrays of a file, by name, and under which key they lie; no code in it is run."""
    if path.is_dir() or not path.exists():
        raise missing(path)
    expected = "weights by name: .safetensors, .onnx, or .pt, .pth or .bin that torch reads with weights_only"
    try:
        match path.suffix.lower():
            case ".safetensors":
                return load_file(path), []
            case ".onnx":
                content: Any = _of_graph(path)
            case _:
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # of which torch's own advice is to run the code
        raise unreadable(path, expected, "no such file, or one with more than arrays by name") from error
    except WRONG as error:
        raise unreadable(path, expected, error) from error
    notes = []
    while isinstance(content, Mapping) and (
        inner := [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
    ):
        notes.append(f"the weights under the key '{inner[0]}' are taken, of {some(content)}")
        content = content[inner[0]]
    found = content if isinstance(content, Mapping) else {}
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if not tensors:
        raise unreadable(path, expected, f"{type(content).__name__} of {some(found)}")
    return tensors, notes


def _of_graph(path: Path) -> dict[str, Tensor]:
    """Return the weights of an ONNX graph, if it has all of them in itself."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except DecodeError as error:
        raise ValueError(str(error)) from error
    if any(onnx.external_data_helper.uses_external_data(one) for one in graph.initializer):
        raise ValueError("its weights lie in other files")
    return {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}


def bytes_of(path: Path) -> bytes:
    """Return the content of a file; raise ModelError where it can't be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise missing(path) from error
    except OSError as error:
        raise unreadable(path, "a plain file", error) from error


def missing(path: Path) -> ModelError:
    """Return the error of weights that are not there."""
    return ModelError(
        "the weights to start from are missing",
        file=path,
        hint="check model.start.path; 'dvc pull data/weights' fetches what is tracked there",
    )


def unreadable(path: Path, expected: str, got: object) -> ModelError:
    """Return the error of weights that can't be read."""
    return ModelError(
        "the weights to start from can't be read",
        file=path,
        expected=expected,
        got=str(got)[:1000],
        hint="fetch it again; of a checkpoint that holds more, save the network's state dict alone",
    )


def some(names: Iterable[object]) -> str:
    """Return the first of ``names``, as text."""
    return ", ".join(str(name) for name in islice(names, 5)) or "nothing"
