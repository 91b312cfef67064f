"""A picture of ratios: one bar a contestant in a group for each model, written as a small page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def bars(path: Path, title: str, unit: str, groups: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a bar chart.

    Args:
        path: The HTML file; it takes plotly's script from its public address.
        title: Above the chart.
        unit: What the bars measure.
        groups: For each series, model to ``(value, low, high)``.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, found in groups.items():
        values = [value for value, _, _ in found.values()]
        figure.add_bar(
            name=name,
            x=list(found),
            y=[round(value, 3) for value in values],
            error_y={
                "type": "data",
                "array": [round(high - value, 3) for value, _, high in found.values()],
                "arrayminus": [round(value - low, 3) for value, low, _ in found.values()],
            },
        )
    figure.update_layout(title=title, barmode="group", yaxis_title=unit, template="plotly_white")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(path, include_plotlyjs="cdn", full_html=True, div_id=path.stem)
