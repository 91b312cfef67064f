"""Debian packages: downloaded once, never unchecked, and read without being unpacked."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from onnxopt.errors import BackendMissingError, DataError, ModelError
from onnxopt.progress import no_progress
from onnxopt_models import debian
from onnxopt_models.debian import DebianPackage, download_package, fetch_package, package_files

FILES = {"./usr/share/b.txt": b"bee", "./usr/share/a.txt": b"", "./usr/share/c.png": b"sea"}


def ar(members: dict[str, bytes]) -> bytes:
    data = b"!<arch>\n"
    for name, content in members.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode()
        data += head + content + b"\n" * (len(content) % 2)
    return data


def deb(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("./usr/share/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return ar({"debian-binary": b"2.0", "control.tar.xz": b"odd", "data.tar.xz": buffer.getvalue()})


def pinned(data: bytes) -> DebianPackage:
    digest = hashlib.sha256(data).hexdigest()
    return DebianPackage("some-files", "1.0-1", "all", digest, len(data), "GPL-2")


def test_a_package_is_downloaded_once_and_checked(tmp_path: Path) -> None:
    data = deb(FILES)
    calls: list[str] = []

    def download(package: DebianPackage, folder: Path) -> Path:
        calls.append(package.name)
        path = folder / package.file
        path.write_bytes(data)
        return path

    def get(package: DebianPackage) -> Path:
        return fetch_package(package, tmp_path, no_progress, download=download)

    path = get(pinned(data))
    assert path == get(pinned(data))
    assert path.name == "some-files_1.0-1_all.deb"
    path.write_bytes(b"damaged")
    assert get(pinned(data)).read_bytes() == data
    assert len(calls) == 2
    with pytest.raises(ModelError, match=r"some-files_1\.0-1_all\.deb is not the pinned one"):
        get(pinned(b"x" * len(data)))
    assert [entry.name for entry in (tmp_path / "zoo").iterdir()] == [path.name]


def test_files_are_read_by_their_ends_and_links_are_not(tmp_path: Path) -> None:
    path = tmp_path / "some.deb"
    path.write_bytes(deb(FILES))
    found = list(package_files(path, ".txt"))
    assert found == [("usr/share/a.txt", b""), ("usr/share/b.txt", b"bee")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no package", "no Debian package"),
        (ar({"debian-binary": b"2.0"}), "holds no files"),
        (ar({"data.tar.xz": b"not xz"}), "cannot be read"),
        (b"!<arch>\n" + b"x" * 60, "cannot be read"),
    ],
)
def test_a_broken_package_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "some.deb"
    path.write_bytes(data)
    with pytest.raises(DataError, match=reason):
        list(package_files(path, ".txt"))


def test_what_apt_says_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = SimpleNamespace(returncode=100, stderr="W: slow\nE: Version '1.0-1' was not found\n")
    monkeypatch.setattr(debian.shutil, "which", lambda name: "/usr/bin/apt-get")
    monkeypatch.setattr(debian.subprocess, "run", lambda *_, **__: said)
    with pytest.raises(BackendMissingError, match=r"some-files=1\.0-1: Version .* not found"):
        download_package(pinned(b""), tmp_path)
    monkeypatch.setattr(debian.shutil, "which", lambda name: None)
    with pytest.raises(BackendMissingError, match="there is no apt-get") as caught:
        download_package(pinned(b""), tmp_path)
    assert caught.value.exit_code == 6
