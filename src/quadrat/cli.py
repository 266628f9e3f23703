"""The command line: a command for each stage, and what is done around them."""

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Reproducible deep learning on satellite, aerial and drone imagery.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters.")]
Workers = Annotated[int, typer.Option(envvar="QUADRAT_WORKERS", min=1, help="Threads that read. [default: all cores]")]
Batch = Annotated[int, typer.Option(envvar="QUADRAT_BATCH", min=1, help="Windows that go through the model at once.")]


@app.command()
def analyze(params: ParamsFile = Path("params.yaml"), workers: Workers = 0) -> None:
    """Measure the training pixels, and find what is wrong with scenes before anything learns from them."""
    from quadrat.stages.analyze import analyze as stage

    _run(stage, params, workers=workers)


@app.command()
def chip(params: ParamsFile = Path("params.yaml"), workers: Workers = 0) -> None:
    """Cut train and validation scenes into chips."""
    from quadrat.stages.chip import chip as stage

    _run(stage, params, workers=workers)


@app.command()
def train(params: ParamsFile = Path("params.yaml")) -> None:
    """Fit the model and the baseline."""
    from quadrat.stages.train import train as stage

    _run(stage, params)


@app.command()
def predict(params: ParamsFile = Path("params.yaml"), batch: Batch = 8) -> None:
    """Predict all scenes but those that were learnt from."""
    from quadrat.stages.predict import predict as stage

    _run(stage, params, batch=batch)


@app.command(name="eval")
def evaluate(params: ParamsFile = Path("params.yaml")) -> None:
    """Compare predictions with labels."""
    from quadrat.stages.eval import evaluate as stage

    _run(stage, params)


@app.command()
def bundle(params: ParamsFile = Path("params.yaml")) -> None:
    """Pack the model so that it runs anywhere."""
    from quadrat.stages.bundle import bundle as stage

    _run(stage, params)


@app.command()
def sample(name: Annotated[str, typer.Argument(help="Which sample, e.g. landuse.")]) -> None:
    """Fetch sample data into data/raw."""
    from quadrat.samples import fetch

    with _told():
        typer.echo(fetch(name, Path()))


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore", "Dataset has no geotransform")  # photos, and GDAL's datasets in memory
    app()


def _run(stage: Callable[..., None], params: Path, workers: int = 0, **options: Any) -> None:
    """Call ``stage`` with what its signature names: sections of ``params``, paths, and where it runs."""
    from quadrat.executor import Threads, cores
    from quadrat.params import read_params
    from quadrat.paths import PATHS

    with _told():
        sections = dict(read_params(params))
        here = {"executor": Threads(workers or cores()), **options}
        stage(**{name: {**PATHS, **sections, **here}[name] for name in inspect.signature(stage).parameters})


@contextmanager
def _told() -> Iterator[None]:
    """Tell an error in words and exit with 1; with QUADRAT_TRACEBACK set, show where it came from."""
    from quadrat.errors import QuadratError
    from quadrat.progress import console

    try:
        yield
    except QuadratError as error:
        if os.environ.get("QUADRAT_TRACEBACK"):
            raise
        console.print(f"[bold red]{type(error).__name__}[/]: ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
