"""Checks a bundle: every hash, then every golden sample on this machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt.deploy.manifest import (
    Agreement,
    FileEntry,
    Manifest,
    read_manifest,
    unlisted_files,
)
from onnxopt.deploy.samples import read_arrays
from onnxopt.errors import MismatchError, ModelError
from onnxopt.runtime import SessionConfig, open_session


@dataclass(frozen=True)
class VerifyReport:
    """What was checked and found right.

    Attributes:
        folder: The bundle.
        model: The model file inside it.
        files: Number of files whose size and hash are as the manifest says.
        samples: Number of golden samples whose outputs agree.
        unlisted: Files in the folder that the manifest does not know.
    """

    folder: Path
    model: str
    files: int
    samples: int
    unlisted: tuple[str, ...]


def verify_bundle(folder: Path) -> VerifyReport:
    """Re-hash every file and re-run every golden sample.

    Raises:
        ModelError: No bundle, or a file is missing or was changed.
        MismatchError: A golden sample's output differs on this machine.
    """
    manifest = read_manifest(folder)
    entries = [*manifest.files, *manifest.measured]
    if manifest.model not in {entry.path for entry in manifest.files}:
        raise ModelError(f"{folder}: the manifest does not list its model {manifest.model}")
    for entry in entries:
        _check_file(folder, entry)
    _check_samples(folder, manifest)
    return VerifyReport(
        folder=folder,
        model=manifest.model,
        files=len(entries),
        samples=manifest.samples,
        unlisted=unlisted_files(folder, manifest),
    )


def _check_file(folder: Path, entry: FileEntry) -> None:
    path = folder / entry.path
    if path.is_symlink() or not path.is_file():
        raise ModelError(f"{path} is missing or no plain file", todo="copy the bundle again")
    size = path.stat().st_size
    if size != entry.size_bytes:
        raise ModelError(f"{path} has {size} bytes", f"{entry.size_bytes}", "copy it again")
    with path.open("rb") as stream:
        if hashlib.file_digest(stream, "sha256").hexdigest() != entry.sha256:
            raise ModelError(f"{path} was changed: its SHA-256 differs", todo="copy it again")


def _check_samples(folder: Path, manifest: Manifest) -> None:
    config = SessionConfig(
        provider=manifest.provider,
        threads=manifest.threads,
        precision=manifest.precision,
        layout=manifest.layout,
    )
    with open_session(folder / manifest.model, config) as session:
        for index in range(manifest.samples):
            outputs = session.run(read_arrays(folder / "golden" / f"{index:03d}.inputs.npz"))
            expected = read_arrays(folder / "golden" / f"{index:03d}.outputs.npz")
            for name, value in expected.items():
                reason = disagreement(value, outputs.get(name), manifest.agreement)
                if reason:
                    raise MismatchError(
                        f"golden sample {index}, output {name!r}: {reason}",
                        todo="this machine runs the model differently: do not ship it here",
                    )


def disagreement(expected: Any, found: Any, rule: Agreement) -> str | None:
    """Why an output is not close enough, or None. NaN equals NaN, infinities agree by sign."""
    if not isinstance(found, np.ndarray):
        return "it is missing" if found is None else f"it is a {type(found).__name__}"
    if expected.dtype.kind == "U":
        found = found.astype(np.str_)
    elif expected.dtype != found.dtype:
        return f"{found.dtype} instead of {expected.dtype}"
    if expected.shape != found.shape:
        return f"shape {list(found.shape)} instead of {list(expected.shape)}"
    if expected.dtype.kind not in "fc":
        return None if np.array_equal(expected, found) else "its values differ"
    a, b = expected.astype(np.complex128), found.astype(np.complex128)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return "its NaNs or infinities differ"
    return _finite_disagreement(a[finite], b[finite], rule)


def _finite_disagreement(a: Any, b: Any, rule: Agreement) -> str | None:
    error = np.abs(a - b)
    if rule.kind == "elementwise":
        usual = float(np.sqrt(np.mean(np.square(np.abs(a))))) if a.size else 0.0
        allowed = rule.atol * max(1.0, usual) + rule.rtol * np.abs(a)
        worst = float(np.max(error - allowed, initial=0.0))
        return None if worst <= 0 else f"off by {worst:.3g} more than allowed"
    relative = float(np.linalg.norm(error)) / max(float(np.linalg.norm(a)), 1e-12)
    if relative <= rule.limit:
        return None
    return f"relative L2 error {relative:.3g} above {rule.limit:g}"
