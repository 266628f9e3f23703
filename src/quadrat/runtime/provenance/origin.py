"""The origin of an output: the run that made it, stored in the output."""

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from quadrat.runtime.formats.section import Section

TAG = "QUADRAT_ORIGIN"
"""The key in the metadata of layers; its value is JSON."""

LIBRARIES = (
    "geopandas",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "pyarrow",
    "pyogrio",
    "pyproj",
    "rasterio",
    "scikit-learn",
    "segmentation-models-pytorch",
    "shapely",
    "timm",
    "torch",
    "torchvision",
)
"""Those whose version may change what is made."""


class Commit(Section):
    """The state of the code, parameters and pointers to data in git."""

    commit: str
    """The last commit that changed any of them, not only results or texts."""
    dirty: bool
    """Whether files differ from it."""
    changed: tuple[str, ...]
    """The files that differ, in the project's folder."""


class Origin(Section):
    """Describes a run. Unknown fields are null. It has no time, machine or user."""

    made_by: str
    """The stage, or ``apply``."""
    git: Commit | None
    """Null outside of git, and before the first commit."""
    inputs: dict[str, str | None] | None
    """Hashes of the inputs, as in ``dvc.lock``, by their path in the project; ``bundle`` for an applied bundle. Null
    outside of DVC."""
    code: str | None
    """SHA-256 of the hashes of the stage's modules, from ``code_of``."""
    parameters: dict[str, str]
    """The ``digest`` of each section that the stage takes."""
    versions: dict[str, str]
    """Versions of Python and packages."""
    parent: "Parent | None"
    """The model or bundle that it was made with, if any."""


class Parent(Section):
    """What an output was made with."""

    kind: Literal["model", "bundle"]
    md5: str
    """As in ``dvc.lock``; for a model that of its folder, also if a bundle contains it."""
    origin: Origin | None
    """Null if an earlier version, which wrote no origin, made it."""


def unknown(made_by: str) -> Origin:
    """Return the origin of a run of which only the versions are known."""
    return Origin(made_by=made_by, git=None, inputs=None, code=None, parameters={}, versions=versions(), parent=None)


def tags(origin: Origin) -> dict[str, str]:
    """Return an origin as metadata of a layer: one tag with JSON."""
    return {TAG: origin.model_dump_json()}


def known(content: Mapping[str, Any]) -> Origin | None:
    """Return the origin in ``content`` (JSON values); None if an earlier version wrote it."""
    try:
        return Origin.model_validate_json(json.dumps({name: content[name] for name in Origin.model_fields}))
    except (KeyError, TypeError, ValidationError):  # TypeError: it is no dict
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of ``LIBRARIES``, as far as they are installed."""
    return {"python": platform.python_version(), **installed(("quadrat", *LIBRARIES))}


@cache
def installed(names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Return the versions of the packages that are installed; a bundle runs without most of them."""
    found = {}
    for name in names:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def digest(section: object) -> str:
    """Return the first digits of the SHA-256 of a section of ``params.yaml``, as in the file."""
    return hashlib.sha256(json.dumps(section, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_of(hashes: Mapping[str, str | None]) -> str:
    """Return the SHA-256 of modules' hashes by their paths."""
    lines = "".join(f"{path} {hashes[path]}\n" for path in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_md5(path: Path) -> str:
    """Return DVC's hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def folder_md5(files: Mapping[str, str]) -> str:
    """Return DVC's hash of a folder, from the hashes of its files by path."""
    listed = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return f"{hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()}.dir"


def model_md5(folder: Path) -> str:
    """Return DVC's hash of a model folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return folder_md5({path.relative_to(folder).as_posix(): file_md5(path) for path in files})
