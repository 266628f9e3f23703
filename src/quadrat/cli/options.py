"""What commands have in common: options, how a stage is called, and how an error is told."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from quadrat.cli.s3_endpoint import share_endpoint

if TYPE_CHECKING:
    from quadrat.runtime.parallel import Executor
    from quadrat.runtime.run import Paths, Run

P = TypeVar("P")

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
        show_default="as many as have 131,072 px, on a GPU what it has room for",
    ),
]


def run_stage(stage: "Callable[[P, Paths, Run], None]", kind: type[P], params: Path, run: "Run | None" = None) -> None:
    """Run a stage, alone in the workspace, with its sections of the file ``params``: the fields of ``kind``."""
    from quadrat.params import read_params
    from quadrat.runtime.process import alone
    from quadrat.runtime.provenance.workspace import origin_of
    from quadrat.runtime.run import Paths, Run, subset
    from quadrat.runtime.timing import timed

    share_endpoint(os.environ)
    paths, run, name = Paths(), run or Run(), stage.__module__.rpartition(".")[2]
    with report_errors():
        sections = subset(kind, read_params(params))
        origin = origin_of(name, params, [each.name for each in fields(kind)])  # type: ignore[arg-type] # a dataclass
        with alone(name, paths.lock), timed(name, paths.timing, run.executor):
            stage(sections, paths, replace(run, origin=origin))


def check_all(params: Path) -> None:
    """Check all parameters, and note for DVC that they are good."""
    from quadrat.params import read_params
    from quadrat.pipeline.check_params import check_params
    from quadrat.runtime.process import alone
    from quadrat.runtime.run import Paths

    with report_errors():
        read_params(params)
        with alone("params", Paths().lock):
            check_params(Paths())


def print_full(params: Path) -> None:
    """Print all parameters, also those that the file leaves out."""
    from quadrat.params import read_params, written

    with report_errors():
        typer.echo(written(read_params(params)).decode(), nl=False)


def executor_of(kind: str, workers: int | None) -> "Executor":
    """Return what works, as the options say; one worker a core where they don't."""
    from quadrat.runtime.parallel import Processes, Threads, cores

    return (Processes if kind == "processes" else Threads)(workers or cores())


@contextmanager
def report_errors() -> Iterator[None]:
    """Tell an error in words and exit with 1; with QUADRAT_TRACEBACK set, show where it came from."""
    from quadrat.errors import QuadratError
    from quadrat.runtime.progress import print_error

    try:
        yield
    except QuadratError as error:
        if os.environ.get("QUADRAT_TRACEBACK"):
            raise
        print_error(error)
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that may not be written: not this program's fault
        if os.environ.get("QUADRAT_TRACEBACK"):
            raise
        print_error(
            OSError(
                f"{error}\n  hint: check that the disk has room and that files may be read and written there; "
                "QUADRAT_TRACEBACK=1 shows where it came from"
            )
        )
        sys.exit(1)
