"""Filters features by comparing fields with constants; nothing else is allowed, because a catalog may be untrusted."""

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 4096
"""Largest number of characters of a filter."""

LARGEST = 2**64 - 1
"""Largest whole number that a field holds."""

ORDERS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
EXACT = 2**53
"""The smallest whole number that floats can't distinguish from a neighbour."""

SWAPPED: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
FORMS = (
    "comparisons of a field with a number, a text, True, False or None (==, !=, <, <=, >, >=), "
    "'in' or 'not in' with a list of them, joined by 'and', 'or', 'not' and brackets"
)

Mask = NDArray[np.bool_]


class FilterError(ValueError):
    """A filter that can't be read, or doesn't fit the fields."""


def parse(text: str) -> ast.expr:
    """Return the expression of a filter; raise FilterError if it is more than comparisons of fields.

    A name in backticks may hold any characters. ``&``, ``|`` and ``~`` mean ``and``, ``or`` and ``not``, as in pandas.
    """
    if len(text) > LONGEST:
        raise FilterError(f"it has {len(text)} characters, at most {LONGEST} are read")
    try:
        tree = ast.parse(_plain(text), mode="eval").body
        _check(tree)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as cause:
        raise cause if isinstance(cause, FilterError) else FilterError(f"it can't be read: {cause}") from cause
    return tree


def matches(tree: ast.expr, fields: "pd.DataFrame") -> Mask:
    """Return for each row whether the filter is true.

    A missing value differs from every value: ``!=`` and ``not in`` are true, other comparisons false. ``== None``
    is true where the value is missing.
    """
    match tree:
        case ast.BoolOp(op=op, values=values):
            masks = np.stack([matches(value, fields) for value in values])
            return _all(masks) if isinstance(op, ast.And) else ~_all(~masks)
        case ast.UnaryOp(operand=operand):
            return ~matches(operand, fields)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            sides = [left, *rights]
            pairs = zip(sides, ops, rights, strict=False)
            return _all(np.stack([_compared(one, op, other, fields) for one, op, other in pairs]))
        case _:
            column = _column(tree, fields)
            if _sort(column) != "True or False":
                raise FilterError(f"{_name(tree)} is neither true nor false: compare it with a value")
            return np.asarray(column.fillna(value=False), np.bool_)


def _all(masks: Mask) -> Mask:
    """Return where all masks (mask, row) are true."""
    every: Mask = np.logical_and.reduce(masks)
    return every


def _plain(text: str) -> str:
    """Return the filter in Python's own syntax: names in backticks quoted as calls, ``&`` ``|`` ``~`` as words."""

    def plain(found: re.Match[str]) -> str:
        if found["name"] is not None:
            return f"field({found['name']!r})"
        return {"&": " and ", "|": " or ", "~": " not "}.get(found[0], found[0])

    return re.sub(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?P<name>[^`]+)`|[&|~]""", plain, text).strip()


def _check(tree: ast.expr) -> None:
    """Raise FilterError for anything but comparisons of fields with constants."""
    match tree:
        case ast.BoolOp(values=values):
            for value in values:
                _check(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check(operand)
        case ast.Compare(left=left, ops=ops, comparators=rights):
            sides = [left, *rights]
            for one, op, other in zip(sides, ops, rights, strict=False):
                _check_pair(one, op, other)
        case _:
            _name(tree)


def _check_pair(one: ast.expr, op: ast.cmpop, other: ast.expr) -> None:
    if type(op) not in ORDERS and not isinstance(op, ast.In | ast.NotIn):
        raise FilterError(f"it compares by 'is'. A filter has {FORMS}")
    if isinstance(op, ast.In | ast.NotIn):
        _name(one)
        _constants(other)
    elif _is_field(one):
        _name(one)
        (_constants if isinstance(other, ast.List | ast.Tuple) else _constant)(other)
    else:
        _name(other)
        _constant(one)
    if isinstance(other, ast.List | ast.Tuple) and not isinstance(op, ast.In | ast.NotIn | ast.Eq | ast.NotEq):
        raise FilterError("a list can only be compared by 'in', 'not in', == and !=")


def _is_field(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Name | ast.Call)


def _name(tree: ast.expr) -> str:
    """Return the name of the field; raise FilterError if the expression is not a field."""
    match tree:
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id="field"), args=[ast.Constant(value=str(name))], keywords=[]):
            return name
        case _:
            raise FilterError(f"'{ast.unparse(tree)[:80]}' is not a field. A filter has {FORMS}")


def _constant(tree: ast.expr) -> Any:
    match tree:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float()) as positive):
            return -_constant(positive)
        case ast.Constant(value=int(value)) if value > LARGEST:
            raise FilterError(f"a whole number of a filter is at most {LARGEST}")
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case _:
            raise FilterError(f"'{ast.unparse(tree)[:80]}' is not a constant. A filter has {FORMS}")


def _constants(tree: ast.expr) -> list[Any]:
    if not isinstance(tree, ast.List | ast.Tuple | ast.Set):
        raise FilterError(f"'{ast.unparse(tree)[:80]}' is not a list of constants. A filter has {FORMS}")
    return [_constant(each) for each in tree.elts]


def _compared(one: ast.expr, op: ast.cmpop, other: ast.expr, fields: "pd.DataFrame") -> Mask:
    """Return where a comparison is true."""
    if not _is_field(one):
        one, op, other = other, SWAPPED[type(op)](), one
    column = _column(one, fields)
    if isinstance(other, ast.List | ast.Tuple | ast.Set):
        values = _constants(other)
        found = np.zeros(len(column), np.bool_)
        for value in values:
            found |= _ordered(column, ast.Eq(), value)
        return ~found if isinstance(op, ast.NotIn | ast.NotEq) else found
    return _ordered(column, op, _constant(other))


def _ordered(column: "pd.Series[Any]", op: ast.cmpop, value: Any) -> Mask:
    import pandas as pd

    if value is None:
        if not isinstance(op, ast.Eq | ast.NotEq):
            raise FilterError(f"{column.name} can be == None or != None, and nothing else")
        return np.asarray(column.isna() if isinstance(op, ast.Eq) else column.notna(), np.bool_)
    sort, value_sort = _sort(column), _sort_of(value)
    if sort == "a date" and value_sort == "text":
        try:
            value = pd.Timestamp(value, tz=getattr(column.dtype, "tz", None))
        except ValueError as cause:
            raise FilterError(f"'{value}' is not a date, and {column.name} holds dates") from cause
    elif sort != value_sort and {sort, value_sort} != {"a number", "True or False"}:
        raise FilterError(f"{column.name} holds {_of(sort)}, and {value!r} is {value_sort}")
    exact = isinstance(op, ast.Eq | ast.NotEq) and isinstance(value, int)
    if exact and abs(value) >= EXACT and getattr(column.dtype, "kind", "") == "f":
        raise FilterError(
            f"{column.name} is read as floats (integers are, where some are missing), to which {value} is "
            "equal to its neighbours"
        )
    try:
        found = ORDERS[type(op)](column, value)
    except (TypeError, OverflowError) as cause:
        raise FilterError(f"{column.name} can't be compared with {value!r}: {cause}") from cause
    return np.asarray(found.fillna(value=isinstance(op, ast.NotEq)), np.bool_)


def _column(tree: ast.expr, fields: "pd.DataFrame") -> "pd.Series[Any]":
    name = _name(tree)
    if name not in fields:
        raise FilterError(f"there is no field {name}")
    return fields[name]


def _sort(column: "pd.Series[Any]") -> str:
    from pandas import StringDtype
    from pandas.api import types

    if isinstance(column.dtype, StringDtype):
        return "text"
    if types.is_bool_dtype(column):
        return "True or False"
    if types.is_numeric_dtype(column):
        return "a number"
    if types.is_datetime64_any_dtype(column):
        return "a date"
    kinds = {_sort_of(value) for value in column.dropna().unique()}
    return kinds.pop() if len(kinds) == 1 else "text" if not kinds else "mixed values"


def _sort_of(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "True or False"
    if isinstance(value, int | float | np.number):
        return "a number"
    return "text" if isinstance(value, str) else type(value).__name__


def _of(sort: str) -> str:
    return {"a number": "numbers", "a date": "dates"}.get(sort, sort)
