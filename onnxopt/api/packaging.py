"""The verbs ``package`` and ``verify``: a model into a bundle, and a bundle checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onnxopt import store
from onnxopt.api.options import RunOptions
from onnxopt.api.stateful import check_state, with_state
from onnxopt.api.workbench import Workbench, open_data
from onnxopt.comparing import random_outputs
from onnxopt.data import Dataset, Split
from onnxopt.deploy import (
    BundleContent,
    DataEntry,
    GoldenSample,
    Manifest,
    StepDelta,
    VerifyReport,
    check_destination,
    verify_bundle,
    write_bundle,
)
from onnxopt.exactness import Exactness
from onnxopt.runtime import Precision, SessionConfig, environment, open_session
from onnxopt.signature import signature_of
from onnxopt.transform import StepResult

GOLDEN_SAMPLES = 4
_LIBRARIES = ("onnxopt", "onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", "numpy")


def package(
    model: store.Source,
    output: Path | str,
    *,
    data: str | Dataset | None = None,
    options: RunOptions | None = None,
    force: bool = False,
) -> Manifest:
    """Put a model as it is into a bundle.

    Args:
        model: The model that ships.
        output: The bundle's folder.
        data: Where golden samples come from; made up by default.
        options: Target, threads, seed.
        force: Replace an existing bundle.

    Raises:
        UsageError: The folder is in the way.
        OnnxoptError: The model or the data cannot be used.
    """
    folder = Path(output)
    check_destination(folder, force=force)
    options = options or RunOptions()
    bench = Workbench.open(model, None, options)
    if data is None:
        check_state(options)
    else:
        steps = open_data(data, signature_of(bench.model), options)
        whole = with_state(steps, bench.model, options)
        bench = replace(bench, data=Split(whole.take([]), whole.take([]), whole))
    content = BundleContent(
        model=bench.model,
        name=Path(bench.origin).stem,
        candidate="as-given",
        verdict="packaged as given",
        verified=False,
        exactness=exactness_of(bench.model, bench.session.precision),
        target=bench.target.name,
        provider=bench.target.provider,
        threads=bench.options.threads,
        precision=bench.session.precision,
        source=bench.origin,
        source_sha256=source_hash(model),
        recipe="",
        steps=[],
        samples=golden_samples(bench.model, bench.some_feeds(GOLDEN_SAMPLES), bench.session),
        data=data_entries(bench.data),
        versions=versions(),
        measured={"environment.json": asdict(environment())},
    )
    return write_bundle(content, folder, force=force)


def verify(folder: Path | str) -> VerifyReport:
    """Check a bundle: every hash, then every golden sample on this machine.

    Raises:
        ModelError: It is no bundle, or a file is missing or was changed.
        MismatchError: The model computes something else here.
    """
    return verify_bundle(Path(folder))


def golden_samples(
    model: ir.Model, feeds: Sequence[Mapping[str, Any]], session: SessionConfig
) -> list[GoldenSample]:
    """What a model makes of a few feeds on this machine, outputs of random ops left out."""
    random = random_outputs(model)
    with open_session(model, session) as opened:
        made = [(feed, opened.run(feed)) for feed in feeds]
    return [
        GoldenSample(feed, {name: value for name, value in run.items() if name not in random})
        for feed, run in made
    ]


def source_hash(source: store.Source) -> str:
    """SHA-256 of a model's file; of its content where it has none."""
    if not isinstance(source, str | Path):
        return store.content_hash(store.load(source))
    with Path(source).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def data_entries(data: Split | None) -> dict[str, DataEntry]:
    """The parts of the data that hold samples, without the folders of this machine."""
    if data is None:
        return {}
    parts = {"calibration": data.calibration, "search": data.search, "test": data.test}
    return {
        name: DataEntry(
            origin=Path(part.origin).name, samples=len(part), fingerprint=part.fingerprint
        )
        for name, part in parts.items()
        if len(part)
    }


def exactness_of(model: ir.Model, precision: Precision = "fp32") -> Exactness:
    """How reproducible outputs are between machines: integer and 16-bit kernels differ more."""
    from onnxopt.graph import all_nodes

    nodes = list(all_nodes(model))
    integer = any(node.op_type in _INTEGER_OPS for node in nodes)
    half = any(value.dtype in _HALVES for node in nodes for value in node.outputs)
    return Exactness.LOSSY if integer or half or precision != "fp32" else Exactness.ROUNDING


def deltas(steps: Sequence[StepResult]) -> list[StepDelta]:
    """What each pass did to the model's size, without times."""
    return [
        StepDelta(
            step=step.step,
            exactness=step.exactness.value,
            applied=step.applied,
            refused=step.refused,
            nodes_before=step.before.nodes,
            nodes_after=step.after.nodes,
            weight_bytes_before=step.before.weight_bytes,
            weight_bytes_after=step.after.weight_bytes,
        )
        for step in steps
    ]


def versions() -> dict[str, str]:
    """Versions of the libraries that make a bundle."""
    from importlib.metadata import PackageNotFoundError

    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_INTEGER_OPS = frozenset(
    {
        "QuantizeLinear",
        "DynamicQuantizeLinear",
        "QLinearConv",
        "QLinearMatMul",
        "ConvInteger",
        "MatMulInteger",
        "MatMulNBits",
    }
)
