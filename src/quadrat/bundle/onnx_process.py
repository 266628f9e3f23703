"""Runs an untrusted ONNX graph in a process of its own, with limits of memory and time.

A graph may make onnxruntime fill memory, run for hours or crash; in its own process, this becomes one error. Graphs
with loops, references to other files or non-standard operators are refused. The process gets graph and pixels through a
pipe, and returns arrays.
"""

import json
import os
import signal
import struct
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Lock, Timer
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from quadrat.errors import ModelError
from quadrat.runtime.formats.npy import as_npy, of_npy

DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
"""Domains of the standard's operators."""

NEEDED = ("onnxruntime", "onnx")
"""Packages that the process needs."""

LOOPS = {"Loop", "Scan", "SequenceMap"}
"""Operators that loop; no model needs them."""

ROOM = 1 << 30
"""Bytes of memory of a graph, beside those for its own size and its pixels."""

STACK = 32 << 20
"""Bytes of memory per thread: its stack, and its share of the heap."""

COPIES = 4
"""Copies of a graph's weights in memory: received, parsed, and arranged by onnxruntime."""

EACH = 4096
"""Bytes of memory per px of a batch: 1000 channels at full resolution."""

STARTING = 120.0
"""Seconds for the process to start; libraries load slowly on a busy machine."""

READING = 5.0
"""Seconds to read a graph, plus one per MB."""

PATIENCE = 120.0
"""Seconds for a batch, by default."""

MOST_SHOWN = 500
"""Most characters of an error."""

Run = Callable[[bytes], dict[str, NDArray[Any]]]
"""Returns the outputs of pixels, which come as the bytes of an array."""

LENGTH = struct.Struct("<Q")


class Confined:
    """A graph in a process of its own; call it with pixels (chip, band, y, x) for its outputs by name.

    Raises ModelError for a graph that is refused, fails, crashes, or exceeds memory or ``seconds``; ModuleNotFoundError
    if onnxruntime or onnx is not installed.
    """

    def __init__(self, graph: bytes, threads: int, seconds: float | None = None) -> None:
        """Start the process with ``threads`` and let it read the graph; a batch may take ``seconds``."""
        missing = [name for name in NEEDED if find_spec(name) is None]
        if missing:
            raise ModuleNotFoundError(f"No module named '{missing[0]}'", name=missing[0])
        self._seconds = seconds or PATIENCE
        self._lock = Lock()
        root = str(Path(__file__).parents[2])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(  # noqa: S603 (this very module)
            [sys.executable, "-P", "-m", __name__, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path},  # NumPy needs no threads here
        )
        weakref.finalize(self, _end, self._process)
        self._ask([], STARTING)
        self._ask([graph], READING + len(graph) / 1e6)

    def __call__(self, pixels: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the outputs of pixels (chip, band, y, x), by name."""
        with self._lock:
            names, arrays = self._ask([as_npy(pixels)], self._seconds)
        try:
            return dict(zip(names, map(of_npy, arrays), strict=True))
        except ValueError as error:
            raise ModelError("the graph's outputs are no arrays", got=error) from error

    def _ask(self, messages: list[bytes], seconds: float) -> tuple[list[str], list[bytes]]:
        """Send messages and return the answer: names, and the bytes of an array for each."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = Timer(seconds, stop)
        timer.start()
        try:
            for message in messages:
                _send(self._process.stdin, message)
            answer = json.loads(_received(self._process.stdout))
            arrays = [_received(self._process.stdout) for _ in answer.get("outputs", ())]
        except (OSError, EOFError) as error:
            code = self._process.wait()
            raise ModelError("the graph can't be run", got=_ended(code, seconds, late=late.is_set())) from error
        finally:
            timer.cancel()
        if "error" in answer:
            raise ModelError("the graph can't be run", got=answer["error"])
        return answer.get("outputs", []), arrays


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):  # unsent bytes do not matter
                pipe.close()


def _ended(code: int, seconds: float, *, late: bool) -> str:
    if late and code == -signal.SIGKILL:
        return f"it takes more than {seconds:.0f} seconds"
    return f"its process was ended by {signal.Signals(-code).name}" if code < 0 else f"its process ended with {code}"


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _received(pipe: IO[bytes]) -> bytes:
    (length,) = LENGTH.unpack(_exactly(pipe, LENGTH.size))
    return _exactly(pipe, length)


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return content


def main() -> None:
    """Run the process: read a graph, then pixels, until the pipe closes."""
    taken, given = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keep the output of libraries out of the answers
    for name in NEEDED:
        import_module(name)
    _send(given, b"{}")
    run: Run | None = None
    for message in _messages(taken):
        try:
            outputs = {} if run is None else run(message)
            run = run or _runner(message, int(sys.argv[1]))
            _send(given, json.dumps({"outputs": list(outputs)}).encode())
            for values in outputs.values():
                _send(given, as_npy(values))
        except Exception as error:  # noqa: BLE001 (onnxruntime's errors have no common class)
            _send(given, json.dumps({"error": f"{type(error).__name__}: {str(error)[:MOST_SHOWN]}"}).encode())


def _messages(taken: IO[bytes]) -> Iterator[bytes]:
    try:
        while True:
            yield _received(taken)
    except (EOFError, struct.error):
        return


def _runner(graph: bytes, threads: int) -> Run:
    """Return a function that runs a graph."""
    import onnxruntime

    known = onnxruntime.get_available_providers()
    providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in known]
    room = ROOM + STACK * threads + COPIES * len(graph)
    bounded = len(providers) == 1  # a GPU's driver takes more memory than it uses
    _limit(room if bounded else None)
    check_graph(graph)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning slows down reading and writing
    session = onnxruntime.InferenceSession(graph, options, providers=providers)
    names = [output.name for output in session.get_outputs()]
    taken = session.get_inputs()[0].type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype("float32" if taken == "float" else taken)

    def run(message: bytes) -> dict[str, NDArray[Any]]:
        pixels = of_npy(message)
        chips, _, height, width = pixels.shape
        _limit(room + EACH * chips * height * width + COPIES * len(message) if bounded else None)
        found = session.run(names, {"pixels": np.ascontiguousarray(pixels, dtype)})
        return {name: np.asarray(values) for name, values in zip(names, found, strict=True)}

    return run


def check_graph(graph: bytes) -> None:
    """Raise ValueError if a graph loops, refers to other files, or has non-standard operators."""
    import onnx

    model = onnx.load_from_string(graph)
    if len(model.functions) or len(model.training_info):
        raise ValueError("the graph has functions of its own")
    for node in _nodes(model.graph):
        if node.domain not in DOMAINS or node.op_type in LOOPS:
            raise ValueError(f"the graph has the operator {node.domain or 'ai.onnx'}:{node.op_type}, which isn't run")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
            raise ValueError(f"the graph's constant {tensor.name} is in another file, which isn't read")


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of its inner graphs."""
    for node in graph.node:
        yield node
        for inner in _inner(node):
            yield from _nodes(inner)


def _inner(node: Any) -> Iterator[Any]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the constants of a graph and of its inner graphs."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
        for inner in _inner(node):
            yield from _tensors(inner)


def _limit(memory: int | None) -> None:
    """Limit the bytes of ``memory`` that this process may write to, if the system can."""
    import resource

    if memory is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        with suppress(ValueError, OSError):  # a lower limit is set already
            resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))


if __name__ == "__main__":
    main()
