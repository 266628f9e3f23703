"""Tables of the metrics of each class and scene, and of confusions, as plots of DVC."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path

from quadrat.runtime.files import replaced
from quadrat.tasks.common.classes import NONE
from quadrat.tasks.common.metrics import Counts, Metrics, rounded


def write_scores(path: Path, of: str, rows: Mapping[str, Metrics]) -> None:
    """Write ``rows``, with their names in the column ``of``; undefined values are empty."""
    columns = list(dict.fromkeys(name for metrics in rows.values() for name in metrics))
    with replaced(path, synced=True) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [of, *columns], lineterminator="\n")
        writer.writeheader()
        for name, metrics in rows.items():
            writer.writerow({of: name, **rounded(metrics)})


def read_scores(text: str) -> dict[str, Metrics]:
    """Return metrics by name from text of ``write_scores``."""
    rows = [list(row.items()) for row in csv.DictReader(StringIO(text, newline=""))]
    return {name: {key: json.loads(value) if value else None for key, value in rest} for (_, name), *rest in rows}


def write_confusion(path: Path, names: Sequence[str], counts: Counts) -> None:
    """Write a row for each pair of classes ``names``; ``.dvc/plots/confusion.json`` draws them."""
    import pandas as pd

    pairs = counts.confused()
    names = [*names, NONE][: len(pairs)]
    rows = [
        {"truth": truth, "predicted": predicted, "count": pairs[t, p]}
        for t, truth in enumerate(names)
        for p, predicted in enumerate(names)
    ]
    with replaced(path, synced=True) as part:
        pd.DataFrame(rows, columns=["truth", "predicted", "count"]).to_csv(part, index=False)
