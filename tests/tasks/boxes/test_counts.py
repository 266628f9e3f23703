"""Average precision is faster-coco-eval's over whole images, and figures are undefined where there is no truth."""

import numpy as np
import pytest
from faster_coco_eval import COCO, COCOeval_faster
from hypothesis import given
from hypothesis import strategies as st

from quadrat.geo.grids.class_ids import IGNORE
from quadrat.tasks.object_detection.scoring.counts import BoxCounts
from quadrat.tasks.object_detection.scoring.precision import THRESHOLDS, average_precision
from quadrat.tasks.object_detection.targets.detections import Detections
from quadrat.tasks.object_detection.targets.matching import Seen
from tests.tasks.boxes.scenes import drawn, seen

K = 3


def counted(*images: Seen, classes: int = K, iou: float = 0.5, score: float = 0.5) -> BoxCounts:
    return BoxCounts(images, classes, iou, score)


def plain(images: list[Seen], most: int = 10_000) -> np.ndarray:
    """Return the average precision (class, threshold) of images as they are."""
    truth, found = [], []
    for number, image in enumerate(images):
        for box, class_id in zip(image.truth.tolist(), image.class_ids.tolist(), strict=True):
            for k in range(K) if class_id == IGNORE else (class_id,):
                truth.append(annotation(len(truth), number, k, box) | {"iscrowd": int(class_id == IGNORE)})
        for box, k, score in zip(
            image.found.boxes.tolist(), image.found.class_ids.tolist(), image.found.scores.tolist(), strict=True
        ):
            found.append(annotation(len(found), number, k, box) | {"score": score})
    about = {"images": [{"id": n} for n in range(len(images))], "categories": [{"id": k} for k in range(K)]}
    expected = COCO({**about, "annotations": truth})
    evaluation = COCOeval_faster(expected, expected.loadRes(found), "bbox", print_function=lambda *_: None)
    evaluation.params.maxDets = [most]
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 0]
    return np.where(precision < 0, np.nan, precision).mean(1).T


def annotation(number: int, image: int, class_id: int, box: list[float]) -> dict[str, object]:
    left, top, right, bottom = box
    sides = [left, top, right - left, bottom - top]
    return {"id": number + 1, "image_id": image, "category_id": class_id, "bbox": sides, "area": sides[2] * sides[3]}


def rounded(image: Seen, digits: int) -> Seen:
    """Return the image with scores of so many digits."""
    scores = np.random.default_rng(digits).random(len(image.found), np.float32).round(digits)
    return Seen(image.truth, image.class_ids, Detections(image.found.boxes, image.found.class_ids, scores))


def grouped(images: list[Seen], group: int) -> np.ndarray:
    """Return the average precision (class, threshold), of ``group`` boxes at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quadrat.tasks.object_detection.scoring.precision.GROUP", group)
        return average_precision(images, K)


@given(st.integers(0, 99_999), st.integers(1, 60), st.sampled_from([1, 4, 64]), st.sampled_from([0, 1, 2, 7]))
def test_in_groups_it_is_that_of_the_whole_image(seed: int, count: int, group: int, digits: int) -> None:
    image = rounded(drawn(seed, count, side=30), digits)
    np.testing.assert_allclose(grouped([image], group), plain([image]), equal_nan=True)


@pytest.mark.parametrize("digits", [0, 1, 2])
def test_where_scores_tie_it_is_that_of_whole_images_of_many_boxes(digits: int) -> None:
    sizes = enumerate([1500, 300, 0, 2, 700])
    images = [rounded(drawn(number, count, side=10 * count**0.5), digits) for number, count in sizes]
    expected = plain(images)
    assert (expected[:, 0] > 0.1).all()
    assert (expected[:, 0] < 0.9).all()
    for group in (1, 64, 999):
        np.testing.assert_allclose(grouped(images, group), expected, rtol=1e-9)


def test_as_many_false_as_true_of_one_score_are_a_precision_of_a_half() -> None:
    """The false ones stand before the true ones by turns, whatever the order in which they are given."""
    true = np.array([[40 * n, 50, 40 * n + 10, 60] for n in range(100)], float)
    boxes = np.concatenate([true, true - [0, 50, 0, 50]])
    order = np.random.default_rng(0).permutation(200)
    found = Detections(boxes[order], np.zeros(200, np.uint8), np.ones(200, np.float32)).ranked()
    image = Seen(true, np.zeros(100, np.uint8), found)
    assert counted(image).per_class()[0]["ap50"] == pytest.approx(0.5)


def test_average_precision_of_several_images_is_that_of_coco() -> None:
    images = [drawn(seed, 15, side=30) for seed in range(4)] + [seen([], []), seen([(0, 0, 9, 9, 1)], [])]
    np.testing.assert_allclose(average_precision(images, K), plain(images), equal_nan=True)
    parts = sum((counted(image) for image in images[1:]), counted(images[0]))
    assert parts.overall() == counted(*images).overall()


def test_more_than_a_hundred_detections_count() -> None:
    """COCO takes the hundred best of an image, and would find a third here."""
    boxes = [(20 * n, 0, 20 * n + 10, 10) for n in range(300)]
    image = seen([(*b, 0) for b in boxes], [(*b, 0, 1 - n / 1000) for n, b in enumerate(boxes)])
    assert counted(image).summary() == {"map50": 1.0, "map": 1.0, "macro_f1": 1.0, "support": 300}
    assert plain([image], most=100)[0, 0] < 0.4


def test_average_precision_of_three_boxes_is_that_by_hand() -> None:
    """Two boxes: found, false, found: precision 1 up to a recall of 0.5, 2/3 beyond."""
    image = seen(
        [(0, 0, 10, 10, 0), (50, 0, 60, 10, 0)],
        [(0, 0, 10, 10, 0, 0.9), (90, 0, 99, 9, 0, 0.8), (50, 0, 60, 10, 0, 0.7)],
    )
    precision = pytest.approx((51 + 50 * 2 / 3) / 101)
    figures = {"ap50": precision, "ap": precision, "precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert counted(image, score=0.75).per_class()[0] == figures


def test_without_truth_nothing_is_defined_but_what_is_false_stays_false() -> None:
    image = seen([(0, 0, 10, 10, 0)], [(0, 0, 10, 10, 0, 0.9), (50, 0, 60, 10, 1, 0.9)])
    first, second, third = counted(image).per_class()
    assert first == {"ap50": 1.0, "ap": 1.0, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}
    assert second == {"ap50": None, "ap": None, "precision": 0.0, "recall": None, "f1": 0.0, "support": 0}
    assert third == {"ap50": None, "ap": None, "precision": None, "recall": None, "f1": None, "support": 0}
    assert counted(image).summary() == {"map50": 1.0, "map": 1.0, "macro_f1": 0.5, "support": 1}


@pytest.mark.parametrize("images", [(), (seen([], []),), (seen([(0, 0, 9, 9, IGNORE)], [(0, 0, 9, 9, 1, 0.9)]),)])
def test_without_objects_no_figure_is_defined(images: tuple[Seen, ...]) -> None:
    counts = counted(*images)
    assert counts.overall() == {
        "map50": None,
        "map": None,
        "macro_f1": None,
        "support": 0,
        "macro_precision": None,
        "macro_recall": None,
        "detections": 0,
    }
    assert (counts.confused() == 0).all()
    assert counts.always(0) is None


def test_detections_of_ignored_boxes_cost_no_precision() -> None:
    truth = [(0, 0, 10, 10, 0), (50, 0, 70, 20, IGNORE)]
    found = [(0, 0, 10, 10, 0, 0.6), (50, 0, 70, 20, 0, 0.9), (52, 2, 60, 9, 0, 0.8)]
    assert counted(seen(truth, found)).per_class()[0]["ap50"] == 1.0
    assert counted(seen(truth, found)).per_class()[0]["precision"] == 1.0
    assert counted(seen(truth[:1], found)).per_class()[0]["ap50"] == pytest.approx(1 / 3)


def test_counts_by_other_rules_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="can't be added"):
        counted(iou=0.5) + counted(iou=0.4)


def test_many_boxes_of_one_image_are_counted() -> None:
    """Each box is compared with those near it: all pairs would take hours, and more memory than there is."""
    count, generator = 40_000, np.random.default_rng(0)
    corner = generator.random((count, 2)) * 5_400
    truth = np.concatenate([corner, corner + generator.uniform(15, 45, (count, 2))], axis=1)
    ids = generator.integers(0, K, count).astype(np.uint8)
    scores = generator.random(count, np.float32)
    image = Seen(truth, ids, Detections(truth + generator.normal(0, 1, (count, 4)), ids, scores))
    assert counted(image, score=0.0).summary()["map50"] > 0.99


def test_thresholds_are_cocos() -> None:
    np.testing.assert_allclose(THRESHOLDS, np.arange(0.5, 1.0, 0.05))
