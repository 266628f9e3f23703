"""chip: chips show what the scene shows, and follow the seed, not the number of workers."""

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio

from quadrat.chips.store import open_chips
from quadrat.errors import ChipError, PinError
from quadrat.pipeline.chip import Chip
from quadrat.runtime.parallel import Threads
from tests.ground import BANDS, COLUMNS, KINDS, kept, pixel_box, segmentation, write_areas, write_raster, write_world
from tests.stage_calls import chip

SLIDING = {
    "chip_size": 32,
    "windows": {"kind": "sliding", "stride": 16, "padding": 0},
    "min_valid_fraction": 0.0,
    "target_classes": None,
    "min_targets": 1,
    "negatives": 0,
}
RANDOM = {**SLIDING, "windows": {"kind": "random", "count": 40, "padding": 8}}


def run(catalog: Path, out: Path, workers: int = 2, seed: int = 3, **options: Any) -> Path:
    (catalog.parent / "table").touch()
    chip(
        scenes=catalog,
        seed=seed,
        task=segmentation(*KINDS),
        bands=BANDS,
        chip=Chip.model_validate({**SLIDING, **options}),
        pins=catalog.parent / "pins.json",
        table=catalog.parent / "table",
        chips=out,
        executor=Threads(workers),
        **{**kept(out.parent, "chip"), "chip_manifest": out.with_name(f"{out.name}.json")},
    )
    return out


def test_chips_show_what_the_image_shows_and_targets_what_counts(tmp_path: Path) -> None:
    out = run(write_world(tmp_path), tmp_path / "chips", **RANDOM)
    with rasterio.open(tmp_path / "image.tif") as file:
        image = np.pad(file.read(), ((0, 0), (40, 40), (40, 40)), mode="reflect")
    chips = open_chips(out, "train", COLUMNS, BANDS)
    assert len(chips) > 30
    pixels, target = chips.read(np.arange(len(chips)))
    for number, row in chips.index.iterrows():
        top, left = row["row"] + 40, row["col"] + 40
        np.testing.assert_array_equal(pixels[number], image[:, top : top + 32, left : left + 32])
        counted = np.zeros((200, 280), bool)
        counted[40:160, 40:150] = True  # the AOI: columns 0 … 109
        ignored = target["classes"][number] == 255
        np.testing.assert_array_equal(ignored, ~counted[top : top + 32, left : left + 32])
        assert row["valid"] == pytest.approx((~ignored).mean())
        assert row[[f"px_{k}" for k in KINDS]].sum() == (~ignored).sum()


def test_validation_scenes_show_each_pixel_once(tmp_path: Path) -> None:
    out = run(write_world(tmp_path), tmp_path / "chips", **RANDOM)
    chips = open_chips(out, "validation", COLUMNS, BANDS)
    assert chips.class_counts().sum() == 40 * 120
    assert len(chips) == 2 * 4


def test_the_same_bytes_for_any_number_of_workers_and_others_for_another_seed(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    outs = [run(catalog, tmp_path / f"{w}", w, **RANDOM) for w in (1, 2, 4)]
    files = [p.relative_to(outs[0]) for p in outs[0].rglob("*") if p.is_file()]
    assert len(files) == 10
    for file in files:
        assert len({(out / file).read_bytes() for out in outs}) == 1, file
    other = run(catalog, tmp_path / "other", seed=4, **RANDOM)
    assert (other / "index.parquet").read_bytes() != (outs[0] / "index.parquet").read_bytes()


def test_a_scene_that_is_added_moves_no_chip_of_another(tmp_path: Path) -> None:
    one = geopandas.read_parquet(run(write_world(tmp_path), tmp_path / "one", **RANDOM) / "index.parquet")
    write_areas(tmp_path / "v.geojson", [pixel_box(0, 0, 50, 50)], to_crs="EPSG:4326")
    more = {"split": "train", "image": "i", "labels": "l", "aoi": str(tmp_path / "v.geojson")}
    two = geopandas.read_parquet(run(write_world(tmp_path, a=more), tmp_path / "two", **RANDOM) / "index.parquet")
    for scene in ("w", "m"):
        mine, theirs = (f[f["scene"] == scene].reset_index(drop=True) for f in (one, two))
        assert mine.equals(theirs)


def test_chips_are_filtered_by_their_labels_and_valid_pixels(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    everything = open_chips(run(catalog, tmp_path / "all"), "train", COLUMNS, BANDS).index
    for options, filtered in (
        ({"target_classes": ("lake",), "min_targets": 300}, everything["px_lake"] >= 300),
        ({"min_valid_fraction": 0.9}, everything["valid"] >= 0.9),
    ):
        found = open_chips(run(catalog, tmp_path / "some", **options), "train", COLUMNS, BANDS).index
        assert 0 < len(found) < len(everything)
        wanted = everything[filtered]
        assert found[["row", "col"]].to_numpy().tolist() == wanted[["row", "col"]].to_numpy().tolist()


def test_negatives_are_drawn_in_proportion_to_what_is_positive(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    everything = open_chips(run(catalog, tmp_path / "all"), "train", COLUMNS, BANDS).index
    wanted = {"target_classes": ("lake",), "min_targets": 300}
    positive = int((everything["px_lake"] >= 300).sum())
    assert 1 < positive < len(everything)
    for ratio, count in ((0, 0), (0.5, round(0.5 * positive)), (99, len(everything) - positive), (None, None)):
        found = open_chips(run(catalog, tmp_path / "some", **wanted, negatives=ratio), "train", COLUMNS, BANDS).index
        assert (found["px_lake"] >= 300).sum() == positive
        assert len(found) == (len(everything) if count is None else positive + count)
        places = list(zip(found["row"], found["col"], strict=True))
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("scene", "split", "filters"),
    [("w", "train", {"min_targets": 1025}), ("m", "validation", {"min_valid_fraction": 1.0})],
)
def test_filters_that_keep_no_chip_are_told_each_time(
    tmp_path: Path, scene: str, split: str, filters: dict[str, Any]
) -> None:
    """And leave no store: train would stop later, and say less."""
    catalog, out = write_world(tmp_path), tmp_path / "chips"
    if split == "validation":  # its area is narrower than a chip
        write_areas(tmp_path / "m.geojson", [pixel_box(110, 0, 130, 120)], to_crs="EPSG:4326")
    run(write_world(tmp_path / "whole"), out)
    for _ in range(2):
        with pytest.raises(
            ChipError, match=rf"no chip of the {split} scenes(.|\n)*scene: {scene}(.|\n)*min_valid_fraction"
        ):
            run(catalog, out, **filters)
        with pytest.raises(ChipError, match="no complete chip store"):
            open_chips(out, split, COLUMNS, BANDS)


def test_nodata_is_never_a_target(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    with rasterio.open(tmp_path / "image.tif") as file:
        pixels = file.read()
    pixels[2, :, 50:] = 0
    pixels[2, :, 120:150] = 900
    write_raster(tmp_path / "image.tif", pixels, nodata=0)
    chips = open_chips(run(catalog, tmp_path / "chips"), "train", COLUMNS, BANDS)
    values, target = chips.read(np.arange(len(chips)))
    assert (target["classes"][(values == 0).any(axis=1)] == 255).all()
    assert (values == 0).any()


def test_a_scene_smaller_than_a_chip(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    chips = open_chips(
        run(catalog, tmp_path / "chips", chip_size=256, windows={"kind": "sliding", "stride": 256, "padding": 0}),
        "train",
        COLUMNS,
        BANDS,
    )
    assert len(chips) == 1
    assert chips.class_counts().sum() == 110 * 120


def test_a_rerun_leaves_no_chip_of_the_run_before(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    run(catalog, tmp_path / "chips")
    (tmp_path / "chips" / "stale").mkdir()
    run(catalog, tmp_path / "chips", **RANDOM)
    assert not (tmp_path / "chips" / "stale").exists()


def test_scenes_that_were_not_analysed(tmp_path: Path) -> None:
    with pytest.raises(ChipError, match="not analysed"):
        chip(
            scenes=write_world(tmp_path), seed=1, task=segmentation(*KINDS), bands=BANDS,
            chip=Chip.model_validate(SLIDING), pins=tmp_path / "pins.json", table=tmp_path / "none",
            chips=tmp_path / "c", executor=Threads(1), **kept(tmp_path, "chip"),
        )  # fmt: skip


def test_an_image_elsewhere_that_is_not_pinned(tmp_path: Path) -> None:
    catalog = write_world(tmp_path)
    catalog.write_text(catalog.read_text().replace(str(tmp_path / "image.tif"), "https://host/image.tif"))
    with pytest.raises(
        PinError, match=r"not pinned(.|\n)*scene: w\n  file: https://host/image.tif(.|\n)*quadrat index"
    ):
        run(catalog, tmp_path / "chips")
    assert not (tmp_path / "chips").exists()
