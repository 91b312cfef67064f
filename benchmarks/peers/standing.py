"""Who is fastest among those that keep the task's metric: the best peer, and we."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peers.results import Table, geomean

LIMIT = 0.01
"""Largest loss, as a share of what the shipped model gets right."""
_OPENVINO = ("OpenVINO", "NNCF")
_TEXT = (
    "The fastest of each side whose metric falls by at most 1 % of the shipped model's (of 1 minus "
    "it for error rates), as measured on the samples of the tables below. Ours are the file of the "
    "exact recipe and the int8 file."
)


def standings(measured: Mapping[str, Mapping[str, Any]]) -> list[Table]:
    """A table for the CPU provider, and one for whatever runs by OpenVINO."""
    return [
        _standing("Inside the budget, CPU provider", measured, openvino=False),
        _standing("Inside the budget, OpenVINO", measured, openvino=True),
    ]


def is_inside(one: Mapping[str, Any]) -> bool:
    """Whether a way ran and keeps its metric."""
    change = one.get("change")
    if "failed" in one or not change:
        return False
    value, loss = float(one["value"]), -float(change["mean"])
    before = value + loss if one["higher_is_better"] else 1.0 - (value - loss)
    return loss <= LIMIT * before


def _standing(title: str, measured: Mapping[str, Mapping[str, Any]], *, openvino: bool) -> Table:
    rows, shares = [], []
    for name, found in measured.items():
        ways = {w: one for w, one in found.items() if is_inside(one) and _is_of(w, openvino)}
        ours = {way: one for way, one in ways.items() if way.startswith("ours")}
        peers = {way: one for way, one in ways.items() if way not in ours}
        row: dict[str, Any] = {"model": name}
        best = [_fastest(peers), _fastest(ours)]
        for side, way in zip(("best peer", "ours"), best, strict=True):
            row[side] = way
            row[f"{side}: speed-up"] = f"{ways[way]['speedup']:.2f}" if way else None
        if best[0] and best[1]:
            shares.append(ways[best[1]]["speedup"] / ways[best[0]]["speedup"])
            row["ours over the peer's"] = f"{shares[-1]:.2f}"
        rows.append(row)
    rows.append({"model": "geometric mean", "ours over the peer's": geomean(shares)})
    return Table(title, rows, _TEXT)


def _is_of(way: str, openvino: bool) -> bool:
    return openvino == any(word in way for word in _OPENVINO)


def _fastest(ways: Mapping[str, Any]) -> str | None:
    return max(ways, key=lambda way: float(ways[way]["speedup"]), default=None)
