"""What is read of given predictions is right, or refused."""

from typing import Any

import numpy as np
import pytest
import shapely

from quadrat.errors import PredictionError
from quadrat.tasks.common.outputs import Features
from quadrat.tasks.common.prediction_features import class_ids, scores

NAMES = ("wood", "lake", "field")


def features(**fields: Any) -> Features:
    arrays = {name.rstrip("_"): np.asarray(values) for name, values in fields.items()}
    count = max(map(len, arrays.values()))
    return Features("found", np.array([shapely.box(0, 0, 1, 1)] * count, object), arrays, "found.gpkg")


@pytest.mark.parametrize(
    "fields",
    [
        {"class_": ["lake", "wood", "field"]},
        {"class_": np.array(["lake", "wood", "field"], object)},
        {"class_id": np.array([1, 0, 2], np.int64)},
        {"class_id": [1.0, 0.0, 2.0]},  # whole numbers of a file that has none of its own type
        {"class_": ["lake", "wood", "field"], "class_id": [1, 0, 2]},
    ],
)
def test_classes_are_named_or_numbered(fields: dict[str, Any]) -> None:
    assert class_ids(features(**fields), NAMES).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"class_": ["lake", "Wood", "bush"]}, r"other classes\n(.|\n)*expected: wood, lake, field\n  got: Wood, bush"),
        ({"class_": np.array(["lake", None], object)}, r"other classes\n(.|\n)*got: None"),
        ({"class_id": [0, 3]}, r"other classes\n(.|\n)*from 0 to 2\n  got: 3\n"),
        ({"class_id": [0, -1]}, r"other classes\n(.|\n)*got: -1\n"),
        ({"class_id": [0, 256]}, r"got: 256\n"),
        ({"class_id": [0, 1.5]}, r"got: 1\.5\n"),
        ({"class_id": [0, np.nan]}, r"got: nan\n"),
        ({"class_id": ["0", "1"]}, r"got: 0, 1\n"),
        ({"class_": ["wood", "lake"], "class_id": [0, 2]}, r"disagree\n(.|\n)*got: class lake, class_id 2\n"),
        ({"kind": ["wood"]}, r"no class\n(.|\n)*file: found.gpkg\n(.|\n)*class_id\n  got: kind\n"),
    ],
)
def test_other_classes_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(PredictionError, match=said):
        class_ids(features(**fields), NAMES)


def test_scores_are_from_0_to_1() -> None:
    found = scores(features(score=[0, 0.25, 1.0000001]), "score")
    assert found.dtype == np.float32
    assert found.tolist() == [0, 0.25, 1]
    assert scores(features(score=[1, 0]), "score").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0.5, 50.0, -0.1], r"wrong scores in the field score\n(.|\n)*got: 50\.0, -0\.1\n"),
        ([0.5, np.nan], r"wrong scores\D*\n(.|\n)*got: nan\n"),
        ([0.5, np.inf], r"wrong scores\D*\n(.|\n)*got: inf\n"),
        (["0.5"], r"does not hold numbers"),
        ([*range(2, 40)], r"got: 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, and 28 more\n"),
    ],
)
def test_other_scores_are_refused(values: list[Any], said: str) -> None:
    with pytest.raises(PredictionError, match=said):
        scores(features(score=values), "score")
    with pytest.raises(PredictionError, match=r"lack the field other\n"):
        scores(features(score=values), "other")
