"""Several scenes may be under way; a model that several threads ask for is read once."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quadrat.models.common import devices
from quadrat.pipeline import predict as stage
from quadrat.runtime.parallel import Processes, Threads


def test_scenes_are_under_way_together_on_a_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = {"": SimpleNamespace(network=True)}
    forest: Any = {"": SimpleNamespace(network=False)}
    assert stage._executor(Threads(1), network) == Threads(devices.scenes_at_once())
    monkeypatch.setattr(devices, "scenes_at_once", lambda: 4)
    assert stage._executor(Threads(1), network) == Threads(4)
    assert stage._executor(Threads(1), forest) == Threads(1)
    assert stage._executor(Processes(2), network) == Processes(2)


def test_threads_that_ask_at_once_get_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def slowly(folder: Path) -> Any:
        read.append(folder)
        time.sleep(0.1)
        model = SimpleNamespace(served=lambda *_: object())
        return SimpleNamespace(card=SimpleNamespace(model=model, task=None, inputs=None), weights={})

    monkeypatch.setattr(stage, "read_model", slowly)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: stage._read(Path("model"), "of this content alone"), range(4)))
    assert len(read) == 1
    assert all(one is found[0] for one in found)
    stage._remembered.cache_clear()


@pytest.mark.parametrize("network", [True, False])
def test_layers_of_networks_are_made_again_in_another_precision(
    monkeypatch: pytest.MonkeyPatch, *, network: bool
) -> None:
    model = SimpleNamespace(content="a", plan=None, plugins={}, network=network)
    scene = SimpleNamespace(id="a", split="test", image="a.tif", aoi=())
    one: Any = SimpleNamespace(scene=scene, files=SimpleNamespace(contents={}), models={"": model}, unit=lambda _: "a")
    found = []
    for asked in ("bf16", "fp32"):
        monkeypatch.setenv("QUADRAT_PRECISION", asked)
        found.append(stage._inputs([one], "semantic_segmentation")["a"])
    assert (found[0] != found[1]) == network
