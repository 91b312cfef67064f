"""What the CUDA provider makes of models: as shipped, exact, TF32, float16, both layouts.

``--prepare FOLDER`` writes models and samples of the zoo where there is a network; any further
``NAME.onnx`` (with samples in a folder ``NAME``) may lie beside them. Without it the models of the
folder are measured, on a machine with a GPU: each variant in one process, by turns.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import document
import numpy as np

from onnxopt import api, store
from onnxopt.api import Budget, RunOptions
from onnxopt.comparing import workable_inputs
from onnxopt.data import Feeds, open_dataset
from onnxopt.errors import OnnxoptError
from onnxopt.runtime import Precision, SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.timing import batch_sizes, stacked
from onnxopt.timing.ratio import Median, paired_speedup

ZOO = (
    *("magika", "chars2vec", "pp-ocr-cls", "orientation", "effnet-lite0"),
    *("pp-ocr-rec", "pp-ocr-det", "captcha", "minilm-l3"),
)
SAMPLES = 16
BATCHES = (1, 32)
ROUNDS = 9
TURN_S = 0.06
FIRST = "shipped, TF32"
"""What ONNX Runtime does unless told otherwise."""


@dataclass(frozen=True)
class Variant:
    """One way to run one model."""

    name: str
    path: Path
    session: SessionConfig


def prepare(folder: Path) -> None:
    """Copy models of the zoo and samples for them."""
    from onnxopt_models.cache import default_cache_dir
    from onnxopt_models.fetch import fetch
    from onnxopt_models.tasks import find_task

    folder.mkdir(parents=True, exist_ok=True)
    for name in ZOO:
        task = find_task(name)
        shutil.copyfile(fetch(task.model), folder / f"{name}.onnx")
        samples = task.build(default_cache_dir(), samples=SAMPLES, split="calibration")
        shutil.copytree(samples, folder / name, dirs_exist_ok=True)


def measure(source: Path, batch: int, folder: Path) -> dict[str, Any]:
    """One model at one batch size.

    Returns:
        The ``row`` of the table and what is ``raw`` behind it.
    """
    feeds = feeds_of(source, batch)
    reference = _outputs(source, SessionConfig(), feeds)
    found = {one.name: one for one in variants(source, folder)}
    errors: dict[str, float] = {}
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        calls = {}
        for name, one in found.items():
            try:
                calls[name], errors[name] = _opened(stack, one, feeds, reference)
            except OnnxoptError as error:
                failed[name] = str(error)
        times = by_turns(calls)
    ratios = {name: paired_speedup(times[FIRST], times[name]) for name in times}
    row = {"model": source.stem, "batch": batch, f"{FIRST}, ms": f"{_ms(times[FIRST]):.3f}"}
    for name in found:
        row[name] = "–" if name in failed else _cell(ratios[name], errors[name])
    del row[FIRST]
    raw = {"ms": {name: _ms(one) for name, one in times.items()}, "errors": errors}
    return {"row": row, "raw": {**raw, "failed": failed, "ratios": _plain(ratios)}}


def _opened(
    stack: ExitStack, one: Variant, feeds: Feeds, reference: Mapping[str, Any]
) -> tuple[Callable[[], Any], float]:
    """A call that runs a variant, and its error; without a graph where the provider takes none."""
    try:
        session = stack.enter_context(open_session(one.path, one.session))
        error = _error(reference, session.run(feeds))
    except OnnxoptError:
        plain = replace(one.session, cuda_graph=False)
        session = stack.enter_context(open_session(one.path, plain))
        error = _error(reference, session.run(feeds))
    return session.prepare(feeds), error


def variants(source: Path, folder: Path) -> Iterator[Variant]:
    """The ways to run a model; rewritten files are made once."""
    exact, half = folder / f"{source.stem}-exact.onnx", folder / f"{source.stem}-half.onnx"
    options = RunOptions(target="cuda", measure=False)
    samples = source.with_suffix("")
    data = str(samples) if samples.is_dir() else "random"
    if not exact.is_file():
        api.optimize(source, exact, data=data if samples.is_dir() else None, options=options)
    if not half.is_file():
        budget = Budget(max_error=math.inf, int8_anyway=True)
        api.quantize(source, half, data=data, budget=budget, options=options)
    yield Variant(FIRST, source, _session("tf32"))
    yield Variant("shipped, fp32", source, _session("fp32"))
    yield Variant("exact, TF32", exact, _session("tf32"))
    yield Variant("exact, TF32, no graph", exact, _session("tf32", cuda_graph=False))
    yield Variant("float16", half, _session("tf32"))
    yield Variant("float16, NHWC", half, _session("tf32", layout="nhwc"))


def _session(precision: Precision, **others: Any) -> SessionConfig:
    asked = {"cuda_graph": True, **others}
    return SessionConfig("cuda", precision=precision, io_binding=True, **asked)


def feeds_of(source: Path, batch: int) -> Feeds:
    """A sample, as often as the batch wants it; made up where there is none."""
    signature = signature_of(store.load(source))
    samples = source.with_suffix("")
    if not samples.is_dir():
        dims = batch_sizes(signature, batch, {})
        return next(iter(workable_inputs(source, dims=dims, samples=1))).feeds
    first = next(iter(islice(open_dataset(str(samples), signature), 1))).feeds
    return first if batch == 1 else stacked(signature, [first] * batch, batch)[0]


def by_turns(calls: Mapping[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Median times of each call, a turn at a time."""
    for call in calls.values():
        for _ in range(10):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS):
        order = list(calls)
        np.random.default_rng(number).shuffle(order)
        for name in order:
            times[name].append(_turn(calls[name]))
    return times


def _turn(call: Callable[[], Any]) -> float:
    taken: list[float] = []
    while sum(taken) < TURN_S or len(taken) < 5:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    return float(np.median(taken))


def _outputs(source: Path, config: SessionConfig, feeds: Feeds) -> Mapping[str, Any]:
    with open_session(source, config) as session:
        return session.run(feeds)


def _error(reference: Mapping[str, Any], found: Mapping[str, Any]) -> float:
    """The worst relative L2 error of the float outputs."""
    errors = [0.0]
    for name, wanted in reference.items():
        if isinstance(wanted, np.ndarray) and wanted.dtype.kind == "f":
            away = found[name].astype(np.float64) - wanted
            norm = float(np.linalg.norm(wanted.astype(np.float64)))
            errors.append(float(np.linalg.norm(away)) / max(norm, 1e-30))
    return max(errors)


def _ms(times: Sequence[float]) -> float:
    return float(np.median(times)) * 1e3


def _cell(ratio: Median, error: float) -> str:
    return f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] e {error:.0e}"


def _plain(ratios: Mapping[str, Median]) -> dict[str, list[float]]:
    return {name: [one.value, one.low, one.high] for name, one in ratios.items()}


def main() -> None:
    """Measure all models of a folder; the results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--prepare", action="store_true", help="fill the folder, measure nothing")
    parser.add_argument("--models", nargs="*", metavar="NAME", help="these of the folder")
    parser.add_argument("--add", action="store_true", help="keep the table's other models")
    asked = parser.parse_args()
    if asked.prepare:
        prepare(asked.folder)
        return
    sources = sorted(asked.folder.glob("*.onnx"))
    if asked.models:
        sources = [source for source in sources if source.stem in asked.models]
    rows, raw = _kept({source.stem for source in sources}) if asked.add else ([], {})
    with tempfile.TemporaryDirectory() as made:
        for source in sources:
            for batch in BATCHES:
                found = _tried(partial(measure, source, batch, Path(made)))
                if isinstance(found, str):
                    raw[f"{source.stem} {batch}"] = found
                    continue
                rows.append(found["row"])
                raw[f"{source.stem} {batch}"] = found["raw"]
                write(rows, raw)


def _kept(others: Collection[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows and raw figures of an earlier run, of all but these models."""
    found = json.loads((document.RESULTS / "cuda.json").read_text(encoding="utf-8"))
    rows = [row for row in found["rows"] if row["model"] not in others]
    raw = {key: one for key, one in found["raw"].items() if key.split()[0] not in others}
    return rows, raw


def _tried(call: Callable[[], dict[str, Any]]) -> dict[str, Any] | str:
    try:
        return call()
    except OnnxoptError as error:
        return str(error)


def gpu() -> str:
    """The first GPU and its driver, as NVIDIA's tool names them."""
    asked = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    if shutil.which(asked[0]) is None:
        return "an unknown GPU"
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return "{}, driver {}".format(*found.splitlines()[0].split(", "))


def write(rows: Sequence[dict[str, Any]], raw: Mapping[str, Any]) -> None:
    """The table so far."""
    title = (
        f"The CUDA provider on {gpu()}, values kept on the device, kernels replayed as one CUDA "
        "graph but where said: speed-up over the shipped model in TF32 (the provider's default) "
        "[95 % interval], and e, the relative L2 error against the shipped model in fp32 on the CPU"
    )
    document.write("cuda", title, rows, raw)


if __name__ == "__main__":
    main()
