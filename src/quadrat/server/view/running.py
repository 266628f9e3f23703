"""quadrat view: starts the server of a run on this machine."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import uvicorn

from quadrat.errors import QuadratError
from quadrat.runtime.progress import console
from quadrat.server.limits import Access
from quadrat.server.view.app import application
from quadrat.server.view.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from quadrat.params import Params

HOST = "127.0.0.1"


def view(params: Path, read: "Callable[[Path], Params]", port: int) -> None:
    """Show the run of a workspace until it is told to end; raise QuadratError if it can't."""
    try:
        listening = socket.create_server((HOST, port))
    except OSError as error:
        problem, hint = "the port can't be used", "give another --port, or 0 for any"
        raise QuadratError(problem, expected="a free port", got=f"{port}: {error}", hint=hint) from error
    with listening, TemporaryDirectory(prefix="quadrat-view-") as folder:
        app = application(Workspace(params, read, Path(folder)), Access())
        address = f"http://{HOST}:{listening.getsockname()[1]}/"
        console.print(f"the run is shown at {address}", highlight=False, soft_wrap=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", server_header=False)).run([listening])
