"""Commands for runs on several machines."""

import os
import re
from typing import Annotated

import typer

from quadrat.cli.options import report_errors
from quadrat.cli.s3_endpoint import share_endpoint
from quadrat.cli.submit import submit

app = typer.Typer()
cache = typer.Typer(help="What machines share of the scenes that they have made.", no_args_is_help=True)
app.add_typer(cache, name="cache")
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


def _seconds(age: str) -> float:
    found = re.fullmatch(r"(\d{1,6})([hdw])", age)
    if not found:
        raise typer.BadParameter("an age is a number of hours, days or weeks, such as 12h, 30d or 8w")
    return int(found[1]) * SECONDS[found[2]]
