import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import quadrat.__main__
import quadrat.runtime.memory

CLI = "import sys\n\ndef main():\n    print(__file__, *sys.argv[1:])\n"


@pytest.fixture
def copies(tmp_path: Path) -> tuple[Path, Path]:
    """Return two workspaces with the program's true entry and a command line that says where its code lies."""
    copies = tmp_path / "main", tmp_path / "experiment"
    for copy in copies:
        package = copy / "src" / "quadrat"
        for folder in (package, package / "runtime", package / "cli"):
            folder.mkdir(parents=True)
            (folder / "__init__.py").touch()
        (package / "cli/__init__.py").write_text(CLI)
        shutil.copy(str(quadrat.__main__.__file__), package)
        shutil.copy(str(quadrat.runtime.memory.__file__), package / "runtime")
    return copies


def run(installed: Path, cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m quadrat`` in ``cwd``, with the package of ``installed``."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "QUADRAT_"))}
    return subprocess.run(
        [sys.executable, *(arguments or ("-m", "quadrat", "train", "--device", "a b"))],
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(installed / "src")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stage_runs_with_the_code_of_its_workspace(copies: tuple[Path, Path]) -> None:
    main, experiment = copies
    done = run(main, experiment, DVC_STAGE="train")
    assert (done.stdout.strip(), done.stderr) == (f"{experiment}/src/quadrat/cli/__init__.py train --device a b", "")


def test_the_installed_command_does_so_too(copies: tuple[Path, Path]) -> None:
    main, experiment = copies
    script = "from quadrat.__main__ import main; main()"
    done = run(main, experiment, "-c", script, DVC_STAGE="train")
    assert done.stdout.strip() == f"{experiment}/src/quadrat/cli/__init__.py"


def test_a_stage_in_its_own_workspace_runs_at_once(copies: tuple[Path, Path]) -> None:
    main, _ = copies
    done = run(main, main, DVC_STAGE="train", QUADRAT_SWITCHED=f"{main}/src/quadrat")
    assert done.stdout.startswith(f"{main}/src/quadrat/cli/__init__.py")


def test_outside_of_dvc_the_installed_code_runs(copies: tuple[Path, Path]) -> None:
    main, experiment = copies
    assert run(main, experiment).stdout.startswith(f"{main}/src/quadrat/cli/__init__.py")


def test_elsewhere_the_installed_code_runs(copies: tuple[Path, Path], tmp_path: Path) -> None:
    main, _ = copies
    assert run(main, tmp_path, DVC_STAGE="train").stdout.startswith(f"{main}/src/quadrat/cli/__init__.py")


def test_what_stays_wrong_stops_loudly(copies: tuple[Path, Path]) -> None:
    main, experiment = copies
    done = run(main, experiment, DVC_STAGE="train", QUADRAT_SWITCHED=f"{experiment}/src/quadrat")
    assert done.returncode != 0
    assert done.stdout == ""
    assert f"expected: {experiment}" in done.stderr
    assert f"got: {main}" in done.stderr


SET = {"GOMP_SPINCOUNT", "OPENBLAS_THREAD_TIMEOUT", "THP_MEM_ALLOC_ENABLE", "GDAL_CACHEMAX"}
HEAPS = {"MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"}


@pytest.mark.parametrize("own", [{}, {"OPENBLAS_THREAD_TIMEOUT": "20", "MALLOC_ARENA_MAX": "9"}])
def test_what_the_user_has_set_of_libraries_stays(own: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {**own})
    monkeypatch.setattr(quadrat.runtime.memory, "_ours", {})
    quadrat.__main__.settle()
    assert {*os.environ} == SET | (HEAPS & {*own} if own else HEAPS)
    assert {name: os.environ[name] for name in own} == own


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (quadrat.runtime.memory.keep_pieces_apart, {"MALLOC_MMAP_THRESHOLD_": str(256 << 10)}),
        (quadrat.runtime.memory.keep_all, {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1)}),
    ],
)
@pytest.mark.parametrize("own", [{}, {"MALLOC_MMAP_THRESHOLD_": "99"}, {"MALLOC_MMAP_MAX_": "99"}])
def test_a_stage_changes_heaps_where_the_user_has_not_said(
    own: dict[str, str], change: Callable[[], None], changed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", {**own})
    monkeypatch.setattr(quadrat.runtime.memory, "_ours", {})
    quadrat.__main__.settle()
    before = {**os.environ}
    change()
    assert os.environ == before | ({} if own else changed)


STEP = """
import resource
from quadrat.__main__ import settle
settle()
import numpy as np
from quadrat.runtime.memory import keep_all
if {keeps}:
    keep_all()

def step():
    pieces = [np.ones(3_000_000) for _ in range(4)]  # 24 MB each

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_kept_heap_takes_no_new_pages_from_the_system() -> None:
    environment = {name: value for name, value in os.environ.items() if name not in quadrat.runtime.memory.NUMBERS}
    environment["NUMPY_MADVISE_HUGEPAGE"] = "0"
    commands = ([sys.executable, "-c", STEP.format(keeps=keeps)] for keeps in (False, True))
    fresh, kept = (int(subprocess.check_output(command, env=environment)) for command in commands)
    assert fresh > 4 * 24_000_000 / resource.getpagesize() / 2
    assert kept < fresh / 10


def test_as_a_library_it_leaves_heaps_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(quadrat.runtime.memory, "_ours", {})
    quadrat.runtime.memory.keep_pieces_apart()
    quadrat.runtime.memory.keep_all()
    assert os.environ == {}
