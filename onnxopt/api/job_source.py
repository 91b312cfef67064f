"""The ``source`` of a job file: an ONNX model, or anything that ``export`` takes."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from pydantic import BaseModel, ConfigDict

from onnxopt.api.options import RunOptions
from onnxopt.exporting import Export, ExportOptions, export_model, is_plain_model
from onnxopt.exporting.importing import is_factory


class JobSource(BaseModel):
    """What to start from, and what ``export`` is to be told about it.

    See ``ExportOptions``; ``model`` is what the command line calls SOURCE.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    sample: str | None = None
    inputs: tuple[str, ...] = ()
    dynamic: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    opset: int | None = None
    weights: str | None = None
    trust_pickle: bool = False
    kv_cache: bool = False


def located(spec: str, folder: Path) -> str:
    """A spec with its path under the job's folder; names of modules stay as they are."""
    place, colon, _ = spec.partition(":")
    if spec == "random" or (colon and not place.endswith(".py")):
        return spec
    return str(folder / spec)


def open_job_source(
    source: str | JobSource, folder: Path, options: RunOptions
) -> tuple[Path | ir.Model, Export | None]:
    """What a job starts from, exported where it is no ONNX file yet.

    Args:
        source: As the job file says it.
        folder: The job file's.
        options: Target, seed and progress.

    Returns:
        The file or the exported model, and in the second case what the export did.

    Raises:
        OnnxoptError: The source cannot be exported.
    """
    if isinstance(source, str):
        if not is_factory(source) and is_plain_model(source):
            return folder / source, None
        source = JobSource(model=source)
    asked = ExportOptions(
        sample=None if source.sample is None else located(source.sample, folder),
        inputs=source.inputs,
        dynamic=source.dynamic,
        outputs=source.outputs,
        opset=source.opset,
        weights=None if source.weights is None else folder / source.weights,
        trust_pickle=source.trust_pickle,
        kv_cache=source.kv_cache,
        target=options.target,
        seed=options.seed,
        progress=options.progress,
    )
    made = export_model(located(source.model, folder), asked)
    assert made.model is not None  # only a dry run makes none
    return made.model, made
