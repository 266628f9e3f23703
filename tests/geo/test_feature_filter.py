"""Filters of features: pandas' own answers for what they may say, and nothing else is run."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from quadrat.geo.vectors.feature_filter import FilterError, matches, parse
from quadrat.labels.vector import VectorLabels

FIELDS = pd.DataFrame(
    {
        "use": ["shed", "house", None, "ground", "it's"],
        "height": [1.0, 4.0, None, 9.5, -2.0],
        "count": [1, 2, 3, 4, 2**62],
        "old": [True, False, True, False, True],
        "built": pd.to_datetime(["2001-05-06", "2020-01-01", None, "2019-12-31", "1999-01-01"]),
        "roof type": ["flat", "gable", "flat", None, "hip"],
    }
)


def kept(query: str, fields: pd.DataFrame = FIELDS) -> list[bool]:
    return matches(parse(query), fields).tolist()


@pytest.mark.parametrize(
    "query",
    [
        "height > 3",
        "height > 3 and use != 'shed'",
        "use != 'ground'",
        "not use == 'ground'",
        "1 < count <= 3",
        "3 >= count",
        "count in [1, 3]",
        "count == [1, 3]",
        "use not in ['shed', 'house']",
        "old",
        "not old and height < 5",
        "~old | (height > 3 & count != 2)",
        "old == True",
        "built > '2019-06-01'",
        "`roof type` == 'flat'",
        'use == "it\'s"',
        "use == 'a & b' or height <= -1.5",
        "count >= 4611686018427387904",
    ],
)
def test_a_filter_gives_what_pandas_gives(query: str) -> None:
    assert kept(query) == FIELDS.eval(query, engine="python").tolist()


ATOMS = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["height", "count"]),
        st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
        st.integers(-3, 10),
    ),
    st.builds("use {} {!r}".format, st.sampled_from(["==", "!=", "<", ">="]), st.sampled_from(["shed", "house", "z"])),
    st.builds(
        "use {} {!r}".format, st.sampled_from(["in", "not in"]), st.lists(st.sampled_from(["shed", "it's"]), min_size=1)
    ),
    st.just("old"),
)
QUERIES = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", "&", "|"]), inner),
        st.builds("(not {})".format, inner),
    ),
    max_leaves=6,
)


@given(QUERIES)
def test_filters_of_any_shape_give_what_pandas_gives(query: str) -> None:
    assert kept(query) == FIELDS.eval(query, engine="python").tolist()


def test_missing_values_can_be_asked_for() -> None:
    assert kept("use == None") == [False, False, True, False, False]
    assert kept("height != None") == [True, True, False, True, True]
    nullable = pd.DataFrame(
        {"n": pd.array([1, None, 3], dtype="Int64"), "s": pd.array(["a", None, "b"], dtype="string")}
    )
    assert kept("n != 1", nullable) == [False, True, True]
    assert kept("n > 1", nullable) == [False, False, True]
    assert kept("s != 'a'", nullable) == [False, True, True]


@pytest.mark.parametrize(
    "query",
    [
        "@pd.io.common.os.system('touch /tmp/seen') == 0",
        "@pd.read_pickle('x') == 1",
        "use.to_csv('x')",
        "use.str.startswith('s')",
        "__import__('os').system('true') == 0",
        "field('use').to_csv('x') == 1",
        "field(use) == 1",
        "9**9**9**9 > height",
        "use == 'a' * 10**10",
        "use.str.repeat(10**10) == 'a'",
        "height + 1 > 3",
        "height > count",
        "3",
        "3 > 2",
        "height >",
        "",
        "[x for x in use]",
        "use == f'{height}'",
        "use is None",
        "(lambda: 1)() == height",
        "height := 3",
        "use[0] == 'a'",
        "height < [1, 2]",
        "use in 'shed'",
        "-use == 'a'",
        "height > 1j",
        "use == b'shed'",
        "use == ...",
        "(" * 1000 + "old" + ")" * 1000,
        "not " * 1000 + "old",
        "height > " + "-" * 1000 + "1",
        "height > " + "9" * 4000,
        "old and " * 1000 + "old",
        "a" * 5000,
        "old\0",
    ],
)
def test_what_is_no_comparison_is_refused(query: str) -> None:
    with pytest.raises(FilterError):
        kept(query)
    with pytest.raises(ValidationError, match="'filter' can't be read"):
        VectorLabels.model_validate({"kind": "vector", "path": "p", "default": "a", "filter": query}, strict=False)


def test_a_field_that_is_neither_true_nor_false_is_no_filter() -> None:
    with pytest.raises(FilterError, match="height is neither true nor false"):
        kept("height")


@pytest.mark.parametrize("dates", ["built > 'soon'", "built > 3"])
def test_a_constant_of_another_sort_is_refused(dates: str) -> None:
    with pytest.raises(FilterError, match="built holds dates"):
        kept(dates)


def test_what_to_write_instead_is_told() -> None:
    with pytest.raises(
        FilterError, match=r"'use.str.startswith\('s'\)' is not a field. A filter has comparisons of a field"
    ):
        parse("use.str.startswith('s')")


def test_whole_numbers_that_floats_cannot_tell_apart_are_refused() -> None:
    ids = pd.DataFrame({"id": [2**53 + 1, None]})  # as files with missing values are read
    for query in (f"id == {2**53}", f"id not in [1, {2**53 + 1}]"):
        with pytest.raises(FilterError, match="floats"):
            kept(query, ids)
    assert kept(f"id < {2**60}", ids) == [True, False]
    assert kept(f"id == {2**53 + 1}", pd.DataFrame({"id": [2**53 + 1, 2**53]})) == [True, False]
