"""The plugins of docs/plugins.md are found, checked and learnt with, under the parameters beside them."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from quadrat.models import PluginModel, Recipe, Sizes, Train
from quadrat.plugins.calling import make
from tests.models.test_network import NETWORK, TASK, Memory, inputs
from tests.plugins.own import project
from tests.test_docs import blocks

PAGE = "docs/plugins.md"


class Compose:
    """What the example takes of Albumentations: it changes an image (y, x, band) and its mask by what its seed says."""

    def __init__(self, changes: list[Any]) -> None:
        assert [change["p"] for change in changes] == [0.2, 0.2]

    def set_random_seed(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        assert image.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.shape[:2] == mask.shape
        turns = int(self._random.integers(4))
        return {"image": np.rot90(image, turns), "mask": np.rot90(mask, turns)}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project that has the page's modules."""
    sources = {
        block.content.splitlines()[0].removeprefix("# plugins/"): block.content for block in blocks("python", PAGE)
    }
    assert {*sources} == {"losses.py", "augment.py", "networks.py"}
    fake = ModuleType("albumentations")
    fake.__dict__.update(Compose=Compose, GaussianBlur=lambda **k: k, Affine=lambda **k: k)
    monkeypatch.setitem(sys.modules, "albumentations", fake)
    monkeypatch.chdir(project(tmp_path, **{name.removesuffix(".py"): text for name, text in sources.items()}))
    return tmp_path


def sections(key: str) -> list[Any]:
    found = [YAML(typ="safe", pure=True).load(block.content) for block in blocks("yaml", PAGE)]
    return [content[key] for content in found if key in content]


def learnt(model: Any, train: Any, folder: Path) -> list[Any]:
    if "kind" not in train["loss"]:
        train["loss"]["kind"] = TASK.kind
    recipe = Recipe(1, 0.01, 2, 4, Train.model_validate(train, strict=False))
    fitted = model.fit(Memory(6, 0), Memory(2, 1), TASK, inputs(), recipe, folder)
    return list(fitted.history)


@pytest.mark.parametrize("number", [0, 1])
def test_the_loss_and_the_augmentation_are_learnt_with_and_repeat(number: int, tmp_path: Path) -> None:
    train = sections("train")[number]
    first = learnt(NETWORK, train, tmp_path / "a")
    assert all(np.isfinite(row["train_loss"]) for row in first)
    assert learnt(NETWORK, train, tmp_path / "b") == first


def test_the_augmentation_moves_masks_with_images_and_follows_the_generator() -> None:
    plugin = Train.model_validate({**sections("train")[1], "loss": {"kind": TASK.kind}}, strict=False).augment.plugin
    assert plugin is not None
    augment = make(plugin)
    classes = torch.from_numpy(Memory(6, 0).classes)
    images = classes[:, None].float().clamp(max=5)
    moved, target = augment(images, {"classes": classes}, torch.Generator().manual_seed(0))
    assert not torch.equal(target["classes"], classes)
    torch.testing.assert_close(moved[:, 0].round(), target["classes"].float().clamp(max=5))
    again, _ = augment(images, {"classes": classes}, torch.Generator().manual_seed(0))
    other, _ = augment(images, {"classes": classes}, torch.Generator().manual_seed(1))
    assert torch.equal(moved, again)
    assert not torch.equal(moved, other)


def test_the_network_is_one_that_can_be_bundled(tmp_path: Path) -> None:
    (section,) = sections("model")
    model = PluginModel.model_validate(section, strict=False)
    model.check(TASK, inputs(), Sizes(chip=32, batch=4, window=64))
    assert len(learnt(model, sections("train")[0], tmp_path / "a")) == 2


def test_the_page_says_what_a_loss_is_given() -> None:
    shown = SimpleNamespace(text=Path(__file__).parents[2].joinpath(PAGE).read_text(encoding="utf-8"))
    for kind in ("semantic_segmentation", "chip_classification", "pixel_regression", "multi_label"):
        assert f"`{kind}`" in shown.text
