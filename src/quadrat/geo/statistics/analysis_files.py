"""Reads the outputs of analyze for later stages."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from quadrat.errors import AnalysisError
from quadrat.geo.statistics.band_statistics import BandStatistics, Statistics
from quadrat.runtime.formats.yaml import load

if TYPE_CHECKING:
    import pandas as pd

HINT = "run the stage 'analyze', e.g. with `dvc repro analyze`"


def read_statistics(path: Path) -> tuple[BandStatistics, ...]:
    """Return the statistics of the bands; raise AnalysisError if the file is missing or damaged."""
    try:
        return load(path, Statistics, AnalysisError).bands
    except AnalysisError as error:
        error.hint = HINT
        raise


def read_table(path: Path, columns: Sequence[str]) -> "pd.DataFrame":
    """Return ``columns`` of the table of scenes, a row for each.

    Raises AnalysisError if the file is missing or damaged, or lacks a column, because the task had no such class then.
    """
    import pandas as pd
    from pyarrow import ArrowException
    from pyarrow.parquet import read_schema

    try:
        missing = [name for name in columns if name not in read_schema(path).names]
        if not missing:
            return pd.read_parquet(path, columns=[*columns])
    except FileNotFoundError as cause:
        raise AnalysisError("the scenes are not analysed", file=path, hint=HINT) from cause
    except (OSError, ArrowException) as cause:
        raise AnalysisError("the table of scenes can't be read", file=path, got=cause, hint=HINT) from cause
    raise AnalysisError(
        "the scenes were analysed for another task",
        file=path,
        expected=f"a column for each class: {', '.join(columns)}",
        got=f"no column {', '.join(missing)}",
        hint=HINT,
    )
