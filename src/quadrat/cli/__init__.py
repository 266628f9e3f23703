"""The command line."""

import warnings
from contextlib import suppress

import typer

from quadrat.cli import cluster, serving, stages, tools, view

app = typer.Typer(
    help="Reproducible deep learning on satellite, aerial and drone imagery.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for commands in (stages.app, tools.app, serving.app, view.app, cluster.app):
    app.add_typer(commands)


def main() -> None:
    """Run the command line."""
    warnings.filterwarnings("ignore", "Dataset has no geotransform")  # photos, and GDAL's datasets in memory
    from quadrat.runtime.process import end_with_dvc, stoppable

    _open_many()
    with stoppable():
        end_with_dvc()
        app()


def _open_many() -> None:
    """Raise the limit of open files: a time series has many, and each thread opens them."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows, which has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # a system may allow less than its limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
