"""Names and tables in Markdown."""

import html
from collections.abc import Iterable, Sequence

from quadrat.errors import printable


def escaped(text: str) -> str:
    """Return a name that stands as it is in a line or a table's cell: no HTML, no Markdown, no control characters."""
    plain = printable(html.escape(text, quote=False).replace("\n", " "), keep="")
    return "".join(f"\\{sign}" if sign in "|*_`[]@~\\" else sign for sign in plain)


def table(head: Sequence[str], under: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table; ``under`` are the signs below its head, ``---`` or ``---:``. Cells are escaped by the caller."""
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in (head, under, *rows))
