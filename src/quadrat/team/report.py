"""quadrat report: the effect of a change, as a Markdown page with pictures before and after."""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from quadrat.errors import OutputError, printable
from quadrat.runtime.files import check_own, replaced
from quadrat.runtime.formats.markdown import escaped, table
from quadrat.runtime.process import sole_writer
from quadrat.team.compared import PATHS, State
from quadrat.team.lockfile import Difference, as_text, differences, lines, opened
from quadrat.team.noise import verdict

MARK = "<!-- quadrat report -->"
"""The first line of every report, by which an earlier comment is found, and an earlier folder."""

PAGE = "report.md"

OWN = (PAGE, "pictures/*-before.png", "pictures/*-after.png")
"""The files of a report."""

HERE = "this change"
"""The name of the workspace's state."""

MOST_CLASSES, MOST_PAIRS, MOST_PICTURES = 12, 10, 12
"""Limits of a readable page; beyond them, the largest confusions and the first pictures are shown."""

NONE = "–"
"""Shown for an undefined or missing value."""

TITLES = {"f1": "F1", "macro_f1": "Macro F1"}

Rows = list[tuple[str, ...]]


def report(base: str, out: Path, pictures_at: str | None, *, pictures: bool) -> Path:
    """Compare the working folder with the git revision ``base``; return the path of report.md in ``out``.

    ``pictures`` of predictions are fetched to ``out``. The page links them below ``pictures_at``, the later address of
    ``out``; None for relative links. Raises OutputError if ``out`` holds anything but an earlier report, and BusyError
    if another report is being written there.
    """
    place = out.resolve()  # of a link, the folder that it leads to
    _check_place(place)
    lock = place.with_name(f".lock-{place.name}")
    with opened(Path(), base) as before, opened(Path()) as after, sole_writer("report", out, lock):
        states = State(base.removeprefix("origin/"), before), State(HERE, after)
        with replaced(place, OWN) as part:
            part.mkdir()
            page = "\n".join(_page(*states, part if pictures else None, pictures_at or "."))
            (part / PAGE).write_text(f"{page}\n", encoding="utf-8")
    return out / PAGE


def _check_place(out: Path) -> None:
    """Raise OutputError if ``out`` is neither new, nor an empty folder, nor an earlier report."""
    page = out / PAGE
    if page.is_file() and page.read_text(encoding="utf-8", errors="replace").startswith(MARK):
        check_own(out, OWN)
    elif out.exists() and not out.is_dir():
        hint = "name a folder"
        raise OutputError("there is a file where the folder of the report should be", file=out, hint=hint)
    else:
        check_own(out, ())


def _page(base: State, here: State, out: Path | None, pictures_at: str) -> Iterator[str]:
    yield f"{MARK}\n## {_revision(here, 'HEAD')} against {_revision(base, base.repo.fs.rev)}\n"
    yield from _stale(differences(Path()))
    yield "### Parameters\n"
    yield _or_none(_parameters(base, here), ("parameter", escaped(base.name), HERE), "No parameter differs.")
    yield "### Metrics\n"
    yield _or_none(_metrics(base, here), ("metric", escaped(base.name), HERE, "change"), "No metric differs.")
    sentence = verdict(base.score(), here.score())
    if sentence:
        yield f"{sentence}\n"
    for of, path, name in (("class", PATHS.class_scores, "f1"), ("scene", PATHS.scene_scores, "macro_f1")):
        old, new = base.scores(path), here.scores(path)
        metric = _shown(new or old, name)
        rows = list(_scores(old, new, metric))
        if rows:
            yield f"### {TITLES.get(metric, metric.upper())} of each {of}\n"
            yield _table((of, escaped(base.name), HERE, "change", "support"), rows)
    yield from _confusion(base, here)
    if out:
        yield from _pictures(base, here, out, pictures_at)


def _revision(state: State, revision: str) -> str:
    return f"{escaped(state.name)} (`{state.repo.scm.resolve_rev(revision)[:7]}`)"


def _stale(found: list[Difference]) -> Iterator[str]:
    if not found:
        return
    stages = ", ".join(dict.fromkeys(one.stage for one in found))
    yield f"**`dvc.lock` is stale** ({escaped(stages)}): figures and pictures are not of this code and parameters.\n"
    shown = [printable(line.replace("```", ""), keep="") for line in lines(found)]
    yield "\n".join(["<details>\n", "```text", *shown, "```", "</details>\n"])


def _parameters(base: State, here: State) -> Rows:
    old, new = base.parameters(), here.parameters()
    names = [
        name for name in dict.fromkeys([*new, *old]) if (name in old, old.get(name)) != (name in new, new.get(name))
    ]
    return [(escaped(n), *(escaped(as_text(some[n])) if n in some else NONE for some in (old, new))) for n in names]


def _metrics(base: State, here: State) -> Rows:
    return [
        (escaped(f"{file}: {name}"), *_change(old.get(name), new.get(name)))
        for (file, old), (_, new) in zip(base.metrics(), here.metrics(), strict=True)
        for name in dict.fromkeys([*new, *old])
        if old.get(name) != new.get(name)
    ]


def _shown(scores: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """Return the metric that is shown of each row: the one of this name, or of tasks that lack it their first."""
    names = [metric for row in scores.values() for metric in row]
    return name if name in names or not names else names[0]


def _scores(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> Iterator[Sequence[str]]:
    for row in dict.fromkeys([*new, *old]):
        before, after = old.get(row, {}), new.get(row, {})
        if before != after:
            yield escaped(row), *_change(before.get(name), after.get(name)), _value(after.get("support"))


def _change(old: Any, new: Any) -> tuple[str, str, str]:
    known = all(isinstance(value, int | float) for value in (old, new))
    return _value(old), _value(new), f"{new - old:+,.4g}" if known else NONE


def _confusion(base: State, here: State) -> Iterator[str]:
    old, new = base.confusion(), here.confusion()
    if not new or old == new:
        return
    yield "### Confusion\n"
    yield f"Of each true class (row), % by predicted class; in brackets, points more than {escaped(base.name)}.\n"
    names = list(dict.fromkeys(name for pair in new for name in pair))
    before, after = _shares(old), _shares(new)
    if len(names) <= MOST_CLASSES:
        rows = [(f"**{escaped(t)}**", *(_share(before.get((t, p)), after.get((t, p))) for p in names)) for t in names]
        yield _table(("truth", *map(escaped, names)), rows)
        return
    wrong = sorted((pair for pair in after if pair[0] != pair[1]), key=lambda pair: -new[pair])[:MOST_PAIRS]
    rows = [(escaped(t), escaped(p), f"{new[t, p]:,}", _share(before.get((t, p)), after[t, p])) for t, p in wrong]
    yield _table(("truth", "predicted", "count", "share"), rows)


def _shares(counts: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], float]:
    """Return each pair's share of its true class; skip classes without counts."""
    sums = dict[str, int]()
    for (truth, _), count in counts.items():
        sums[truth] = sums.get(truth, 0) + count
    return {(truth, p): count / sums[truth] for (truth, p), count in counts.items() if sums[truth]}


def _share(old: float | None, new: float | None) -> str:
    if new is None:
        return NONE
    points = round(100 * new) - round(100 * (new if old is None else old))
    return f"{100 * new:.0f} ({points:+d})" if points else f"{100 * new:.0f}"


def _pictures(base: State, here: State, out: Path, at: str) -> Iterator[str]:
    yield "### Predictions\n"
    missing = list(_fetched(base, here))
    yield from missing
    old, new = (state.pictures(here.repo.cache.local) for state in (base, here))
    changed = [scene for scene in new if old.get(scene) != new[scene]]
    (out / "pictures").mkdir()
    rows: Rows = []
    for scene in changed[:MOST_PICTURES]:
        cells = []
        for which, some in (("before", old), ("after", new)):
            file = f"pictures/{scene}-{which}.png"
            if scene in some:
                shutil.copyfile(some[scene], out / file)
            cells.append(f"![{escaped(scene)}]({at}/{quote(file)})" if scene in some else NONE)
        rows.append((escaped(scene), *cells))
    if rows or not missing:
        same = "All pictures are the same." if new else "There are no pictures."
        yield _or_none(rows, ("scene", escaped(base.name), HERE), same)
    if len(changed) > MOST_PICTURES:
        yield f"Not shown: {', '.join(escaped(scene) for scene in changed[MOST_PICTURES:])}.\n"


def _fetched(base: State, here: State) -> Iterator[str]:
    """Fetch the pictures of both states to DVC's cache; yield a line for each state without them."""
    from dvc.exceptions import DvcException

    try:
        here.repo.fetch([PATHS.pictures.as_posix()], revs=[base.repo.fs.rev])
    except DvcException as error:
        yield f"{escaped(str(error))}\n"
    for state in (base, here):
        out = state.drawn()
        if out and not here.repo.cache.local.exists(out.value):
            yield f"The pictures of {escaped(state.name)} can't be fetched from the remote: see `quadrat doctor`.\n"


def _or_none(rows: Rows, head: Sequence[str], otherwise: str) -> str:
    return _table(head, rows) if rows else f"{otherwise}\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    under = ["---", *["---:"] * (len(head) - 1)]
    return table(head, under, rows)


def _value(value: Any) -> str:
    """Return a figure as text."""
    return NONE if value is None else f"{value:,}" if isinstance(value, int | float) else escaped(as_text(value))
