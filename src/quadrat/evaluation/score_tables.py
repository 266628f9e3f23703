"""Metrics of each class and of each scene: a table, so that DVC can draw it, and its diff; not among its metrics."""

import csv
import json
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from quadrat.runtime.files import replaced
from quadrat.tasks.common.metrics import Metrics, rounded


def write_scores(path: Path, of: str, rows: Mapping[str, Metrics]) -> None:
    """Write a row for each of ``rows``, its name in the column ``of``; undefined is empty."""
    columns = list(dict.fromkeys(name for metrics in rows.values() for name in metrics))
    with replaced(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [of, *columns], lineterminator="\n")
        writer.writeheader()
        for name, metrics in rows.items():
            writer.writerow({of: name, **rounded(metrics)})


def read_scores(text: str) -> dict[str, Metrics]:
    """Return metrics by name from what ``write_scores`` has written."""
    rows = [list(row.items()) for row in csv.DictReader(StringIO(text, newline=""))]
    return {name: {key: json.loads(value) if value else None for key, value in rest} for (_, name), *rest in rows}
