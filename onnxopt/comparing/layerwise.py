"""Where on the way through a model the signal is lost: the error of every tensor both models have.

Two values with one name in a model and in what was made of it mean the same tensor, after undoing
what ``scaling`` records, and as far as ``kept`` says that it is left. So their difference is the
noise that has come up to there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.comparing import kept
from onnxopt.comparing.scaling import ChannelScale, between
from onnxopt.data import Dataset
from onnxopt.errors import DataError
from onnxopt.graph import label
from onnxopt.progress import Progress, no_progress
from onnxopt.runtime import SessionConfig, open_session

_SHOWN = 16  # tensors of either model kept at once while a sample runs


@dataclass(frozen=True)
class TensorError:
    """The error of one tensor over all samples.

    Attributes:
        name: Of the tensor.
        node: Of the node of the reference that makes it.
        op_type: Of that node.
        signal: Sum of squares of the reference's values.
        noise: Sum of squares of the differences; infinite where one is not finite.
        lost_db: By how much the ratio of signal to noise is below that of the noisiest tensor
            that led here; negative where the node has smoothed noise out.
    """

    name: str
    node: str
    op_type: str
    signal: float
    noise: float
    lost_db: float

    @property
    def sqnr_db(self) -> float:
        """Ratio of signal to noise; infinite where there is no noise."""
        return _decibels(self.signal, self.noise)

    @property
    def error(self) -> float:
        """Relative L2 error."""
        if not self.signal:
            return math.inf if self.noise else 0.0
        return math.sqrt(self.noise / self.signal)


def layerwise(
    reference: ir.Model,
    candidate: ir.Model,
    dataset: Dataset,
    *,
    config: SessionConfig | None = None,
    progress: Progress = no_progress,
) -> tuple[TensorError, ...]:
    """The error of each float tensor that both models make, in the reference's order.

    Args:
        reference: The original.
        candidate: What was made of it.
        dataset: A few samples.
        config: How to run both; one thread of the CPU by default.
        progress: Told after each sample.

    Raises:
        DataError: There are no samples.
        ModelError: A model does not run.
    """
    first = next(iter(dataset), None)
    if first is None:
        raise DataError(f"{dataset.origin} holds no samples")
    names = _shared_names(reference, candidate)
    groups = [names[start : start + _SHOWN] for start in range(0, len(names), _SHOWN)]
    powers: dict[str, tuple[float, float]] = {}
    total = len(groups) * len(dataset)
    run_config = config or SessionConfig(threads=1, spinning=False)
    for number, group in enumerate(groups):
        meter = _Meter(reference, candidate, group)
        for done, measured in enumerate(meter.measure(dataset, run_config)):
            progress("compare layers", number * len(dataset) + done + 1, total)
            for name, (signal, noise) in measured.items():
                known = powers.get(name, (0.0, 0.0))
                powers[name] = known[0] + signal, known[1] + noise
    return _rows(reference, powers)


class _Meter:
    """Runs both models with some of their tensors shown."""

    def __init__(self, reference: ir.Model, candidate: ir.Model, names: Sequence[str]) -> None:
        self._names = names
        self._models = _showing(reference, names), _showing(candidate, names)
        self._scales = between(reference, candidate)
        self._kept = kept.between(reference, candidate)

    def measure(self, dataset: Dataset, config: SessionConfig) -> Any:
        """Signal and noise of each tensor, sample by sample."""
        with (
            open_session(self._models[0], config) as before,
            open_session(self._models[1], config) as after,
        ):
            for sample in dataset:
                expected, found = before.run(sample.feeds), after.run(sample.feeds)
                yield {
                    name: _powers(
                        kept.take(expected[name], self._kept.get(name, ())),
                        found[name],
                        self._scales.get(name),
                    )
                    for name in self._names
                    if _is_float(expected[name]) and _is_float(found[name])
                }


def _showing(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """A clone whose outputs are these tensors."""
    clone = model.clone()
    values = {out.name: out for node in clone.graph for out in node.outputs}
    clone.graph.outputs[:] = [values[name] for name in names]
    return clone


def _powers(expected: Any, found: Any, scale: ChannelScale | None) -> tuple[float, float]:
    """Sums of squares of the signal and of the noise on it."""
    ours = np.asarray(expected, np.float64)
    theirs = np.asarray(found, np.float64)
    if ours.shape != theirs.shape:
        return float(np.sum(ours**2)), math.inf
    if scale is not None:
        theirs = theirs * scale.shaped(theirs.ndim)
    noise = float(np.sum((ours - theirs) ** 2))
    signal = float(np.sum(ours**2))
    return signal, noise if math.isfinite(noise) else math.inf


def _shared_names(reference: ir.Model, candidate: ir.Model) -> list[str]:
    theirs = {out.name for node in candidate.graph for out in node.outputs}
    return [
        out.name
        for node in reference.graph
        for out in node.outputs
        if out.name in theirs and out.name and _may_be_float(out)
    ]


def _may_be_float(value: ir.Value) -> bool:
    return value.dtype is None or value.dtype.is_floating_point()


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic) and value.dtype.kind == "f"


def _rows(reference: ir.Model, powers: dict[str, tuple[float, float]]) -> tuple[TensorError, ...]:
    """One row a tensor; what leads to a node is looked up through nodes without a row."""
    worst: dict[ir.Value, float] = {}
    rows = []
    for node in reference.graph:
        before = min((worst[v] for v in node.inputs if v in worst), default=math.inf)
        for out in node.outputs:
            if out.name is None or out.name not in powers:
                worst[out] = before
                continue
            signal, noise = powers[out.name]
            now = _decibels(signal, noise)
            lost = 0.0 if now == before else before - now
            rows.append(TensorError(out.name, label(node), node.op_type, signal, noise, lost))
            worst[out] = now
    return tuple(rows)


def _decibels(signal: float, noise: float) -> float:
    if not noise:
        return math.inf
    return 10 * math.log10(signal / noise) if signal and math.isfinite(noise) else -math.inf
