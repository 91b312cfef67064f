"""Numbers and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import JustifyMethod
from rich.markup import escape
from rich.table import Table

from onnxopt.graph import stats
from onnxopt.guard import printable

if TYPE_CHECKING:
    from onnxopt.api import Delivered, Delivery
    from onnxopt.comparing import Comparison
    from onnxopt.store import SavedModel
    from onnxopt.timing import Ratio


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; columns whose name starts with ``>`` are right-aligned."""
    result = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(columns):
        right = column.startswith(">")
        justify: JustifyMethod = "right" if right else "left"
        result.add_column(column.lstrip(">"), justify=justify, no_wrap=index == 0)
    for row in rows:
        result.add_row(*(escape(str(cell)) for cell in row))
    return result


def size(count: int | float) -> str:
    """Bytes, in the unit that fits (powers of 1000)."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def percent(value: float, digits: int = 2) -> str:
    """A fraction as per cent."""
    return f"{100 * value:.{digits}f} %"


def change(before: int, after: int) -> str:
    """A count before and after."""
    return f"{before} → {after}" if before != after else f"{before}"


def describe_saved(saved: SavedModel | None) -> str:
    """Where a model was written."""
    if saved is None:
        return "nothing was written"
    return f"wrote {saved.path} ({size(saved.size_bytes)})"


def describe_ratio(ratio: Ratio) -> str:
    """A speed-up with its interval."""
    return (
        f"{ratio.candidate} runs at {ratio.speedup:.2f}× the speed of {ratio.reference} "
        f"[{ratio.low:.2f}, {ratio.high:.2f}], {ratio.rounds} rounds"
    )


def describe_comparison(found: Comparison) -> list[str]:
    """What a comparison found, line by line."""
    lines = []
    metric = found.metric
    if metric is not None:
        low, high = metric.change.low, metric.change.high
        lines.append(
            f"{metric.name}: {metric.before:.4f} → {metric.after:.4f}, change "
            f"{metric.change.mean:+.4f} [{low:+.4f}, {high:+.4f}] on {found.samples} samples"
        )
    if found.fidelity is not None:
        error = found.fidelity
        lines.append(
            f"relative L2 error: {error.mean:.4g} [{error.low:.4g}, {error.high:.4g}], "
            f"mean of {found.samples} samples"
        )
    if found.verdict is not None:
        lines.append(f"budget: {found.verdict}")
    return lines + [f"warning: {text}" for text in found.warnings]


def outputs_table(found: Comparison) -> Table:
    """Each output of a comparison."""
    columns = ("output", ">worst abs", ">mean abs", ">worst rel. L2", ">cosine", ">same arg-max")
    rows = [
        (
            printable(output.name),
            f"{output.worst_abs:.3g}",
            f"{output.mean_abs:.3g}",
            _optional(output.worst_relative_l2, ".3g"),
            _optional(output.worst_cosine, ".6f"),
            _optional(output.argmax_agreement, ".2%"),
        )
        for output in found.outputs
    ]
    return table(f"{found.samples} samples", columns, rows)


def delivery_table(delivery: Delivery) -> Table:
    """The candidates of a delivery."""
    timing = (">p50 ms", ">p90 ms", ">speed-up", "95 %")
    columns = ("candidate", ">size", ">nodes", *timing, ">metric", "95 % of the change", "verdict")
    return table("", columns, [_candidate_row(delivery, one) for one in delivery.candidates])


def describe_shipped(delivery: Delivery) -> list[str]:
    """What ships and why, line by line."""
    shipped = delivery.shipped
    lines = [f"{one.name}: {one.verdict}" for one in delivery.candidates]
    reason = "fastest inside the budget" if shipped.ratio else "nothing inside the budget is faster"
    lines.append(f"ships: {shipped.name} ({reason})")
    lines.append(f"bundle: {delivery.bundle}  (check it with `onnxopt verify {delivery.bundle}`)")
    return lines


def _candidate_row(delivery: Delivery, one: Delivered) -> tuple[str, ...]:
    timing = one.measurement
    score, interval = "", ""
    metrics = [c.comparison.metric for c in delivery.candidates if c.comparison]
    if one.comparison is not None and one.comparison.metric is not None:
        found = one.comparison.metric
        score = f"{found.after:.4f}"
        interval = f"[{found.change.low:+.4f}, {found.change.high:+.4f}]"
    elif one.comparison is None and metrics and metrics[-1] is not None:
        score = f"{metrics[-1].before:.4f}"
    verdict = "ships" if one is delivery.shipped else ("fits" if one.fits else "outside budget")
    return (
        one.name,
        size(timing.size_bytes),
        str(stats(one.model).nodes),
        f"{timing.latency.p50:.2f}",
        f"{timing.latency.p90:.2f}",
        *_speedup(one.ratio),
        score,
        interval,
        verdict,
    )


def _speedup(ratio: Ratio | None) -> tuple[str, str]:
    if ratio is None:
        return "1.00×", ""
    return f"{ratio.speedup:.2f}×", f"[{ratio.low:.2f}, {ratio.high:.2f}]"


def _optional(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
