"""What surrounds a report: where its pictures go, the comment that shows it, and the jobs that call all this."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

from quadrat.team.report import MARK
from tests.project import ROOT, call, commit, script_module


def test_folders_are_published_beside_each_other(tmp_path: Path) -> None:
    bare, clones = tmp_path / "bare.git", [tmp_path / name for name in ("one", "two")]
    call(f"git init --quiet --bare {bare}", tmp_path)
    for folder in clones:
        call(f"git clone --quiet {bare} {folder}", tmp_path)
        (folder / "scripts").mkdir()
        (folder / "scripts/publish").write_bytes((ROOT / "scripts/publish").read_bytes())
        (folder / "scripts/publish").chmod(0o755)
        (folder / ".gitignore").write_text("/report/\n")
        commit(folder)
        for name in ("report.md", "pictures/a b.png"):
            (folder / "report" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "report" / name).write_text(folder.name)
    head = call("git rev-parse HEAD", clones[0])
    jobs = [subprocess.Popen(["scripts/publish", "report", folder.name], cwd=folder) for folder in clones]
    assert [job.wait(60) for job in jobs] == [0, 0]
    (clones[0] / "report/report.md").write_text("again")
    (clones[0] / "report/pictures/a b.png").unlink()
    call("scripts/publish report one", clones[0])
    listed = call("git ls-tree -r --name-only quadrat-reports", bare).splitlines()
    assert listed == ["one/report.md", "two/pictures/a b.png", "two/report.md"]
    assert call("git show quadrat-reports:one/report.md", bare) == "again"
    assert call("git rev-parse HEAD", clones[0]) == head
    assert call("git status --porcelain", clones[0]) == ""


@pytest.mark.parametrize("mine", [".venv/notes.txt", ".venv/lib/mine.py"])
def test_the_setup_empties_no_environment_that_it_did_not_make(tmp_path: Path, mine: str) -> None:
    for name in ("scripts/setup", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / mine).parent.mkdir(parents=True)
    (tmp_path / mine).write_text("mine")
    (tmp_path / ".venv/pyvenv.cfg").write_text("home = /usr/bin\ncommand = uv venv\n")
    done = subprocess.run([tmp_path / "scripts/setup"], capture_output=True, text=True, check=False)
    assert (done.returncode, (tmp_path / mine).read_text()) == (1, "mine")
    assert "was not made by scripts/setup" in done.stderr


@pytest.fixture(scope="module")
def posting() -> ModuleType:
    return script_module("comment")


class Api(ThreadingHTTPServer):
    """The comments of a request, as both GitHub and GitLab keep them."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = [f"comment {number}" for number in range(130)]
        self.asked: list[tuple[str, str, Mapping[str, str]]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        size, page = (int(n) for n in re.findall(r"=(\d+)", self.path))
        first = size * (page - 1)
        numbered = list(enumerate(self.server.bodies))[first : first + size]
        self._answer([{"id": number, "body": body} for number, body in numbered])

    def do_POST(self) -> None:
        self.server.bodies.append(self._body())
        self._answer({"id": len(self.server.bodies) - 1})

    def do_PATCH(self) -> None:
        number = int(self.path.rpartition("/")[2])
        self.server.bodies[number] = self._body()
        self._answer({"id": number})

    do_PUT = do_PATCH  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> str:
        return str(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"])

    def _answer(self, content: object) -> None:
        self.server.asked.append((self.command, self.path.partition("?")[0], dict(self.headers)))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())


@pytest.fixture
def api() -> Iterator[Api]:
    with Api() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(
    ("environment_", "made", "changed", "key"),
    [
        (
            {"GITHUB_API_URL": "", "GITHUB_REPOSITORY": "team/project", "PULL_REQUEST": "7", "GITHUB_TOKEN": "secret"},
            "/repos/team/project/issues/7/comments",
            ("PATCH", "/repos/team/project/issues/comments/130"),
            ("Authorization", "Bearer secret"),
        ),
        (
            {"GITLAB_CI": "true", "CI_API_V4_URL": "", "CI_PROJECT_ID": "3", "GITLAB_TOKEN": "secret"}
            | {"CI_MERGE_REQUEST_IID": "7"},
            "/projects/3/merge_requests/7/notes",
            ("PUT", "/projects/3/merge_requests/7/notes/130"),
            ("Private-Token", "secret"),
        ),
    ],
    ids=["GitHub", "GitLab"],
)
def test_a_comment_is_made_once_and_then_changed(
    posting: ModuleType,
    api: Api,
    environment_: dict[str, str],
    made: str,
    changed: tuple[str, str],
    key: tuple[str, str],
) -> None:
    settings = {name: value or api.url for name, value in environment_.items()}
    assert posting.thread(settings).put(f"{MARK}\nfirst") == "made comment 130"
    assert api.asked[-1][:2] == ("POST", made)
    assert posting.thread(settings).put(f"{MARK}\nsecond") == "changed comment 130"
    assert api.asked[-1][:2] == changed
    assert api.bodies[-1] == f"{MARK}\nsecond"
    assert len(api.bodies) == 131
    assert all(headers[key[0]] == key[1] for _, _, headers in api.asked)


def test_a_page_that_is_too_long_is_cut_at_a_line(posting: ModuleType) -> None:
    page = "| a row |\n" * 10_000
    short = posting.shortened(page)
    assert len(short) < 65_536
    assert short.startswith("| a row |\n")
    assert "\n| a row |\n\n… the rest" in short
    assert posting.shortened("short") == "short"


def jobs(name: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / name)
    return found


@pytest.mark.parametrize("name", [".github/workflows/ci.yml", ".github/workflows/experiment.yml"])
def test_workflows_do_nothing_but_call_what_is_tested(name: str) -> None:
    workflow = jobs(name)
    assert "pull_request_target" not in workflow["on"]  # strangers' code would see secrets
    assert workflow["permissions"]
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    known = r"make [\w-]+|scripts/\w+ .*|\.venv/bin/python scripts/\w+\.py .*|cat report/report\.md >>.*"
    assert all(re.fullmatch(known, line) for line in lines), lines
    assert "${{" not in "".join(lines)  # a branch's name is no code
    check_scripts(lines)


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.y*ml"))


def steps_of(workflow: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_and_name_their_version(file: Path) -> None:
    used = [step["uses"] for step in steps_of(jobs(str(file.relative_to(ROOT)))) if "uses" in step]
    assert used
    assert [one for one in used if not re.fullmatch(r"[\w-]+/[\w./-]+@[0-9a-f]{40}", one)] == []
    lines = [line for line in file.read_text().splitlines() if "uses:" in line]
    assert len(lines) == len(used)
    assert [line for line in lines if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_secrets_are_only_in_the_steps_that_need_them(file: Path) -> None:
    """A package that setup installs runs code: it must find no key of the remote."""
    workflow = jobs(str(file.relative_to(ROOT)))
    around = [workflow.get("env", {}), *(job.get("env", {}) for job in workflow["jobs"].values())]
    values = [value for env in around for value in env.values()]
    assert [
        value for value in values if "secrets." in value and not re.search(r"secrets\.\w+ [!=]= \'\' }}$", value)
    ] == []
    for step in steps_of(workflow):
        if "secrets." in json.dumps(step):
            assert step["run"].startswith("scripts/experiment run "), step


def test_the_setup_of_gitlab_sees_no_secret() -> None:
    """Variables of a project are in all of its jobs, so setup runs without them."""
    found = jobs("examples/ci/gitlab.yml")
    secrets = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GITLAB_TOKEN"}
    (setup,) = [line for line in found["experiment"]["script"] if "make setup" in line]
    assert set(re.findall(r"-u (\w+)", setup.partition("make")[0])) == secrets
    assert set(found["test"]["script"][0].removeprefix("unset ").split()) == secrets


def test_the_example_of_gitlab_calls_the_same_scripts() -> None:
    found = jobs("examples/ci/gitlab.yml")
    lines = [line for part in ("script", "after_script") for line in found["experiment"][part]]
    workflow = (ROOT / ".github/workflows/experiment.yml").read_text()
    named = check_scripts(lines)
    assert named == check_scripts([workflow]) - {"scripts/publish"}  # GitLab shows a job's files by their URL


def check_scripts(lines: list[str]) -> set[str]:
    named = {script for line in lines for script in re.findall(r"scripts/[\w.]+", line)}
    for script in named:
        assert (ROOT / script).is_file()
        assert script.endswith(".py") or (ROOT / script).stat().st_mode & 0o100
    return named


def test_a_warning_of_another_plugin_does_not_end_the_tests_and_one_of_a_test_does(root: Path, tmp_path: Path) -> None:
    """Machines with a GPU come with plugins of their own."""
    (tmp_path / "noisy.py").write_text(
        "import pytest\n\n\ndef pytest_configure(config):\n"
        "    for kind in ('Deprecation', 'Config', 'AssertRewrite'):\n"
        "        config.issue_config_time_warning(getattr(pytest, f'Pytest{kind}Warning')('unset'), stacklevel=2)\n"
    )
    (tmp_path / "test_one.py").write_text(
        "import warnings\n\n\ndef test_quiet(): pass\n\n\ndef test_noisy(): warnings.warn('of its own')\n"
    )
    command = [sys.executable, "-m", "pytest", "-c", root / "pyproject.toml", "--rootdir", tmp_path, "-p", "noisy"]
    ended = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--noconftest", tmp_path / "test_one.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in ended.stdout, ended.stdout + ended.stderr
