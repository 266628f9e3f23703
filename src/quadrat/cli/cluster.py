"""Commands for runs on several machines."""

import os
import re
import shlex
from typing import Annotated

import typer

from quadrat.cli.options import report_errors
from quadrat.cli.s3_endpoint import share_endpoint

app = typer.Typer()
cache = typer.Typer(help="What machines share of the scenes that they have made.", no_args_is_help=True)
app.add_typer(cache, name="cache")
submit = typer.Typer(help="Run the pipeline on a cluster.", no_args_is_help=True)
app.add_typer(submit, name="submit")

SECONDS = {"h": 3600, "d": 86_400, "w": 604_800}
"""Seconds of the units of an age."""

Place = Annotated[str, typer.Option("--cache", envvar="QUADRAT_CACHE", help="The folder or URL of the shared cache.")]


@cache.command(name="list")
def list_units(place: Place) -> None:
    """Tell how many scenes' chips and layers there are, their size and age."""
    from quadrat.runtime.cache.stored_units import stored

    share_endpoint(os.environ)
    with report_errors():
        found = stored(place)
    if not found:
        typer.echo(f"{place} is empty")
        return
    size = sum(one.size for one in found) / 1e6
    oldest, newest = found[0].seconds / SECONDS["d"], found[-1].seconds / SECONDS["d"]
    typer.echo(f"{place}: {len(found)} units, {size:,.1f} MB, {newest:.1f} to {oldest:.1f} days old")


@cache.command(name="prune")
def prune_units(
    place: Place,
    older: Annotated[str, typer.Option(help="Delete what was stored longer ago: hours, days or weeks (12h, 30d, 8w).")],
) -> None:
    """Delete what was stored long ago; it is made again when it is needed."""
    from quadrat.runtime.cache.stored_units import prune

    share_endpoint(os.environ)
    seconds = _seconds(older)
    with report_errors():
        gone = prune(place, seconds)
    size = sum(one.size for one in gone) / 1e6
    typer.echo(f"{place}: {len(gone)} units, {size:,.1f} MB deleted")


@submit.command(name="slurm")
def submit_slurm(
    first: Annotated[str, typer.Option("--from", metavar="STAGE", help="The first stage to run.")] = "analyze",
    parts: Annotated[int, typer.Option(min=1, max=10_000, help="Parts of chip and of predict, side by side.")] = 4,
    gpu: Annotated[bool, typer.Option("--gpu", help="Ask for a GPU for train and predict.")] = False,  # noqa: FBT002
    options: Annotated[
        str, typer.Option(help="Options of sbatch for all jobs: '--partition=long --time=4:00:00'.")
    ] = "",
    tries: Annotated[int, typer.Option(min=1, help="How often a part that fails is run.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted.")] = False,  # noqa: FBT002
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
        for one in slurm.submit(jobs, FOLDER, options, tries):
            typer.echo(f"{one.name}: {one.id}" + f", {one.parts} parts" * bool(one.parts))
    typer.echo("`quadrat submit status` tells how far they are")


@submit.command(name="status")
def submit_status() -> None:
    """Tell how far the jobs are, and what failed ones said last; exit with 1 if one failed."""
    from quadrat.cluster import slurm
    from quadrat.cluster.jobs import FOLDER

    with report_errors():
        rows, failed = slurm.status(FOLDER)
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

    for file in logs(FOLDER, job):
        typer.echo(f"== {file}")
        typer.echo(file.read_text(encoding="utf-8", errors="replace"), nl=False)


@submit.command(name="cancel")
def submit_cancel() -> None:
    """Cancel the jobs that have not ended."""
    from quadrat.cluster import slurm
    from quadrat.cluster.jobs import FOLDER

    with report_errors():
        for one in slurm.cancel(FOLDER):
            typer.echo(f"{one.name}: {one.id} cancelled")


def _seconds(age: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([hdw])", age)
    if not found:
        raise typer.BadParameter("an age is a number of hours, days or weeks, such as 12h, 30d or 8w")
    return int(found[1]) * SECONDS[found[2]]
