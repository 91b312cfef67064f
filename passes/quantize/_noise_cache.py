"""Measured noise on disk: one small JSON file, written atomically, not trusted when it is read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxopt.data.dataset import sample_digest
from onnxopt.runtime import environment
from onnxopt.store import content_hash
from onnxopt_passes._trial import Drawn
from onnxopt_passes.quantize._bench import Bench
from onnxopt_passes.quantize._noise import Noise
from onnxopt_passes.quantize._sensitivity import MOST_RUNS

_FORMAT = 2


def cached(
    folder: Path | None, bench: Bench, drawn: Sequence[Drawn], measure: Callable[[], Noise]
) -> Noise:
    """The noise of a bench's sources on some samples, measured where no file knows it.

    Args:
        folder: Of the cache; None caches nothing.
        bench: The model, its sources and their ranges.
        drawn: What they are measured on.
        measure: Measures them.
    """
    if folder is None:
        return measure()
    path = folder / "sensitivities" / f"{_digest(bench, drawn)}.json"
    known = _read(path, bench)
    if known is not None:
        return known
    noise = measure()
    _write(path, {"tensors": dict(noise.tensors), "weights": dict(noise.weights)})
    return noise


def _digest(bench: Bench, drawn: Sequence[Drawn]) -> str:
    """Equal for equal models, data, sources, ranges and runtimes."""
    sources = [(source.kind, source.name) for source in bench.sources()]
    ranges = sorted((name, found.low, found.high) for name, found in bench.ranges.items())
    parts = [
        _FORMAT,
        MOST_RUNS,
        environment().versions.get("onnxruntime", ""),
        content_hash(bench.model),
        [(sample_digest(one.sample), one.weight) for one in drawn],
        bench.scheme.model_dump(mode="json"),
        sources,
        ranges,
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _read(path: Path, bench: Bench) -> Noise | None:
    """What a file holds; None where it is missing, damaged, or about other sources."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        noise = Noise(_powers(document["tensors"]), _powers(document["weights"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = {*noise.tensors, *noise.weights}
    return noise if all(source.name in known for source in bench.sources()) else None


def _powers(found: Mapping[str, Any]) -> dict[str, float]:
    powers = {str(name): float(power) for name, power in found.items()}
    if any(not power >= 0 for power in powers.values()):
        raise ValueError("a power is negative")
    return powers


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
