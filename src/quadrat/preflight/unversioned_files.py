"""Finds files that are read with those of a catalog but would be missing in a clone."""

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from quadrat.errors import AOIError, ImageError, LabelError, QuadratError
from quadrat.geo.sources.channel import is_remote
from quadrat.runtime.provenance.workspace import git_output
from quadrat.scenes.companion_files import PAM, Belongings, is_read_with, meaning_beside
from quadrat.scenes.scene import Scene

UNREAD = (".qmd", "-shm")
"""Endings of files beside others that are never read."""

PENDING = ("-wal", "-journal")
"""Endings of SQLite's files with changes that are not in the main file yet, unless empty."""


@dataclass(frozen=True)
class _Read:
    """A file that is read with the one that the catalog names."""

    scene: str
    named: Path
    file: Path
    error: type[QuadratError]


def left_out(scenes: Iterable[Scene], belongings: Belongings) -> Iterator[QuadratError]:
    """Give an error for each file that is read with one of the catalog, and that no clone would have.

    That is one that DVC ignores; or one that git ignores and DVC has not, beside one that either has. What changes
    nothing that is read, such as statistics in ``.aux.xml``, is no error. Outside of a project of DVC there is none.
    """
    read = [one for scene in scenes for one in _read_with(scene, belongings)] if Path(".dvc").is_dir() else []
    if not read:
        return
    by_dvc = _ignored_by_dvc({one.file for one in read})
    by_git = _ignored_by_git({path for one in read for path in (one.file, one.named) if not _in_dvc(path.parent)})
    for one in read:
        git_alone = one.file in by_git and not _own(one.file) and (_own(one.named) or one.named not in by_git)
        if (one.file in by_dvc or git_alone) and (holds := _content(one)):
            yield _error(one, holds, ".gitignore" if git_alone else ".dvcignore")


def _read_with(scene: Scene, belongings: Belongings) -> Iterator[_Read]:
    labels = (path for source in scene.labels for path in source.files())
    for paths, error in ((scene.image.files(), ImageError), (labels, LabelError), (scene.aoi, AOIError)):
        for path in (path for path in dict.fromkeys(paths) if not is_remote(path)):
            named = Path(path)
            yield from (_Read(scene.id, named, file, error) for file in sorted(belongings.of(path)) if file != named)


def _ignored_by_dvc(files: Collection[Path]) -> set[Path]:
    from dvc.fs import LocalFileSystem
    from dvc.ignore import DvcIgnoreFilter

    rules, root = DvcIgnoreFilter(LocalFileSystem(), str(Path.cwd())), Path.cwd()
    here = [file for file in files if Path(os.path.abspath(file)).is_relative_to(root)]  # noqa: PTH100 (links stay)
    return {file for file in here if rules.is_ignored_file(os.path.abspath(file))}  # noqa: PTH100


def _ignored_by_git(files: Collection[Path]) -> set[Path]:
    """Return the files that git ignores and does not track."""
    asked = "".join(f"{file.as_posix()}\0" for file in files)
    ignored = git_output("check-ignore", "--stdin", "-z", stdin=asked) if files else b""
    return {Path(os.fsdecode(name)) for name in ignored.split(b"\0") if name}


def _own(path: Path) -> bool:
    """Return whether DVC tracks the file itself."""
    return path.with_name(f"{path.name}.dvc").is_file()


def _in_dvc(folder: Path) -> bool:
    """Return whether DVC tracks a folder or its parent."""
    return any(_own(each) for each in (folder, *folder.parents) if each.name)


def _content(one: _Read) -> str:
    """Return as text what is read from a file; empty if nothing is."""
    name = one.file.name
    if name.endswith(UNREAD):
        return ""
    if name.endswith(PENDING):
        return "what was edited and isn't in the file yet" if one.file.stat().st_size else ""
    if name.endswith(PAM):
        return ", ".join(meaning_beside(one.file))
    return "a part of what is read" if is_read_with(one.named, one.file) else ""


def _error(one: _Read, holds: str, by: str) -> QuadratError:
    name, folder = one.file.name, one.file.parent.as_posix()
    ending = next((end for end in (PAM, *PENDING) if name.endswith(end)), one.file.suffix)
    if name.endswith(PENDING):
        hint = "close what has the file open, such as QGIS: then all is written into it"
    elif by == ".gitignore":
        hint = "`dvc add` it, as the file that it belongs to; or `git add --force` it"
    else:
        hint = f"append the line !/{folder}/*{ending} to .dvcignore, and `dvc add` the data again"
    return one.error(
        "a file that is read is in neither git nor DVC: on a clone, other data would be read",
        one.scene,
        one.file,
        expected="a file that every clone has",
        got=f"{by} leaves it out; it holds {holds}",
        hint=hint + ("; or write into the image what it holds (gdal_translate)" if name.endswith(PAM) else ""),
    )
