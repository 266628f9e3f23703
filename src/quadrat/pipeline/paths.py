"""Where the artefacts of the stages lie, by the names that the stages' signatures use."""

from pathlib import Path

PATHS: dict[str, Path] = {
    "pins": Path("data/pins.json"),
    "checked": Path("data/params.checked"),
    "stats": Path("data/analysis/stats.json"),
    "table": Path("data/analysis/scenes.parquet"),
    "warnings": Path("data/analysis/warnings.txt"),
    "analyze_metrics": Path("metrics/analyze.json"),
    "class_plot": Path("metrics/plots/classes.csv"),
    "band_plot": Path("metrics/plots/bands.csv"),
    "chips": Path("data/chips"),
    "chip_manifest": Path("data/manifests/chip.json"),
    "folder": Path("models/model"),
    "baseline_folder": Path("models/baseline"),
    "train_metrics": Path("metrics/train.json"),
    "curves": Path("metrics/plots/training.csv"),
    "predictions": Path("data/predictions"),
    "prediction_manifest": Path("data/manifests/predict.json"),
    "eval_metrics": Path("metrics/eval.json"),
    "class_scores": Path("metrics/plots/class_scores.csv"),
    "scene_scores": Path("metrics/plots/scene_scores.csv"),
    "confusion": Path("metrics/plots/confusion.csv"),
    "pictures": Path("metrics/pictures"),
    "bundle_file": Path("models/bundle.zip"),
}

CHECKPOINTS = Path("models/.checkpoints")
"""What an interrupted training goes on from; DVC knows nothing of it."""

HASHES = Path("data/.hashes.json")
"""The hashes of files that were read once; of this machine alone."""

TIMING = Path("metrics/timing")
"""What each stage's last run took; of this machine alone."""

LOCK = Path("models/.lock")
"""Says which stage runs in the workspace; neither git nor DVC knows of it."""
