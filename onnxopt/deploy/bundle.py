"""Writes a bundle: everything into a folder beside the target, which then takes its place."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from onnxopt import store
from onnxopt.deploy.manifest import (
    MANIFEST_NAME,
    MEASURED,
    Agreement,
    DataEntry,
    FileEntry,
    Manifest,
    StepDelta,
    read_manifest,
    tensor_entries,
    unlisted_files,
)
from onnxopt.deploy.samples import write_arrays
from onnxopt.deploy.verify import verify_bundle
from onnxopt.errors import UsageError
from onnxopt.exactness import Exactness
from onnxopt.runtime import Layout, Precision
from onnxopt.signature import signature_of

LOSSY_LIMIT = 0.02
"""Relative L2 error allowed between two CPUs running the same quantized model."""

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class GoldenSample:
    """One input and what the shipped model made of it on the machine that built the bundle."""

    inputs: Arrays
    outputs: Arrays


@dataclass(frozen=True)
class BundleContent:
    """What goes into a bundle.

    Attributes:
        model: The model that ships.
        name: Base name of the model file.
        candidate: Which candidate it is (``as-shipped``, ``exact``, ``int8`` …).
        verdict: Why it ships, in a word or a sentence.
        verified: Whether original and result were compared.
        exactness: How close the shipped model's outputs are reproducible.
        target: Name of the target.
        provider: Runtime provider it was measured on.
        threads: Thread count it was measured with.
        precision: Arithmetic the provider was told to use.
        layout: How the provider was told to lay out convolutions.
        source: File name of the original.
        source_sha256: SHA-256 of the original file; of the content, for a model in memory.
        recipe: The recipe, spelled in full.
        steps: Per-pass deltas.
        samples: Golden samples.
        data: What the samples behind it are, by their part in the work.
        versions: Versions of the libraries that made it.
        measured: File name → JSON document, for ``measured/``.
    """

    model: ir.Model
    name: str
    candidate: str
    verdict: str
    verified: bool
    exactness: Exactness
    target: str
    provider: str
    threads: int
    source: str
    source_sha256: str
    recipe: str
    steps: Sequence[StepDelta]
    samples: Sequence[GoldenSample]
    data: Mapping[str, DataEntry] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    precision: Precision = "fp32"
    layout: Layout = "nchw"
    measured: Mapping[str, Any] = field(default_factory=dict)


def write_bundle(content: BundleContent, folder: Path, *, force: bool = False) -> Manifest:
    """Write a bundle folder; it appears complete or not at all.

    Args:
        content: What goes in.
        folder: Where; it must not exist, or be empty, or be a bundle to replace with ``force``.
        force: Replace an existing bundle.

    Raises:
        UsageError: The folder is in the way.
    """
    folder = folder.resolve()
    check_destination(folder, force=force)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        staging.chmod(0o755)
        manifest = _fill(content, staging)
        verify_bundle(staging)
        _swap(staging, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def check_destination(folder: Path, *, force: bool) -> None:
    """Refuse a destination that would lose something.

    Raises:
        UsageError: It is a file, the current folder, holds anything that is no part of a bundle,
            or is a bundle and ``force`` was not given.
    """
    folder = folder.resolve()
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file", "a folder for the bundle")
    if folder == Path.cwd():
        raise UsageError("the bundle would replace the current folder", "another one")
    if not any(folder.iterdir()):
        return
    if not (folder / MANIFEST_NAME).is_file():
        raise UsageError(f"{folder} holds something that is no bundle", "an empty or new folder")
    if not force:
        raise UsageError(f"{folder} holds a bundle already", todo="replace it with --force")
    strangers = unlisted_files(folder, read_manifest(folder))
    if strangers:
        raise UsageError(
            f"{folder} also holds {strangers[0]}, which is no part of the bundle",
            todo="move it away first",
        )


def _fill(content: BundleContent, folder: Path) -> Manifest:
    model_name = f"{re.sub(r'[^A-Za-z0-9._-]', '_', content.name) or 'model'}.onnx"
    store.save(content.model, folder / model_name)
    golden = folder / "golden"
    golden.mkdir()
    for index, sample in enumerate(content.samples):
        write_arrays(golden / f"{index:03d}.inputs.npz", sample.inputs)
        write_arrays(golden / f"{index:03d}.outputs.npz", sample.outputs)
    shutil.copyfile(Path(__file__).with_name("runner.py"), folder / "run.py")
    measured = folder / MEASURED
    measured.mkdir()
    for name, document in content.measured.items():
        text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=True)
        (measured / name).write_text(text + "\n", encoding="utf-8")
    manifest = _manifest(content, folder, model_name)
    (folder / MANIFEST_NAME).write_text(manifest.text(), encoding="utf-8")
    return manifest


def _manifest(content: BundleContent, folder: Path, model_name: str) -> Manifest:
    entries = [FileEntry.of(folder, p) for p in sorted(folder.rglob("*")) if p.is_file()]
    inputs, outputs = tensor_entries(signature_of(content.model))
    prefix = f"{MEASURED}/"
    return Manifest(
        name=content.name,
        model=model_name,
        candidate=content.candidate,
        verdict=content.verdict,
        verified=content.verified,
        target=content.target,
        provider=content.provider,
        threads=content.threads,
        precision=content.precision,
        layout=content.layout,
        source=content.source,
        source_sha256=content.source_sha256,
        recipe=content.recipe,
        steps=list(content.steps),
        data=dict(content.data),
        inputs=inputs,
        outputs=outputs,
        agreement=_agreement(content.exactness),
        samples=len(content.samples),
        versions=dict(content.versions),
        measured=[entry for entry in entries if entry.path.startswith(prefix)],
        files=[entry for entry in entries if not entry.path.startswith(prefix)],
    )


def _agreement(exactness: Exactness) -> Agreement:
    tolerance = (exactness | Exactness.ROUNDING).tolerance
    if tolerance is None:
        return Agreement(kind="relative_l2", limit=LOSSY_LIMIT)
    return Agreement(kind="elementwise", atol=tolerance.atol, rtol=tolerance.rtol)


def _swap(staging: Path, folder: Path) -> None:
    if not folder.exists():
        staging.rename(folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    try:
        folder.replace(old)
        try:
            staging.rename(folder)
        except OSError:
            old.replace(folder)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)
