"""quadrat view: starts the server of a run on this machine."""

import socket
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvicorn

from quadrat.errors import QuadratError
from quadrat.runtime.progress import console
from quadrat.runtime.run import Paths
from quadrat.server.limits import Access
from quadrat.server.view.app import Shown, application
from quadrat.server.view.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from quadrat.params import Params

HOST = "127.0.0.1"


def view(params: Path, read: "Callable[[Path], Params]", port: int, beside: Path | None = None) -> None:
    """Show the run of a workspace until it is told to end; raise QuadratError if it can't.

    ``beside`` is the folder of another one with the same scenes, whose predictions and scores are shown too.
    """
    if beside is not None and not (beside / Paths().predictions).is_dir():
        problem = "the folder beside has no predictions"
        raise QuadratError(problem, file=beside / Paths().predictions, hint="run `dvc repro`, or `dvc checkout`, there")
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        problem, hint = "the port can't be used", "give another --port, or 0 for any"
        raise QuadratError(problem, expected="a free port", got=f"{port}: {error}", hint=hint) from error
    with listening, TemporaryDirectory(prefix="quadrat-view-") as folder:
        app = application(_shown(params, read, beside, Path(folder)), Access())
        address = f"http://{HOST}:{listening.getsockname()[1]}/"
        console.print(f"the run is shown at {address}", highlight=False, soft_wrap=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", server_header=False)).run([listening])


def _shown(params: Path, read: "Callable[[Path], Params]", beside: Path | None, folder: Path) -> Shown:
    run = Workspace(params, read, folder / "run")
    if beside is None:
        return Shown(run)
    plain = Paths()
    theirs = {name: beside / getattr(plain, name) for name in ("predictions", "eval_metrics", "intervals")}
    return Shown(run, Workspace(params, read, folder / "beside", replace(plain, **theirs)), beside.resolve().name)
