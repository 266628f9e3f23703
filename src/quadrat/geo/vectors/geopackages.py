"""Limits the SQL of views and computed columns in GeoPackages, which runs when they are read and may never end."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

STEPS, STEPS_PER_BYTE = 20_000_000, 20
"""SQLite steps allowed for all views of a file, and more per byte of the file."""

LENGTH, LENGTH_PER_BYTE = 64 << 20, 20
"""Bytes allowed for all their rows, and more per byte of the file."""

EVERY = 100_000
"""Interval, in steps, at which steps are counted."""

ACTIONS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}

FUNCTIONS = {
    *("abs", "coalesce", "ifnull", "iif", "length", "max", "min", "nullif", "round", "sign", "typeof"),
    *("concat", "glob", "instr", "like", "lower", "ltrim", "rtrim", "substr", "substring", "trim", "upper"),
    *("date", "datetime", "julianday", "strftime", "time"),
    *("avg", "count", "sum", "total", "dense_rank", "first_value", "lag", "last_value", "lead", "rank", "row_number"),
}
"""Functions that end soon; a call of ``printf`` may take a minute and can't be interrupted."""

MAKING = {sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE}
MAKING |= {sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_REINDEX}
"""Authorizer actions needed to create a table in an empty database."""

PATTERN = 100
"""Largest number of characters of a ``like`` or ``glob`` pattern."""


def check_views(path: Path) -> None:
    """Raise ValueError if a view, or a table with computed columns, exceeds the limits."""
    try:
        _check(path)
    except sqlite3.Error as cause:  # not SQLite, or damaged
        raise ValueError(f"the file can't be read as SQLite: {cause}") from cause


def _check(path: Path) -> None:
    held = path.stat().st_size
    steps, length = STEPS + STEPS_PER_BYTE * held, LENGTH + LENGTH_PER_BYTE * held

    def count() -> bool:
        nonlocal steps
        steps -= EVERY
        return steps < 0

    address = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True)) as database:
        database.text_factory = bytes
        names = [*_computing(database)]
        for name, text in names:
            _check_columns(name, text)
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(length, (1 << 31) - 1))
        database.setlimit(sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN)
        database.set_authorizer(_allowed)
        database.set_progress_handler(count, EVERY)
        for name, _ in names:
            try:
                for row in database.execute(f"select * from {_quoted(name)}"):  # noqa: S608 (quoted)
                    length -= sum(len(value) for value in row if isinstance(value, bytes))
                    if length < 0:
                        break
            except (sqlite3.Error, ValueError, MemoryError) as cause:
                raise _error(name, "it takes too long" if steps < 0 else cause) from cause
            if length < 0:
                raise _error(name, "it is too long")


def _error(name: bytes, got: object) -> ValueError:
    return ValueError(f"the view or computed column of {name.decode(errors='replace')[:100]} can't be read: {got}")


def _allowed(action: int, _: str | None, name: str | None, *__: str | None) -> int:
    function = action == sqlite3.SQLITE_FUNCTION and name is not None and name.lower() in FUNCTIONS
    return sqlite3.SQLITE_OK if function or action in ACTIONS else sqlite3.SQLITE_DENY


def _check_columns(name: bytes, text: bytes | None) -> None:
    """Raise ValueError if columns are computed by other functions; SQLite asks when the table is created alone."""
    if text is None:
        return
    with closing(sqlite3.connect(":memory:")) as database:
        database.set_authorizer(_making)
        try:
            database.execute(text.decode())
        except (sqlite3.Error, ValueError) as cause:
            told = name.decode(errors="replace")[:100]
            raise ValueError(f"the computed columns of {told} can't be read: {cause}") from cause


def _making(action: int, *about: str | None) -> int:
    return sqlite3.SQLITE_OK if action in MAKING else _allowed(action, *about)


def _computing(database: sqlite3.Connection) -> Iterator[tuple[bytes, bytes | None]]:
    """Yield the names of views and of tables with computed columns, and the SQL of these tables."""
    listed = database.execute("select name, type, sql from sqlite_master where type in ('table', 'view')").fetchall()
    for name, kind, text in listed:
        if kind == b"view":
            yield name, None
        elif any(row[6] in {2, 3} for row in database.execute(f"pragma table_xinfo({_quoted(name)})")):
            yield name, text


def _quoted(name: bytes) -> str:
    return '"{}"'.format(name.decode().replace('"', '""'))
