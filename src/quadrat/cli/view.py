"""The command that shows a run in a browser."""

import os
from pathlib import Path
from typing import Annotated

import typer

from quadrat.cli.options import ParamsFile, report_errors
from quadrat.cli.s3_endpoint import share_endpoint

app = typer.Typer()


@app.command()
def view(
    params: ParamsFile = Path("params.yaml"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8001,
    beside: Annotated[
        Path | None, typer.Option(help="A clone of the project with another run of the same scenes.")
    ] = None,
) -> None:
    """Show the run in a browser: image, labels, prediction and error of each scene, scores, and the worst places."""
    with report_errors():
        from quadrat.cli.serving import _check_extra
        from quadrat.params import read_params
        from quadrat.server.view.running import view as show

        _check_extra()
        share_endpoint(os.environ)
        show(params, read_params, port, beside)
