"""The origin of what is made: the run that has made it, told by the output itself wherever it goes."""

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from quadrat.runtime.formats.section import Section

TAG = "QUADRAT_ORIGIN"
"""What layers call it in their metadata; its value is JSON."""

PACKAGES = (
    "quadrat",
    "numpy",
    "onnx",
    "onnxruntime",
    "pyogrio",
    "rasterio",
    "scikit-learn",
    "segmentation-models-pytorch",
    "timm",
    "torch",
)
"""What has a part in the values of an output."""


class Commit(Section):
    """The state of the code, parameters and pointers to data in git."""

    commit: str
    """The last that has changed any of them: not one that has only brought results or texts."""
    dirty: bool
    """Whether some of them differ from it."""
    changed: tuple[str, ...]
    """The files that do, in the project's folder."""


class Origin(Section):
    """What tells a run from others. What can't be known is null; no time, no machine and no user stands here."""

    made_by: str
    """The stage, or ``apply``."""
    git: Commit | None
    """Null outside of git, and before the first commit."""
    inputs: dict[str, str | None] | None
    """What the run has read and its hashes, as ``dvc.lock`` has them: by the path in the project, ``bundle`` for a
    bundle that is applied. Null outside of DVC."""
    code: str | None
    """SHA-256 of the hashes of the stage's modules, as ``code_of`` makes it."""
    parameters: dict[str, str]
    """The first digits of the SHA-256 of each section that the stage takes, as ``digest`` makes them."""
    versions: dict[str, str]
    """Of Python and packages."""
    parent: "Parent | None"
    """The model or bundle that it was made with."""


class Parent(Section):
    """What an output was made with."""

    kind: Literal["model", "bundle"]
    md5: str
    """As ``dvc.lock`` has it; of a model, that of its folder, also where the bundle holds it."""
    origin: Origin | None
    """Null where it was made by an earlier version, which told none."""


def unknown(made_by: str) -> Origin:
    """Return the origin of a run of which nothing is known but what runs."""
    return Origin(made_by=made_by, git=None, inputs=None, code=None, parameters={}, versions=versions(), parent=None)


def tags(origin: Origin) -> dict[str, str]:
    """Return an origin as metadata of a layer: one tag, of JSON."""
    return {TAG: origin.model_dump_json()}


def known(content: Mapping[str, Any]) -> Origin | None:
    """Return the origin that stands among other ``content`` of JSON's types; None where it is an earlier version's."""
    try:
        return Origin.model_validate_json(json.dumps({name: content[name] for name in Origin.model_fields}))
    except (KeyError, TypeError, ValidationError):  # TypeError: it is no section
        return None


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a bundle runs without most of them
            continue
    return found


def digest(section: object) -> str:
    """Return the first digits of the SHA-256 of a section of ``params.yaml``, as the file has it."""
    return hashlib.sha256(json.dumps(section, sort_keys=True, default=str).encode()).hexdigest()[:16]


def code_of(hashes: Mapping[str, str | None]) -> str:
    """Return the SHA-256 of modules' hashes by their paths."""
    lines = "".join(f"{path} {hashes[path]}\n" for path in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_md5(path: Path) -> str:
    """Return the hash of a file, as DVC has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def folder_md5(files: Mapping[str, str]) -> str:
    """Return the hash of a folder of files, by their paths in it and their hashes, as DVC has it."""
    listed = [{"md5": files[path], "relpath": path} for path in sorted(files)]
    return f"{hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()}.dir"


def model_md5(folder: Path) -> str:
    """Return the hash of a model folder, as DVC has it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return folder_md5({path.relative_to(folder).as_posix(): file_md5(path) for path in files})
