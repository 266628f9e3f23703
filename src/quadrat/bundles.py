"""The bundle: one zip with a fitted model that runs anywhere, and proves there that it runs as here.

    model.safetensors, model.json   the model folder
    model.onnx                      the same model as a graph: raw values in, outputs out
    params.yaml                     the parameters that made it
    metrics.json                    how good it is: what train and eval measured
    provenance.json                 what it was made of: commit, hashes of DVC's outputs, versions
    sample/pixels.npy               an input, raw
    sample/<output>.npy             and what must come out, by name
    README.md                       how to use it without this package
    SHA256SUMS                      the checksums of all the others, as ``sha256sum --check`` reads them

What is not listed there is no part of a bundle.
"""

import hashlib
import io
import json
import sys
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML
from safetensors.numpy import load as load_weights

from quadrat.archive import Card
from quadrat.errors import BundleError
from quadrat.files import replaced
from quadrat.models import Outputs, Predictor
from quadrat.models.graphs import GPU, ROUNDING, apart, runner
from quadrat.origin import Parent, file_md5, known
from quadrat.tasks import Task
from quadrat.yaml import check

SUMS = "SHA256SUMS"

MEMBERS = (
    "README.md",
    "metrics.json",
    "model.json",
    "model.onnx",
    "model.safetensors",
    "params.yaml",
    "provenance.json",
    "sample/pixels.npy",
)
"""What every bundle holds, beside its checksums and the sample's outputs."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The time of every member: the zip format's first, so that the same content is the same bytes."""

HALF_ROUNDING = 0.05
"""The same on a GPU, where torch computes with half the digits, and onnxruntime with hardly more."""

Runtime = Literal["torch", "onnx"]
"""What runs a model: its own library (torch; for a forest scikit-learn), or onnxruntime."""


@dataclass(frozen=True)
class Agreement:
    """How alike a runtime's outputs are to the expected ones."""

    difference: float
    """The largest, of all outputs, as a share of values beyond 1; infinite where shapes or names differ."""
    equal: int
    """Px with the expected label."""
    pixels: int
    tolerance: float

    @property
    def good(self) -> bool:
        """Whether the outputs differ by rounding alone: then labels can differ only where two classes tie."""
        return self.difference <= self.tolerance

    def __str__(self) -> str:
        """Say it in a line."""
        return f"largest difference {self.difference:.2g}, {self.equal} of {self.pixels} labels equal"


@dataclass(frozen=True)
class OpenBundle:
    """A bundle whose checksums are right. The model itself is read when a predictor is made."""

    path: Path
    card: Card
    params: Mapping[str, Any]
    """The parameters that made it, as in ``params.yaml``."""
    sample: NDArray[Any]
    """Raw pixels (chip, band, y, x)."""
    expected: Outputs
    """What must come of the sample."""

    def predictor(self, runtime: Runtime | None) -> Predictor:
        """Return the model, ready to predict by ``runtime``; None is what the stage predict takes.

        Raises BundleError where that isn't installed.
        """
        card = self.card
        try:
            if runtime == "onnx":
                return runner(self._member("model.onnx"))
            make = card.model.restore if runtime else card.model.served
            return make(load_weights(self._member("model.safetensors")), card.task, card.inputs)
        except ModuleNotFoundError as error:
            raise BundleError(
                f"the runtime '{runtime or 'torch'}' needs a package that isn't installed",
                file=self.path,
                expected=error.name,
                mend="install it, or take the other of the runtimes torch and onnx",
            ) from error

    def parent(self) -> Parent:
        """Return what is told of the bundle by what is made with it."""
        origin = known(json.loads(self._member("provenance.json")))
        return Parent(kind="bundle", md5=file_md5(self.path), origin=origin)

    def _member(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as file:
            return file.read(name)


def agreement(task: Task, expected: Outputs, outputs: Outputs, runtime: Runtime) -> Agreement:
    """Compare the outputs of ``runtime`` by name, and what is decided of them."""
    labels = task.decided(expected)
    tolerance = HALF_ROUNDING if _on_gpu(runtime) else ROUNDING
    comparable = {name: v.shape for name, v in expected.items()} == {name: v.shape for name, v in outputs.items()}
    equal = int((task.decided(outputs) == labels).sum()) if comparable else 0
    return Agreement(apart(expected, outputs), equal, labels.size, tolerance)


def write_bundle(path: Path, members: Mapping[str, bytes]) -> None:
    """Write ``members`` with their checksums as a zip, whole or not at all; the same content gives the same bytes.

    Nothing is compressed: weights hardly shrink, and what deflate gives depends on the version of zlib.
    """
    sums = "".join(f"{hashlib.sha256(members[name]).hexdigest()}  {name}\n" for name in sorted(members))
    with replaced(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:
        for name, content in sorted({**members, SUMS: sums.encode()}.items()):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.create_system, entry.external_attr = 3, 0o100644 << 16  # a plain file of Unix, wherever it is written
            file.writestr(entry, content)


def read_bundle(path: Path) -> OpenBundle:
    """Open the bundle at ``path``; raise BundleError where it is missing, no bundle, incomplete or damaged."""
    try:
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
            _check_members(path, names)
            _check_sums(path, file, names)
            return _open(path, file, names)
    except FileNotFoundError as error:
        raise BundleError(
            "the bundle is missing", file=path, mend="check the path, or run the stage 'bundle' to make it"
        ) from error
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(
            "the file is no bundle, or not whole",
            file=path,
            expected="a zip that the stage 'bundle' wrote",
            got=error,
            mend="fetch or make it again",
        ) from error


def as_npy(values: NDArray[Any]) -> bytes:
    """Return an array as the content of a ``.npy`` file."""
    written = io.BytesIO()
    np.save(written, np.ascontiguousarray(values), allow_pickle=False)
    return written.getvalue()


def _on_gpu(runtime: Runtime) -> bool:
    if runtime == "onnx":
        import onnxruntime

        return GPU in onnxruntime.get_available_providers()
    torch = sys.modules.get("torch")  # a model that runs without it hasn't loaded it
    return torch is not None and bool(torch.cuda.is_available())


def _check_members(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in (*MEMBERS, SUMS) if name not in names]
    if missing or len(names) > len(set(names)):
        raise BundleError(
            "the bundle is incomplete" if missing else "the bundle holds a file twice",
            file=path,
            expected=", ".join(missing or sorted(set(names))),
            got=", ".join(names),
            mend="fetch or make it again",
        )


def _check_sums(path: Path, file: zipfile.ZipFile, names: Sequence[str]) -> None:
    lines = file.read(SUMS).decode("utf-8", "replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in sorted({*names, *sums} - {SUMS}):
        got = _digest(file, name) if name in names else "no such file"
        if got != sums.get(name):
            raise BundleError(
                f"{name} in the bundle is not what was written",
                file=path,
                expected=sums.get(name, f"no such file, by {SUMS}"),
                got=got,
                mend="fetch or make it again",
            )


def _digest(file: zipfile.ZipFile, name: str) -> str:
    try:
        with file.open(name) as member:
            return hashlib.file_digest(member, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed: a zip's member reads as a file
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        return f"it can't be read: {error}"


def _open(path: Path, file: zipfile.ZipFile, names: Sequence[str]) -> OpenBundle:
    samples = {name[len("sample/") : -len(".npy")]: name for name in names if name.startswith("sample/")}
    arrays = {key: np.load(io.BytesIO(file.read(name)), allow_pickle=False) for key, name in samples.items()}
    return OpenBundle(
        path,
        check(json.loads(file.read("model.json")), Card, BundleError, path / "model.json"),
        YAML(typ="safe", pure=True).load(file.read("params.yaml")),
        arrays.pop("pixels"),
        arrays,
    )
