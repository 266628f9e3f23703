"""The pipeline on a real SLURM on this machine: arrays of parts, a killed job, a failing scene, submitted again."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from quadrat.cluster import slurm
from quadrat.cluster.jobs import FOLDER, plan, recorded
from tests.project import call, digests, environment, small_run, until

pytestmark = pytest.mark.usefixtures("cluster")

CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/munge.sock
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
KillWait=2
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def _ports(count: int) -> list[int]:
    with_ports = [socket.socket() for _ in range(count)]
    for one in with_ports:
        one.bind(("127.0.0.1", 0))
    found = [one.getsockname()[1] for one in with_ports]
    for one in with_ports:
        one.close()
    return found


def installed() -> bool:
    """Say whether SLURM is here; install Debian's where that can be done."""
    if os.geteuid() != 0:
        return False
    if shutil.which("slurmctld") is None and shutil.which("apt-get"):
        packages = ["slurmctld", "slurmd", "slurm-wlm", "munge"]
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", "-qq", *words], check=False, capture_output=True)
    return all(shutil.which(program) for program in ("slurmctld", "slurmd", "sbatch", "munged"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run SLURM's and munge's daemons, all in a folder of their own, and let commands find them."""
    if not installed():
        pytest.skip("SLURM isn't installed, and can't be")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("munge", "state", "spool"):
        (folder / name).mkdir(mode=0o700)
    key = folder / "munge/key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, ports=_ports(2)))
    munge = folder / "munge"
    options = [f"--{name}-file={munge / name}" for name in ("pid", "log", "seed")]
    subprocess.run(["munged", f"--key-file={key}", f"--socket={munge / 'munge.sock'}", *options, "--force"], check=True)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(configuration)
    try:
        subprocess.run(["slurmctld", "-f", str(configuration)], check=True)
        time.sleep(2)
        subprocess.run(["slurmd", "-f", str(configuration), "-N", "localhost"], check=True, cwd=folder)
        until(lambda: "idle" in subprocess.run(["sinfo", "-h"], capture_output=True, text=True, check=False).stdout)
        yield
    finally:
        for file in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            with suppress(OSError, ValueError):
                os.kill(int((folder / file).read_text()), signal.SIGTERM)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


@pytest.fixture
def project(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the small project, of which nothing but the data is there."""
    folder = small_run(tmp_path / "project", shared)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", environment()["PATH"])
    monkeypatch.delenv("QUADRAT_CACHE", raising=False)
    for place in ("data/chips", "data/predictions", "models/model", "models/baseline", "data/analysis"):
        shutil.rmtree(folder / place)
    (folder / "dvc.lock").unlink()
    shutil.rmtree(folder / ".dvc/cache/runs", ignore_errors=True)
    return folder


def ended() -> bool:
    """Say whether all that was submitted has ended."""
    rows, _ = slurm.status(FOLDER)
    return not any(word in row[2] for row in rows for word in ("running", "pending", "completing", "waiting"))


def test_the_pipeline_runs_on_it_whoever_dies(project: Path, tmp_path: Path, shared: Path) -> None:
    call("quadrat submit slurm --parts 2 --options '--cpus-per-task=1 --mem=1500'", project)
    until(lambda: "running" in str(slurm.status(FOLDER)[0][1:2]) or slurm.status(FOLDER)[0][1][2] == "2 done", 300)
    part = f"{recorded(FOLDER).jobs[1].id}_1"
    subprocess.run(["scontrol", "requeue", part], check=False, capture_output=True)  # as when its machine dies
    until(ended, 600)
    rows, failed = slurm.status(FOLDER)
    assert [(row[0], row[2]) for row in rows] == [
        ("analyze", "1 done"),
        ("chip", "2 done"),
        ("train", "1 done"),
        ("predict", "2 done"),
        ("rest", "1 done"),
    ], "\n".join(failed)
    assert "up to date" in call("dvc status", project)
    alone = small_run(tmp_path / "alone", shared)
    for place in ("data/chips", "models/model"):
        assert digests(project / place) == digests(alone / place)
    assert "cut again for 0 of 2 scenes" in call("quadrat submit logs train", project)  # the parts had cut them


def test_a_failing_scene_is_named_and_what_is_missing_runs_when_submitted_again(project: Path) -> None:
    image = project / "data/raw/world/image.tif"
    kept = image.read_bytes()
    jobs = plan("chip", 1, gpu=False)
    call("quadrat analyze", project)
    image.unlink()
    image.write_bytes(kept[: len(kept) // 2])
    slurm.submit(jobs[:2], FOLDER, "", 1)
    until(ended, 300)
    rows, failed = slurm.status(FOLDER)
    assert [row[2] for row in rows] == ["1 failed", "1 not run"]
    assert "scene: " in failed[0]
    image.write_bytes(kept)
    slurm.submit(jobs[:1], FOLDER, "", 1)
    until(ended, 300)
    assert slurm.status(FOLDER) == ([("chip", recorded(FOLDER).jobs[0].id, "1 done")], [])


def test_what_was_submitted_is_cancelled(project: Path) -> None:
    slurm.submit(plan("analyze", 3, gpu=False), FOLDER, "--begin=now+1hour", 1)
    rows, _ = slurm.status(FOLDER)
    assert rows[1][2] == "3 pending"
    assert "cancelled" in call("quadrat submit cancel", project)
    until(lambda: "pending" not in str(slurm.status(FOLDER)[0]))
    said = call("quadrat submit slurm --from predict --parts 3 --gpu --dry-run", project)
    assert "--array=1-3" in said
    assert "--gres=gpu:1" in said
    assert "predict --part $part/3" in said
