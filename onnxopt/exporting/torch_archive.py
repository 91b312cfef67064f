"""Whether a ``.pt2`` file can run code when torch loads it.

``torch.export.load`` unpickles members of the archive without restriction where the restricted
way fails. So each member that it may unpickle is first read the restricted way here.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from onnxopt.errors import ModelError

_PLAIN = (".json", "/version", "/byteorder", "/archive_format", "/archive_version", "_id")
_PAYLOADS = ("/data/weights/", "/data/constants/")
_MOST_BYTES = 256 << 20


def check_archive(path: Path) -> None:
    """Refuse an archive with a member that holds more than tensors.

    Raises:
        ModelError: There is one, or the file is no archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            raw = set(_raw_payloads(archive))
            for info in archive.infolist():
                if info.filename not in raw and not info.filename.endswith(_PLAIN):
                    _check(archive, info, path)
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path.name} is no exported program: {error}", "a .pt2 file") from error


def _raw_payloads(archive: zipfile.ZipFile) -> Iterator[str]:
    """The members that are said to be plain bytes of tensors, and are read as such."""
    for info in archive.infolist():
        folder = info.filename.rpartition("/")[0]
        if not info.filename.endswith("_config.json") or f"{folder}/" not in info.filename:
            continue
        if not any(f"/{folder}/".endswith(part) for part in _PAYLOADS):
            continue
        entries = json.loads(archive.read(info))["config"].values()
        pickled = {entry["path_name"] for entry in entries if entry["use_pickle"]}
        plain = {entry["path_name"] for entry in entries} - pickled
        yield from (f"{folder}/{name}" for name in plain)


def _check(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    import torch

    if info.is_dir() or info.file_size == 0:
        return
    todo = "give --trust-pickle if you know where it comes from"
    if info.file_size > _MOST_BYTES:
        raise ModelError(f"{path.name} holds {info.file_size} bytes of {info.filename}", todo=todo)
    try:
        torch.load(io.BytesIO(archive.read(info)), weights_only=True, map_location="cpu")
    except Exception as error:  # whatever the restricted reader does not take
        raise ModelError(
            f"{path.name} holds more than tensors in {info.filename}, which can run code when read",
            "a program saved by torch.export.save",
            todo,
        ) from error
