"""Where the artefacts of the stages lie, by the names that the stages' signatures use."""

from pathlib import Path

PATHS: dict[str, Path] = {
    "checked": Path("data/params.checked"),
    "stats": Path("data/analysis/stats.json"),
    "table": Path("data/analysis/scenes.parquet"),
    "warnings": Path("data/analysis/warnings.txt"),
    "analyze_metrics": Path("metrics/analyze.json"),
    "class_plot": Path("metrics/plots/classes.csv"),
    "band_plot": Path("metrics/plots/bands.csv"),
    "chips": Path("data/chips"),
    "folder": Path("models/model"),
    "baseline_folder": Path("models/baseline"),
    "train_metrics": Path("metrics/train.json"),
    "curves": Path("metrics/plots/training.csv"),
    "predictions": Path("data/predictions"),
    "eval_metrics": Path("metrics/eval.json"),
    "confusion": Path("metrics/plots/confusion.csv"),
    "pictures": Path("metrics/pictures"),
    "bundle_file": Path("models/bundle.zip"),
}

CHECKPOINTS = Path("models/.checkpoints")
"""What an interrupted training goes on from; DVC knows nothing of it."""

LOCK = Path("models/.lock")
"""Says which stage runs in the workspace; neither git nor DVC knows of it."""
