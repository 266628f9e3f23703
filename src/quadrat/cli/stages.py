"""A command for each stage, called by dvc.yaml."""

import os
from pathlib import Path
from typing import Annotated

import typer

from quadrat.cli.options import (
    Batch,
    Cache,
    Devices,
    Force,
    ParamsFile,
    PartOf,
    Scheduler,
    Work,
    Workers,
    check_all,
    executor_of,
    part_of,
    print_full,
    report_errors,
    run_stage,
    score,
)

app = typer.Typer()


@app.command(name="params")
def parameters(
    params: ParamsFile = Path("params.yaml"),
    full: Annotated[  # noqa: FBT002 a flag
        bool, typer.Option("--full", help="Print all parameters instead, with those that the file leaves out.")
    ] = False,
) -> None:
    """Check the parameters only: known keys, types and ranges."""
    if full:
        print_full(params)
    else:
        check_all(params)


@app.command()
def analyze(
    params: ParamsFile = Path("params.yaml"),
    workers: Workers = None,
    executor: Work = "threads",
    scheduler: Scheduler = None,
) -> None:
    """Measure the training pixels, and report errors of scenes, labels and areas."""
    from quadrat.pipeline.analyze import AnalyzeParams
    from quadrat.pipeline.analyze import analyze as stage
    from quadrat.runtime.run import Run

    run_stage(stage, AnalyzeParams, params, Run(executor_of(executor, workers, scheduler)))


@app.command()
def chip(  # noqa: PLR0913, PLR0917 options
    params: ParamsFile = Path("params.yaml"),
    workers: Workers = None,
    executor: Work = "threads",
    force: Force = False,  # noqa: FBT002 a flag
    cache: Cache = None,
    part: PartOf = None,
    scheduler: Scheduler = None,
) -> None:
    """Cut changed train and validation scenes into chips."""
    from quadrat.pipeline.chip import ChipParams, chip_part
    from quadrat.pipeline.chip import chip as whole
    from quadrat.runtime.run import Run

    run = Run(executor_of(executor, workers, scheduler), force, cache=cache, part=part_of(part))
    run_stage(chip_part if run.part else whole, ChipParams, params, run)


@app.command()
def train(params: ParamsFile = Path("params.yaml"), devices: Devices = None) -> None:
    """Fit the model and the baseline; under torchrun, all its processes train the model."""
    from quadrat.models.training.processes import torchrun
    from quadrat.pipeline.train import TrainParams
    from quadrat.pipeline.train import train as stage

    if devices is not None:
        os.environ["QUADRAT_DEVICES"] = str(devices)
    with report_errors(), torchrun() as leads:
        if leads:
            run_stage(stage, TrainParams, params, traced=True)


@app.command()
def predict(  # noqa: PLR0913, PLR0917 options
    params: ParamsFile = Path("params.yaml"),
    batch: Batch = None,
    workers: Workers = None,
    executor: Work = "threads",
    force: Force = False,  # noqa: FBT002 a flag
    cache: Cache = None,
    part: PartOf = None,
    scheduler: Scheduler = None,
) -> None:
    """Predict changed scenes, except training scenes.

    Each scene uses all cores; --executor processes predicts --workers scenes at once.
    """
    from quadrat.pipeline.predict import PredictParams, predict_part
    from quadrat.pipeline.predict import predict as whole
    from quadrat.runtime.run import Run

    at_once = workers if executor == "processes" else 1
    run = Run(executor_of(executor, at_once, scheduler, gpu=True), force, batch, cache, part_of(part))
    run_stage(predict_part if run.part else whole, PredictParams, params, run, traced=True)


@app.command(name="eval")
def evaluate(  # noqa: PLR0913, PLR0917 options
    params: ParamsFile = Path("params.yaml"),
    workers: Workers = None,
    executor: Work = "threads",
    scheduler: Scheduler = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score these instead: a folder with a file or folder per scene, or a file, by any program."),
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(help="With --predictions: the catalog.", show_default="as the parameters say")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(help="With --predictions: the class outside all polygons, or 'none' for no prediction."),
    ] = None,
    one_class: Annotated[
        str | None, typer.Option("--class", help="With --predictions: the class of all features of files without one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --predictions: a new folder for metrics, tables and pictures.")
    ] = None,
) -> None:
    """Compare predictions with labels."""
    from quadrat.pipeline.eval import EvalParams
    from quadrat.pipeline.eval import evaluate as stage
    from quadrat.runtime.run import Run

    run = Run(executor_of(executor, workers, scheduler))
    if predictions is None:
        for option, value in (("catalog", catalog), ("background", background), ("class", one_class), ("out", out)):
            if value is not None:
                raise typer.BadParameter(f"--{option} goes with --predictions")
        run_stage(stage, EvalParams, params, run)
    else:
        from quadrat.prediction.given import Given

        score(Given(predictions, background, one_class), params, catalog, out, run)


@app.command()
def bundle(params: ParamsFile = Path("params.yaml")) -> None:
    """Pack the model so that it runs anywhere."""
    from quadrat.pipeline.bundle import BundleParams
    from quadrat.pipeline.bundle import bundle as stage

    run_stage(stage, BundleParams, params, traced=True)
