"""A small project for tests, from images to the bundle."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from quadrat.chips.store import Chips, open_chips
from quadrat.errors import ModelError
from quadrat.evaluation.score_tables import write_scores
from quadrat.geo.statistics.band_statistics import Statistics
from quadrat.models import Forest, Inputs, Model, Recipe, Segmenter
from quadrat.models.model_folder import ModelCard, SavedModel, write_model
from quadrat.params import read_params
from quadrat.pipeline.analyze import Analyze
from quadrat.pipeline.bundle import Bundle
from quadrat.pipeline.chip import Chip
from quadrat.pipeline.eval import Eval
from quadrat.prediction.sliding_window import Predict
from quadrat.runtime.formats.yaml import load
from quadrat.runtime.parallel import Threads
from tests.ground import BANDS, COLUMNS, KINDS, kept, segmentation, write_world
from tests.stage_calls import analyze, bundle, chip

DEFAULT = read_params(Path(__file__).parents[1] / "params.yaml")

FOREST = Forest(kind="forest", trees=5, radius=1, max_depth=6, min_samples_leaf=4, samples=2000)
SMALL = {"encoder": "mobilenetv3_small_050", "depth": 3, "decoder": {"decoder_channels": [16, 8, 8]}}
assert isinstance(DEFAULT.model, Segmenter)
NETWORK = DEFAULT.model.model_copy(update=SMALL)

TASK = segmentation(*KINDS)
SECTIONS: dict[str, Any] = {
    "raw": Path("raw"),
    "aoi": Path("aoi"),
    "seed": 3,
    "bands": BANDS,
    "analyze": Analyze(percentiles=(2, 50, 98), histogram_bins=16),
    "chip": Chip.model_validate(
        {
            "chip_size": 32,
            "windows": {"kind": "sliding", "stride": 32, "padding": 0},
            "min_valid_fraction": 0.0,
            "target_classes": None,
            "min_targets": 1,
            "negatives": 0,
        }
    ),
    "baseline": None,
    "lr": 1e-05,
    "epochs": 2,
    "batch_size": 4,
    "train": DEFAULT.train,
    "predict": Predict.model_validate(
        {
            "window_size": 64,
            "stride": 32,
            "layers": {
                "kind": "semantic_segmentation",
                "scores": True,
                "polygons": "polygons.parquet",
                "min_pixels": 1,
                "polygon_classes": None,
                "max_hole_pixels": 0,
                "outlines": {"kind": "edges"},
            },
        }
    ),
    "eval": Eval(match=None, pictures=None),
    "bundle": Bundle(title="Woods and lakes"),
}


def prepared(root: Path, model: Model, **scenes: Any) -> Path:
    """Write a project at ``root`` up to the model folder and the metrics; the network's weights are random."""
    catalog = write_world(root, **scenes)
    about: dict[str, Any] = {"scenes": catalog, "task": TASK, "bands": BANDS, "executor": Threads(2)}
    about["pins"] = root / "pins.json"
    outputs = {name: root / name for name in ("stats", "table", "warnings", "class_plot", "band_plot")}
    watched = {"raw": root, "aoi": root}
    analyze(**about, **watched, **outputs, analyze=SECTIONS["analyze"], analyze_metrics=root / "metrics")
    chip(**about, seed=3, chip=SECTIONS["chip"], table=root / "table", chips=root / "chips", **kept(root, "chip"))
    training, validation = (open_chips(root / "chips", split, COLUMNS, BANDS) for split in ("train", "validation"))
    inputs = Inputs(training.bands, load(root / "stats", Statistics, ModelError).bands)
    write_model(root / "model", SavedModel(_card(model, inputs), _weights(model, inputs, training, validation)))
    for name in ("train", "eval"):
        (root / f"{name}.json").write_text(json.dumps({"accuracy": 0.5}))
    write_scores(root / "class_scores.csv", "class", {name: {"f1": None, "support": 0} for name in TASK.names})
    return root


def sections(root: Path, model: Model) -> dict[str, Any]:
    """Return the parameters of a project."""
    return {"scenes": root / "scenes.yaml", "task": TASK, "model": model, **SECTIONS}


def packed(root: Path, model: Model, out: Path | None = None, **changes: Any) -> Path:
    """Run the stage bundle in a prepared project."""
    paths = {"model_folder": root / "model", "chips": root / "chips", "bundle_file": out or root / "bundle.zip"}
    metrics = {"train_metrics": root / "train.json", "eval_metrics": root / "eval.json"}
    metrics |= {"class_scores": root / "class_scores.csv"}
    bundle(**{**sections(root, model), **paths, **metrics, **changes})
    return paths["bundle_file"]


def _card(model: Model, inputs: Inputs) -> ModelCard:
    return ModelCard(
        format=1,
        task=TASK,
        model=model,
        bands=inputs.bands,
        statistics=inputs.statistics,
        size=32,
        gsd=10.0,
        class_counts=dict.fromkeys(KINDS, 1),
        versions={"quadrat": "0.1.0"},
    )


def _weights(model: Model, inputs: Inputs, training: Chips, validation: Chips) -> Mapping[str, np.ndarray]:
    if isinstance(model, Segmenter):
        from quadrat.models.training.neural import build

        return {name: tensor.numpy() for name, tensor in build(model, TASK, inputs, 0).state_dict().items()}
    recipe = Recipe(3, 1e-3, 1, 4, SECTIONS["train"])
    return model.fit(training, validation, TASK, inputs, recipe, Path("none")).weights
