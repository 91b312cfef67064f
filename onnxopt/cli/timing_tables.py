"""Times as people read them: the candidates of a benchmark, the parts of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from onnxopt.cli.render import percent, size, table
from onnxopt.guard import printable

if TYPE_CHECKING:
    from rich.table import Table

    from onnxopt.timing import BenchmarkResult, Measurement, Profile, Ratio


def benchmark_table(found: BenchmarkResult) -> Table:
    """All candidates of a benchmark; energy only where the machine tells it."""
    ratios = {ratio.candidate: ratio for ratio in found.ratios}
    energy = any(one.joules is not None for one in found.measurements)
    timing = (">p50 ms", ">p90 ms", ">p99 ms", ">1/s", ">load ms", ">first ms")
    columns = ["model", ">size", *timing, ">peak RSS", *([">J"] if energy else [])]
    rows = [_cells(one, ratios.get(one.name), energy) for one in found.measurements]
    return table("", [*columns, ">speed-up", "95 %"], rows)


def benchmark_lines(found: BenchmarkResult) -> Iterator[str]:
    """How it was measured, and how sure it is."""
    first = found.measurements[0]
    batch = f", {first.batch} items a run" if first.batch > 1 else ""
    where = f"{first.provider}, {first.threads} thread(s), {first.precision}{batch}"
    yield f"{where}; {found.environment.cpu}"
    for one in found.measurements:
        typical = one.typical_ms
        yield (
            f"{one.name}: {typical.value:.3f} ms [{typical.low:.3f}, {typical.high:.3f}], "
            f"{len(one.rounds_ms)} rounds, spread {percent(one.spread, 1)}"
        )


def benchmark_warnings(found: BenchmarkResult) -> Iterator[str]:
    """What to hold against the numbers."""
    for one in found.measurements:
        yield from (f"{one.name}: {note}" for note in one.notes)
        if not one.steady:
            yield f"{one.name} had not settled after {one.warmup_runs} warm-up runs"
    if found.reached is False and found.within is not None:
        widths = [ratio.half_width for ratio in found.ratios]
        widest = max(widths or [found.measurements[0].typical_ms.half_width])
        rounds = len(found.measurements[0].rounds_ms)
        yield (
            f"the interval is still ±{widest:.1%} after {rounds} rounds, wanted "
            f"±{found.within:.1%}: measure on a quiet machine or raise --max-rounds"
        )


def profile_tables(found: Profile, top: int) -> Iterator[Table]:
    """By kind, by operator and by node; the last two cut off after ``top`` rows."""
    columns = (">nodes", ">ms", ">share")
    for title, groups in (("kind", found.kinds), ("operator", found.ops[:top])):
        rows = [
            (printable(one.name), one.nodes, f"{one.ms:.3f}", percent(one.share, 1))
            for one in groups
        ]
        yield table("", (title, *columns), rows)
    nodes = [
        (
            printable(node.model_node or "(added by ONNX Runtime)"),
            node.op,
            node.kind,
            f"{node.calls:g}",
            f"{node.ms:.3f}",
            percent(node.share, 1),
        )
        for node in found.nodes[:top]
    ]
    yield table("", ("node", "operator", "kind", ">calls", ">ms", ">share"), nodes)


def profile_lines(found: Profile) -> Iterator[str]:
    """How it was measured, and kernel time beside wall time."""
    yield (
        f"{found.model}: {found.run_ms:.3f} ms a run; {found.kernel_ms:.3f} ms in kernels of "
        f"{found.profiled_ms:.3f} ms with the profiler at work"
    )
    yield (
        f"{found.provider}, {found.threads} thread(s), {found.precision}, optimisation "
        f"{found.optimization}; medians of {found.runs} runs in {found.sessions} sessions"
    )


def _cells(one: Measurement, ratio: Ratio | None, energy: bool) -> tuple[str, ...]:
    joules = [] if not energy else ["" if one.joules is None else f"{one.joules:.4g}"]
    speedup = (
        ("1.00×", "")
        if ratio is None
        else (f"{ratio.speedup:.2f}×", f"[{ratio.low:.3f}, {ratio.high:.3f}]")
    )
    return (
        one.name,
        size(one.size_bytes),
        f"{one.latency.p50:.3f}",
        f"{one.latency.p90:.3f}",
        f"{one.latency.p99:.3f}",
        f"{one.inferences_per_s:.4g}",
        f"{one.load_ms:.0f}",
        f"{one.first_ms:.1f}",
        size(one.peak_rss_bytes),
        *joules,
        *speedup,
    )
