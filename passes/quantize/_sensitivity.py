"""Measures how much of the outputs' error each tensor and weight in codes is to blame for.

The model stays in float but for some sources of noise: tensors go through a QuantizeLinear and
back, weights are replaced by what their codes mean. Each source is measured alone. Where that would
take too many runs, stretches of sources are, and those with the most noise are halved again and
again; a source is then given its share of the smallest stretch it was measured in.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.graph import label
from onnxopt.progress import Progress
from onnxopt.runtime import Session, SessionConfig, open_session
from onnxopt_passes._trial import Drawn
from onnxopt_passes.quantize._bench import Bench, Source, gate
from onnxopt_passes.quantize._checkpoints import Rest, rests_of
from onnxopt_passes.quantize._noise import Noise

ErrorOf = Callable[[Mapping[str, Any], Mapping[str, Any]], float]

MOST_RUNS = 256
_LEAST_SAMPLES, _MOST_SAMPLES = 2, 12
_MOST_MACS = 1e12  # over all runs: about half a minute
_MOST_ERROR = 1e3


def affordable_samples(sources: int, macs: float) -> int:
    """How many samples can be run for each source in reasonable time.

    Args:
        sources: How many sources there are.
        macs: Multiply-accumulates of a run.
    """
    count = int(_MOST_MACS / max(macs * min(sources, MOST_RUNS), 1.0))
    return min(max(count, _LEAST_SAMPLES), _MOST_SAMPLES)


def measure_noise(
    bench: Bench,
    drawn: Sequence[Drawn],
    config: SessionConfig,
    quiet: float,
    progress: Progress,
    error: ErrorOf,
) -> Noise:
    """The power of each source's noise.

    Args:
        bench: The model and its sources.
        drawn: What to run, and what it counts.
        config: How to run models.
        quiet: The power below which a stretch is not looked at more closely.
        progress: Told after each measurement.
        error: Of one sample's outputs, the expected ones first.
    """
    sources = bench.sources()
    most = min(len(sources), MOST_RUNS)
    rests = rests_of(bench.model, [one.sample for one in drawn], config)
    weights = [one.weight for one in drawn]
    found: list[_Measured] = []
    runs = 0
    for rest, part in _parts(sources, bench.model, rests):
        with open_session(bench.gated(rest.model, part), config) as session:
            meter = _Meter(session, rest, weights, error, len(part))
            for one in _told_apart(meter, part, quiet, -(-most * len(part) // len(sources))):
                found.append(one)
                progress("measure sensitivities", min(runs + meter.runs, most), most)
        runs += meter.runs
    return bench.repeated(_shared(found))


@dataclass(frozen=True)
class _Measured:
    """Sources that were measured together."""

    sources: Sequence[Source]
    power: float


class _Meter:
    """Measures the noise of several sources of one rest at once, and counts how often."""

    def __init__(
        self,
        session: Session,
        rest: Rest,
        weights: Sequence[float],
        error: ErrorOf,
        count: int,
    ) -> None:
        self._session, self._rest, self._weights = session, rest, weights
        self._error = error
        self._closed = {gate(number): np.zeros((), np.float32) for number in range(count)}
        self.runs = 0

    def power(self, places: range) -> float:
        """The square of the outputs' mean error with these gates open."""
        self.runs += 1
        opened = {gate(number): np.ones((), np.float32) for number in places}
        gates = {**self._closed, **opened}
        errors = []
        for feeds, expected in self._rest.runs:
            found = self._session.run({**feeds, **gates})
            error = self._error(expected, found)
            errors.append(min(error, _MOST_ERROR) if math.isfinite(error) else _MOST_ERROR)
        return float(np.mean(np.multiply(errors, self._weights))) ** 2


def _told_apart(
    meter: _Meter, sources: Sequence[Source], quiet: float, most: int
) -> Iterator[_Measured]:
    """Measure sources one by one, or, where that takes too many runs, in stretches."""
    size = 1 if len(sources) <= most else -(-2 * len(sources) // most)
    heap: list[tuple[float, int, range]] = []
    numbers = range(len(sources))
    waiting = [numbers[start : start + size] for start in numbers[::size]]
    while waiting or heap:
        for stretch in waiting:
            heapq.heappush(heap, (-meter.power(stretch), stretch.start, stretch))
        power, _, stretch = heapq.heappop(heap)
        middle = len(stretch) // 2
        waiting = [stretch[:middle], stretch[middle:]]
        if not middle or -power <= quiet or meter.runs >= most:
            waiting = []
            yield _Measured([sources[number] for number in stretch], -power)


def _parts(
    sources: Sequence[Source], model: ir.Model, rests: Sequence[Rest]
) -> Iterator[tuple[Rest, list[Source]]]:
    """Each source with the shortest rest that it is in."""
    places = _places(model)
    starts = [rest.start for rest in rests]
    owner = [bisect_right(starts, places.get(source, 0)) - 1 for source in sources]
    for number, rest in enumerate(rests):
        part = [s for s, owned in zip(sources, owner, strict=True) if owned == number]
        if part:
            yield rest, part


def _places(model: ir.Model) -> dict[Source, int]:
    """At which node each source stands."""
    found = {}
    for at, node in enumerate(model.graph):
        found[Source("weight", label(node))] = at
        found.update((Source("tensor", out.name or ""), at) for out in node.outputs)
    return found


def _shared(found: Iterable[_Measured]) -> Noise:
    tensors: dict[str, float] = {}
    weights: dict[str, float] = {}
    for one in found:
        for source in one.sources:
            kind = tensors if source.kind == "tensor" else weights
            kind[source.name] = one.power / len(one.sources)
    return Noise(tensors, weights)
