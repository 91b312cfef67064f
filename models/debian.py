"""Getting a pinned Debian package with apt-get, and reading files out of it."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from onnxopt.errors import BackendMissingError, DataError, ModelError
from onnxopt.progress import Progress
from onnxopt_models.wheel import check_pin

DOWNLOAD_TIMEOUT_S = 900
_MAGIC, _HEADER_BYTES, _CONTENT = b"!<arch>\n", 60, b"data.tar"


@dataclass(frozen=True)
class DebianPackage:
    """A pinned Debian package as a source of files; it is read, never run or installed.

    Attributes:
        name: At Debian.
        version: The exact version.
        architecture: ``all``, or what it is for.
        sha256: Of the ``.deb`` file.
        size_bytes: Of the ``.deb`` file.
        licence: What its copyright file says.
    """

    name: str
    version: str
    architecture: str
    sha256: str
    size_bytes: int
    licence: str

    @property
    def file(self) -> str:
        """What the file is called at Debian."""
        return f"{self.name}_{self.version}_{self.architecture}.deb"


DownloadPackage = Callable[[DebianPackage, Path], Path]
"""Puts the package into a folder and returns its path."""


def download_package(package: DebianPackage, folder: Path) -> Path:
    """Download ``package`` into the empty ``folder``; nothing of it is installed.

    Raises:
        BackendMissingError: There is no apt-get, or it found no such package.
    """
    name = f"{package.name}={package.version}"
    if shutil.which("apt-get") is None:
        raise BackendMissingError(
            f"the Debian package {name} cannot be downloaded: there is no apt-get"
        )
    try:
        done = subprocess.run(
            ["apt-get", "download", "--quiet", "--quiet", name],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendMissingError(
            f"downloading the Debian package {name} took longer than {DOWNLOAD_TIMEOUT_S} s"
        ) from error
    found = sorted(folder.glob("*.deb"))
    if done.returncode or len(found) != 1:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        reason = reasons[-1].removeprefix("E:").strip()[:300] if reasons else "it gave no reason"
        raise BackendMissingError(
            f"apt-get could not download the Debian package {name}: {reason}",
            todo="this needs the package lists of Debian 12: apt-get update",
        )
    return found[0]


def fetch_package(
    package: DebianPackage,
    cache_dir: Path,
    progress: Progress,
    *,
    download: DownloadPackage = download_package,
) -> Path:
    """The package's file, downloaded at the first call and checked at each.

    Raises:
        BackendMissingError: It cannot be downloaded, or the cache cannot be written; who has the
            file from elsewhere may put it there.
        ModelError: What came is not what is pinned.
    """
    root = cache_dir / "zoo"
    target = root / package.file
    try:
        if target.is_file():
            with suppress(ModelError):
                check_pin(target, package, package.file)
                return target
        root.mkdir(parents=True, exist_ok=True)
        progress(f"fetching {package.name}", 0, package.size_bytes)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=root) as scratch:
            path = download(package, Path(scratch))
            check_pin(path, package, package.file)
            path.replace(target)
    except OSError as error:
        raise BackendMissingError(
            f"{package.file} cannot be cached in {root}: {error.strerror or error}"
        ) from error
    progress(f"fetching {package.name}", package.size_bytes, package.size_bytes)
    return target


def package_files(path: Path, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the package's regular files that end so, in order of name.

    Nothing is unpacked to disk.

    Args:
        path: The ``.deb`` file.
        suffix: The end of names.

    Raises:
        DataError: The package cannot be read.
    """
    found: dict[str, bytes] = {}
    try:
        with path.open("rb") as stream:
            stream.seek(_start_of_content(stream.read, stream.seek, path))
            with tarfile.open(fileobj=stream, mode="r|*") as archive:
                for member in archive:
                    content = archive.extractfile(member) if member.isreg() else None
                    if content is not None and member.name.endswith(suffix):
                        found[member.name.removeprefix("./")] = content.read()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    yield from sorted(found.items())


def _start_of_content(read: Callable[[int], bytes], seek: Callable[[int], int], path: Path) -> int:
    """Where the archive of files begins: a ``.deb`` is an ``ar`` file, and this its last member."""
    if read(len(_MAGIC)) != _MAGIC:
        raise DataError(f"{path} is no Debian package")
    at = len(_MAGIC)
    while header := read(_HEADER_BYTES):
        at += _HEADER_BYTES
        if header.startswith(_CONTENT):
            return at
        size = int(header[48:58])
        at = seek(at + size + size % 2)
    raise DataError(f"{path} holds no files")
