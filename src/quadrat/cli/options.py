"""Shared by commands: options, running a stage, printing errors."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from quadrat.cli.s3_endpoint import share_endpoint

if TYPE_CHECKING:
    from quadrat.prediction.given import Given
    from quadrat.runtime.parallel import Executor
    from quadrat.runtime.run import Part, Paths, Run

P = TypeVar("P")

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters.")]
Workers = Annotated[
    int | None,
    typer.Option(envvar="QUADRAT_WORKERS", min=1, help="Number of workers.", show_default="one per core"),
]
Work = Annotated[
    Literal["threads", "processes"],
    typer.Option("--executor", envvar="QUADRAT_EXECUTOR", help="Kind of workers: threads or processes."),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        envvar="QUADRAT_SCHEDULER",
        help="The address of a Dask scheduler, such as tcp://host:8786: its workers, which see this folder, run the "
        "scenes.",
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", envvar="QUADRAT_FORCE", help="Redo all scenes, also unchanged ones."),
]
Batch = Annotated[
    int | None,
    typer.Option(
        envvar="QUADRAT_BATCH",
        min=1,
        help="Windows per batch.",
        show_default="as many as have 131,072 px; on a GPU as many as have 2,097,152 px, and fit",
    ),
]
Devices = Annotated[
    int | None,
    typer.Option(
        envvar="QUADRAT_DEVICES",
        min=1,
        help="Train a network on so many GPUs of this machine, or, without GPUs, in so many processes.",
        show_default="1",
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        "--cache",
        envvar="QUADRAT_CACHE",
        help="A folder or URL (s3://bucket/folder) in which machines share the scenes that they have made.",
    ),
]
PartOf = Annotated[
    str | None,
    typer.Option("--part", metavar="K/N", help="Make every N-th scene, from the K-th on, in the shared cache alone."),
]
BundleRuntime = Annotated[
    Literal["torch", "onnx"] | None,
    typer.Option("--runtime", help="The runtime of the model.", show_default="as in predict: the faster one here"),
]
BandNames = Annotated[str | None, typer.Option("--bands", help="The file's bands in order, e.g. B02,B03,B04.")]
Unchecked = Annotated[bool, typer.Option("--unchecked", help="Accept values far from the training values.")]
Resolution = Annotated[
    str | None,
    typer.Option(
        "--resolution",
        help="Bring images to pixels of this side, in units of their CRS; 'model': to the model's.",
        show_default="as the image has",
    ),
]


def run_stage(
    stage: "Callable[[P, Paths, Run], None]",
    kind: type[P],
    params: Path,
    run: "Run | None" = None,
    *,
    traced: bool = False,
) -> None:
    """Run a stage under the workspace's lock, with its sections (the fields of ``kind``) of the file ``params``.

    If ``traced``, the stage gets the origin of its outputs, which takes calls of git and DVC.
    """
    from quadrat.params import read_params
    from quadrat.runtime.process import alone
    from quadrat.runtime.provenance.workspace import origin_of
    from quadrat.runtime.run import Paths, Run, subset
    from quadrat.runtime.timing import timed

    share_endpoint(os.environ)
    paths, run, name = Paths(), run or Run(), stage.__module__.rpartition(".")[2]
    with report_errors():
        sections = subset(kind, read_params(params))
        names = [each.name for each in fields(kind)]  # type: ignore[arg-type] # a dataclass
        origin = origin_of(name, params, names) if traced else None
        check = partial(_check_sections, sections, params)
        with ExitStack() as held:
            if run.part is None:  # what leaves the workspace as it is needs no lock
                held.enter_context(alone(name, paths.lock))
                held.enter_context(timed(name, paths.timing, run.executor))
            stage(sections, paths, replace(run, origin=origin, check=check))
            check()


def _check_sections(sections: object, params: Path) -> None:
    """Raise InputError if the file ``params`` has other ``sections`` now; DVC notes those after the stage."""
    from quadrat.errors import InputError, QuadratError
    from quadrat.params import read_params
    from quadrat.runtime.run import subset

    try:
        now = subset(type(sections), read_params(params))
        names = [each.name for each in fields(type(sections))]  # type: ignore[arg-type] # a dataclass
        got = ", ".join(name for name in names if getattr(now, name) != getattr(sections, name))
    except QuadratError as error:
        got = error.problem
    if got:
        raise InputError(
            "the parameters were changed while the stage ran",
            file=params,
            expected="those of its start",
            got=got,
            hint="run it again: what was learnt with the parameters of its start is kept; `dvc exp run --temp` runs in "
            "a copy, while you edit here",
        )


def score(given: "Given", params: Path, catalog: Path | None, out: Path | None, run: "Run") -> None:
    """Score given predictions of the scenes of a catalog; write what eval writes to ``out``, if it is given."""
    from tempfile import TemporaryDirectory

    from quadrat.errors import ParamsError, QuadratError
    from quadrat.params import read_scoring
    from quadrat.pipeline.eval import EvalParams, score_given
    from quadrat.runtime.run import Paths

    share_endpoint(os.environ)
    with report_errors(), TemporaryDirectory(prefix="quadrat-") as aside:
        sections = read_scoring(params)
        scenes = catalog or sections.scenes
        if scenes is None:
            raise ParamsError("no catalog is given", file=params, hint="give --catalog, or the key scenes")
        if out is not None and out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise QuadratError("the folder for the scores is there", file=out, hint="give the name of a new folder")
        folder = out or Path(aside)
        folder.mkdir(parents=True, exist_ok=True)
        tables = ("class_scores", "scene_scores", "confusion", "areas", "reliability")
        names = ("eval_metrics", "intervals", *tables, "pictures", "page")
        paths = replace(Paths(), **{name: folder / getattr(Paths(), name).name for name in names})
        score_given(EvalParams(scenes, sections.seed, sections.task, None, sections.eval), paths, run, given)


def check_all(params: Path) -> None:
    """Check all parameters, and write the output of the stage ``params``."""
    from quadrat.errors import PluginError
    from quadrat.params import read_params
    from quadrat.pipeline.check_params import check_params
    from quadrat.plugins.section import plugins_in
    from quadrat.runtime.process import alone
    from quadrat.runtime.run import Paths

    with report_errors():
        named = plugins_in(read_params(params))
        with alone("params", Paths().lock):
            try:
                check_params(named, Paths())
            except PluginError as error:
                error.file = error.file or params
                raise


def print_full(params: Path) -> None:
    """Print all parameters, also those that the file leaves out."""
    from quadrat.params import read_params, written

    with report_errors():
        typer.echo(written(read_params(params)).decode(), nl=False)


def names_of(text: str | None) -> tuple[str, ...] | None:
    """Return the names of the option ``--bands``."""
    return None if text is None else tuple(name.strip() for name in text.split(","))


def part_of(text: str | None) -> "Part | None":
    """Return the part that the option ``--part`` names."""
    from quadrat.runtime.run import Part

    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not (slash and number.isascii() and number.isdigit() and count.isascii() and count.isdigit()):
        raise typer.BadParameter("--part takes K/N, such as 3/8")
    if not 1 <= int(number) <= int(count):
        raise typer.BadParameter(f"--part {text}: there are parts 1 to {int(count)}")
    return Part(int(number), int(count))


def executor_of(kind: str, workers: int | None, scheduler: str | None = None, *, gpu: bool = False) -> "Executor":
    """Return the executor of the options; by default one worker per core. With ``gpu``, a cluster's GPUs run it."""
    from quadrat.runtime.parallel import Processes, Threads, cores

    if scheduler:
        from quadrat.cluster.dask_cluster import DaskCluster

        return DaskCluster(scheduler, gpu)
    return (Processes if kind == "processes" else Threads)(workers or cores())


def _unread() -> bool:
    """Return whether the program that read what is printed has ended, as `head` does: typer then ends in silence."""
    try:
        stream = select.poll()
        stream.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError, AttributeError):  # no file, or a system without poll
        return False
    return any(event & select.POLLERR for _, event in stream.poll(0))


@contextmanager
def report_errors() -> Iterator[None]:
    """Print an error and exit with 1; with QUADRAT_TRACEBACK set, show the traceback."""
    from quadrat.errors import QuadratError
    from quadrat.runtime.progress import print_error

    try:
        yield
    except QuadratError as error:
        if os.environ.get("QUADRAT_TRACEBACK"):
            raise
        print_error(error)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if os.environ.get("QUADRAT_TRACEBACK") or (error.name or "quadrat").partition(".")[0] == "quadrat":
            raise
        hint = 'run scripts/setup in the project, or pip install ".[project]"'
        print_error(QuadratError(f"the command needs the package {error.name}, which isn't installed", hint=hint))
        sys.exit(1)
    except OSError as error:  # a full disk or a read-only folder: not a bug
        if os.environ.get("QUADRAT_TRACEBACK") or (isinstance(error, BrokenPipeError) and _unread()):
            raise
        print_error(
            OSError(
                f"{error}\n  hint: check that the disk has room and that files may be read and written there; "
                "QUADRAT_TRACEBACK=1 shows the traceback"
            )
        )
        sys.exit(1)
