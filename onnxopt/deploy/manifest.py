"""The manifest of a bundle: what is in it, where it came from and how close it must stay."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from onnxopt.errors import ModelError
from onnxopt.runtime import Layout, Precision
from onnxopt.signature import Signature, TensorSpec

MANIFEST_NAME = "manifest.json"
MEASURED = "measured"
FORMAT = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileEntry(_Frozen):
    """One file of the bundle: its path inside, size and SHA-256."""

    path: str
    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @field_validator("path")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in value:
            raise ValueError(f"path {value!r} leaves the bundle")
        return value

    @classmethod
    def of(cls, folder: Path, path: Path) -> Self:
        """Describe an existing file."""
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        inside = path.relative_to(folder).as_posix()
        return cls(path=inside, size_bytes=path.stat().st_size, sha256=digest)


class TensorEntry(_Frozen):
    """One input or output: name, dtype and shape (sizes, names of dynamic axes, null)."""

    name: str
    dtype: str
    shape: list[int | str | None] | None

    @classmethod
    def of(cls, spec: TensorSpec) -> Self:
        """Describe a tensor spec."""
        shape = None if spec.shape is None else list(spec.shape)
        return cls(name=spec.name, dtype=spec.dtype, shape=shape)


class DataEntry(_Frozen):
    """Samples that were used: what they were called, how many, and their content hash."""

    origin: str
    samples: int = Field(ge=0)
    fingerprint: str


class StepDelta(_Frozen):
    """What one executed pass did to the model's size."""

    step: str
    exactness: str
    applied: int
    refused: int
    nodes_before: int
    nodes_after: int
    weight_bytes_before: int
    weight_bytes_after: int


class Agreement(_Frozen):
    """How close outputs on a device must come to the golden ones.

    Element-wise ``atol * max(1, rms) + rtol * |expected|`` for exact models, with the root mean
    square of the output's finite numbers; the relative L2 error of each float output for quantized
    ones, whose integer kernels differ a little between CPUs.
    """

    kind: Literal["elementwise", "relative_l2"]
    atol: float = 0.0
    rtol: float = 0.0
    limit: float = 0.0


class Manifest(_Frozen):
    """Everything reproducible about a bundle; timings and machine facts are in ``measured/``."""

    format: Literal[1] = 1
    name: str
    model: str
    candidate: str
    verdict: str
    verified: bool
    target: str
    provider: str
    threads: int = Field(ge=1)
    precision: Precision = "fp32"
    layout: Layout = "nchw"
    source: str
    source_sha256: str
    recipe: str
    steps: list[StepDelta]
    data: dict[str, DataEntry]
    inputs: list[TensorEntry]
    outputs: list[TensorEntry]
    agreement: Agreement
    samples: int = Field(ge=0)
    versions: dict[str, str]
    measured: list[FileEntry]
    files: list[FileEntry]

    @field_validator("model")
    @classmethod
    def _model_inside(cls, value: str) -> str:
        return FileEntry(path=value, size_bytes=0, sha256="0" * 64).path

    def text(self) -> str:
        """The manifest as JSON, keys in declaration order."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def tensor_entries(signature: Signature) -> tuple[list[TensorEntry], list[TensorEntry]]:
    """Inputs and outputs of a signature as manifest entries."""
    inputs = [TensorEntry.of(spec) for spec in signature.inputs]
    return inputs, [TensorEntry.of(spec) for spec in signature.outputs]


def unlisted_files(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Files in a bundle's folder that its manifest does not know, sorted."""
    known = {entry.path for entry in (*manifest.files, *manifest.measured)} | {MANIFEST_NAME}
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir()}
    return tuple(sorted(present - known))


def read_manifest(folder: Path) -> Manifest:
    """Read and validate the manifest of a bundle.

    Raises:
        ModelError: There is none, or it is not a valid manifest.
    """
    path = folder / MANIFEST_NAME
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no bundle: it has no {MANIFEST_NAME}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "a JSON document") from error
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{path}: {where}: {first['msg']}", "a bundle of this version") from error
