"""One of the two states that quadrat report compares."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from quadrat.evaluation.score_tables import read_scores
from quadrat.runtime.run import Paths
from quadrat.team.lockfile import leaves
from quadrat.team.noise import Score, read_score

PATHS = Paths()


@dataclass(frozen=True)
class State:
    """One of the two compared states: its name and DVC repository."""

    name: str
    repo: Any

    def text(self, path: Path) -> str:
        """Return the text of a file in git; empty if it is missing."""
        fs = self.repo.fs
        file = fs.join(self.repo.root_dir, path.as_posix())
        return str(fs.read_text(file, encoding="utf-8")) if fs.exists(file) else ""

    def parameters(self) -> dict[str, Any]:
        """Return the parameters by dotted key, in the file's order."""
        return dict(leaves(YAML(typ="safe", pure=True).load(self.text(Path("params.yaml"))) or {}))

    def metrics(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the files of metrics and their metrics by dotted key; undefined is None."""
        for path in (PATHS.eval_metrics, PATHS.train_metrics, PATHS.analyze_metrics):
            yield path.stem, dict(leaves(json.loads(self.text(path) or "{}")))

    def score(self) -> Score | None:
        """Return the score, if it has an interval."""
        return read_score(self.text(PATHS.eval_metrics), self.text(PATHS.intervals))

    def scores(self, path: Path) -> Mapping[str, Mapping[str, Any]]:
        """Return the metrics of each class or scene."""
        return read_scores(self.text(path))

    def confusion(self) -> dict[tuple[str, str], int]:
        """Return the counts by true and predicted class."""
        rows = csv.DictReader(StringIO(self.text(PATHS.confusion), newline=""))
        return {(row["truth"], row["predicted"]): int(row["count"]) for row in rows}

    def drawn(self) -> Any:
        """Return the checksum of the folder of pictures; None if eval has not run."""
        path = PATHS.pictures.as_posix()
        return next((out.hash_info for out in self.repo.index.outs if out.def_path == path and out.hash_info), None)

    def pictures(self, cache: Any) -> dict[str, Path]:
        """Return the pictures in DVC's cache by scene."""
        from dvc_data.hashfile import load

        folder = self.drawn()
        if not folder or not cache.exists(folder.value):
            return {}
        tree: Any = load(cache, folder)
        found = ((name, Path(cache.oid_to_path(one.value))) for (name,), _, one in tree)
        return {Path(name).stem: path for name, path in sorted(found) if path.exists()}
