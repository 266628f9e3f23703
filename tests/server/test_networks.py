"""Blocks of a network, by torch and by onnxruntime, have the bytes of the stage too."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import rasterio

from quadrat.bundle.loading import read_bundle
from quadrat.server.blocks import blocks as module
from quadrat.server.limits import Limits
from quadrat.server.service import Service, default_place
from quadrat.serving.apply import apply
from quadrat.serving.new_images import Reading
from quadrat.serving.ready import Plan, Ready
from tests.bundling import NETWORK, packed, prepared

LAYERS = {"scores": True, "uncertainty": "margin", "polygons": None}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("network")
    prepared(root, NETWORK)
    packed(root, NETWORK)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "onnx"])
def test_blocks_of_a_network_hold_the_bytes_that_the_stage_writes(
    runtime: Literal["torch", "onnx"], network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = str(network / "scenes.yaml")
    apply(network / "bundle.zip", [catalog], tmp_path / "out", Reading(), Plan(runtime, layers=LAYERS))
    monkeypatch.setattr(module, "LARGEST", 64)
    ready = Ready.of(read_bundle(network / "bundle.zip"), Plan(runtime))
    service = Service.of(ready, catalog, Reading(), default_place(tmp_path / "cache", 1 << 28), Limits())
    one = service.gallery.get("all")
    windows = service.blocks.around(one, one.grid.area)
    assert len(windows) == 8
    for layer in ("labels", "scores", "uncertainty"):
        with rasterio.open(tmp_path / "out" / "all" / f"{layer}.tif") as file:
            written = file.read()
        made = np.zeros_like(written)
        for block in service.blocks.get(one, "predicted", windows[::-1], [layer]):
            made[:, *block.window.slices()] = block.arrays[layer]
        np.testing.assert_array_equal(made, written)
    service.close()
