"""Compares the inputs that results were made of, by their origins, with those that ``dvc.lock`` names for their stages.

DVC notes the inputs of a stage after it has run. If a file was changed meanwhile, or if ``dvc commit`` was told to take
results as they are, DVC says that all is up to date.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from quadrat.errors import LockError, OriginError
from quadrat.runtime.cache.scene_cache import WHOLE
from quadrat.runtime.formats.yaml import read
from quadrat.runtime.provenance.origin import file_md5, model_md5
from quadrat.runtime.run import Paths
from quadrat.team.damage import LOCK
from quadrat.team.lockfile import Difference, differences, show
from quadrat.team.trace import trace

HINT = "dvc repro --force --single-item STAGE, then dvc repro; or bring back the inputs that they were made of"

Inputs = Mapping[str, str | None]


def check_lock(folder: Path) -> bool:
    """Print how ``dvc.lock`` differs from the project and from its results; return whether it is as both."""
    found, otherwise = differences(folder), otherwise_made(folder)
    show(found, lines(otherwise))
    return not (found or otherwise)


def otherwise_made(folder: Path) -> list[Difference]:
    """Return the inputs that ``dvc.lock`` names otherwise than the results here: model, predictions and bundle.

    Only results that ``dvc.lock`` names are compared, and none that are missing here.
    """
    paths = Paths()
    results: tuple[tuple[str, Path, Callable[[Path], str], Callable[[Path], Inputs]], ...] = (
        ("train", paths.model_folder, model_md5, _origin),
        ("predict", paths.prediction_manifest, file_md5, _noted),
        ("bundle", paths.bundle_file, file_md5, _origin),
    )
    return [found for stage, path, md5, told in results for found in _of(folder, stage, path, md5, told)]


def lines(found: list[Difference]) -> Iterator[str]:
    """Yield the differences as lines, and a hint."""
    for one in found:
        yield f"the results of stage '{one.stage}' were made of another {one.about} than dvc.lock says:"
        yield f"  expected md5 {one.expected}, got md5 {one.got}"
    if found:
        yield f"hint: {HINT}"


def _of(
    folder: Path, stage: str, path: Path, md5: Callable[[Path], str], told: Callable[[Path], Inputs]
) -> Iterator[Difference]:
    place, entry = folder / path, _locked(folder).get(stage, {})
    outputs, inputs = (_hashes(entry.get(side)) for side in ("outs", "deps"))
    if not place.exists() or outputs.get(path.as_posix()) != md5(place):
        return
    for name, found in told(place).items():
        expected = inputs.get(name)
        if None not in {expected, found} and expected != found:
            yield Difference(stage, name, str(expected), str(found))


def _locked(folder: Path) -> Mapping[str, Mapping[str, list[Mapping[str, str]]]]:
    file = folder / LOCK
    stages: Mapping[str, Mapping[str, list[Mapping[str, str]]]] = (
        (read(file, LockError) or {}).get("stages") or {} if file.is_file() else {}
    )
    return stages


def _hashes(entries: list[Mapping[str, str]] | None) -> dict[str, str | None]:
    return {entry["path"]: entry.get("md5") for entry in entries or ()}


def _origin(path: Path) -> Inputs:
    with suppress(OriginError):
        return trace(path).origin.inputs or {}
    return {}


def _noted(manifest: Path) -> Inputs:
    """Return the inputs that predict has noted; none if an earlier version wrote the manifest."""
    with suppress(ValueError, LookupError, TypeError):
        noted: Inputs = json.loads(manifest.read_text(encoding="utf-8"))[WHOLE]["inputs"]
        return noted
    return {}
