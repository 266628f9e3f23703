"""Commands around the stages: samples, checks, bundles, remotes and origins."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from quadrat.cli.options import (
    BandNames,
    Batch,
    BundleRuntime,
    ParamsFile,
    Resolution,
    Unchecked,
    Workers,
    executor_of,
    names_of,
    report_errors,
)
from quadrat.cli.s3_endpoint import share_endpoint
from quadrat.errors import printable

BundleFile = Annotated[Path, typer.Argument(help="The bundle, e.g. models/bundle.zip.")]

app = typer.Typer()


@app.command()
def check(
    params: ParamsFile = Path("params.yaml"),
    workers: Workers = None,
    lock: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--lock", help="Compare dvc.lock with code, parameters and figures instead; needs no data.")
    ] = False,
) -> None:
    """List the scenes, and report in seconds the errors that can be found without reading pixels.

    Exits with 1 if there is an error.
    """
    if lock:
        with report_errors():
            from quadrat.team.made_of import check_lock

            as_locked = check_lock(Path())
        raise typer.Exit(not as_locked)
    from quadrat.params import read_params
    from quadrat.runtime.run import Paths
    from quadrat.team.check import check as look

    share_endpoint(os.environ)
    with report_errors():
        errors = look(read_params(params), Paths(), executor_of("threads", workers))
    if errors:
        raise typer.Exit(1)


@app.command()
def folds(
    params: ParamsFile = Path("params.yaml"),
    workers: Workers = None,
    out: Annotated[Path, typer.Option(help="The new folder for metrics, models and maps.")] = Path("folds"),
) -> None:
    """Cross-validate on blocks of the ground of train and validation scenes, as the section folds says."""
    from quadrat.errors import ParamsError
    from quadrat.folds.running import run_folds, sentence
    from quadrat.params import read_params
    from quadrat.runtime.run import Run

    share_endpoint(os.environ)
    with report_errors():
        sections = read_params(params)
        if sections.folds is None:
            hint = "add folds: {count: 5, block: 2000, gap: 200}, in metres"
            raise ParamsError("the section folds is missing", file=params, hint=hint)
        result = run_folds(sections, sections.folds, out, Run(executor_of("threads", workers)))
        typer.echo(sentence(result))


@app.command()
def index(
    params: ParamsFile = Path("params.yaml"),
    check: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--check", help="Write nothing; exit with 1 if an object differs from its pin.")
    ] = False,
) -> None:
    """Pin the remote objects of the catalog (S3, Google, Azure, the web), and list changes."""
    from quadrat.params import read_params
    from quadrat.runtime.run import Paths
    from quadrat.team.pin import index as pin

    share_endpoint(os.environ)
    with report_errors():
        as_pinned = pin(read_params(params).scenes, Paths().pins, write=not check)
    if check and not as_pinned:
        raise typer.Exit(1)


@app.command()
def sample(name: Annotated[str, typer.Argument(help="Which sample, e.g. landuse.")]) -> None:
    """Fetch sample data into data/raw, or sample weights into data/weights."""
    from quadrat.samples import fetch, keep

    with report_errors():
        folder = fetch(name, Path())
        keep(folder)
        typer.echo(printable(str(folder)))


@app.command()
def init(  # noqa: PLR0913, PLR0917 the options of a command
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The new project: a new or empty folder.")],
    images: Annotated[
        list[str], typer.Option(help="An image, a folder, or a pattern in quotes; may be given several times.")
    ],
    labels: Annotated[
        list[str], typer.Option(help="Vector files or rasters, given likewise: one for all images, or one for each.")
    ],
    task: Annotated[
        Literal["semantic_segmentation", "object_detection", "chip_classification", "pixel_regression"] | None,
        typer.Option(
            help="What to learn.", show_default="semantic_segmentation; of rasters with fractions, pixel_regression"
        ),
    ] = None,
    field: Annotated[
        str | None, typer.Option(help="The field of vector labels that holds the classes.", show_default="as it looks")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="The layer of vector labels, of a file with several.")] = None,
    force: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--force", help="The folder may hold files; those of a project's names are replaced.")
    ] = False,
) -> None:
    """Make a project of your own: look at images and labels, and write parameters, catalog and areas of interest."""
    with report_errors():
        from quadrat.new_project.plan import Request
        from quadrat.new_project.project import init as make

        make(folder, Request(tuple(images), tuple(labels), task, field, layer), force=force)


@app.command()
def configure(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.py", help="A file with a function configure() -> (Params, Catalog).")
    ],
    params: Annotated[
        Path | None, typer.Option(help="The file for the parameters.", show_default="params.yaml beside FILE.py")
    ] = None,
    force: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--force", help="Replace files that this command did not write.")
    ] = False,
) -> None:
    """Write the parameters and the catalog of a Python configuration."""
    with report_errors():
        from quadrat.cli.configure import configure

        for path in configure(file, params, force=force):
            typer.echo(printable(str(path)))


@app.command()
def apply(  # noqa: PLR0913, PLR0917 the options of a command
    bundle: BundleFile,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="A file with several bands, a path with {band} for a file per band, or a catalog (.yaml).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder that gets a folder of layers for each image.")],
    runtime: BundleRuntime = None,
    bands: BandNames = None,
    scale: Annotated[float | None, typer.Option(help="Value × scale + offset is in the model's unit.")] = None,
    offset: Annotated[
        float | None, typer.Option(help="See --scale, with which alone it is 0; alone, the scale is 1.")
    ] = None,
    nodata: Annotated[float | None, typer.Option(help="The stored value that means nodata.")] = None,
    unchecked: Unchecked = False,  # noqa: FBT002 a flag
    resolution: Resolution = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="A key of predict.layers, e.g. scores=true or polygons=areas.gpkg.",
            show_default="as in the bundle",
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of a window, px.", show_default="as in the bundle")] = None,
    stride: Annotated[int | None, typer.Option(help="Px between windows.", show_default="as in the bundle")] = None,
    batch: Batch = None,
) -> None:
    """Predict new images with a bundle."""
    with report_errors():
        from quadrat.runtime.formats.yaml import settings
        from quadrat.serving.apply import apply
        from quadrat.serving.new_images import Reading, side
        from quadrat.serving.ready import Plan

        share_endpoint(os.environ)
        names = names_of(bands)
        reading = Reading(names, scale, offset, nodata, unchecked, side(resolution))
        apply(bundle, images, out, reading, Plan(runtime, batch, size, stride, settings(layer or [])))


@app.command()
def qgis(
    params: ParamsFile = Path("params.yaml"),
    out: Annotated[Path, typer.Option(help="The folder for the project.")] = Path("metrics/qgis"),
) -> None:
    """Write the run as a project of QGIS: image, labels, prediction, error, area and chips of each scene."""
    with report_errors():
        from quadrat.params import read_params
        from quadrat.qgis.project import write_workspace
        from quadrat.runtime.run import Paths

        share_endpoint(os.environ)
        typer.echo(printable(str(write_workspace(read_params(params), Paths(), out))))


@app.command()
def deepness(
    bundle: BundleFile,
    out: Annotated[Path, typer.Argument(metavar="OUT.onnx", help="The file for the graph.")],
    size: Annotated[int | None, typer.Option(help="Side of a tile, px.", show_default="as in the bundle")] = None,
) -> None:
    """Write a bundle's model for QGIS' plugin Deepness."""
    with report_errors():
        from quadrat.serving.deepness import write_deepness

        typer.echo(printable(str(write_deepness(bundle, out, size))))


@app.command()
def verify(bundle: BundleFile) -> None:
    """Check a bundle's checksums, and that it gives the expected output on this machine."""
    with report_errors():
        from quadrat.serving.apply import verify

        verify(bundle)


@app.command()
def origin(
    file: Annotated[Path, typer.Argument(help="A model folder, a bundle, or a layer, e.g. labels.tif.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole origin as JSON.")] = False,  # noqa: FBT002 a flag
) -> None:
    """Print the run that made a file (commit, inputs, parameters, model), and the commits that have it."""
    with report_errors():
        from quadrat.team.trace import show, trace

        found = trace(file)
        if as_json:
            typer.echo(printable(found.origin.model_dump_json(indent=2)))
        else:
            show(found)


@app.command()
def report(
    base: Annotated[str, typer.Argument(metavar="REVISION", help="What to compare with, e.g. main.")],
    out: Annotated[Path, typer.Option(help="The folder that gets report.md and pictures.")] = Path("report"),
    pictures: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option(help="Show predictions before and after; needs the DVC remote.")
    ] = True,
    pictures_at: Annotated[
        str | None, typer.Option(metavar="URL", help="The later address of the folder.", show_default="beside the page")
    ] = None,
) -> None:
    """Write what a change does to parameters, metrics and predictions, in Markdown for a pull request."""
    with report_errors():
        from quadrat.team.report import report

        typer.echo(printable(str(report(base, out, pictures_at, pictures=pictures))))


@app.command()
def remote(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="s3://bucket/prefix, or a folder.")],
    endpoint: Annotated[
        str | None, typer.Option(help="URL of the server, '' for AWS.", show_default="as it is set")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Access key id; the secret is asked for, or read from stdin.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile of ~/.aws instead of a key.")] = None,
) -> None:
    """Set the remote of dvc push and pull: the address for all, endpoint and credentials for this machine."""
    with report_errors():
        from quadrat.team.remote import Access, set_remote

        secret = _asked("Secret") if key else key  # removing a key removes its secret
        typer.echo(printable(str(set_remote(Path(), address, Access(endpoint, key, secret, profile)))))


@app.command()
def doctor() -> None:
    """Check this machine and this clone: versions, device, disk, git, DVC and the remote."""
    with report_errors():
        from quadrat.team.doctor import examine, show

        if not show(examine(Path())):
            sys.exit(1)


def _asked(what: str) -> str:
    """Ask for a secret without echo; without a terminal, read a line."""
    return str(typer.prompt(what, hide_input=True)) if sys.stdin.isatty() else sys.stdin.readline().strip()
