"""The command that serves a bundle."""

import os
from pathlib import Path
from typing import Annotated

import typer

from quadrat.cli.options import BandNames, Batch, BundleRuntime, Resolution, Unchecked, names_of, report_errors
from quadrat.cli.s3_endpoint import share_endpoint

app = typer.Typer()

EXTRA = ("fastapi", "morecantile", "prometheus_client", "python_multipart", "uvicorn", "PIL")
"""Packages of the extra ``serve``."""

MB = 1 << 20


@app.command()
def serve(  # noqa: PLR0913, PLR0917 the options of a command
    bundle: Annotated[Path, typer.Argument(help="The bundle, e.g. models/bundle.zip.")],
    images: Annotated[
        str | None,
        typer.Option(
            help="An image, a folder of images, a path with {band}, or a catalog (.yaml).",
            show_default="of the project's own bundle, its catalog; else none: images are sent to /predict",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="The address; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option(envvar="QUADRAT_TOKEN", help="What requests must bear.", show_default="none")
    ] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="A further name by which the server is called.")] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="A page of another host that may ask, e.g. https://maps.example.org.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="The folder of predicted blocks and jobs.", show_default="in the user's cache")
    ] = None,
    cache_mb: Annotated[int, typer.Option(min=1, help="Size of the blocks on disk, MB.")] = 2048,
    runtime: BundleRuntime = None,
    bands: BandNames = None,
    unchecked: Unchecked = False,  # noqa: FBT002 a flag
    resolution: Resolution = None,
    batch: Batch = None,
) -> None:
    """Serve a bundle: its predictions of images as map tiles, and of images that are sent."""
    with report_errors():
        _check_extra()
        from quadrat.server.running import Asked
        from quadrat.server.running import serve as run
        from quadrat.serving.new_images import Reading, side
        from quadrat.serving.ready import Plan

        share_endpoint(os.environ)
        names = names_of(bands)
        allowed = tuple(allow_host or ()), tuple(allow_origin or ())
        asked = Asked(images or _own_catalog(bundle), host, port, token or None, *allowed, cache, cache_mb * MB)
        run(bundle, asked, Reading(names, unchecked=unchecked, resolution=side(resolution)), Plan(runtime, batch))


def _own_catalog(bundle: Path) -> str | None:
    """Return the catalog of the project whose bundle it is; None for a bundle from elsewhere."""
    from quadrat.params import read_params
    from quadrat.runtime.run import Paths

    params = Path("params.yaml")
    if not params.is_file() or bundle.resolve() != Paths().bundle_file.resolve():
        return None
    return str(read_params(params).scenes)


def _check_extra() -> None:
    """Raise QuadratError if packages of the extra are missing."""
    from importlib.util import find_spec

    from quadrat.errors import QuadratError

    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        problem = f"quadrat serve needs packages that aren't installed: {', '.join(missing)}"
        raise QuadratError(problem, hint="pip install 'quadrat[serve]'")
