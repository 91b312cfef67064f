"""A model and where it lies, for processes that read it themselves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from onnxopt.store import TEXT_SUFFIX, load, save


@dataclass(frozen=True)
class Filed:
    """A model and a file that holds it as it is, which saves writing another.

    Attributes:
        model: The model.
        path: Its file, as ONNX Runtime loads it.
    """

    model: ir.Model
    path: Path


def model_of(model: ir.Model | Path | Filed) -> ir.Model:
    """The model itself, read where only its file is given."""
    if isinstance(model, Filed):
        return model.model
    return model if isinstance(model, ir.Model) else load(model)


def path_of(model: ir.Model | Path | Filed, folder: Path, name: str) -> str:
    """The path of its file, written to a folder where there is none that ONNX Runtime reads."""
    path = None if isinstance(model, ir.Model) else model if isinstance(model, Path) else model.path
    if path is not None and path.suffix != TEXT_SUFFIX:
        return str(path.absolute())
    written = folder / f"{name}.onnx"
    save(model_of(model), written)
    return str(written)
