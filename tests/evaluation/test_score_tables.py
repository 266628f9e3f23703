"""Scores of classes and scenes come back as they were written."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quadrat.evaluation.score_tables import read_scores, write_scores
from quadrat.tasks.common.metrics import Metrics, rounded

VALUES: st.SearchStrategy[float | None] = st.one_of(st.none(), st.integers(0, 10**9), st.floats(0, 1))
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1).filter(lambda name: name.isprintable())


@given(st.dictionaries(NAMES, st.fixed_dictionaries({"f1": VALUES, "support": VALUES})))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, Metrics]) -> None:
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    write_scores(path, "class", rows)
    found = read_scores(path.read_text(encoding="utf-8"))
    assert list(found) == list(rows)
    assert found == {name: rounded(metrics) for name, metrics in rows.items()}


def test_undefined_is_empty_and_names_are_no_values(tmp_path: Path) -> None:
    rows = {"NA": {"f1": None, "support": 0}, "a, b": {"f1": 0.12345, "support": 7}, "1": {"f1": 1.0, "support": 2}}
    write_scores(tmp_path / "s.csv", "class", rows)
    text = (tmp_path / "s.csv").read_text()
    assert text == 'class,f1,support\nNA,,0\n"a, b",0.1235,7\n1,1.0,2\n'
    assert read_scores(text)["NA"] == {"f1": None, "support": 0}
