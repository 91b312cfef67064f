"""Checks a bundle: every hash, then every golden sample on this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt.deploy.manifest import MANIFEST_NAME, Agreement, FileEntry, Manifest, read_manifest
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
    known = {entry.path for entry in entries} | {MANIFEST_NAME}
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    return VerifyReport(
        folder=folder,
        model=manifest.model,
        files=len(entries),
        samples=manifest.samples,
        unlisted=tuple(sorted(present - known)),
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
    config = SessionConfig(provider=manifest.provider, threads=manifest.threads)
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


def read_arrays(path: Path) -> Mapping[str, Any]:
    """The arrays of an .npz file, without pickles.

    Raises:
        ModelError: The file is no such archive.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is no golden sample: {error}") from error


def disagreement(expected: Any, found: Any, rule: Agreement) -> str | None:
    """Why an output is not close enough, or None."""
    if found is None:
        return "it is missing"
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return f"{found.dtype}{list(found.shape)} instead of {expected.dtype}{list(expected.shape)}"
    if expected.dtype.kind not in "fc":
        return None if np.array_equal(expected, found) else "its values differ"
    if rule.kind == "elementwise":
        bound = rule.atol + rule.rtol * np.abs(expected)
        close = np.isclose(found, expected, rtol=rule.rtol, atol=rule.atol, equal_nan=True)
        worst = float(np.max(np.abs(found - expected) - bound, initial=0.0))
        return None if close.all() else f"off by {worst:.3g} more than allowed"
    norm = max(float(np.linalg.norm(expected.astype(np.float64))), 1e-12)
    error = float(np.linalg.norm(found.astype(np.float64) - expected.astype(np.float64))) / norm
    return None if error <= rule.limit else f"relative L2 error {error:.3g} above {rule.limit:g}"
