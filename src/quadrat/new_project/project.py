"""Makes a new project in a folder from images and labels: ``quadrat init``."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import shapely

import quadrat
from quadrat.errors import LabelError, ProjectError, QuadratError, printable
from quadrat.geo.geometry.footprints import on_earth
from quadrat.new_project.areas import Area
from quadrat.new_project.inputs import Given
from quadrat.new_project.plan import Plan, Request, plan
from quadrat.params import read_params
from quadrat.runtime.files import room_for
from quadrat.runtime.formats.markdown import escaped
from quadrat.runtime.formats.yaml import dumped
from quadrat.runtime.parallel import Threads, cores
from quadrat.runtime.progress import warn
from quadrat.runtime.run import Paths
from quadrat.scenes.companion_files import PAM, Belongings, is_read_with
from quadrat.team.check import check

HOME = Path(quadrat.__file__).parents[2]
"""The project that the running package belongs to."""

TAKEN = (
    *("dvc.yaml", "pyproject.toml", "constraints.txt", "LICENSE", "scripts/setup", "plugins/README.md"),
    *(".dvc/.gitignore", ".dvc/plots/confusion.json", ".dvcignore", ".gitignore", ".gitattributes"),
)
"""Files that a new project takes from that project, beside ``src/quadrat``: none is about its data."""

CONFIG = """\
[core]
    remote = storage
    autostage = true
    analytics = false
    check_update = false
[cache]
    type = "reflink,copy"
['remote "storage"']
    url = remote
    jobs = 4
    verify = true
"""
"""DVC's settings, with the remote in a folder of the project until ``quadrat remote`` names another."""

PENDING = ("-wal", "-journal")
"""Endings of files with changes that are not in the GeoPackage beside them yet."""

PARAMS = """\
# Made by `quadrat init`. docs/parameters.md says what each key means, `quadrat params --full` what is left out here.
"""

README = """\
# {name}

{title}. Images and labels are in `data/raw/{name}`, the catalog is `data/scenes.yaml`, and all settings are in
`params.yaml`. `src/quadrat` is this project's own copy of the package.

    scripts/setup && . .venv/bin/activate   # once a clone; or use an environment that has quadrat's packages
    quadrat check
    dvc repro                               # then open metrics/report.html

To share it, name a remote for the data (`quadrat remote s3://bucket/prefix`), then `git push` and `dvc push`.
"""


def init(folder: Path, request: Request, *, force: bool) -> None:
    """Make a project in a folder, print ``quadrat check`` of it, what needs a look, and the next commands.

    Images and labels are copied. Raises ProjectError for a folder with files (unless ``force``: then files of the same
    names are replaced, and all others stay), and errors of images and labels; after these nothing is written.
    """
    _check_place(folder, force=force)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", folder.resolve().name).strip("-") or "data"
    try:
        made = plan(name, request)
    except QuadratError as error:
        error.scene = error.scene or None  # there is none yet
        raise
    folder.parent.mkdir(parents=True, exist_ok=True)
    with room_for(folder), tempfile.TemporaryDirectory(prefix=".quadrat-init-", dir=folder.parent) as temporary:
        part = Path(temporary) / name  # with the rights of a new folder
        _fill(part, made)
        with contextlib.chdir(part):
            errors = check(read_params(Path("params.yaml")), Paths(), Threads(cores()))
        if errors:
            problem = "quadrat check finds errors in what was made of the files: see above"
            raise ProjectError(problem, hint="correct the files, and try again; nothing was written")
        if folder.exists() and any(folder.iterdir()):
            shutil.copytree(part, folder, dirs_exist_ok=True)
            _track(folder, name)
        else:  # whole or not at all
            _track(part, name)
            place = folder.resolve()
            if place.exists():
                place.rmdir()
            part.rename(place)
    for note in made.notes:
        warn(note)
    if made.gap:
        print(f"The areas for training, validation and test are {made.gap} apart: the side of a chip.")  # noqa: T201
    named = printable(str(folder), keep="")
    print(f"{named} is a project. Next: cd {named}; dvc repro; git add --all; git commit")  # noqa: T201


def _check_place(folder: Path, *, force: bool) -> None:
    if folder.exists() and not (force and folder.is_dir()) and (not folder.is_dir() or any(folder.iterdir())):
        raise ProjectError(
            "there are files already",
            file=min(folder.iterdir()) if folder.is_dir() else folder,
            expected="a new or an empty folder",
            hint="name another folder, or add --force: files of a project's names are replaced, all others stay",
        )
    lacking = [name for name in TAKEN if not (HOME / name).is_file()]
    if lacking:
        raise ProjectError(
            "the running quadrat does not belong to a project, whose pipeline and code a new project takes",
            file=HOME,
            expected=", ".join(TAKEN),
            got=f"no {', '.join(lacking)}",
            hint="clone the repository of quadrat, and run quadrat init there after scripts/setup",
        )


def _fill(root: Path, made: Plan) -> None:
    """Write all files of the project."""
    for name in TAKEN:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HOME / name, root / name)
    shutil.copytree(HOME / "src/quadrat", root / "src/quadrat", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    gap = f"# Areas of an image are {made.gap} apart, the side of a chip.\n" if made.gap else ""
    texts = {
        "params.yaml": PARAMS + dumped(made.params).decode(),
        "data/scenes.yaml": gap
        + "".join(f"# {printable(' '.join(note.split()))}\n" for note in made.notes)
        + dumped(made.catalog).decode(),
        "data/pins.json": "{}\n",
        ".dvc/config": CONFIG,
        "data/weights/.gitignore": "# Weights to start from (model.start): DVC lists here those that it tracks\n",
        "README.md": README.format(name=made.name, title=escaped(made.params["bundle"]["title"])),
        **{file: _outline(area) for file, area in made.aois.items()},
    }
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    telling = [place for one in made.files for place in _copy(root, one)]
    with (root / ".dvcignore").open("a", encoding="utf-8") as ignored:
        ignored.writelines(f"\n# tells more than statistics\n!/{place.as_posix()}\n" for place in telling)


def _copy(root: Path, one: Given) -> Iterator[Path]:
    """Copy a file with those that are read with it; yield the places of ``.aux.xml`` that tell something."""
    place = Path(one.path)
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    for file in sorted({one.file, *Belongings().of(str(one.file))}):
        if file.name.endswith(PENDING) and file.stat().st_size:
            hint = "close what has the file open, such as QGIS"
            raise LabelError("what was edited isn't in the file yet", file=file, hint=hint)
        if file == one.file or is_read_with(one.file, file):
            beside = place.with_name(one.id + file.name.removeprefix(one.file.stem))
            shutil.copy(file, root / beside)
            if file.name.endswith(PAM):
                yield beside


def _outline(area: Area) -> str:
    """Return an area of interest as GeoJSON, or as CSV in px of an image without a place."""
    grid, split = area.labels.look.grid, area.split
    outline = grid.footprint(area.place)
    if grid.crs is None:
        return f'WKT,area\n"{shapely.to_wkt(outline)}",{split}\n'
    if not grid.on_earth:
        hint = "give it a CRS with a place on Earth: gdal_edit.py -a_srs EPSG:… FILE"
        raise ProjectError("the image's CRS has no place on Earth", file=area.labels.look.files[0].file, hint=hint)
    dense = shapely.segmentize(outline, 64 * abs(grid.transform.determinant) ** 0.5)  # lines bend in another CRS
    (placed,) = on_earth(np.array([dense], object), grid.crs)
    shape = json.loads(shapely.to_geojson(shapely.transform(placed, lambda xy: xy.round(9))))
    feature = {"type": "Feature", "properties": {"split": split}, "geometry": shape}
    return json.dumps({"type": "FeatureCollection", "features": [feature]}) + "\n"


def _track(root: Path, name: str) -> None:
    """Put the project at ``root`` under git, and its images and labels under DVC."""
    _run(root, "git", "init", "--quiet")
    _run(root, sys.executable, "-m", "dvc", "add", "--quiet", f"data/raw/{name}")


def _run(folder: Path, *words: str) -> None:
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 our own words
    except FileNotFoundError as cause:
        raise ProjectError("a program is missing", expected=words[0], hint="install it, then try again") from cause
    if done.returncode:
        raise ProjectError(
            "the project can't be put under git and DVC",
            expected=" ".join(words),
            got=done.stderr,
            hint="mend what git or DVC tells, then try again",
        )
