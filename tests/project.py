"""The whole project in another folder, as a user's clone."""

import contextlib
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from filelock import FileLock
from ruamel.yaml import YAML
from typer.testing import CliRunner

from quadrat.cli import app
from quadrat.runtime.run import Paths
from tests.ground import BANDS, KINDS, write_world

ROOT = Path(__file__).parents[1]


def environment() -> dict[str, str]:
    """Return the environment of a user who has activated the environment that the tests run in."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "QUADRAT_", "PYTEST_"))}
    return {**clean, "PATH": path, "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}


def call(command: str, folder: Path) -> str:
    """Return what a command prints; fail the test with all of it where it fails."""
    words = shlex.split(command)
    done = subprocess.run(words, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def here(command: str, folder: Path) -> str:
    """Return what a command of quadrat prints in this process, which has loaded what takes a new one many seconds."""
    with contextlib.chdir(folder):
        done = CliRunner(env={"COLUMNS": "200"}).invoke(app, shlex.split(command))
    assert done.exit_code == 0, f"{command}\n{done.output}"
    return done.output


def clone(folder: Path, *samples: Path) -> Path:
    """Copy the project as git sees it, commit it, and lay the folders of samples in it, as their command does."""
    listed = call("git ls-files --cached --others --exclude-standard", ROOT).splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for sample in samples:
        shutil.copytree(sample, folder / "data/raw" / sample.name)
    call("git init --quiet", folder)
    commit(folder)
    for sample in samples:
        call(f"quadrat sample {sample.name}", folder)
    return folder


def commit(folder: Path) -> None:
    """Commit all."""
    call("git add --all", folder)
    call("git -c user.name=a -c user.email=a@example.org commit --quiet --allow-empty -m all", folder)


def change(folder: Path, values: Mapping[str, Any]) -> None:
    """Set dotted keys of the parameters, in a new file.

    Git compares whole seconds: a file that is written anew within one, as long as before, it may take for unchanged,
    unless it is another one.
    """
    yaml = YAML()
    content = yaml.load(folder / "params.yaml")
    for key, value in values.items():
        *parents, last = key.split(".")
        node = content
        for part in parents:
            node = node[part]
        node[last] = value
    yaml.dump(content, folder / "params.new.yaml")
    (folder / "params.new.yaml").replace(folder / "params.yaml")


def script_module(name: str) -> ModuleType:
    """Return a file of the folder scripts as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def ran(output: str) -> list[str]:
    """Return the stages that DVC says that it runs, but for the look at the parameters before them."""
    return [name for name in re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE) if name != "params"]


def digests(folder: Path) -> dict[str, str]:
    """Return the checksums of a folder's files, by path; not of those that tell of this machine alone."""
    own = {Paths.lock.name, Paths.hashes.name, Paths.timing.name}
    files = sorted(file for file in folder.rglob("*") if file.is_file() and ".part" not in str(file))
    files = [file for file in files if not own & {*file.relative_to(folder).parts}]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


WORLD = {
    "scenes": "data/raw/world/scenes.yaml",
    "raw": "data/raw/world",
    "aoi": "data/raw/world",
    "task": {
        "kind": "semantic_segmentation",
        "classes": [{"name": name, "color": "#1f6f3a", "from": [name]} for name in KINDS],
        "all_touched": False,
    },
    "bands": [*BANDS],
    "chip.chip_size": 32,
    "chip.windows.count": 60,
    "chip.min_targets": 1,
    "model": {"kind": "forest", "trees": 1, "radius": 1, "max_depth": 6, "min_samples_leaf": 4, "samples": 300},
    "baseline": {"kind": "forest", "trees": 2, "radius": 1, "samples": 300},
    "predict.window_size": 32,
    "predict.stride": 32,
    "predict.layers.scores": True,
    "eval.pictures.bands": [*BANDS],
}
"""What makes the project small. Its model is one tree, which learns in the time that a network takes to be
loaded; at a depth of 1 it can't tell three classes apart."""

NETWORK = {
    "model": {
        "kind": "segmenter",
        "architecture": "unet",
        "encoder": "test_resnet",
        "depth": 3,
        "decoder": {"decoder_channels": [16, 8, 8]},
        "dropout": 0.1,
    },
    "epochs": 6,
}
"""A network instead, for what a forest has not: epochs, and training that goes on where it was."""


def small(folder: Path) -> Path:
    """Copy the project with made-up ground of 200 × 120 px, tracked by DVC, of which it learns in seconds."""
    clone(folder)
    for file in ("dvc.lock", *(str(file.relative_to(folder)) for file in (folder / "data/raw").glob("*.dvc"))):
        (folder / file).unlink()
    with contextlib.chdir(folder):
        write_world(Path("data/raw/world"))
    change(folder, WORLD)
    call("dvc add --quiet data/raw/world", folder)
    commit(folder)
    return folder


def small_run(folder: Path, root: Path) -> Path:
    """Copy a small project in which the pipeline has run from a clean commit, and is committed.

    It is made once for all tests, in ``root``, and has no place in itself that it tells of.
    """
    made = root / "small-run"
    with FileLock(root / "small-run.lock"):
        if not made.exists():
            part = small(root / "small-run.part")
            call("dvc repro", part)
            commit(part)
            part.rename(made)
    shutil.copytree(made, folder, symlinks=True, dirs_exist_ok=True)
    return folder


def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a project without stages with the settings of this one, on a machine that knows no credentials."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, file in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        monkeypatch.setenv(name, str(tmp_path / file))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    folder = tmp_path / "project"
    (folder / ".dvc").mkdir(parents=True)
    for name in (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    call("git init --quiet", folder)
    commit(folder)
    return folder


@contextlib.contextmanager
def started(command: list[str], folder: Path, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process group of its own, and leave nothing of it behind."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env={**environment(), "PYTHONPATH": "src", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def until(condition: Callable[[], object], seconds: float = 120) -> None:
    """Wait for something, and fail the test where it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


HOLDING = "import time; from pathlib import Path; from quadrat.runtime.process import alone\n"
HOLDING += "with alone('train', Path('models/.lock')): time.sleep(1000)"
"""A stage that does nothing, and doesn't end."""


def held(folder: Path) -> bool:
    """Say whether a stage runs in a workspace."""
    return (folder / Paths.lock).exists() and "process" in (folder / Paths.lock).read_text()


def learnt(folder: Path) -> int:
    """Return when a training has last kept an epoch from which it could go on; 0 before the first one."""
    return max((file.stat().st_mtime_ns for file in (folder / "models/.checkpoints").glob("*/last.ckpt")), default=0)
