"""Runs a Python configuration and writes its parameters and catalog as YAML."""

import runpy
import traceback
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from quadrat import params
from quadrat.errors import OutputError, ParamsError
from quadrat.params import Params
from quadrat.runtime.files import replaced
from quadrat.runtime.formats.yaml import describe, shown
from quadrat.scenes import catalog
from quadrat.scenes.catalog import Catalog

MARK = b"# Written by `quadrat configure "
"""How a written file begins; others are not replaced."""

EXPECTED = "def configure() -> tuple[Params, Catalog]"


def configure(file: Path, params_file: Path | None = None) -> tuple[Path, Path]:
    """Write the parameters and catalog that ``configure()`` of the Python file returns; return both paths.

    The parameters go to ``params_file`` (None: ``params.yaml`` beside ``file``), the catalog to the path that they
    name. Raises ParamsError if the file is missing or not Python, or if the function is missing, returns another type
    or makes an invalid section. Raises OutputError if one of the files is there and not written by this command.
    """
    try:
        made, scenes = _composed(file)
    except SyntaxError as error:
        raise ParamsError("the file is not Python", file=f"{error.filename}:{error.lineno}", got=error.msg) from error
    except ValidationError as error:
        got = shown(error.errors()[0].get("input"))
        raise ParamsError(describe(error, error.title), file=_line(error, file), got=got) from error
    params_file = params_file or file.with_name("params.yaml")
    header = MARK + f"{file.as_posix()}`: change that file, and run it again.\n".encode()
    files = {params_file: params.written(made), made.scenes: catalog.written(scenes)}
    for path in files:
        _check_written(path)
    for path, content in files.items():
        with replaced(path) as part:
            part.write_bytes(header + content)
    return params_file, made.scenes


def _check_written(path: Path) -> None:
    if path.is_file() and not path.read_bytes().startswith(MARK):
        raise OutputError(
            "there is a file that `quadrat configure` did not write",
            file=path,
            hint="move it away, or give other paths: --params for the parameters, `scenes` in them for the catalog",
        )


def _composed(file: Path) -> tuple[Params, Catalog]:
    if not file.is_file():
        raise ParamsError("the file is missing", file=file)
    found = runpy.run_path(str(file), run_name=file.stem)
    compose: Any = found.get("configure")
    if not callable(compose):
        names = [name for name, value in found.items() if callable(value) and not isinstance(value, type)]
        raise ParamsError("the file has no such function", file=file, expected=EXPECTED, got=", ".join(names) or "none")
    made = compose()
    match made:
        case Params() as sections, Catalog() as scenes:
            return sections, scenes
    got = made if isinstance(made, tuple) else (made,)
    raise ParamsError(
        "configure() returns something else than parameters and a catalog",
        file=file,
        expected=EXPECTED,
        got=", ".join(type(one).__name__ for one in got),
    )


def _line(error: Exception, file: Path) -> str:
    """Return the line of ``file`` that raised an error."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f"{file}:{lines[-1]}" if lines else str(file)
