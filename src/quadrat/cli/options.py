"""What commands have in common: options, how a stage is called, and how an error is told."""

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from quadrat.runtime.parallel import Executor

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


def run(stage: Callable[..., Any], params: Path, **here: Any) -> Any:
    """Call ``stage`` with what its signature names: sections of ``params``, paths, and ``here``: where and how."""
    from quadrat.cli.s3_endpoint import share_endpoint
    from quadrat.params import read_params
    from quadrat.pipeline.paths import CHECKPOINTS, HASHES, LOCK, PATHS, TIMING
    from quadrat.runtime.process import alone
    from quadrat.runtime.provenance.workspace import origin_of
    from quadrat.runtime.timing import timed

    share_endpoint(os.environ)
    with told():
        sections, taken = dict(read_params(params)), inspect.signature(stage).parameters
        given = {**PATHS, "checkpoints": CHECKPOINTS, "hashes": HASHES, **sections, **here}
        package, _, name = stage.__module__.rpartition(".")
        if "origin" in taken:
            given["origin"] = origin_of(name, params, sections.keys() & taken.keys())
        arguments = {argument: given[argument] for argument in taken}
        if package != "quadrat.pipeline":  # what writes nothing holds nothing
            return stage(**arguments)
        with alone(name, LOCK), timed(name, TIMING, here.get("executor")):
            return stage(**arguments)


def executor_of(kind: str, workers: int | None) -> "Executor":
    """Return what works, as the options say; one worker a core where they don't."""
    from quadrat.runtime.parallel import Processes, Threads, cores

    return (Processes if kind == "processes" else Threads)(workers or cores())


@contextmanager
def told() -> Iterator[None]:
    """Tell an error in words and exit with 1; with QUADRAT_TRACEBACK set, show where it came from."""
    from quadrat.errors import QuadratError
    from quadrat.runtime.progress import tell

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
