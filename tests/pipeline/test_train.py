"""train goes on only after an interrupted fit of the same chips."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest

from quadrat.chips.store import About, write_index
from quadrat.chips.writer import SceneChips
from quadrat.errors import AnalysisError
from quadrat.geo.grids.grid import Grid
from quadrat.geo.grids.windows import Window
from quadrat.geo.sources.bands import Band
from quadrat.models import Fitted
from quadrat.models.model_folder import ModelCard
from quadrat.runtime.files import write_json
from quadrat.runtime.provenance.origin import unknown
from quadrat.tasks.common.parts import targets_of
from tests.ground import NORTH_UP, UTM, detection
from tests.stage_calls import train

GRID = Grid(UTM, NORTH_UP, (16, 8))
BAND = Band(name="a", dtype="uint8", unit="DN", scale=1.0, offset=0.0, nodata=None)
TASK = detection("tree")


class KilledError(Exception):
    """Ends a fit."""


class Halting:
    """A model whose fits are killed."""

    kind = "halting"

    def __init__(self) -> None:
        self.checkpoints: list[Path] = []

    def own_inputs(self, inputs: Any) -> Any:
        return inputs

    def __repr__(self) -> str:
        return "Halting()"

    def fit(self, *given: Any) -> Any:
        self.checkpoints.append(given[-1])
        raise KilledError


def cut(folder: Path, left: float, value: int = 7) -> None:
    """Write a chip of each split, of one value but for their first pixel, with a box that begins at ``left``."""
    about = About(bands=(BAND,), classes=tuple(TASK.columns), size=8)
    for row, split in ((0, "train"), (8, "validation")):
        with SceneChips(folder / "chips", split, split, GRID, about, targets_of(TASK).ragged) as chips:
            pixels = np.full((1, 8, 8), value, np.uint8)
            boxes = np.array([[left, 1, left + 2, 3, 0]], np.float32)
            chips.append(Window(row, 0, 8, 8), pixels, {"boxes": boxes}, 1.0, np.array([1]))
    write_index(folder / "chips", ["train", "validation"])
    band = {"count": 64, "mean": 7.0, "std": 0.0, "min": 7.0, "max": 7.0, "percentiles": {}, "histogram": [64]}
    write_json(folder / "stats.json", {"bands": [{"band": "a", **band}]})
    table = pd.DataFrame({"scene": ["train"], "split": ["train"], "gsd": [10.0]})
    geopandas.GeoDataFrame(table, geometry=geopandas.GeoSeries([None])).to_parquet(folder / "table.parquet")


def checkpoint(folder: Path, **changed: Any) -> Path:
    """Return where the stage keeps what it goes on from."""
    model: Any = Halting()
    names = {"model_folder": "model", "baseline_folder": "baseline", "train_metrics": "t.json", "curves": "c.csv"}
    files = {"stats": "stats.json", "table": "table.parquet", "chips": "chips", "checkpoints": "checkpoints"}
    files |= {"weights": "weights", "kept_baseline": "kept"}
    about: dict[str, Any] = {"seed": 1, "lr": 0.1, "epochs": 1, "batch_size": 1, "train": None}
    paths = {name: folder / file for name, file in {**names, **files}.items()}
    with pytest.raises(KilledError):
        train(**{"task": TASK, "bands": ("a",), "model": model, "baseline": None, **about, **paths, **changed})
    return model.checkpoints[0].relative_to(folder)


@pytest.mark.parametrize("file", ["stats.json", "table.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"{"])
def test_what_analyze_has_not_left_is_an_error_that_says_which_stage_to_run(
    tmp_path: Path, file: str, content: bytes | None
) -> None:
    cut(tmp_path, 1)
    (tmp_path / file).unlink() if content is None else (tmp_path / file).write_bytes(content)
    with pytest.raises(AnalysisError, match=rf"(.|\n)*file: .*{file}(.|\n)*hint: run the stage 'analyze'"):
        checkpoint(tmp_path)


def test_without_a_baseline_its_folder_says_so_for_dvc_warns_of_empty_ones(tmp_path: Path) -> None:
    cut(tmp_path, 1)
    checkpoint(tmp_path)
    assert {file.name: file.read_text() for file in (tmp_path / "baseline").iterdir()} == {"none.txt": "no baseline\n"}


def test_a_fit_goes_on_after_one_of_the_same_chips_alone(tmp_path: Path) -> None:
    for name, left, value in (("first", 1, 7), ("again", 1, 7), ("moved", 4, 7), ("repainted", 1, 8)):
        cut(tmp_path / name, left, value)
    first, again, moved, repainted = (checkpoint(tmp_path / n) for n in ("first", "again", "moved", "repainted"))
    assert again == first
    (tmp_path / "first/weights").mkdir()
    (tmp_path / "first/weights/model.safetensors").write_bytes(b"others to start from")
    assert checkpoint(tmp_path / "first") != first
    coded = unknown("train").model_copy(update={"code": "of another commit"})
    assert checkpoint(tmp_path / "again", origin=coded) != again
    assert moved != first  # the index counts boxes, and doesn't know where they are
    assert repainted != first  # statistics don't know the pixels of validation


OUTPUTS = {"scores": 1, "boxes": 4}


class Counting:
    """A baseline that counts its fits."""

    kind = "counting"

    def __init__(self) -> None:
        self.fits = 0

    def __repr__(self) -> str:
        return "Counting()"

    def own_inputs(self, inputs: Any) -> Any:
        return inputs

    def fit(self, *_: Any) -> Fitted:
        self.fits += 1
        return Fitted({"weights": np.full(3, self.fits)}, {"accuracy": 0.1 + 0.2}, ())

    def restore(self, *_: Any) -> Any:
        return lambda pixels: {name: np.zeros((len(pixels), 1, n), np.float32) for name, n in OUTPUTS.items()}


def test_a_baseline_is_fitted_again_only_if_what_it_follows_from_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote: list[tuple[str, Any]] = []
    monkeypatch.setattr("quadrat.pipeline.train.write_model", lambda to, saved: wrote.append((to.name, saved.weights)))
    monkeypatch.setattr("quadrat.pipeline.train._card", lambda *_: ModelCard.model_construct())
    monkeypatch.setattr("quadrat.pipeline.train.SavedModel", lambda _, weights: SimpleNamespace(weights=weights))
    cut(tmp_path, 1)
    baseline: Any = Counting()

    def fits(**changed: Any) -> int:
        """Train until the model is begun, and return how often the baseline was fitted until now."""
        given: dict[str, Any] = {"seed": 1, "lr": 0.1, "code": "a", **changed}
        origin = unknown("train").model_copy(update={"code": given.pop("code")})
        checkpoint(tmp_path, baseline=baseline, origin=origin, **given)
        assert [int(values) for values in wrote[-1][1]["weights"][:1]] == [baseline.fits]
        return int(baseline.fits)

    assert fits() == 1
    assert fits(lr=0.2) == 1
    assert fits(seed=2) == 2
    assert fits(seed=2, code="b") == 3
    cut(tmp_path, 4)
    assert fits(seed=2, code="b") == 4
    weights = tmp_path / "kept/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert fits(seed=2, code="b") == 5
    assert fits(seed=2, code=None) == 6
