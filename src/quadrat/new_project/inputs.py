"""Files that a user gives for a new project: images, and the labels of each."""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from quadrat.errors import ImageError, LabelError, QuadratError
from quadrat.geo.vectors.vector_files import DRIVERS, PARQUET

RASTERS = frozenset((".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".webp", ".bmp", ".img", ".nc"))
"""Endings of rasters that are found in a folder."""

VECTORS = frozenset((*DRIVERS, PARQUET))
"""Endings of vector files."""

REFERRING = frozenset((".vrt", ".dim", ".xml"))
"""Endings of rasters that refer to other files, which a copy would lose."""

SPECIAL = re.compile(r"[*?\[\]{}]")
"""Characters that have a meaning in the catalog's paths."""


@dataclass(frozen=True)
class Given:
    """A file that a user gives."""

    id: str
    """Its name in the catalog."""
    file: Path
    """Where it lies now, absolute."""
    path: str
    """Where it lies in the new project, from its root."""

    @property
    def is_vector(self) -> bool:
        """Whether its ending is that of a vector file."""
        return self.file.suffix.lower() in VECTORS


def images_of(patterns: Iterable[str], folder: str) -> list[Given]:
    """Return the images of paths, patterns and folders, to lie in ``folder``; raise ImageError if there are none."""
    return _given([file for one in patterns for file in _expanded(one, [RASTERS], ImageError)], folder, ImageError)


def labels_of(patterns: Iterable[str], folder: str) -> list[Given]:
    """Return the files of labels; raise LabelError if there are none. Of a folder, its vector files, or its rasters."""
    files = [file for one in patterns for file in _expanded(one, [VECTORS, RASTERS], LabelError)]
    return _given(files, folder, LabelError)


def _expanded(pattern: str, kinds: Sequence[frozenset[str]], error: type[QuadratError]) -> list[Path]:
    """Return the files of a path, a pattern or a folder: of ``kinds`` of endings, the first kind that is there."""
    path = Path(pattern)
    if path.is_file():
        return [path]
    names = [*map(str, path.iterdir())] if path.is_dir() else glob.glob(pattern, recursive=True)  # noqa: PTH207 (`**`)
    files = sorted(Path(name) for name in names if Path(name).is_file())
    for kind in kinds:
        some = [file for file in files if file.suffix.lower() in kind]
        if some:
            return some
    raise error(
        "no file there can be read" if files else "the file is missing",
        file=pattern,
        expected="a file, a folder or a pattern of files " + ", ".join(sorted(set().union(*kinds))),
        got=", ".join(file.name for file in files[:5]) or None,
        hint="check the path, and put a pattern in quotes ('tiles/*.tif'); a file in a bucket has to be downloaded, or "
        "be named in the catalog by hand (docs/data.md)",
    )


def _given(files: Sequence[Path], folder: str, error: type[QuadratError]) -> list[Given]:
    found: dict[str, Given] = {}
    for file in dict.fromkeys(Path(os.path.abspath(file)) for file in files):  # noqa: PTH100 (links stay)
        if SPECIAL.search(str(file)):
            got = " ".join(SPECIAL.findall(str(file)))
            raise error(
                "the path has characters that have a meaning in the catalog", file=file, got=got, hint="rename it"
            )
        if file.suffix.lower() in REFERRING:
            hint = "make one file of it: gdal_translate FILE image.tif"
            raise error("the file refers to other files, and a copy would not find them", file=file, hint=hint)
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).lstrip("._-") or "image"
        name = next(one for one in (stem, *(f"{stem}-{n}" for n in range(2, len(files) + 2))) if one not in found)
        found[name] = Given(name, file, f"{folder}/{name}{file.suffix}")
    return [*found.values()]
