"""HTML and SVG as text, in which all that is not markup is escaped."""

from collections.abc import Iterable, Sequence
from html import escape

VOID = ("img", "meta", "br")
"""Elements without content."""


class Markup(str):
    """Text that is markup already; other text is escaped where it becomes content."""

    __slots__ = ()


def tag(name: str, /, *content: object, **attributes: object) -> Markup:
    """Return an element with its content and attributes; those that are None are left out.

    Underscores of attributes' names become hyphens; one at the end is dropped (``class_``).
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(content)}</{name}>")


def joined(parts: Iterable[object]) -> Markup:
    """Return the parts one after another, escaped where they are no markup."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part), quote=False) for part in parts))


def section(title: str, *content: object) -> Markup:
    """Return a section with its heading."""
    return Markup(f"\n{tag('section', tag('h2', title), *content)}")


def paragraph(*content: object, **attributes: object) -> Markup:
    """Return a paragraph."""
    return Markup(f"\n{tag('p', *content, **attributes)}")


def table(caption: str, head: Sequence[object], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table below its caption; it scrolls by itself where it is too wide.

    The first cell of each row is its heading. Cells that are markup of ``td`` stand as they are.
    """
    top = tag("tr", *(tag("th", cell, scope="col") for cell in head))
    body = [tag("tr", tag("th", first, scope="row"), *map(_cell, rest)) for first, *rest in rows]
    lines = Markup("\n".join([tag("thead", top), *body]))
    inner = tag("table", Markup("\n"), lines, aria_label=caption)
    scrolled = tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return Markup(f"{paragraph(caption, class_='soft')}\n{scrolled}")


def _cell(content: object) -> Markup:
    if isinstance(content, Markup) and content.startswith("<td"):
        return content
    return tag("td", content)


def swatch(color: str) -> Markup:
    """Return a square of a colour, hexadecimal red, green, blue."""
    return tag("span", class_="swatch", style=f"background:{color}", aria_hidden="true")
