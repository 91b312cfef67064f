"""Numbers and tables as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; columns whose name starts with ``>`` are right-aligned."""
    result = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        result.add_column(column.lstrip(">"), justify="right" if right else "left")
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
