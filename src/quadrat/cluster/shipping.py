"""The project at its commit, for machines that share no files: sent there, worked on by jobs, and brought back.

``<QUADRAT_CACHE>/jobs/<commit>/project.bundle``  the commit and its history, for ``git clone``
``<QUADRAT_CACHE>/jobs/<commit>/state.patch``     what jobs have changed since: dvc.lock, metrics, tables of plots

What the stages read and write is in the DVC remote, and scenes that parts have made are in the shared cache.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quadrat.cluster.jobs import Chain
from quadrat.errors import ClusterError, SharedCacheError
from quadrat.runtime.cache.shared_cache import system_of
from quadrat.runtime.provenance.workspace import git_output

BUNDLE, STATE = "project.bundle", "state.patch"

MOST = 20
"""Most changed files that an error lists."""


@dataclass(frozen=True)
class Project:
    """A commit, and where machines find it."""

    cache: str
    commit: str
    prefix: str
    """The project's folder in the git repository."""

    @property
    def place(self) -> str:
        """The URL of its folder."""
        return f"{self.cache.rstrip('/')}/jobs/{self.commit}"


def project(cache: str | None) -> Project:
    """Return the project of the working folder; raise ClusterError if no machine could get it as it is here."""
    if not cache or _local(cache):
        raise ClusterError(
            "the machines share no files, and QUADRAT_CACHE is no place that they reach",
            expected="a URL such as s3://bucket/folder",
            got=cache or "nothing",
            hint="export QUADRAT_CACHE=s3://bucket/folder",
        )
    commit = _git("rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        raise ClusterError("jobs run from a commit, and there is none", hint="git init, git add and git commit")
    if _git("rev-parse", "--is-shallow-repository") == "true":
        raise ClusterError(
            "jobs run from a commit with its history, which this clone lacks", hint="git fetch --unshallow"
        )
    words = ("status", "--porcelain", "--untracked-files=normal")
    _check_same(
        git_output(*words).decode(errors="replace").splitlines(),
        "git add and commit them, or git stash --include-untracked",
    )
    _check_remote()
    _check_same(_changed_data(), "dvc add and commit them, or dvc checkout --force what the commit has")
    return Project(cache, commit, _git("rev-parse", "--show-prefix"))


def send(found: Project, before: str) -> None:
    """Push the data to the DVC remote, and store the commit.

    Where no job of this commit has run, jobs go on from what those of ``before``, the URL of an earlier commit or "",
    have recorded, if it applies; DVC runs again what it isn't true of. Raises ClusterError.
    """
    if not _dvc("push"):
        raise ClusterError("the data can't be pushed to the DVC remote", hint="dvc push says why; see quadrat doctor")
    with TemporaryDirectory(prefix="quadrat-submit-") as folder:
        bundle, patch = Path(folder) / BUNDLE, Path(folder) / STATE
        _git("bundle", "create", "--quiet", str(bundle), "HEAD")
        if not bundle.exists():
            raise ClusterError("git makes no bundle of the commit", got=found.commit)
        with _reached(found.place):
            system, place = system_of(found.place)
            if not system.exists(f"{place}/{STATE}"):
                earlier = b""
                with suppress(FileNotFoundError):  # what is old may have been deleted
                    earlier = _content(f"{before}/{STATE}") if before else b""
                patch.write_bytes(earlier)
                if not _apply(patch, "--check"):
                    patch.write_bytes(b"")
                _put(system, patch, f"{place}/{STATE}")
            _put(system, bundle, f"{place}/{BUNDLE}")


def fetch(chain: Chain, folder: Path, targets: Sequence[str]) -> None:
    """Bring back what jobs have recorded, and pull ``targets``, or all, from the DVC remote; raise ClusterError.

    What an earlier call has brought of the same commit is undone before; what it has brought of another is in the
    commit that the jobs began from. Files with changes of one's own are an error.
    """
    if not chain.place:
        raise ClusterError("the jobs of SLURM have recorded in this folder", hint="there is nothing to fetch")
    with _reached(chain.place):
        content = _content(f"{chain.place}/{STATE}")
    commit = chain.place.rpartition("/")[2]
    patch, kept = folder / "fetched.part.patch", folder / f"fetched-{commit}.patch"
    patch.write_bytes(content)
    known = bool(content) and _apply(patch, "--reverse", "--check")  # a call that was killed has brought it
    undone = not known and kept.exists() and _apply(kept, "--reverse")
    if not known and not _apply(patch):
        if undone:
            _apply(kept)
        raise ClusterError(
            "what the jobs have recorded doesn't fit the files here",
            file="dvc.lock, metrics",
            expected=f"as in commit {commit}",
            hint="git checkout that commit, or git stash what differs, and fetch again",
        )
    patch.replace(kept)
    if not _dvc("pull", *targets):
        raise ClusterError("the results can't be pulled from the DVC remote", hint="dvc pull says why")


def pull(stages: Sequence[str]) -> None:
    """Pull what stages read, and don't write themselves, from the DVC remote; raise ClusterError."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo() as repo:
            found = [stage for name in stages for stage in repo.stage.collect(name)]
            own = {out.fs_path for stage in found for out in stage.outs}
            read = [Path(dep.fs_path) for stage in found for dep in stage.deps if not hasattr(dep, "params")]
            outs = [out.fs_path for out in repo.index.outs if out.use_cache and out.hash_info]
            needed = {out for out in outs if out not in own and any(_overlap(Path(out), path) for path in read)}
            if needed:
                repo.pull(sorted(os.path.relpath(out) for out in needed))
    except NotDvcRepoError as error:
        raise ClusterError("this folder is in no DVC project", got=Path.cwd(), hint="cd to the project") from error
    except (DvcException, SCMError) as error:
        raise ClusterError(
            "what the stages read can't be pulled from the DVC remote",
            expected=", ".join(stages),
            got=error,
            hint="an earlier stage has not run: submit from that one on; or dvc push, where the data is",
        ) from error


def _check_same(changed: Sequence[str], hint: str) -> None:
    """Raise ClusterError if files are changed."""
    if changed:
        more = [f"and {len(changed) - MOST} more"] * (len(changed) > MOST)
        problem = "jobs run from a commit, and files differ from it"
        raise ClusterError(problem, got="\n".join(["", *changed[:MOST], *more]), hint=hint)


def _changed_data() -> list[str]:
    """Return files of `dvc add` that are others than their commit has, or new; what is missing here isn't needed."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            outs = [out for stage in repo.index.stages if stage.is_data_source for out in stage.outs]
            there = [out.fs_path for out in outs if out.exists and out.changed_checksum()]
            found = repo.data_status(targets=there, granular=True)["uncommitted"] if there else {}
    except DvcException as error:
        raise ClusterError("DVC can't tell which data are changed", got=error, hint="dvc data status") from error
    files = [f"{path}: {how}" for how in ("modified", "added") for path in found.get(how, ())]
    return sorted(one for one in files if "/: " not in one)  # folders of such files


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _check_remote() -> None:
    """Raise ClusterError if the DVC remote that git keeps isn't one that other machines reach."""
    from dvc.config import Config

    config = Config(".dvc")
    (_, url), own = (_remote(settings) for settings in (config.read("repo"), config))
    if _local(url):
        raise ClusterError(
            "the DVC remote is no place that other machines reach",
            file=".dvc/config",
            expected="a URL such as s3://bucket/folder",
            got=url or "no remote",
            hint="quadrat remote s3://bucket/folder, and commit .dvc/config",
        )
    if own[1] != url:
        raise ClusterError(
            "the DVC remote of this machine is another than that which git keeps, so jobs wouldn't find the data",
            file=".dvc/config.local",
            expected=url,
            got=own[1],
            hint=f"dvc config --local --unset core.remote, or remote.{own[0]}.url",
        )


def _remote(settings: Mapping[str, Any]) -> tuple[str, str]:
    """Return name and URL of the default remote; empty without one."""
    name = settings.get("core", {}).get("remote") or ""
    return name, settings.get("remote", {}).get(name, {}).get("url", "")


def _local(url: str) -> bool:
    return "://" not in url or url.startswith(("file://", "local://"))


def _dvc(*words: str) -> bool:
    """Run the user's own DVC, which says how far it is; return whether it ended well."""
    return subprocess.run([sys.executable, "-m", "dvc", *words], check=False).returncode == 0  # noqa: S603


def _git(*words: str) -> str:
    return git_output(*words).decode(errors="replace").strip()


def _apply(patch: Path, *options: str) -> bool:
    """Change the working folder by a patch, which may be empty, whole or not at all; say whether it fits."""
    words = ["git", "apply", "--whitespace=nowarn", *options, str(patch)]
    return not patch.stat().st_size or subprocess.run(words, check=False, capture_output=True).returncode == 0  # noqa: S603 the user's own Git


def _content(url: str) -> bytes:
    system, path = system_of(url)
    return bytes(system.cat_file(path))


def _put(system: Any, file: Path, path: str) -> None:
    system.makedirs(path.rpartition("/")[0], exist_ok=True)
    system.put_file(str(file), path)


@contextmanager
def _reached(place: str) -> Iterator[None]:
    """Raise ClusterError where the place of the jobs can't be used."""
    try:
        yield
    except SharedCacheError as error:
        raise ClusterError(error.problem, file=place, got=error.got, hint=error.hint) from error
    except Exception as error:  # the libraries of stores raise anything
        raise ClusterError(
            "the place of the jobs can't be used",
            file=place,
            got=f"{type(error).__name__}: {error}",
            hint="check QUADRAT_CACHE, and the credentials",
        ) from error
