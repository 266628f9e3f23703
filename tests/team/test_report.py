"""The page of a report holds whatever figures, names and pictures there are."""

from pathlib import Path
from typing import Any

import pytest

from quadrat.errors import CONTROL, LockError, OutputError
from quadrat.runtime.files import write_json
from quadrat.team.report import MOST_PAIRS, report
from tests.project import call, change, clone, commit, digests

METRICS = {"overall": {"accuracy": 0.5, "macro_f1": None}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the project with figures that are committed."""
    folder = clone(tmp_path / "project")
    confused(folder, 2, 5)
    write_json(folder / "metrics/eval.json", METRICS)
    commit(folder)
    monkeypatch.chdir(folder)
    return folder


def confused(folder: Path, classes: int, wrong: int) -> None:
    names = [f"class|{n}" for n in range(classes)]
    rows = [f"{t},{p},{90 if t == p else wrong * (t == names[0])}" for t in names for p in names]
    (folder / "metrics/plots/confusion.csv").write_text("\n".join(["truth,predicted,count", *rows]) + "\n")


def page(**options: Any) -> str:
    given = {"out": Path("report"), "pictures_at": None, "pictures": False, **options}
    return report("HEAD", **given).read_text()


def test_nothing_has_changed(project: Path) -> None:
    told = page()
    assert "No parameter differs." in told
    assert "No metric differs." in told
    assert "### Confusion" not in told
    assert call("git status --porcelain", project) == ""  # git doesn't see the report


def test_undefined_figures_and_parameters_that_come_and_go(project: Path) -> None:
    change(project, {"baseline": None, "bundle.title": "a|b <c> @d"})
    write_json(project / "metrics/eval.json", {"overall": {"accuracy": None, "macro_f1": 0.25}})
    told = page()
    assert "| baseline | – | null |\n" in told
    assert "| baseline.trees | 100 | – |\n" in told
    assert '"a\\|b &lt;c&gt; \\@d" |\n' in told
    assert "| eval: overall.accuracy | 0.5 | – | – |\n" in told
    assert "| eval: overall.macro\\_f1 | – | 0.25 | – |\n" in told


def test_of_a_task_without_classes_the_first_metric_of_each_scene_is_told(project: Path) -> None:
    (project / "metrics/plots/scene_scores.csv").write_text("scene,mae,r2,support\nnew,0.25,0.5,10\n")
    told = page()
    assert "### MAE of each scene\n" in told
    assert "| new | – | 0.25 | – | 10 |\n" in told


def test_names_drive_no_terminal_and_bring_no_html(project: Path) -> None:
    evil = "new\x1b[2J<script>\n# x\x9b"
    (project / "metrics/plots/scene_scores.csv").write_text(f'scene,macro_f1,support\n"{evil}",0.25,10\n')
    change(project, {"bundle.title": evil})
    told = page()
    assert not CONTROL.search(told.replace("\n", ""))
    assert "<script>" not in told.partition("</details>")[2]  # before it, a block of code
    assert "| new\\\\u001b\\[2J&lt;script&gt; # x\\\\u009b | – | 0.25 | – | 10 |\n" in told


def test_what_a_failed_stage_has_not_written_is_a_dash(project: Path) -> None:
    (project / "metrics/eval.json").unlink()
    told = page()
    assert "| eval: overall.accuracy | 0.5 | – | – |\n" in told
    assert "**`dvc.lock` is stale** (" in told


def test_few_classes_are_a_matrix_of_shares(project: Path) -> None:
    confused(project, 2, 10)
    told = page()
    assert "| truth | class\\|0 | class\\|1 |\n" in told
    assert "| **class\\|0** | 90 (-5) | 10 (+5) |\n" in told
    assert "| **class\\|1** | 0 | 100 |\n" in told


def test_of_many_classes_the_largest_confusions_are_told(project: Path) -> None:
    confused(project, 30, 7)
    told = page()
    rows = told.partition("| truth | predicted | count | share |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(rows) == MOST_PAIRS
    assert rows[0].startswith("| class\\|0 | class\\|1 | 7 | 2")


@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # pygtrie, of how DVC uses it
def test_without_a_run_there_are_no_pictures_and_no_error(project: Path) -> None:
    (project / "dvc.lock").unlink()
    commit(project)
    assert "There are no pictures." in page(pictures=True)


def test_what_the_report_did_not_make_is_kept(project: Path) -> None:
    (project / "notes").mkdir()
    (project / "notes/mine.txt").write_text("mine")
    (project / "link").symlink_to("notes")
    (project / "file").write_text("mine")
    page()
    (project / "report/pictures").mkdir()
    (project / "report/pictures/mine.png").write_text("mine")
    before = digests(project)
    for place in ("notes", "src/quadrat", ".", "link", "report", "file"):
        with pytest.raises(OutputError, match=rf"file: {(project / place).resolve()}\n(.|\n)*hint: "):
            page(out=Path(place))
    assert digests(project) == before


def test_an_earlier_report_is_replaced_also_where_a_link_leads_to_it(project: Path) -> None:
    (project / "report").symlink_to(project.parent / "elsewhere")
    assert page() == page()
    assert (project / "report").is_symlink()
    assert [file.name for file in (project.parent / "elsewhere").iterdir()] == ["report.md"]


@pytest.mark.usefixtures("project")
def test_a_revision_that_is_none_is_told_in_words() -> None:
    with pytest.raises(LockError, match=r"DVC can't read(.|\n)*nowhere"):
        report("nowhere", Path("report"), None, pictures=False)
    assert not Path("report").exists()
