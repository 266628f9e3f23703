"""Object detection through the stages: analyze, chip and eval."""

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pytest

from quadrat.chips.store import open_chips
from quadrat.evaluation.score_tables import read_scores
from quadrat.pipeline.analyze import Analyze
from quadrat.pipeline.chip import Chip
from quadrat.pipeline.eval import Eval
from quadrat.prediction.sliding_window import Predict, predict_scene
from quadrat.runtime.parallel import Threads
from quadrat.scenes.scene import Scene
from quadrat.tasks.common.parts import scoring_of
from tests.ground import detection, image, kept, pixel_box, write_areas, write_raster
from tests.stage_calls import analyze, chip, evaluate
from tests.tasks.patches import BOXES, IDS, layers, marked, reader

TASK = detection("tree", "car")
SPLITS = ("train", "validation", "test", "predict")
CHIP = {
    "chip_size": 20,
    "windows": {"kind": "sliding", "stride": 10, "padding": 0},
    "min_valid_fraction": 0.5,
    "target_classes": None,
    "min_targets": 1,
    "negatives": 0.5,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with a catalog of an image for each split, all alike, in different places."""
    catalog: dict[str, Any] = {"images": {}, "labels": {}, "scenes": []}
    for split in SPLITS:
        path = write_raster(tmp_path / f"{split}.tif", marked((60, 100), BOXES, IDS), crs=None)
        about = {"unit": "DN", "scale": 1.0, "offset": 0.0, "resampling": "nearest"}
        catalog["images"][split] = {"grid": "a", "sources": [{"path": str(path), "bands": ["a"], **about}]}
        catalog["scenes"].append({"id": split, "split": split, "image": split, "labels": "l"})
    kinds = {"kind": [TASK.names[k] for k in IDS]}
    write_areas(tmp_path / "labels.gpkg", [pixel_box(*b) for b in BOXES], kinds, crs=None)
    catalog["labels"]["l"] = {"kind": "vector", "path": str(tmp_path / "labels.gpkg"), "field": "kind"}
    del catalog["scenes"][-1]["labels"]
    (tmp_path / "scenes.yaml").write_text(json.dumps(catalog))  # JSON is YAML
    return tmp_path


def analysed(root: Path) -> Path:
    files = {"stats": "stats.json", "warnings": "warnings.txt", "analyze_metrics": "analyze.json"}
    analyze(
        scenes=root / "scenes.yaml",
        raw=root,
        aoi=root,
        task=TASK,
        bands=("a",),
        analyze=Analyze(percentiles=(50,), histogram_bins=4),
        pins=root / "pins.json",
        table=root / "table.parquet",
        class_plot=root / "classes.csv",
        band_plot=root / "bands.csv",
        executor=Threads(2),
        **{name: root / file for name, file in files.items()},
    )
    return root / "table.parquet"


def test_analyze_counts_boxes(root: Path) -> None:
    table = geopandas.read_parquet(analysed(root)).set_index("scene")
    assert table.loc["train", TASK.columns].tolist() == [4, 3]
    assert table.loc["predict", TASK.columns].tolist() == [0, 0]
    assert json.loads((root / "analyze.json").read_text())["test"]["labels"] == 7


def test_chips_hold_ragged_boxes_and_blanks_at_the_ratio_that_is_set(root: Path) -> None:
    analysed(root)
    chip(
        scenes=root / "scenes.yaml",
        seed=1,
        task=TASK,
        bands=("a",),
        chip=Chip.model_validate(CHIP),
        pins=root / "pins.json",
        table=root / "table.parquet",
        chips=root / "chips",
        executor=Threads(2),
        **kept(root, "chip"),
    )
    chips = open_chips(root / "chips", "train", TASK.columns, ("a",))
    held = chips.index[TASK.columns].sum(axis=1)
    assert (held == 0).sum() == round(0.5 * (held > 0).sum())
    pixels, target = chips.read(np.arange(len(chips)))
    np.testing.assert_array_equal(
        [((b[:, 4] == 0).sum(), (b[:, 4] == 1).sum()) for b in target["boxes"]], chips.index[TASK.columns]
    )
    for chip_pixels, boxes in zip(pixels[:, 0], target["boxes"], strict=True):
        for left, top, right, bottom, class_id in np.rint(boxes[~np.isnan(boxes[:, 0])]).astype(int):
            value = np.unique(chip_pixels[top:bottom, left:right])
            assert value.size == 1
            assert class_id in (255, value[0] % 2)
    validation = open_chips(root / "chips", "validation", TASK.columns, ("a",))
    assert len(validation) == 15  # blank ones too
    outputs = reader(validation.read(np.arange(15))[0])
    summary = scoring_of(TASK).chip_counts(validation.read(np.arange(15))[1], outputs).summary()
    assert summary["map50"] == summary["macro_f1"] == 1.0
    assert summary["support"] == validation.class_counts().sum()


def evaluated(root: Path, **match: float) -> dict[str, Any]:
    evaluate(
        scenes=root / "scenes.yaml",
        seed=1,
        task=TASK,
        baseline=None,
        eval=Eval.model_validate(
            {"match": match, "pictures": {"longest_side": 64, "bands": ["a"], "stretch": [2, 98]}}, strict=False
        ),
        pins=root / "pins.json",
        predictions=root / "predictions",
        table=analysed(root),
        eval_metrics=root / "eval.json",
        intervals=root / "intervals.json",
        class_scores=root / "classes.csv",
        scene_scores=root / "scenes.csv",
        confusion=root / "confusion.csv",
        areas=root / "areas.csv",
        reliability=root / "reliability.csv",
        pictures=root / "pictures",
        page=root / "report.html",
        executor=Threads(2),
    )
    found: dict[str, Any] = json.loads((root / "eval.json").read_text())
    return found


def test_eval_writes_figures_and_pictures(root: Path) -> None:
    for split in SPLITS[1:]:
        scene = Scene(split, "predict", image(root / f"{split}.tif"), (), ())
        plan = Predict(window_size=32, stride=16, layers=layers())
        with scene.open(("a",), TASK) as opened:
            predict_scene(opened, reader, TASK, plan, root / "predictions" / split, 4)
    found = evaluated(root, iou=0.5, score=0.5)
    perfect = {"map50": 1.0, "map": 1.0, "macro_f1": 1.0, "support": 7}
    assert found["overall"] == perfect | {"macro_precision": 1.0, "macro_recall": 1.0, "detections": 7}
    assert found["baseline"] == {}
    assert read_scores((root / "scenes.csv").read_text()) == {"validation": perfect, "test": perfect}
    each = {"ap50": 1.0, "ap": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0}
    kinds = {"tree": each | {"support": 4}, "car": each | {"support": 3}}
    assert read_scores((root / "classes.csv").read_text()) == kinds
    confusion = pd.read_csv(root / "confusion.csv")
    assert confusion["count"].tolist() == [4, 0, 0, 0, 3, 0, 0, 0, 0]
    assert confusion["truth"].tolist()[-1] == "–"
    right = {split: (root / "pictures" / f"{split}.png").read_bytes() for split in SPLITS[1:]}
    found = evaluated(root, iou=0.5, score=0.99)  # none of them
    assert found["overall"]["macro_recall"] == 0.0
    assert found["overall"]["map50"] == 1.0  # whatever the score
    missed = {split: (root / "pictures" / f"{split}.png").read_bytes() for split in SPLITS[1:]}
    assert all(missed[split] != right[split] for split in right)
