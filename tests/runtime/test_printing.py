"""Names come from strangers: what they hold drives no terminal, begins no line, and stands as it is in Markdown."""

import io
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from quadrat.errors import CONTROL, ImageError, QuadratError, printable
from quadrat.runtime.formats.markdown import escaped
from quadrat.runtime.progress import Terminal, print_error, track, warn

EVIL = "a\x1b]0;title\x07\x1b[2J\r\x9b31m\u202eb\x00\x7f\udc80"
SHOWN = r"a\u001b]0;title\u0007\u001b[2J\u000d\u009b31m\u202eb\u0000\u007f\udc80"


def test_control_characters_are_escapes_and_other_text_stays() -> None:
    assert printable(EVIL) == SHOWN
    plain = "Blåbær, \u092e\u0947\u0918\u200d, \U0001f469\u200d\U0001f33e\ta\nb"  # with joiners
    assert printable(plain) == plain
    assert printable("a\nb", keep="") == r"a\u000ab"


def test_errors_have_no_control_characters_and_no_lines_of_names() -> None:
    error = ImageError(f"no {EVIL}", f"x\n  hint: {EVIL}", Path(EVIL), expected=EVIL, got=f"two\n{EVIL}", hint=EVIL)
    told = str(error)
    assert set(CONTROL.findall(told)) == {"\n"}
    assert told.splitlines()[1] == rf"  scene: x\u000a  hint: {SHOWN}"
    assert told.count("\n") == 6  # five details, one of them of two lines


@pytest.mark.parametrize("terminal", [False, True])
def test_whatever_is_printed_only_own_styles_reach_a_terminal(terminal: bool) -> None:
    held = io.StringIO()
    to = Terminal(file=held, force_terminal=terminal, width=300)
    table = Table("head", title=EVIL)
    table.add_row(EVIL)
    to.print(table, EVIL, Text(EVIL), sep="\n", highlight=False)
    print_error(QuadratError(EVIL), to)
    warn(EVIL, to)
    printed = held.getvalue()
    for sequence in ("\x1b]0", "\x1b[2J", "\x07", "\r", "\x9b", "\u202e", "\0", "\x7f", "\udc80"):
        assert sequence not in printed
    assert ("\x1b[" in printed) is terminal  # bold and red
    assert printed.count("]0;title") == 6


def test_a_bar_is_still_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    held = io.StringIO()
    to = Terminal(file=held, force_terminal=True, width=300)
    monkeypatch.setattr("quadrat.runtime.progress.console", to)
    assert list(track(range(3), f"predict {EVIL}", 3, "windows")) == [0, 1, 2]
    assert "3/3" in held.getvalue()
    assert "\x1b[2J" not in held.getvalue()


def test_all_output_goes_through_that_terminal(root: Path) -> None:
    files = [file for file in (root / "src/quadrat").rglob("*.py") if " Console(" in file.read_text(encoding="utf-8")]
    assert files == []


def test_a_name_is_escaped_for_markdown() -> None:
    assert escaped("a|b *c* _d_ `e` [f](g) <script>&\n# @h ~i~ \\j") == (
        r"a\|b \*c\* \_d\_ \`e\` \[f\](g) &lt;script&gt;&amp; # \@h \~i\~ \\j"
    )
    assert not CONTROL.search(escaped(EVIL))
