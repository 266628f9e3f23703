"""The command line: a command for each stage, and what is done around them."""

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from quadrat.executor import Executor

app = typer.Typer(
    help="Reproducible deep learning on satellite, aerial and drone imagery.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters.")]
Workers = Annotated[
    int | None,
    typer.Option(envvar="QUADRAT_WORKERS", min=1, help="How many work at once.", show_default="one a core"),
]
Work = Annotated[
    Literal["threads", "processes"],
    typer.Option("--executor", envvar="QUADRAT_EXECUTOR", help="What works: threads, or processes of their own."),
]
Force = Annotated[
    bool,
    typer.Option("--force", envvar="QUADRAT_FORCE", help="Make everything anew, also of scenes that have not changed."),
]
Batch = Annotated[
    int | None,
    typer.Option(
        envvar="QUADRAT_BATCH",
        min=1,
        help="Windows that go through the model at once.",
        show_default="8, on a GPU what it has room for",
    ),
]

BundleFile = Annotated[Path, typer.Argument(help="The bundle, e.g. models/bundle.zip.")]


@app.command(name="params")
def parameters(params: ParamsFile = Path("params.yaml")) -> None:
    """Check the parameters alone: every key known, of its type and in range."""
    from quadrat.stages.params import params as stage

    _run(stage, params)


@app.command()
def analyze(params: ParamsFile = Path("params.yaml"), workers: Workers = None, executor: Work = "threads") -> None:
    """Measure the training pixels, and find what is wrong with scenes before anything learns from them."""
    from quadrat.stages.analyze import analyze as stage

    _run(stage, params, executor=_executor(executor, workers))


@app.command()
def chip(
    params: ParamsFile = Path("params.yaml"),
    workers: Workers = None,
    executor: Work = "threads",
    force: Force = False,  # noqa: FBT002 a flag
) -> None:
    """Cut train and validation scenes into chips: those that changed."""
    from quadrat.stages.chip import chip as stage

    _run(stage, params, executor=_executor(executor, workers), force=force)


@app.command()
def train(params: ParamsFile = Path("params.yaml")) -> None:
    """Fit the model and the baseline."""
    from quadrat.stages.train import train as stage

    _run(stage, params)


@app.command()
def predict(
    params: ParamsFile = Path("params.yaml"),
    batch: Batch = None,
    workers: Workers = None,
    executor: Work = "threads",
    force: Force = False,  # noqa: FBT002 a flag
) -> None:
    """Predict all scenes but those that were learnt from: those that changed.

    Scene by scene, each with all cores; --executor processes predicts --workers scenes at once.
    """
    from quadrat.stages.predict import predict as stage

    _run(
        stage, params, executor=_executor(executor, workers if executor == "processes" else 1), batch=batch, force=force
    )


@app.command(name="eval")
def evaluate(params: ParamsFile = Path("params.yaml"), workers: Workers = None, executor: Work = "threads") -> None:
    """Compare predictions with labels."""
    from quadrat.stages.eval import evaluate as stage

    _run(stage, params, executor=_executor(executor, workers))


@app.command()
def bundle(params: ParamsFile = Path("params.yaml")) -> None:
    """Pack the model so that it runs anywhere."""
    from quadrat.stages.bundle import bundle as stage

    _run(stage, params)


@app.command()
def check(
    params: ParamsFile = Path("params.yaml"),
    workers: Workers = None,
    lock: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--lock", help="Compare dvc.lock with code, parameters and figures instead; needs no data.")
    ] = False,
) -> None:
    """Tell in seconds all that the stages would stop at, and list the scenes; exits with 1 where there is a fault."""
    if lock:
        with _told():
            from quadrat.lockfile import differences, show

            found = differences(Path())
            show(found)
        raise typer.Exit(bool(found))
    from quadrat.checks import check as look

    if _run(look, params, executor=_executor("threads", workers)):
        raise typer.Exit(1)


@app.command()
def index(
    params: ParamsFile = Path("params.yaml"),
    check: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--check", help="Write nothing; exit with 1 where an object is not as pinned.")
    ] = False,
) -> None:
    """Pin the objects that the catalog names on S3, Google, Azure and the web, and list what differs."""
    from quadrat.index import index as pin

    if not _run(pin, params, write=not check) and check:
        raise typer.Exit(1)


@app.command()
def sample(name: Annotated[str, typer.Argument(help="Which sample, e.g. landuse.")]) -> None:
    """Fetch sample data into data/raw."""
    from quadrat.samples import fetch, keep

    with _told():
        folder = fetch(name, Path())
        keep(folder)
        typer.echo(folder)


@app.command()
def configure(
    file: Annotated[Path, typer.Argument(metavar="FILE.py", help="Has a function configure() -> (Params, Catalog).")],
    params: Annotated[
        Path | None, typer.Option(help="Where the parameters go.", show_default="params.yaml beside FILE.py")
    ] = None,
) -> None:
    """Write the parameters and the catalog that a Python file composes."""
    with _told():
        from quadrat.configure import configure

        for path in configure(file, params):
            typer.echo(path)


@app.command()
def apply(  # noqa: PLR0913, PLR0917 the options of a command
    bundle: BundleFile,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="A file with several bands, a path with {band} for a file of each, or a catalog (.yaml).",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder that gets a folder of layers for each image.")],
    runtime: Annotated[Literal["torch", "onnx"], typer.Option(help="What runs the model.")] = "torch",
    bands: Annotated[str | None, typer.Option(help="The file's bands in order, e.g. B02,B03,B04.")] = None,
    scale: Annotated[float | None, typer.Option(help="Value × scale + offset is in the model's unit.")] = None,
    offset: Annotated[float | None, typer.Option(help="See --scale.")] = None,
    nodata: Annotated[float | None, typer.Option(help="The value, as stored, that is none.")] = None,
    unchecked: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--unchecked", help="Take values unlike all that was learnt from.")
    ] = False,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="What is written, by the keys of predict.layers, e.g. scores=true or polygons=areas.gpkg.",
            show_default="as in the bundle",
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(help="Side of a window, px.", show_default="as in the bundle")] = None,
    stride: Annotated[int | None, typer.Option(help="Px between windows.", show_default="as in the bundle")] = None,
    batch: Batch = None,
) -> None:
    """Predict new images with a bundle alone."""
    with _told():
        from quadrat.apply import Plan, apply
        from quadrat.endpoints import share_endpoint
        from quadrat.images import Reading
        from quadrat.yaml import settings

        share_endpoint(os.environ)
        names = None if bands is None else tuple(name.strip() for name in bands.split(","))
        reading = Reading(names, scale, offset, nodata, unchecked)
        apply(bundle, images, out, reading, Plan(runtime, batch, size, stride, settings(layer or [])))


@app.command()
def verify(bundle: BundleFile) -> None:
    """Check that a bundle is whole, and that it gives here what it gave where it was made."""
    with _told():
        from quadrat.apply import verify

        verify(bundle)


@app.command()
def origin(
    file: Annotated[Path, typer.Argument(help="A model folder, a bundle, or a layer, e.g. labels.tif.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what the file tells, whole.")] = False,  # noqa: FBT002 a flag
) -> None:
    """Tell what has made a file, and where git has it: the run, its commit, inputs, parameters and model."""
    with _told():
        from quadrat.traces import show, trace

        found = trace(file)
        if as_json:
            typer.echo(found.origin.model_dump_json(indent=2))
        else:
            show(found)


@app.command()
def report(
    base: Annotated[str, typer.Argument(metavar="REVISION", help="What to compare with, e.g. main.")],
    out: Annotated[Path, typer.Option(help="The folder that gets report.md and pictures.")] = Path("report"),
    pictures: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option(help="Show predictions before and after; takes the DVC remote.")
    ] = True,
    pictures_at: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the folder will be.", show_default="beside the page")
    ] = None,
) -> None:
    """Tell in Markdown what a change does to parameters, metrics and predictions, as for a pull request."""
    with _told():
        from quadrat.report import report

        typer.echo(report(base, out, pictures_at, pictures=pictures))


@app.command()
def remote(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="s3://bucket/prefix, or a folder.")],
    endpoint: Annotated[
        str | None, typer.Option(help="URL of the server, '' for AWS.", show_default="as it is set")
    ] = None,
    key: Annotated[str | None, typer.Option(help="Access key id; the secret is asked for, or read from stdin.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile of ~/.aws instead of a key.")] = None,
) -> None:
    """Set where dvc push and pull go: the address for all, endpoint and credentials for this machine."""
    with _told():
        from quadrat.remotes import Access, set_remote

        secret = _asked("Secret") if key else key  # taking a key away takes its secret away
        typer.echo(set_remote(Path(), address, Access(endpoint, key, secret, profile)))


@app.command()
def doctor() -> None:
    """Tell whether this machine and this clone can work: versions, device, disk, git, DVC and the remote."""
    with _told():
        from quadrat.doctor import examine, show

        if not show(examine(Path())):
            sys.exit(1)


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore", "Dataset has no geotransform")  # photos, and GDAL's datasets in memory
    from quadrat.running import end_with_dvc, stoppable

    _open_many()
    with stoppable():
        end_with_dvc()
        app()


def _open_many() -> None:
    """Let as many files be open as the system allows: a time series has many, and each thread opens them."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system may allow less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run(stage: Callable[..., Any], params: Path, **here: Any) -> Any:
    """Call ``stage`` with what its signature names: sections of ``params``, paths, and ``here``: where and how."""
    from quadrat.endpoints import share_endpoint
    from quadrat.params import read_params
    from quadrat.paths import CHECKPOINTS, HASHES, LOCK, PATHS, TIMING
    from quadrat.running import alone
    from quadrat.timing import timed
    from quadrat.workspace import origin_of

    share_endpoint(os.environ)
    with _told():
        sections, taken = dict(read_params(params)), inspect.signature(stage).parameters
        given = {**PATHS, "checkpoints": CHECKPOINTS, "hashes": HASHES, **sections, **here}
        package, _, name = stage.__module__.rpartition(".")
        if "origin" in taken:
            given["origin"] = origin_of(name, params, sections.keys() & taken.keys())
        arguments = {argument: given[argument] for argument in taken}
        if package != "quadrat.stages":  # what writes nothing holds nothing
            return stage(**arguments)
        with alone(name, LOCK), timed(name, TIMING, here.get("executor")):
            return stage(**arguments)


def _executor(kind: str, workers: int | None) -> "Executor":
    from quadrat.executor import Processes, Threads, cores

    return (Processes if kind == "processes" else Threads)(workers or cores())


def _asked(what: str) -> str:
    """Ask for what nobody else should see; where no one sits, read a line."""
    return str(typer.prompt(what, hide_input=True)) if sys.stdin.isatty() else sys.stdin.readline().strip()


@contextmanager
def _told() -> Iterator[None]:
    """Tell an error in words and exit with 1; with QUADRAT_TRACEBACK set, show where it came from."""
    from quadrat.errors import QuadratError
    from quadrat.progress import tell

    try:
        yield
    except QuadratError as error:
        if os.environ.get("QUADRAT_TRACEBACK"):
            raise
        tell(error)
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written: not this program's fault
        if os.environ.get("QUADRAT_TRACEBACK"):
            raise
        tell(
            OSError(
                f"{error}\n  mend: check that the disk has room and that files may be read and written there; "
                "QUADRAT_TRACEBACK=1 shows where it came from"
            )
        )
        sys.exit(1)
