"""The page of eval is one well-formed file that loads nothing, with text for every picture, and tells what is known."""

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely.geometry import box

from quadrat.errors import ModelError
from quadrat.evaluation.adjusted_areas import Estimate
from quadrat.evaluation.areas import Areas
from quadrat.evaluation.intervals import Bounded, Plan, Spread
from quadrat.evaluation.page.charts import Axes, Line, chart, thinned, ticks
from quadrat.evaluation.page.content import Content, SceneContent
from quadrat.evaluation.page.markup import Markup, tag
from quadrat.evaluation.page.page import page
from quadrat.evaluation.page.scenes import MOST_SCENES, shown_first
from quadrat.evaluation.page.thumbnails import LONGEST, described, thumbnail
from quadrat.evaluation.page.training import Training
from quadrat.evaluation.pictures import Picture
from quadrat.evaluation.trust import Trust
from quadrat.runtime.provenance.origin import Commit, Origin
from quadrat.tasks import ObjectDetection
from quadrat.tasks.common.metrics import Confusion
from quadrat.tasks.common.outputs import Outlines
from quadrat.tasks.common.reliability import Reliability
from quadrat.tasks.object_detection.scoring.counts import BoxCounts
from tests.ground import segmentation
from tests.tasks.boxes.scenes import drawn

NAMES = ("<script>alert(1)</script>", 'wood & "water"', "field")
TASK = segmentation(*NAMES)
COUNTS = Confusion(np.array([[50, 5, 0], [10, 30, 2], [0, 0, 3]]), np.zeros(3, np.int64))
LOWER = Confusion(np.array([[30, 25, 0], [20, 20, 2], [0, 0, 3]]), np.zeros(3, np.int64))
VOID = {"meta", "img", "br"}


class Strict(HTMLParser):
    """Takes only elements that are closed in order, and keeps the attributes of each."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((name, {key: value or "" for key, value in attributes}))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def each(self, name: str) -> Iterator[dict[str, str]]:
        return (attributes for own, attributes in self.found if own == name)


def parsed(text: str) -> Strict:
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def picture(**changes: Any) -> Picture:
    truth = np.zeros((30, 40), np.uint8)
    truth[:, 20:], truth[:5] = 1, 255
    given = {"predicted": np.ones((30, 40), np.uint8), "truth": truth, "inside": np.ones((30, 40), np.bool_)}
    image = np.random.default_rng(0).random((3, 30, 40))
    return Picture(**{"image": image, "side": 10.0, "unit": "m", **given, **changes})


def scene(name: str = "east", split: str = "test", **changes: Any) -> SceneContent:
    small = thumbnail(picture(), TASK.classes, (2, 98))
    areas = Areas(np.array([500, 300, 2]), np.array([5.0, 3, 0.02]))
    return replace(SceneContent(name, split, COUNTS.summary(), areas, small, None), **changes)


def bounded(low: float, high: float) -> Bounded:
    return Bounded({"macro_f1": (low, high), "accuracy": None}, [{"f1": (low, high)}, {"f1": None}, {"f1": None}])


def content(**changes: Any) -> Content:
    given: dict[str, Any] = {
        "task": TASK,
        "metric": "macro_f1",
        "split": "test",
        "compared": {"model": COUNTS, "forest": LOWER},
        "spread": Spread(Plan([], [{}] * 12, {}), {"model": bounded(0.4, 0.8)}, {"forest": bounded(0.11, 0.22)}, {}),
        "scenes": [scene("middle", "validation"), scene(), scene("tile", "predict", summary={})],
        "estimate": Estimate.of(None, COUNTS.matrix, [Areas.none(3)], NAMES),
        "training": Training({"epoch": np.arange(3.0), "train_loss": np.array([2.0, 1, 0.5])}, 2),
        "parameters": 'task: {kind: "<b>"}\n',
        "trust": Trust({"calibrated": Reliability.of(np.array([125, 250, 250], np.uint8), np.ones(3, np.bool_))}, {}),
    }
    return Content(**{**given, **changes})


def test_the_page_is_well_formed_and_loads_nothing() -> None:
    text = page(content())
    found = parsed(text)
    assert {name for name, _ in found.found}.isdisjoint({"script", "link", "iframe", "object", "b"})
    assert not re.search(r"https?:|//\w|url\(|@import|javascript:", re.sub(r"base64,[\w+/=]+", "", text))
    assert all(image["src"].startswith("data:image/") for image in found.each("img"))
    (policy,) = (meta["content"] for meta in found.each("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in list(found.each("meta"))
    assert "@media print" in text
    assert "max-width: 700px" in text


def test_names_are_escaped() -> None:
    text = page(content())
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert NAMES[0] in parsed(text).words
    assert tag("p", '<"&>', title='"<&>') == '<p title="&quot;&lt;&amp;&gt;">&lt;"&amp;&gt;</p>'
    assert tag("p", Markup("<br>"), class_="a", id=None) == '<p class="a"><br></p>'


def test_every_picture_has_text() -> None:
    found = parsed(page(content()))
    texts = [image["alt"] for image in found.each("img")]
    assert len(texts) == 12
    assert texts[2].startswith("Scene east, prediction: wood &")
    assert "Scene east, error: 50 % of the labelled pixels are right." in texts
    charts = [svg for svg in found.each("svg") if svg.get("aria-hidden") != "true"]
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in charts)
    assert sum(name == "desc" for name, _ in found.found) == len(charts) == 2


def test_the_score_stands_first_with_its_interval_and_gain() -> None:
    words = " ".join(parsed(page(content())).words)
    assert re.search(r"0\.\d{3} macro F1 on the test scenes, 95% interval 0\.40 to 0\.80", words)
    assert re.search(r"\+0\.\d{3} against forest \(0\.\d{3}\), 95% interval 0\.11 to 0\.22", words)
    assert "12 scenes" in words


def headings(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


def test_what_is_unknown_has_no_heading() -> None:
    everything = headings(page(content(scenes=[scene(origin=made())])))
    assert everything == [
        "All classes", "Each class", "Confusion", "Probabilities", "Scenes", "Areas", "Training", "Parameters", "Origin"
    ]  # fmt: skip
    bare = [scene(summary={}, areas=None, thumbnail=None)]
    none = {"model": Confusion.none(3)}
    text = page(
        content(scenes=bare, training=None, estimate=None, compared=none, spread=Spread(None, {}, {}, {}), trust=None)
    )
    assert headings(text) == ["All classes", "Each class", "Confusion", "Parameters"]
    assert "Intervals are switched off" in text
    parsed(text)


def made() -> Origin:
    commit = Commit(commit="abc" * 13 + "d", dirty=True, changed=("src/<x>.py",))
    inputs = {"data/raw": "0123456789abcdef0123.dir", "data/none": None}
    return Origin(
        made_by="predict", git=commit, inputs=inputs, code=None, parameters={}, versions={"numpy": "2.4"}, parent=None
    )


def test_the_origin_is_that_of_the_predictions() -> None:
    scenes = [scene(origin=made()), scene("b", origin=made().model_copy(update={"git": None})), scene("c")]
    words = " ".join(parsed(page(content(scenes=scenes))).words)
    assert "abcabcabcabc, with changes of src/<x>.py" in words
    assert "0123456789ab" in words
    assert "Predictions of other runs: 1 of 2." in words
    assert "Predictions without an origin: 1." in words


def test_of_many_scenes_the_first_are_shown_and_the_page_says_how_many_are_not() -> None:
    pairs = [(f"v{n}", "validation") for n in range(20)] + [(f"t{n}", "test") for n in range(20)]
    shown = shown_first(pairs, MOST_SCENES)
    assert len(shown) == MOST_SCENES
    assert {f"t{n}" for n in range(20)} < shown
    scenes = [replace(scene(name, split), thumbnail=None) for name, split in pairs]
    scenes[3] = scene("v3", "validation")
    text = page(content(scenes=scenes))
    assert "Scenes that are not shown here, but in metrics/pictures: 39 of 40." in text
    assert "Further scenes in plots/areas.csv: 32." in text
    assert text.count("<img") == 4


def test_the_largest_confusions_of_many_classes_are_listed() -> None:
    names = [f"class {n}" for n in range(40)]
    matrix = np.eye(40, dtype=np.int64) * 100
    matrix[3, 7], matrix[8, 2] = 60, 50
    counts = Confusion(matrix, np.zeros(40, np.int64))
    many = content(task=segmentation(*names), compared={"model": counts}, spread=Spread(None, {}, {}, {}), scenes=[])
    text = page(many)
    assert "The 2 largest confusions" in text
    assert '<th scope="row">class 3</th><td class="text">class 7</td><td>60</td><td>38 %</td>' in text


def test_detection_shows_precision_over_recall_and_outlines() -> None:
    classes = [{"name": name, "color": color} for name, color in (("a", "#aa0000"), ("b", "#00aa00"), ("c", "#0000aa"))]
    about = {"kind": "object_detection", "classes": classes, "min_inside_fraction": 0.5, "partial": "drop"}
    task = ObjectDetection.model_validate(about, strict=False)
    counts = BoxCounts((drawn(1, 40, side=60),), 3, 0.5, 0.3)
    one = Outlines(np.array([box(3, 3, 9, 9)]), np.array([0], np.uint8), np.array([True]))
    none = Outlines(np.array([], object), np.array([], np.uint8), np.array([], np.bool_))
    some = picture(drawn=(one, none), predicted=np.full((30, 40), 255, np.uint8))
    assert described(some, task.classes) == {
        "image": "the image", "labels": "a 1", "prediction": "none", "error": "0 right, 0 wrong, 0 missed"
    }  # fmt: skip
    scenes = [scene(summary=counts.summary(), areas=None, thumbnail=thumbnail(some, task.classes, (2, 98)))]
    changes: dict[str, Any] = {"task": task, "metric": "map50", "compared": {"model": counts}, "scenes": scenes}
    text = page(content(**changes, spread=Spread(None, {}, {}, {}), estimate=None))
    assert "Precision and recall" in headings(text)
    assert "Areas" not in headings(text)
    assert "recall up to" in text
    parsed(text)


def test_pictures_are_small_however_large_the_scene_is() -> None:
    large = picture(
        image=np.zeros((1, 3, 2000)),
        predicted=np.zeros((3, 2000), np.uint8),
        truth=None,
        inside=np.ones((3, 2000), bool),
    )
    shown = thumbnail(large, TASK.classes, (2, 98)).panels
    assert [panel.name for panel in shown] == ["image", "prediction"]
    assert all(max(panel.size) <= LONGEST for panel in shown)
    tiny = thumbnail(picture(), TASK.classes, (2, 98)).panels
    assert {(panel.size, panel.zoom) for panel in tiny} == {((40, 30), 6)}
    assert all(len(panel.source) < 8_000 for panel in tiny)


def test_curves_of_the_training_are_read_as_train_writes_them(tmp_path: Path) -> None:
    curves, metrics = tmp_path / "training.csv", tmp_path / "train.json"
    assert Training.read(curves, metrics) is None
    curves.write_text("epoch,lr,train_loss,validation_loss\n0,0.1,2.5,\n1,0.1,2,3\n")
    metrics.write_text('{"model": {"epoch": 1}}')
    found = Training.read(curves, metrics)
    assert found is not None
    assert found.kept == 1
    assert found.points("validation_loss").tolist() == [[1, 3]]
    text = page(content(training=found))
    assert "The weights of epoch 1 were kept." in text
    assert "validation loss: from 3 to 3" in text
    curves.write_text("epoch,lr,train_loss,validation_loss,validation_macro_f1\n")  # of a forest
    assert Training.read(curves, metrics) is None
    curves.write_text("epoch,train_loss\n0,much\n")
    with pytest.raises(ModelError, match=r"can't be read(.|\n)*training\.csv"):
        Training.read(curves, metrics)


def test_charts_have_round_ticks_few_points_and_stay_within_their_frame() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(0.31, 0.43) == [0.32, 0.34, 0.36, 0.38, 0.4, 0.42]
    assert ticks(5, 5) == [5]
    line = np.column_stack([np.linspace(0, 1, 9999), np.linspace(1, 0, 9999)])
    assert len(thinned(line)) == 200
    assert thinned(line)[[0, -1]].tolist() == [[0, 1], [1, 0]]
    drawing = chart("t", "d", Axes("x", "y", (0, 1), (0, 1)), [Line("red", line), Line("red", line[:1])])
    places = [float(value) for value in re.findall(r"[ML]([\d.]+) ", drawing)]
    assert (min(places), max(places)) == (52, 428)
    assert "<circle" in drawing
