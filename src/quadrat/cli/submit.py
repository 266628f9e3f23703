"""Commands that run the pipeline as jobs of a cluster."""

import json
import os
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from quadrat.cli.options import report_errors
from quadrat.cli.s3_endpoint import share_endpoint

if TYPE_CHECKING:
    from quadrat.cluster.jobs import Chain

submit = typer.Typer(help="Run the pipeline on a cluster.", no_args_is_help=True)

First = Annotated[str, typer.Option("--from", metavar="STAGE", help="The first stage to run.")]
Parts = Annotated[int, typer.Option(min=1, max=10_000, help="Parts of chip and of predict, side by side.")]
Gpu = Annotated[bool, typer.Option("--gpu", help="Ask for a GPU for train and predict.")]
Tries = Annotated[int, typer.Option(min=1, help="How often a part that fails is run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted.")]


@submit.command(name="slurm")
def submit_slurm(
    first: First = "analyze",
    parts: Parts = 4,
    gpu: Gpu = False,  # noqa: FBT002
    options: Annotated[
        str, typer.Option(help="Options of sbatch for all jobs: '--partition=long --time=4:00:00'.")
    ] = "",
    tries: Tries = 2,
    dry_run: DryRun = False,  # noqa: FBT002
) -> None:
    """Submit the pipeline to SLURM, from the project's folder; submitted again, only what is missing runs."""
    from quadrat.cluster import slurm
    from quadrat.cluster.jobs import FOLDER, plan

    with report_errors():
        jobs = plan(first, parts, gpu=gpu)
        if dry_run:
            for job in jobs:
                typer.echo(f"# {shlex.join(slurm.commands(job, FOLDER, options, None))}")
                typer.echo(slurm.scripted(job, tries, FOLDER))
            return
        _tell(slurm.submit(jobs, FOLDER, options, tries))


@submit.command(name="batch")
def submit_batch(  # noqa: PLR0913, PLR0917 an option each
    first: First = "analyze",
    parts: Parts = 4,
    gpu: Gpu = False,  # noqa: FBT002
    queue: Annotated[str, typer.Option(help="The job queue; quadrat-spot for Spot.")] = "quadrat",
    gpu_queue: Annotated[str, typer.Option(help="The job queue of jobs with a GPU.")] = "quadrat-gpu",
    definition: Annotated[str, typer.Option(help="The job definition.")] = "quadrat",
    tries: Tries = 2,
    dry_run: DryRun = False,  # noqa: FBT002
) -> None:
    """Submit the project's commit to AWS Batch; submitted again, only what is missing runs.

    Needs QUADRAT_CACHE and a DVC remote on S3.
    """
    from quadrat.cluster import batch
    from quadrat.cluster.jobs import FOLDER, plan
    from quadrat.cluster.shipping import project

    share_endpoint(os.environ)
    cache = os.environ.get("QUADRAT_CACHE")
    options = batch.Options(queue, gpu_queue, definition, tries)
    with report_errors():
        jobs = plan(first, parts, gpu=gpu)
        if dry_run:
            found = project(cache)
            for job in jobs:
                words = batch.request(job, found, options, None)
                *_, text = words["containerOverrides"].pop("command")
                typer.echo(f"# {json.dumps(words)}\n{text}")
            return
        _tell(batch.submit(jobs, FOLDER, cache, options))


@submit.command(name="status")
def submit_status() -> None:
    """Tell how far the jobs are, and what failed ones said last; exit with 1 if one failed."""
    from quadrat.cluster.jobs import FOLDER, engine, recorded

    with report_errors():
        rows, failed = engine(recorded(FOLDER).engine).status(FOLDER)
    for name, number, does in rows:
        typer.echo(f"{name:8} {number:>8}  {does}")
    for one in failed:
        typer.echo(f"\n{one}")
    if failed:
        raise typer.Exit(1)


@submit.command(name="logs")
def submit_logs(
    job: Annotated[str | None, typer.Argument(help="Of one job, such as chip; else of all.")] = None,
) -> None:
    """Print the logs."""
    from quadrat.cluster.jobs import FOLDER, logs

    with report_errors():
        for title, text in logs(FOLDER, job):
            typer.echo(f"== {title}")
            typer.echo(text, nl=False)


@submit.command(name="cancel")
def submit_cancel() -> None:
    """Cancel the jobs that have not ended."""
    from quadrat.cluster.jobs import FOLDER, cancel

    with report_errors():
        cancelled = cancel(FOLDER)
    for one in cancelled:
        typer.echo(f"{one.name}: {one.id} cancelled")
    if not cancelled:
        typer.echo("all jobs had ended")


@submit.command(name="fetch")
def submit_fetch(
    targets: Annotated[
        list[str] | None, typer.Argument(help="What dvc pull shall bring, such as models/model; else all.")
    ] = None,
) -> None:
    """Bring what jobs of AWS Batch have recorded into this folder: dvc.lock, metrics, and the stages' outputs."""
    from quadrat.cluster.jobs import FOLDER, recorded
    from quadrat.cluster.shipping import fetch

    share_endpoint(os.environ)
    with report_errors():
        fetch(recorded(FOLDER), FOLDER, targets or [])


@submit.command(name="pull")
def submit_pull(stages: Annotated[list[str], typer.Argument(help="Such as chip.")]) -> None:
    """Pull from the DVC remote what stages read, on a machine that has no more than a clone."""
    from quadrat.cluster.shipping import pull

    share_endpoint(os.environ)
    with report_errors():
        pull(stages)


def _tell(chain: "Chain") -> None:
    for one in chain.jobs:
        typer.echo(f"{one.name}: {one.id}" + f", {one.parts} parts" * bool(one.parts))
    typer.echo("`quadrat submit status` tells how far they are")
