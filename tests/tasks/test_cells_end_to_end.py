"""Cells through the six stages, and through the bundle on a new image."""

import importlib
import json
import subprocess
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely

from quadrat.errors import ParamsError
from quadrat.evaluation.score_tables import read_scores
from quadrat.params import Params, check_params
from quadrat.runtime.parallel import Threads
from quadrat.runtime.run import Paths, Run, subset
from quadrat.serving.apply import apply, verify
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan
from quadrat.tasks.common.metrics import Metrics
from tests.ground import BANDS, KINDS, NORTH_UP, cells, write_world

pytestmark = pytest.mark.slow

PATHS = asdict(Paths())

STAGES = {"analyze": "analyze", "chip": "chip", "train": "train", "predict": "predict", "eval": "evaluate"}
FOREST = {"kind": "forest", "trees": 8, "radius": 1, "max_depth": 8, "min_samples_leaf": 4, "samples": 4000}


def content(catalog: Path, *, multi_label: bool = False, **changes: Any) -> dict[str, Any]:
    """Return parameters of cells of 11 px in windows of 24 px."""
    root = catalog.parent
    rule = {"share_of": "cell", "min_share": 0.2 if multi_label else 0.5, "choose": "largest"}
    task = cells(*KINDS, cell_size=11, rule=rule, multi_label=multi_label)
    windows = {"kind": "sliding", "stride": 6, "padding": 4}
    chosen = {"min_valid_fraction": 0.5, "target_classes": None, "min_targets": 1, "negatives": 0}
    augment = {"flip_rotate": True, "gain": 0.02, "offset": 0.02}
    fit = {"weight_decay": 0.01, "warmup": 0.1, "gradient_clip_norm": 1.0, "ema_decay": 0.9, "patience": 20}
    return {
        "scenes": str(catalog),
        "raw": str(root),
        "aoi": str(root),
        "seed": 1,
        "task": task.model_dump(mode="json", by_alias=True),
        "bands": list(BANDS),
        "analyze": {"percentiles": [2, 98], "histogram_bins": 8},
        "chip": {"chip_size": 24, "windows": windows, **chosen},
        "model": {"kind": "classifier", "encoder": "test_resnet", "dates": None, "dropout": 0.1},
        "baseline": None if multi_label else FOREST,
        "lr": 0.005,
        "epochs": 4,
        "batch_size": 16,
        "train": {"loss": {"label_smoothing": 0.05, "class_balance": 0.5}, "augment": augment, **fit},
        "predict": {"window_size": 24, "stride": 11, "layers": {"cells": "cells.parquet"}},
        "eval": {"match": None, "pictures": {"longest_side": 256, "bands": ["B1"], "stretch": [2, 98]}},
        "bundle": {"title": "Cells"},
        **changes,
    }


def run(root: Path, params: Params, *stages: str) -> None:
    paths = Paths(**{name: root / path for name, path in PATHS.items()})
    for stage in stages:
        module = importlib.import_module(f"quadrat.pipeline.{stage}")
        sections = subset(getattr(module, f"{stage.title()}Params"), params)
        getattr(module, STAGES.get(stage, stage))(sections, paths, Run(Threads(2), batch=16))


@pytest.fixture(scope="module", params=[False, True], ids=["one", "several"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    root = tmp_path_factory.mktemp("cells")
    params = check_params(content(write_world(root), multi_label=request.param), root / "params.yaml")
    run(root, params, *STAGES, "bundle")
    return root, params


def read(root: Path, key: str) -> Any:
    return json.loads((root / PATHS[key]).read_text(encoding="utf-8"))


def scores(root: Path, key: str) -> dict[str, Metrics]:
    return read_scores((root / PATHS[key]).read_text(encoding="utf-8"))


def frame(path: Path) -> tuple[geopandas.GeoDataFrame, list[tuple[int, ...]]]:
    """Return the cells in row order, and their edges in px of the image: left, top, right, bottom."""
    found = geopandas.read_file(path, layer=0) if path.suffix != ".parquet" else geopandas.read_parquet(path)
    edges = shapely.bounds(shapely.transform(found.geometry.to_numpy(), lambda xy: np.column_stack(~NORTH_UP @ xy.T)))
    np.testing.assert_allclose(edges, edges.round(), atol=1e-6)
    found[["left", "top", "right", "bottom"]] = edges.round().astype(int)
    found = found.sort_values(["top", "left"], ignore_index=True)
    return found, list(found[["left", "top", "right", "bottom"]].itertuples(index=False, name=None))


def test_every_stage_counts_cells(project: tuple[Path, Params]) -> None:
    root, params = project
    table = pd.read_parquet(root / PATHS["table"]).set_index("scene")
    counts = table[params.task.columns].sum(axis=1)
    assert 60 < counts["w"] < 110 * 120 / 121 * (1 if params.task.exclusive else 2)
    index = pd.read_parquet(root / PATHS["chips"] / "index.parquet")
    validation = index[index["split"] == "validation"]
    assert not validation.duplicated(["row", "col"]).any()
    assert (validation[["row", "col"]].nunique() == [11, 4]).all()  # 120 × 40 px
    found = read(root, "eval_metrics")
    assert found["overall"]["macro_f1"] > 0.7
    assert found["overall"]["macro_f1"] > found["baseline"]["majority"]["macro_f1"] + 0.2
    assert ("forest" in found["baseline"]) == params.task.exclusive
    assert ("macro_average_precision" in found["overall"]) != params.task.exclusive
    assert scores(root, "scene_scores").keys() == {"m", "e"}
    assert sum(scores(root, "class_scores")[kind]["support"] for kind in KINDS) > 30
    assert 0 < found["calibration"]["ece"] < 0.3
    assert (found["calibration"]["ece_uncalibrated"] is not None) == params.task.exclusive
    assert (root / PATHS["pictures"] / "e.png").stat().st_size > 1000
    assert len(pd.read_csv(root / PATHS["confusion"])) == (3 if params.task.exclusive else 4) ** 2


def test_the_cells_of_a_scene_begin_at_its_area_and_end_at_its_edge(project: tuple[Path, Params]) -> None:
    root, params = project
    found, edges = frame(root / PATHS["predictions"] / "e" / "cells.parquet")
    assert edges == [
        (left, top, min(left + 11, 200), min(top + 11, 120))
        for top in range(0, 120, 11)
        for left in range(160, 200, 11)
    ]
    scores = found[[f"score_{kind}" for kind in KINDS]].to_numpy()
    if params.task.exclusive:
        np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-5)
        assert found["class"].tolist() == [KINDS[n] for n in scores.argmax(1)] == [KINDS[n] for n in found["class_id"]]
        other, same = frame(root / PATHS["predictions"] / "e" / "baseline" / "cells.parquet")
        assert same == edges
        assert list(other.columns) == list(found.columns)
    else:
        assert found["class"].tolist() == [
            ", ".join(k for k, s in zip(KINDS, row, strict=True) if s >= 0.5) for row in scores
        ]


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_the_bundle_gives_what_predict_gives(project: tuple[Path, Params], tmp_path: Path, runtime: Any) -> None:
    root, _ = project
    bundle = root / PATHS["bundle_file"]
    verify(bundle)
    reading = Reading(BANDS, 0.0001, 0.0)
    apply(bundle, [str(root / "image.tif")], tmp_path, reading, Plan(runtime, layers={"cells": "cells.gpkg"}))
    found, edges = frame(tmp_path / "image" / "cells.gpkg")
    expected, same = frame(root / PATHS["predictions"] / "all" / "cells.parquet")
    assert edges == same
    assert found["class"].tolist() == expected["class"].tolist()
    for kind in KINDS:
        np.testing.assert_allclose(found[f"score_{kind}"], expected[f"score_{kind}"], atol=1e-5)


def test_windows_of_apply_must_hold_and_cover_the_cells(project: tuple[Path, Params], tmp_path: Path) -> None:
    root, _ = project
    for plan, message in (
        (Plan("onnx", size=10, stride=10), "at least 11 px"),
        (Plan("onnx", stride=12), "a stride of at most 11 px"),
        (Plan("onnx", layers={"polygons": "x.gpkg"}), r"layers\.polygons: there is no such key"),
    ):
        with pytest.raises(ParamsError, match=message):
            apply(root / PATHS["bundle_file"], [str(root / "image.tif")], tmp_path, Reading(BANDS, 0.0001, 0.0), plan)


def test_the_bundles_readme_tells_what_comes_out(project: tuple[Path, Params], tmp_path: Path) -> None:
    root, _ = project
    with zipfile.ZipFile(root / PATHS["bundle_file"]) as file:
        file.extractall(tmp_path)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "The answer is of the 11 × 11 px in its middle" in text
    assert "training cells" in text
    assert "let windows overlap" not in text
    code = text.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chip.chip_size": 10}, "chip.chip_size must hold what the task labels, 11 px: 10"),
        ({"predict.window_size": 8, "predict.stride": 8}, "predict.window_size must hold what the task labels, 11 px"),
        ({"predict.stride": 12}, "predict.stride 12 leaves gaps: 11 px at most"),
        ({"predict.layers.cells": "cells.shp"}, r"predict\.layers\.cells: .*'cells\.gpkg'"),
        ({"predict.layers.cells": "mine.gpkg"}, r"predict\.layers\.cells"),
        ({"task.rule.least_shares": 1}, r"task\.rule\.least_shares(.|\n)*did you mean 'min_share'"),
        (
            {"task.multi_label": True},
            "baseline.kind forest can't learn this task, chip_classification: no kind can, so it must be null",
        ),
        ({"train.loss.dice": 1.0}, "train.loss is of semantic_segmentation, and task.kind is chip_classification"),
        ({"train.loss.kind": "semantic_segmentation"}, r"train\.loss"),
    ],
)
def test_what_is_wrong_with_parameters_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    wrong = content(tmp_path / "scenes.yaml")
    for key, value in changes.items():
        *parents, last = key.split(".")
        node = wrong
        for part in parents:
            node = node[part]
        node[last] = value
    with pytest.raises(ParamsError, match=message):
        check_params(wrong, tmp_path / "params.yaml")
