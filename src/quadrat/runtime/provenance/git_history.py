"""Finds the commits whose ``dvc.lock`` has a run, and the differences to the working folder."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ruamel.yaml import YAML

from quadrat.runtime.provenance.origin import Origin, code_of, digest
from quadrat.runtime.provenance.workspace import CODE, git_output, origin_of

LOCK = "dvc.lock"

PARAMS = "params.yaml"


@dataclass(frozen=True)
class Mention:
    """A commit whose ``dvc.lock`` has a run or an output."""

    commit: str
    names: str
    """Its branches, tags and experiments."""
    title: str


def mentions(run: Origin, outputs: Mapping[str, str]) -> list[Mention]:
    """Return the commits, newest first, that changed ``dvc.lock`` to have ``run`` or one of ``outputs``.

    A commit has a run if its stage has the same inputs, code and parameters. ``outputs`` are hashes by their names.
    All branches, tags and experiments are searched; outside of git the result is empty.
    """
    refs = [f"--decorate-refs=refs/{kind}" for kind in ("heads", "remotes", "tags", "exps")]
    log = git_output("log", "--all", *refs, "--format=%H%x09%D%x09%s", "--", LOCK).decode(errors="replace")
    lines = (line.split("\t", 2) for line in log.splitlines())
    commits = [Mention(commit, _named(names), title) for commit, names, title in lines]
    hashes = [found for found in (run.inputs or {}).values() if found is not None]
    return [
        commit
        for commit, text in zip(commits, _locks([one.commit for one in commits]), strict=False)
        if any(found in text for found in outputs.values())
        or (hashes and all(found in text for found in hashes) and _tells(text, run))
    ]


def differences(run: Origin) -> list[str] | None:
    """Return inputs, code and parameters of a run that differ in the working folder; None in another project.

    Missing files count as different.
    """
    here = Path(PARAMS)
    if run.inputs is None or not here.is_file():
        return None
    now = origin_of(run.made_by, here, run.parameters)
    if now.inputs is None:
        return None
    inputs = [path for path, found in run.inputs.items() if now.inputs.get(path) != found]
    parameters = [name for name, found in run.parameters.items() if now.parameters.get(name) != found]
    return [*inputs, *([f"modules of {CODE}"] if now.code != run.code else []), *parameters]


def _named(names: str) -> str:
    """Return the names of a commit, with DVC's names of experiments."""
    return re.sub(r"refs/exps/\w\w/\w{38}/", "experiment ", re.sub(r"refs/exps/exec/\w+(, )?", "", names)).strip(", ")


def _locks(commits: Sequence[str]) -> list[str]:
    """Return ``dvc.lock`` of each commit, empty if it lacks one, by one call of git."""
    prefix = git_output("rev-parse", "--show-prefix").decode().strip()
    asked = "".join(f"{commit}:{prefix}{LOCK}\n" for commit in commits)
    rest = git_output("cat-file", "--batch", stdin=asked)
    found = []
    while rest:
        about, _, rest = rest.partition(b"\n")
        size = 0 if about.endswith(b" missing") else int(about.split()[-1]) + 1
        found.append(rest[:size].decode(errors="replace"))
        rest = rest[size:]
    return found


def _tells(text: str, run: Origin) -> bool:
    """Return whether ``dvc.lock`` has the run's stage with its inputs, code and parameters."""
    stage = re.search(rf"^  {re.escape(run.made_by)}:\n(?: {{4}}.*\n)+", text, re.MULTILINE)  # as DVC writes it
    return stage is not None and _is(stage.group(), run.model_dump_json())


@lru_cache
def _is(stage: str, origin: str) -> bool:
    """Return whether a stage in ``dvc.lock`` is a run; cached, because many commits have the same text."""
    run = Origin.model_validate_json(origin)
    entry = YAML(typ="safe").load(stage)[run.made_by]
    found = {dep["path"]: dep.get("md5") for dep in entry.get("deps", ())}
    parameters = entry.get("params", {}).get(PARAMS, {})
    code = code_of({path: value for path, value in found.items() if path.startswith(CODE)})
    return (
        code == run.code
        and all(found.get(path) == value for path, value in (run.inputs or {}).items())
        and all(name in parameters and digest(parameters[name]) == value for name, value in run.parameters.items())
    )
