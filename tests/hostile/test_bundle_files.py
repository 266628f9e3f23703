"""Files that are no bundle, or a bundle's zip made to hurt who opens it."""

import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from quadrat.bundle.loading import read_bundle
from quadrat.errors import BundleError
from quadrat.models.common.bundle_zip import MEMBERS, SUMS
from quadrat.serving.apply import verify
from tests.hostile.kit import KINDS, good, sealed

GB = 1 << 30


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed(tmp_path_factory.mktemp("good") / "bundle.zip", good("forest"))


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(whole, tmp_path / "bundle.zip"))


def refused(path: Path, *words: str) -> None:
    with pytest.raises(BundleError) as caught:
        verify(path)
    told = str(caught.value)
    assert path.name in told
    assert len(told) < 10_000
    assert not [word for word in words if word not in told], told


@pytest.mark.parametrize("kind", KINDS)
def test_good_bundles_are_verified(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    verify(sealed(tmp_path / "bundle.zip", good(kind)))
    assert "onnx" in capsys.readouterr().err


def central(path: Path, name: str, at: int, form: str, value: int) -> None:
    """Change a field of a member's entry in the zip's list of members."""
    content = bytearray(path.read_bytes())
    place = content.find(b"PK\1\2")
    while content[place + 46 : place + 46 + len(name)] != name.encode():
        place = content.find(b"PK\1\2", place + 4)
    struct.pack_into(form, content, place + at, value)
    path.write_bytes(content)


def ended(path: Path, at: int, form: str, value: int) -> None:
    """Change a field of the record at the zip's end."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, content.rfind(b"PK\5\6") + at, value)
    path.write_bytes(content)


WHOLE_FILES: dict[str, Callable[[Path], object]] = {
    "an empty file": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("not a zip"),
    "noise": lambda path: path.write_bytes(random.Random(0).randbytes(100_000)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pipe that never ends": lambda path: (path.unlink(), os.mkfifo(path)),
    "a device that never ends": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "half of it": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "all but its end": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "all but its beginning": lambda path: path.write_bytes(path.read_bytes()[5_000:]),
    "its end alone": lambda path: path.write_bytes(path.read_bytes()[-22:]),
    "zeros in its middle": lambda path: path.write_bytes(
        path.read_bytes()[:2_000] + bytes(1_000) + path.read_bytes()[3_000:]
    ),
    "no member at all": lambda path: zipfile.ZipFile(path, "w").close(),
    "a list of members of 4 GB": lambda path: ended(path, 12, "<I", 0xFFFFFFFE),
    "a list of members before the file": lambda path: ended(path, 16, "<I", 0x7FFFFFFF),
}


@pytest.mark.parametrize("make", WHOLE_FILES.values(), ids=WHOLE_FILES)
def test_what_is_no_bundle_is_one_error(copy: Path, make: Callable[[Path], object]) -> None:
    make(copy)
    refused(copy)


ENTRIES: dict[str, tuple[int, str, int]] = {
    "a member of 4 GB": (24, "<I", 4 * GB - 2),
    "a member larger than what is stored of it": (24, "<I", 99_999),
    "a member that is deflated, by its entry": (10, "<H", 8),
    "a member compressed in a way that nobody knows": (10, "<H", 99),
    "an encrypted member": (8, "<H", 1),
    "a strongly encrypted member": (8, "<H", 65),
    "a member of a future zip": (6, "<H", 255),
    "a member that begins beyond the file": (42, "<I", 0x7FFFFFFF),
    "a member that begins in another": (42, "<I", 100),
    "a wrong checksum of the zip's own": (16, "<I", 1),
    "a link": (38, "<I", 0o120777 << 16),
    "a device": (38, "<I", 0o020666 << 16),
    "a name of no length": (28, "<H", 0),
    "a name that is cut off": (28, "<H", 3),
}


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", SUMS])
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_an_entry_that_lies_is_one_error(copy: Path, name: str, entry: tuple[int, str, int]) -> None:
    central(copy, name, *entry)
    refused(copy)


@pytest.mark.parametrize("name", ["model.json", "params.yaml", SUMS, "model.onnx"])
@pytest.mark.parametrize("how", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_grows_as_it_is_read_is_not_read(tmp_path: Path, name: str, how: int) -> None:
    content = good("forest") | {SUMS: b""}
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as file:
        for each, some in content.items():
            entry = zipfile.ZipInfo(each)
            entry.compress_type = how if each == name else zipfile.ZIP_STORED
            file.writestr(entry, bytes(3_000_000) if each == name else some)
    refused(tmp_path / "bomb.zip", name)


@pytest.mark.parametrize(("name", "size"), [("model.json", 3 << 20), ("params.yaml", 1 << 17), ("README.md", 2 << 20)])
def test_a_member_larger_than_its_kind_is_not_read(tmp_path: Path, name: str, size: int) -> None:
    refused(sealed(tmp_path / "large.zip", good("forest") | {name: b" " * size}), name, f"{size} bytes")


def test_a_list_of_checksums_is_as_short_as_that_of_members(tmp_path: Path) -> None:
    refused(sealed(tmp_path / "long.zip", good("forest"), b"\n" * 60_000), SUMS, "60000")
    refused(sealed(tmp_path / "large.zip", good("forest"), b"\n" * 70_000), SUMS, "70000 bytes")


NAMES = [
    "/etc/passwd",
    "../../outside.txt",
    "sample/../../outside.npy",
    "sample\\..\\outside.npy",
    "C:\\outside.txt",
    "sample/",
    "sample/deeper/scores.npy",
    "sample/scores.npy.exe",
    "sample/pickle.pkl",
    "MODEL.JSON",
    "model.json ",
    "__init__.py",
    "\x1b[2Jred.txt",
    "x" * 60_000,
    ".",
    "",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_member_that_no_bundle_has_is_refused_though_it_is_listed(tmp_path: Path, name: str) -> None:
    refused(sealed(tmp_path / "more.zip", good("forest") | {name: b"1"}), "in the bundle is not what was written")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["more.zip"]


@pytest.mark.parametrize("count", [65, 3_000])
def test_thousands_of_members_are_too_many(tmp_path: Path, count: int) -> None:
    refused(sealed(tmp_path / "many.zip", good("forest") | {f"{number}": b"" for number in range(count)}))


@pytest.mark.parametrize("name", ["model.json", SUMS])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(copy: Path, name: str) -> None:
    with zipfile.ZipFile(copy, "a") as file:
        file.writestr(name, b"other")
    refused(copy, "twice")


@pytest.mark.parametrize("name", [*MEMBERS, "sample/scores.npy"])
def test_a_member_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    content = good("forest")
    del content[name]
    refused(sealed(tmp_path / "short.zip", content), "short.zip", "sample" if "scores" in name else name)


SUM_FILES = {
    "empty": b"",
    "noise": random.Random(1).randbytes(5_000),
    "one long line": b"0" * 60_000,
    "only line ends": b"\n" * 60_000,
    "a name too many": b"0" * 64 + b"  ../../outside\n",
    "control characters": b"\x1b[2J  model.json\n",
}


@pytest.mark.parametrize("sums", SUM_FILES.values(), ids=SUM_FILES)
def test_checksums_that_are_none_are_one_error(tmp_path: Path, sums: bytes) -> None:
    path = sealed(tmp_path / "bundle.zip", good("forest"), sums)
    refused(path, "is not what was written")
    with pytest.raises(BundleError) as caught:
        read_bundle(path)
    assert "\x1b" not in str(caught.value)


def test_a_zip_with_a_comment_on_the_ninth_disk_and_bytes_before_it_is_still_the_bundle(copy: Path) -> None:
    with zipfile.ZipFile(copy, "a") as file:
        file.comment = b"hello"
    ended(copy, 4, "<H", 9)  # of 9 disks
    copy.write_bytes(b"#!/bin/sh\nexit\n" + copy.read_bytes())
    assert read_bundle(copy).sample.shape == (1, 2, 64, 64)
