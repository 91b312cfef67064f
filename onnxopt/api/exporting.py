"""The verb ``export``: a model of any framework becomes one verified ONNX file."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxopt import store
from onnxopt.errors import UsageError
from onnxopt.exporting import Export, ExportOptions, export_model
from onnxopt.exporting.recognizing import Given
from onnxopt.store.atomic import AtomicFile


@dataclass(frozen=True, eq=False)
class ExportResult:
    """What ``export`` did.

    Attributes:
        export: The model, what it takes and gives, and the evidence.
        saved: Where it was written; None where nothing was.
        sample: Where the sample was written; None where nothing was.
    """

    export: Export
    saved: store.SavedModel | None
    sample: Path | None

    def to_json(self) -> dict[str, Any]:
        """The result as plain values, model and samples left out."""
        export = self.export
        check = export.check
        return {
            "source": export.source,
            "framework": export.framework,
            "exporter": export.exporter,
            "opset": export.opset,
            "ir_version": export.model.ir_version if export.model else None,
            "inputs": [asdict(spec) for spec in export.inputs],
            "outputs": [asdict(spec) for spec in export.outputs],
            "dynamic": list(export.dynamic),
            "weights_sha256": export.weights_sha256,
            "random_sample": export.is_random,
            "check": asdict(check) if check else None,
            "notes": list(export.notes),
            "seconds": round(export.seconds, 3),
            "saved": asdict(self.saved) if self.saved else None,
            "sample": str(self.sample) if self.sample else None,
        }


def export(
    source: Given,
    output: Path | str | None = None,
    *,
    options: ExportOptions | None = None,
    sample_output: Path | str | None = None,
) -> ExportResult:
    """Turn a model of any framework into ONNX and verify that both compute the same.

    Args:
        source: ``module:factory`` or ``file.py:factory``, the path of a model file or folder, or
            a model in memory (torch, scikit-learn, Keras, onnxscript, ONNX).
        output: Where to write the model; None writes nothing.
        options: Sample, dynamic dimensions, opset, weights and so on.
        sample_output: Where to write what was fed, as an ``.npz`` for ``data=``.

    Raises:
        MismatchError: The exported model computes something else; nothing was written.
        ModelError: The source cannot be read, run or converted.
        DataError: The sample does not fit the model.
        BackendMissingError: The framework is not installed; the message names the pip command.
        UsageError: The request is wrong.
    """
    if sample_output is not None and Path(sample_output).suffix != ".npz":
        raise UsageError(f"sample file {sample_output}", "a name that ends in .npz")
    made = export_model(source, options)
    saved = None
    if output is not None and made.model is not None:
        saved = store.save(made.model, Path(output))
    sample = None
    if sample_output is not None and made.model is not None:
        sample = _save_sample(made, Path(sample_output))
    return ExportResult(made, saved, sample)


def _save_sample(made: Export, path: Path) -> Path:
    held = io.BytesIO()
    np.savez(held, allow_pickle=False, **dict(made.samples))
    with AtomicFile(path.parent) as file:
        file.write(held.getbuffer())
        file.commit(path)
    return path
