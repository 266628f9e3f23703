"""The stage train in two processes of torchrun: the first alone writes, and what it writes is what one process does."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quadrat.models.model_folder import SavedModel, read_model
from quadrat.runtime.run import Paths
from tests.pipeline.test_small_project import PARAMS, project  # noqa: F401 a fixture
from tests.project import ROOT, environment, here

NETWORK = (
    "model: {kind: segmenter, architecture: unet, encoder: test_convnext, depth: 3, "
    "decoder: {decoder_channels: [16, 8, 8], decoder_use_norm: false}}"
)
FOREST = "{kind: forest, trees: 5, radius: 1, samples: 2000}"


def test_the_option_is_the_variable_that_dvc_hands_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setenv("QUADRAT_DEVICES", "2")
    monkeypatch.setattr("quadrat.cli.stages.run_stage", lambda *_, **__: seen.append(os.environ["QUADRAT_DEVICES"]))
    here("train", tmp_path)
    here("train --devices 3", tmp_path)
    assert seen == ["2", "3"]


def written(folder: Path) -> dict[str, bytes]:
    """Return what is in a folder, but for the notes on how long things took."""
    files = (file for file in folder.rglob("*") if file.is_file() and "models/.lock" not in str(file))
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def made(paths: Paths) -> tuple[Any, pd.DataFrame, SavedModel]:
    """Return metrics, curves and model."""
    return json.loads(paths.train_metrics.read_text()), pd.read_csv(paths.curves), read_model(paths.model_folder)


@pytest.mark.slow  # three processes load torch
def test_torchrun_trains_as_one_process_does(project: Path) -> None:  # noqa: F811 the fixture
    params = PARAMS.replace(f"model: {FOREST}", NETWORK).replace("baseline: null", f"baseline: {FOREST}")
    params = params.replace("epochs: 1", "epochs: 3").replace("batch_size: 8", "batch_size: 3")
    Path("params.yaml").write_text(params)
    for stage in ("analyze", "chip", "train"):
        here(stage, project)
    paths = Paths()
    alone = made(paths)
    files = set(written(project))
    command = ["torchrun", "--standalone", "--nproc-per-node", "2", "-m", "quadrat", "train"]
    ours = {**environment(), "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=project, env=ours, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("train on 2 × ") == 1
    together = made(paths)
    assert set(written(project)) == files
    (metrics, curves, model), (metrics_alone, curves_alone, model_alone) = together, alone
    assert metrics["baseline"] == metrics_alone["baseline"]
    np.testing.assert_allclose(curves["train_loss"], curves_alone["train_loss"], rtol=1e-4)
    np.testing.assert_allclose(curves["validation_loss"], curves_alone["validation_loss"], rtol=1e-4)
    np.testing.assert_allclose(curves["validation_accuracy"], curves_alone["validation_accuracy"], atol=5e-3)
    assert model.card.calibration is not None
    assert model.weights.keys() == model_alone.weights.keys()
    assert any((model.weights[name] != values).any() for name, values in model_alone.weights.items())  # learnt anew
