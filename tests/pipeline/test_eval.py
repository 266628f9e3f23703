"""eval: the figures are scikit-learn's on the pixels that count, and what is missing is an error, never left out."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from affine import Affine
from dvc_render.vega import VegaRenderer
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from quadrat.errors import AnalysisError, ImageError, OutputError, PredictionError
from quadrat.evaluation.intervals import Spread
from quadrat.evaluation.score_tables import read_scores
from quadrat.evaluation.summary import tables
from quadrat.models import Forest
from quadrat.pipeline.eval import Eval
from quadrat.runtime.parallel import Executor, Processes, Threads
from quadrat.runtime.progress import console
from quadrat.tasks import SemanticSegmentation
from quadrat.tasks.common.parts import scoring_of
from tests.ground import (
    KINDS,
    NORTH_UP,
    UTM,
    legend,
    pixel_box,
    segmentation,
    write_areas,
    write_raster,
    write_world,
)
from tests.stage_calls import evaluate

PICTURES = {"longest_side": 256, "bands": ["B3", "B2", "B1"], "stretch": [2, 98]}
FOREST = Forest.model_construct(kind="forest")

SHAPE = (120, 200)
AOIS = {"m": slice(115, 155), "e": slice(160, 200)}

TWO = Threads(2)


def labelled() -> NDArray[np.uint8]:
    """Return what ``write_ground`` labels: two classes in blocks, the third nowhere, and a border without a label."""
    truth = np.full(SHAPE, 255, np.uint8)
    truth[10:70, 5:195] = 0
    truth[70:110, 5:195] = 1
    truth[40:90, 130:180] = 1
    return truth


def predicted(seed: int) -> NDArray[np.uint8]:
    """Return the labels with a third of the pixels drawn anew, and a strip without a prediction."""
    generator = np.random.default_rng(seed)
    anew = generator.integers(0, 3, SHAPE).astype(np.uint8)
    ids = np.where((generator.random(SHAPE) < 0.3) | (labelled() == 255), anew, labelled())
    ids[60:65] = 255
    return ids


def write_ground(root: Path, **scenes: Any) -> Path:
    """Write ``write_world`` with labels of its own, a table as analyze leaves it, and predictions."""
    catalog = write_world(root, **scenes)
    (root / "labels.gpkg").unlink()
    boxes = [pixel_box(5, 10, 195, 70), pixel_box(5, 70, 195, 110), pixel_box(130, 40, 180, 90)]
    write_areas(root / "labels.gpkg", boxes, {"kind": ["wood", "lake", "lake"]})
    rows = {"scene": ["w", "m"], "split": ["train", "validation"], "px_wood": [5, 1000], "px_lake": [9, 0]}
    pd.DataFrame({**rows, "px_field": [0, 9999]}).to_parquet(root / "table.parquet")
    for number, scene in enumerate(("m", "e", "all")):
        write_raster(root / "predictions" / scene / "labels.tif", predicted(number)[None], nodata=255)
        write_raster(root / "predictions" / scene / "baseline" / "labels.tif", predicted(number + 9)[None], nodata=255)
    return catalog


def run(
    root: Path,
    catalog: Path,
    baseline: Forest | None = FOREST,
    executor: Executor = TWO,
    task: SemanticSegmentation | None = None,
    **look: Any,
) -> dict[str, Any]:
    evaluate(
        scenes=catalog,
        seed=1,
        task=task or segmentation(*KINDS),
        baseline=baseline,
        eval=Eval.model_validate({"match": None, "pictures": None, **look}, strict=False),
        pins=root / "pins.json",
        predictions=root / "predictions",
        table=root / "table.parquet",
        eval_metrics=root / "eval.json",
        intervals=root / "intervals.json",
        class_scores=root / "classes.csv",
        scene_scores=root / "scenes.csv",
        confusion=root / "confusion.csv",
        areas=root / "areas.csv",
        reliability=root / "reliability.csv",
        pictures=root / "pictures",
        page=root / "report.html",
        executor=executor,
    )
    found: dict[str, Any] = json.loads((root / "eval.json").read_text())
    tables = {"per_class": root / "classes.csv", "per_scene": root / "scenes.csv"}
    return found | {name: read_scores(file.read_text()) for name, file in tables.items()}


def pixels_of(scene: str, *maps: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
    """Return truth and maps on a scene's pixels that all of them have."""
    cut = [a[:, AOIS[scene]].ravel() for a in (labelled(), *maps)]
    both = np.logical_and.reduce([a != 255 for a in cut])
    return tuple(a[both] for a in cut)


def test_figures_are_scikit_learns_on_the_pixels_that_count(tmp_path: Path) -> None:
    found = run(tmp_path, write_ground(tmp_path))
    truth, ours, theirs = pixels_of("e", predicted(1), predicted(10))
    precision, recall, f1, _ = precision_recall_fscore_support(truth, ours, labels=range(3), zero_division=np.nan)
    assert found["overall"] == {
        "accuracy": pytest.approx(accuracy_score(truth, ours), abs=1e-4),
        "macro_f1": pytest.approx(np.nanmean(f1), abs=1e-4),
        "macro_iou": pytest.approx(np.nanmean(f1 / (2 - f1)), abs=1e-4),
        "support": truth.size,
        "macro_precision": pytest.approx(np.nanmean(precision), abs=1e-4),
        "macro_recall": pytest.approx(np.nanmean(recall), abs=1e-4),
        "unpredicted": pytest.approx(5 / 100, abs=1e-4),  # 5 of 100 labelled rows
    }
    assert found["per_class"]["wood"]["precision"] == pytest.approx(precision[0], abs=1e-4)
    assert found["per_class"]["lake"]["support"] == (truth == 1).sum()
    absent = {"precision": 0.0, "recall": None, "f1": 0.0, "iou": 0.0, "support": 0}
    assert found["per_class"]["field"] == absent
    assert found["baseline"]["forest"]["accuracy"] == pytest.approx(accuracy_score(truth, theirs), abs=1e-4)
    # of the train labels most are lake, whatever other splits have
    assert found["baseline"]["majority"]["accuracy"] == pytest.approx(np.mean(truth == 1), abs=1e-4)
    assert {metrics["support"] for metrics in found["baseline"].values()} == {truth.size}
    truth, ours = pixels_of("m", predicted(0))
    assert found["validation"] == found["per_scene"]["m"]
    assert found["per_scene"]["m"]["accuracy"] == pytest.approx(accuracy_score(truth, ours), abs=1e-4)
    assert list(found["per_scene"]) == ["m", "e"]


def test_labels_of_every_sort_score_alike(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    drawn = run(tmp_path, catalog)
    content = json.loads(catalog.read_text())
    write_raster(tmp_path / "ids.tif", labelled()[None], nodata=255)
    ids = {"kind": "raster", "path": str(tmp_path / "ids.tif"), "values": "ids"}
    upper = labelled()
    upper[60:] = 255  # said of by the other file
    write_raster(tmp_path / "upper.tif", upper[None], nodata=255)
    content["labels"] = {"upper": {**ids, "path": str(tmp_path / "upper.tif")}, "ids": ids}
    for entry in content["scenes"]:
        entry.update({"labels": ["upper", "ids"]} if "labels" in entry else {})
    catalog.write_text(json.dumps(content))
    numbered = legend(wood=["0"], lake=["1"], field=["2"])
    assert run(tmp_path, catalog, task=numbered) == drawn
    content["labels"]["ids"]["background"] = "field"
    catalog.write_text(json.dumps(content))
    found = run(tmp_path, catalog, task=numbered)
    truth = np.where(labelled() == 255, 2, labelled())[:, AOIS["e"]]
    both = predicted(1)[:, AOIS["e"]] != 255, predicted(10)[:, AOIS["e"]] != 255
    assert found["per_class"]["field"]["support"] == (truth[np.logical_and(*both)] == 2).sum()


def test_confusion_matrix_is_scikit_learns(tmp_path: Path) -> None:
    run(tmp_path, write_ground(tmp_path))
    table = pd.read_csv(tmp_path / "confusion.csv")
    truth, ours = pixels_of("e", predicted(1))
    expected = pd.DataFrame(confusion_matrix(truth, ours, labels=range(3)), KINDS, KINDS)
    pairs = table.pivot_table(index="truth", columns="predicted", values="count").loc[list(KINDS), list(KINDS)]
    np.testing.assert_array_equal(pairs, expected)


def test_dvc_fills_the_template_of_the_confusion_matrix(tmp_path: Path, root: Path) -> None:
    run(tmp_path, write_ground(tmp_path))
    points = [{**row, "rev": "workspace"} for row in pd.read_csv(tmp_path / "confusion.csv").to_dict("records")]
    about = {"template": "confusion", "template_dir": str(root / ".dvc/plots"), "x": "predicted", "y": "truth"}
    drawn = VegaRenderer(points, "confusion", **about).get_filled_template()
    assert "DVC_METRIC" not in json.dumps(drawn)
    assert drawn["data"]["values"][0]["count"] == points[0]["count"]
    assert drawn["spec"]["encoding"]["y"]["field"] == "truth"
    used = set(re.findall(r"datum\.(\w+)", json.dumps(drawn)))
    made = {t["as"] for t in drawn["spec"]["transform"] if "as" in t} | {"class_n"}
    assert used - made <= set(points[0])


def test_model_and_baseline_are_compared_on_pixels_that_both_have(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    less = predicted(10)
    less[20:30] = 255
    write_raster(tmp_path / "predictions/e/baseline/labels.tif", less[None], nodata=255)
    found = run(tmp_path, catalog)
    truth, ours, theirs = pixels_of("e", predicted(1), less)
    assert found["overall"]["support"] == found["baseline"]["forest"]["support"] == truth.size == 85 * 35
    assert found["overall"]["accuracy"] == pytest.approx(accuracy_score(truth, ours), abs=1e-4)
    assert found["baseline"]["forest"]["accuracy"] == pytest.approx(accuracy_score(truth, theirs), abs=1e-4)
    assert found["overall"]["unpredicted"] == pytest.approx(15 / 100, abs=1e-4)


def test_without_a_baseline_only_the_majority_class_is_beside_the_model(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    for scene in ("m", "e"):
        shutil.rmtree(tmp_path / "predictions" / scene / "baseline")
    found = run(tmp_path, catalog, baseline=None)
    assert list(found["baseline"]) == ["majority"]
    assert found["overall"]["support"] == 95 * 35


def test_without_a_test_scene_overall_is_of_the_validation_scenes(tmp_path: Path) -> None:
    found = run(tmp_path, write_ground(tmp_path, e=None))
    assert found["overall"]["accuracy"] == found["per_scene"]["m"]["accuracy"]
    assert list(found["per_scene"]) == ["m"]


def test_blocks_of_a_given_side_are_within_scenes_also_if_there_are_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quadrat.evaluation.intervals.MANY_SCENES", 1)
    catalog = write_ground(tmp_path)
    run(tmp_path, catalog)
    assert json.loads((tmp_path / "intervals.json").read_text())["blocks"] == 1
    run(tmp_path, catalog, intervals={"block": 240.0, "draws": 200})
    found = json.loads((tmp_path / "intervals.json").read_text())
    assert (found["blocks"], found["block"]) == (2 * 5, 240)


def test_scenes_of_a_split_are_pooled_not_averaged(tmp_path: Path) -> None:
    found = run(tmp_path, write_ground(tmp_path, m={"split": "test"}))
    pairs = [pixels_of("m", predicted(0)), pixels_of("e", predicted(1))]
    truth, ours = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    _, _, f1, _ = precision_recall_fscore_support(truth, ours, labels=range(3), zero_division=np.nan)
    assert found["overall"]["macro_f1"] == pytest.approx(f1.mean(), abs=1e-4)
    assert found["validation"] == {"accuracy": None, "macro_f1": None, "support": 0}


@pytest.mark.parametrize("lost", ["m/labels.tif", "e/baseline/labels.tif", "all/labels.tif"])
def test_a_missing_prediction_is_an_error(tmp_path: Path, lost: str) -> None:
    catalog = write_ground(tmp_path)
    (tmp_path / "predictions" / lost).unlink()
    with pytest.raises(PredictionError, match=r"no prediction\n  scene: .*\n  file: .*labels.tif\n  hint: run"):
        run(tmp_path, catalog, pictures=PICTURES)
    assert not (tmp_path / "eval.json").exists()
    assert not (tmp_path / "pictures").exists()


@pytest.mark.parametrize(
    ("transform", "crs", "rows", "said"),
    [
        (NORTH_UP @ Affine.translation(1, 0), UTM, 120, r"off by 1 px"),
        (NORTH_UP @ Affine.scale(1.0001), UTM, 120, r"off by 0\.0233 px"),
        (NORTH_UP, "EPSG:32632", 120, r"got: EPSG:32632"),
        (NORTH_UP, None, 120, r"got: no CRS"),
        (NORTH_UP, UTM, 119, r"expected: 200 × 120 px\n  got: 200 × 119 px"),
    ],
)
def test_a_prediction_on_another_grid_is_an_error(
    tmp_path: Path, transform: Affine, crs: str | None, rows: int, said: str
) -> None:
    catalog = write_ground(tmp_path)
    write_raster(tmp_path / "predictions/e/labels.tif", predicted(1)[None, :rows], transform, crs, nodata=255)
    with pytest.raises(PredictionError, match=rf"another grid than its scene\n  scene: e\n(.*\n)*.*{said}"):
        run(tmp_path, catalog)


def test_a_prediction_of_other_classes_is_an_error(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    ids = predicted(1)
    ids[50, 170] = 3
    write_raster(tmp_path / "predictions/e/labels.tif", ids[None], nodata=255)
    with pytest.raises(PredictionError, match=r"not class ids\n  scene: e\n  file: .*e/labels\.tif\n(.|\n)*got: 3\n"):
        run(tmp_path, catalog)


@pytest.mark.parametrize("how", ["missing", "empty", "cut short", "of fewer classes"])
def test_a_table_of_scenes_that_is_not_of_this_task_is_an_error_that_says_which_stage_to_run(
    tmp_path: Path, how: str
) -> None:
    catalog, table = write_ground(tmp_path), tmp_path / "table.parquet"
    if how == "missing":
        table.unlink()
    elif how in {"empty", "cut short"}:
        table.write_bytes(table.read_bytes()[: 0 if how == "empty" else -20])
    task = segmentation(*KINDS, *["moor"] * (how == "of fewer classes"))
    with pytest.raises(AnalysisError, match=r"(.|\n)*table\.parquet(.|\n)*hint: run the stage 'analyze'") as error:
        run(tmp_path, catalog, task=task)
    assert ("px_moor" in str(error.value.got)) == (how == "of fewer classes")


def test_a_prediction_of_another_type_scores_alike(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    expected = run(tmp_path, catalog)
    other = np.where(predicted(1) == 255, -9999, predicted(1).astype(np.int16))
    write_raster(tmp_path / "predictions/e/labels.tif", other[None], nodata=-9999)
    assert run(tmp_path, catalog) == expected


@pytest.mark.parametrize("folder", ["e", "e/baseline", "all"])
def test_a_prediction_that_holds_no_class_ids_is_an_error_that_names_it(tmp_path: Path, folder: str) -> None:
    catalog = write_ground(tmp_path)
    path = tmp_path / "predictions" / folder / "labels.tif"
    write_raster(path, predicted(1)[None].astype(np.float32), nodata=255)
    with pytest.raises(PredictionError, match=rf"no class ids\n  scene: {folder[:3].strip('/b')}\n  file: {path}\n"):
        run(tmp_path, catalog, pictures=PICTURES)
    write_raster(path, np.full((1, *SHAPE), 2**30, np.int32))
    with pytest.raises(PredictionError, match=rf"not class ids\n(.|\n)*file: {path}\n(.|\n)*got: 1073741824\n"):
        run(tmp_path, catalog, pictures=PICTURES)


def test_a_prediction_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    path = tmp_path / "predictions/e/labels.tif"
    path.write_bytes(path.read_bytes()[:12_000])
    with pytest.raises(PredictionError, match=r"(cut short|opened)\n  scene: e\n"):
        run(tmp_path, catalog)


def test_a_picture_of_each_predicted_scene_the_same_bytes_every_time(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    run(tmp_path, catalog, pictures=PICTURES)
    first = {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()}
    assert sorted(first) == ["all.png", "e.png", "m.png"]
    assert all(b"Software" not in content for content in first.values())
    files = [tmp_path / name for name in ("eval.json", "intervals.json", "areas.csv", "report.html")]
    before = [file.read_bytes() for file in files]
    run(tmp_path, catalog, executor=Processes(1), pictures=PICTURES)
    assert {path.name: path.read_bytes() for path in (tmp_path / "pictures").iterdir()} == first
    assert [file.read_bytes() for file in files] == before


def test_classes_of_every_predicted_scene_are_measured_on_the_ground(tmp_path: Path) -> None:
    run(tmp_path, write_ground(tmp_path))
    table = pd.read_csv(tmp_path / "areas.csv")
    assert table["scene"].unique().tolist() == ["m", "e", "all"]
    for scene, seed in (("m", 0), ("e", 1), ("all", 2)):
        cut = predicted(seed)[:, AOIS.get(scene, slice(None))]
        own = table[table["scene"] == scene]
        assert own["pixels"].tolist() == [np.count_nonzero(cut == n) for n in range(3)]
        np.testing.assert_allclose(own["hectares"] / own["pixels"], abs(NORTH_UP.determinant) / 1e4, rtol=2e-3)


def test_with_a_design_of_the_sample_areas_are_adjusted_and_have_intervals(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    run(tmp_path, catalog)
    assert "areas" not in json.loads((tmp_path / "intervals.json").read_text())
    assert "the catalog has no design" in (tmp_path / "report.html").read_text()
    catalog.write_text(json.dumps({**json.loads(catalog.read_text()), "design": "random"}))
    run(tmp_path, catalog)
    found = json.loads((tmp_path / "intervals.json").read_text())["areas"]
    mapped = pd.read_csv(tmp_path / "areas.csv").query("scene == 'e'")["hectares"]
    assert found["design"] == "random"
    assert [one["mapped"] for one in found["classes"].values()] == pytest.approx(mapped.tolist(), abs=1e-3)
    assert sum(one["adjusted"] for one in found["classes"].values()) == pytest.approx(mapped.sum(), abs=1e-3)
    assert found["classes"]["field"]["adjusted"] == 0  # the labels have none
    assert all(one["low"] <= one["adjusted"] <= one["high"] for one in found["classes"].values())
    assert "as a simple random sample" in (tmp_path / "report.html").read_text()


def test_the_page_shows_the_parameters_and_the_scores(tmp_path: Path) -> None:
    found = run(tmp_path, write_ground(tmp_path), pictures=PICTURES)
    page = (tmp_path / "report.html").read_text()
    assert f"<strong>{found['overall']['macro_f1']:.3f}</strong>" in page
    assert page.count("<img") == 4 + 4 + 2
    assert "longest_side: 256" in page
    assert "null" not in page


def test_pictures_of_others_are_kept_and_named(tmp_path: Path) -> None:
    catalog = write_ground(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"pictures\n(.|\n)*got: notes\.txt"):
        run(tmp_path, catalog)
    assert (tmp_path / "pictures/notes.txt").read_text() == "mine"


def test_without_pictures_the_folder_is_there_and_empty(tmp_path: Path) -> None:
    run(tmp_path, write_ground(tmp_path))
    assert list((tmp_path / "pictures").iterdir()) == []


def test_a_picture_of_a_band_that_the_image_has_not_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such band"):
        run(tmp_path, write_ground(tmp_path), pictures={**PICTURES, "bands": ["B4"]})


def test_the_result_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 100)
    with console.capture() as shown:
        found = run(tmp_path, write_ground(tmp_path))
    lines = shown.get().splitlines()
    assert any("field" in line and "–" in line for line in lines)
    model = next(line for line in lines if line.startswith("│ model"))
    assert f"{found['overall']['accuracy']:.3f}" in model


def test_brackets_in_class_names_are_no_markup() -> None:
    task = segmentation("wood [dense]", "[/] or")
    with console.capture() as shown:
        for table in tables(task, {"model": scoring_of(task).no_counts()}, "test", Spread(None, {}, {}, {})):
            console.print(table)
    assert "wood [dense]" in shown.get()
    assert "[/] or" in shown.get()
