"""Chips in Python are those of the store, alone and in batches, also in workers."""

import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import quadrat
from quadrat.chips.store import open_chips
from quadrat.errors import ChipError
from tests.ground import BANDS, COLUMNS, KINDS


@pytest.fixture
def chips() -> quadrat.ChipDataset:
    return quadrat.ChipDataset("data/chips", "validation")


def test_chips_are_those_of_the_store(chips: quadrat.ChipDataset) -> None:
    stored = open_chips(Path("data/chips"), "validation", COLUMNS, BANDS)
    assert len(chips) == len(stored) > 3
    pixels, targets = stored.read(np.arange(len(stored)))
    for number in range(len(chips)):
        chip, target = chips[number]
        assert chip.dtype == torch.uint16
        np.testing.assert_array_equal(chip, pixels[number])
        np.testing.assert_array_equal(target["classes"], targets["classes"][number])
    assert ([band.name for band in chips.bands], chips.classes) == ([*BANDS], KINDS)
    assert chips.class_counts.tolist() == stored.class_counts().tolist()
    assert chips.index["scene"].unique().tolist() == ["middle"]
    np.testing.assert_array_equal(chips[-1][0], pixels[-1])
    with pytest.raises(IndexError):
        chips[len(chips)]


def test_a_loader_gives_batches_in_order(chips: quadrat.ChipDataset) -> None:
    loader = DataLoader(chips, batch_size=3, collate_fn=chips.collate)
    pixels, classes = (torch.cat(parts) for parts in zip(*((p, t["classes"]) for p, t in loader), strict=True))
    np.testing.assert_array_equal(pixels, np.stack([chip for chip, _ in chips]))
    np.testing.assert_array_equal(classes, np.stack([target["classes"] for _, target in chips]))


def test_workers_get_the_folder_and_no_pixels(chips: quadrat.ChipDataset) -> None:
    sent = pickle.dumps(chips)
    assert len(sent) < 500
    assert torch.equal(pickle.loads(sent)[1][0], chips[1][0])  # noqa: S301


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the test forks")
def test_workers_give_the_same_batches(chips: quadrat.ChipDataset) -> None:
    alone, together = (
        [p for p, _ in DataLoader(chips, batch_size=2, num_workers=workers, multiprocessing_context=how)]
        for workers, how in ((0, None), (2, "spawn"))
    )
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_boxes_of_a_batch_are_filled_up_to_the_longest() -> None:
    one, two = torch.ones(1, 5), torch.full((3, 5), 2.0)
    pixels = torch.zeros(2, 4, 4, dtype=torch.uint8)
    batch, targets = quadrat.ChipDataset.collate([(pixels, {"boxes": one}), (pixels + 1, {"boxes": two})])
    assert batch.shape == (2, 2, 4, 4)
    assert batch.dtype == torch.uint8
    assert torch.equal(targets["boxes"][1], two)
    assert torch.equal(targets["boxes"][0, :1], one)
    assert targets["boxes"][0, 1:].isnan().all()


def test_a_store_that_isnt_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ChipError, match="no complete chip store"):
        quadrat.ChipDataset(tmp_path, "train")
    with pytest.raises(ChipError, match="no chip of split 'test'"):
        quadrat.ChipDataset("data/chips", "test")
    shutil.copy("data/chips/chips.json", tmp_path)
    with pytest.raises(ChipError, match="no complete chip store"):
        quadrat.ChipDataset(tmp_path, "train")
