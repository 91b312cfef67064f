"""Reading images at places between their entries."""

from __future__ import annotations

from collections.abc import Mapping

from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def _grid_sample(site: Site) -> Function:
    mode = site.text("mode", "linear")
    mode = _MODES.get(mode, mode)
    padding, corners = site.text("padding_mode", "zeros"), bool(site.attr("align_corners", 0))
    if mode not in ("bilinear", "nearest", "bicubic"):
        raise UnsupportedError(f"its mode is {mode!r}")
    return lambda x, grid: _sample(x, grid, mode, padding, corners)


def _sample(x: Value, grid: Value, mode: str, padding: str, corners: bool) -> Value:
    return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=corners)


OPS: Mapping[tuple[str, str], Builder] = {("", "GridSample"): _grid_sample}
