"""quadrat origin: reads and prints the origin of a file, and finds its commits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from quadrat.errors import BundleError, OriginError
from quadrat.geo.vectors.vector_files import check_plain
from quadrat.models.common.bundle_zip import member
from quadrat.prediction.origins import UNREADABLE, layer_content
from quadrat.runtime.formats.parsing import parsed, read_bytes
from quadrat.runtime.progress import Terminal
from quadrat.runtime.provenance.git_history import Mention, differences, mentions
from quadrat.runtime.provenance.origin import Origin, file_md5, known, model_md5

SHOWN = 5
"""Most commits that are listed."""

DIGITS = 8
"""Digits of hashes that are shown; ``--json`` prints all."""

KNOWN = "a model folder, a bundle (.zip), or a layer (.tif, .parquet, .gpkg, .geojson or .fgb)"


@dataclass(frozen=True)
class Trace:
    """A file and its origin."""

    path: Path
    origin: Origin
    outputs: Mapping[str, str]
    """Hashes of the file, or of what it was made with, to find in ``dvc.lock``, by their names."""

    @property
    def run(self) -> Origin | None:
        """The last run of a stage of the project; ``apply`` is no stage."""
        found: Origin | None = self.origin
        while found is not None and found.made_by == "apply":
            found = None if found.parent is None else found.parent.origin
        return found


def trace(path: Path) -> Trace:
    """Return the origin of the model folder, bundle or layer at ``path``; raise OriginError if it has none."""
    try:
        content = _content(path)
    except (BundleError, *UNREADABLE) as error:
        raise _nothing(path, error) from error
    origin = known(content)
    if origin is None:
        raise _nothing(path, None)
    outputs = {}
    if path.is_dir():
        outputs["this model"] = model_md5(path)
    elif path.suffix == ".zip":
        outputs["this bundle"] = file_md5(path)
    elif origin.made_by == "apply" and origin.parent is not None:
        outputs[f"its {origin.parent.kind}"] = origin.parent.md5
    return Trace(path, origin, outputs)


def show(found: Trace) -> None:
    """Print the origin, the origins of its parents, its commits, and differences to the working folder."""
    out = Terminal()
    for line in lines(found):
        out.print(Text(line), soft_wrap=True)


def lines(found: Trace) -> Iterator[str]:
    """Yield the lines of ``show``."""
    yield str(found.path)
    yield from _origin_lines(found.origin, "  ", {})
    yield from _here(found)


def _content(path: Path) -> Any:
    """Return the content of a file that has the origin, by its ending."""
    if path.is_dir():
        card = path / "model.json"
        return parsed(read_bytes(card, OriginError), OriginError, card)["origin"]
    if path.suffix.lower() == ".zip":
        check_plain(str(path))
        return parsed(member(path, "provenance.json"), OriginError, path / "provenance.json")
    return layer_content(path)


def _nothing(path: Path, error: Exception | None) -> OriginError:
    missing = not path.exists()
    return OriginError(
        "the file is missing" if missing else "the file has no origin",
        file=path,
        expected=KNOWN,
        got=None if missing or isinstance(error, KeyError) else error,
        hint="check the path"
        if missing
        else "make it again: files of earlier versions, and of other programs, have none",
    )


def _origin_lines(origin: Origin, indent: str, before: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines of an origin, and indented those of its parent; leave out versions that are equal ``before``."""
    yield f"{indent}made by     {origin.made_by}"
    if origin.git is not None:
        yield f"{indent}commit      {origin.git.commit}"
        if origin.git.dirty:
            yield f"{indent}  but for   {', '.join(origin.git.changed)}"
    elif origin.made_by != "apply":
        yield f"{indent}commit      unknown: it was made outside of git"
    for path, found in (origin.inputs or {}).items():
        yield f"{indent}input       {path} {found or 'unknown'}"
    if origin.code is not None:
        yield f"{indent}code        {origin.code[:DIGITS]}"
    if origin.parameters:
        digests = [f"{name} {value[:DIGITS]}" for name, value in origin.parameters.items()]
        yield f"{indent}parameters  {', '.join(digests)}"
    versions = [f"{name} {value}" for name, value in origin.versions.items() if before.get(name) != value]
    if versions:
        yield f"{indent}versions    {', '.join(versions)}"
    if origin.parent is not None:
        yield f"{indent}{origin.parent.kind:<11} {origin.parent.md5}"
        if origin.parent.origin is not None:
            yield from _origin_lines(origin.parent.origin, f"{indent}  ", origin.versions)


def _here(found: Trace) -> Iterator[str]:
    """Yield lines with the commits of the file, and the differences to the working folder."""
    run = found.run
    if run is None:
        return
    commits, parent = mentions(run, found.outputs), found.origin.parent
    yield from _named("", commits)
    if not commits and parent is not None:
        yield from _named(f"its {parent.kind} ", mentions(run, {parent.kind: parent.md5}))
    otherwise = differences(run)
    if otherwise:
        yield f"the working folder differs in inputs of {run.made_by}: {', '.join(otherwise)}"
    elif otherwise is not None:
        yield f"the working folder has the same inputs of {run.made_by}"


def _named(what: str, commits: Sequence[Mention]) -> Iterator[str]:
    for commit in commits[:SHOWN]:
        yield f"{what}in dvc.lock of {commit.commit[:10]} {f'({commit.names}) ' if commit.names else ''}{commit.title}"
    if len(commits) > SHOWN:
        yield f"and of {len(commits) - SHOWN} before"
    if not commits:
        yield f"{what}in dvc.lock of no commit here"
