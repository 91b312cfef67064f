"""Resize and Upsample, axis by axis: a selection for nearest, a matrix for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value

Floats = npt.NDArray[np.float64]
_CENTERED = ("half_pixel", "pytorch_half_pixel")


@dataclass(frozen=True)
class _Axis:
    """How one axis is resized; ``start`` and ``end`` are the region of tf_crop_and_resize."""

    axis: int
    size: int
    made: int
    scale: float
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True)
class _Mode:
    """A node's attributes."""

    filter: str
    coordinates: str
    rounding: str
    coefficient: float
    excludes: bool
    antialias: bool
    extrapolated: float

    def centers(self, axis: _Axis) -> Floats:
        """Where each output entry lies in the input."""
        at = np.arange(axis.made, dtype=np.float64)
        last = axis.size - 1
        match self.coordinates:
            case "half_pixel":
                return (at + 0.5) / axis.scale - 0.5
            case "pytorch_half_pixel":
                return (at + 0.5) / axis.scale - 0.5 if axis.made > 1 else at * 0
            case "half_pixel_symmetric":
                shrunk = axis.made / (axis.scale * axis.size)
                return axis.size / 2 * (1 - shrunk) + (at + 0.5) / axis.scale - 0.5
            case "align_corners":
                return at * (last / (axis.made - 1)) if axis.made > 1 else at * 0
            case "asymmetric":
                return at / axis.scale
            case "tf_crop_and_resize":
                width = axis.end - axis.start
                if axis.made > 1:
                    return axis.start * last + at * (width * last / (axis.made - 1))
                return at * 0 + 0.5 * (axis.start + axis.end) * last
        raise UnsupportedError(f"its coordinates are {self.coordinates!r}")

    def nearest(self, axis: _Axis) -> npt.NDArray[np.int64]:
        """The input entry each output entry takes."""
        centers = self.centers(axis)
        rounded = {
            "round_prefer_floor": lambda: np.ceil(centers - 0.5),
            "round_prefer_ceil": lambda: np.floor(centers + 0.5),
            "floor": lambda: np.floor(centers),
            "ceil": lambda: np.ceil(centers),
        }[self.rounding]()
        return rounded.clip(0, axis.size - 1).astype(np.int64)

    def matrix(self, axis: _Axis) -> Floats:
        """Weights of input entries (columns) in output entries (rows)."""
        centers = self.centers(axis)
        stretch = max(1.0, 1 / axis.scale) if self.antialias else 1.0
        reach = int(np.ceil((2 if self.filter == "cubic" else 1) * stretch)) + 1
        first = np.floor(centers).astype(np.int64)
        result = np.zeros((axis.made, axis.size))
        rows = np.arange(axis.made)
        for offset in range(-reach, reach + 1):
            places = first + offset
            weights = self._weight((places - centers) / stretch)
            if self.excludes:
                weights = np.where((places < 0) | (places >= axis.size), 0.0, weights)
            np.add.at(result, (rows, places.clip(0, axis.size - 1)), weights)
        return np.asarray(result / result.sum(axis=1, keepdims=True))

    def outside(self, axis: _Axis) -> npt.NDArray[np.bool_] | None:
        """Output entries that lie outside the input and are given a fixed value."""
        if self.coordinates != "tf_crop_and_resize":
            return None
        centers = self.centers(axis)
        return np.asarray((centers < 0) | (centers > axis.size - 1))

    def _weight(self, distance: Floats) -> Floats:
        x = np.abs(distance)
        if self.filter == "linear":
            return np.asarray(np.maximum(0.0, 1 - x))
        a = self.coefficient
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.asarray(np.where(x <= 1, near, np.where(x < 2, far, 0.0)))


def _resize(site: Site) -> Function:
    old = site.opset < 11
    mode = _Mode(
        filter=site.text("mode", "nearest"),
        coordinates="asymmetric"
        if old
        else site.text("coordinate_transformation_mode", "half_pixel"),
        rounding="floor" if old else site.text("nearest_mode", "round_prefer_floor"),
        coefficient=site.attr("cubic_coeff_a", -0.75),
        excludes=bool(site.attr("exclude_outside", 0)),
        antialias=bool(site.attr("antialias", 0)),
        extrapolated=site.attr("extrapolation_value", 0.0),
    )
    return _Resizer(site, mode)


def _upsample(site: Site) -> Function:
    filter_name = site.text("mode", "nearest")
    mode = _Mode(filter_name, "asymmetric", "floor", -0.75, False, False, 0.0)
    return _Resizer(site, mode)


class _Resizer:
    """Resizes, and remembers how for every size of input it has met."""

    def __init__(self, site: Site, mode: _Mode) -> None:
        if mode.filter not in ("nearest", "linear", "cubic"):
            raise UnsupportedError(f"its mode is {mode.filter!r}")
        self._mode = mode
        self._axes = site.attr("axes")
        self._policy = site.text("keep_aspect_ratio_policy", "stretch")
        self._at = (1, 3, 2) if site.opset >= 11 and site.node.op_type == "Resize" else (1, 9, 9)
        self._scales = site.attr("scales")
        self._fixed = [_list(site.fixed(index)) for index in self._at]
        self._known: dict[tuple[object, ...], Function] = {}

    def __call__(self, *values: Value) -> Value:
        scales, sizes, region = self._settings(values)
        key = (tuple(values[0].shape), scales, sizes, region)
        function = self._known.get(key)
        if function is None:
            chosen = self._plan(values[0].shape, scales, sizes, region)
            function = self._known[key] = _function(self._mode, chosen, values[0].dim())
        return function(values[0])

    def _settings(self, values: Sequence[Value]) -> tuple[tuple[float, ...] | None, ...]:
        if self._at[1] == 3:
            found = [self._setting(values, at) for at in (2, 3, 1)]
        else:
            found = [self._scales or self._setting(values, 1), None, None]
        scales, sizes, region = (tuple(item) if item else None for item in found)
        return scales, sizes, region

    def _setting(self, values: Sequence[Value], at: int) -> Sequence[float] | None:
        if at >= len(values) or values[at] is None:
            return None
        known = self._fixed[self._at.index(at)] if at in self._at else None
        return known if known is not None else _list(values[at])

    def _plan(
        self,
        shape: Sequence[int],
        scales: Sequence[float] | None,
        sizes: Sequence[float] | None,
        region: Sequence[float] | None,
    ) -> list[_Axis]:
        axes = [axis % len(shape) for axis in self._axes or range(len(shape))]
        given = [shape[axis] for axis in axes]
        if sizes is not None:
            made, factors = self._sized(given, [int(size) for size in sizes])
        else:
            factors = [float(scale) for scale in scales or ()]
            made = [int(np.floor(n * f)) for n, f in zip(given, factors, strict=True)]
        half = len(axes)
        corners = region if region and len(region) == 2 * half else [0.0] * half + [1.0] * half
        found = [
            _Axis(axis, n, m, f, corners[i], corners[i + half])
            for i, (axis, n, m, f) in enumerate(zip(axes, given, made, factors, strict=True))
        ]
        crops = self._mode.coordinates == "tf_crop_and_resize"
        return [axis for axis in found if axis.size != axis.made or axis.scale != 1 or crops]

    def _sized(self, given: list[int], sizes: list[int]) -> tuple[list[int], list[float]]:
        factors = [size / n for n, size in zip(given, sizes, strict=True)]
        if self._policy == "stretch":
            return sizes, factors
        factor = min(factors) if self._policy == "not_larger" else max(factors)
        return [int(np.floor(n * factor + 0.5)) for n in given], [factor] * len(given)


def _function(mode: _Mode, axes: list[_Axis], rank: int) -> Function:
    if not axes:
        return lambda x: x
    fast = _fast(mode, axes, rank)
    if fast is not None:
        return fast
    steps = [_along(mode, axis) for axis in axes]

    def run(x: Value) -> Value:
        for step in steps:
            x = step(x)
        return x

    return run


def _fast(mode: _Mode, axes: list[_Axis], rank: int) -> Function | None:
    """Torch's own function where it does the same to a batch of images."""
    if rank != 4 or {axis.axis for axis in axes} - {2, 3} or len(axes) != 2:
        return None
    size = tuple(axis.made for axis in sorted(axes, key=lambda axis: axis.axis))
    if mode.filter == "nearest":
        plain = [np.arange(axis.made) * axis.size // axis.made for axis in axes]
        if all((mode.nearest(a) == at).all() for a, at in zip(axes, plain, strict=True)):
            return lambda x: F.interpolate(x, size, mode="nearest")
    exact = all(axis.made > 1 and axis.made == axis.size * axis.scale for axis in axes)
    if mode.filter == "linear" and exact and not mode.antialias and not mode.excludes:
        if mode.coordinates in _CENTERED:
            return lambda x: F.interpolate(x, size, mode="bilinear", align_corners=False)
        if mode.coordinates == "align_corners":
            return lambda x: F.interpolate(x, size, mode="bilinear", align_corners=True)
    return None


def _inside(mode: _Mode, axis: _Axis) -> Function:
    if mode.filter == "nearest":
        at = torch.from_numpy(mode.nearest(axis))
        return lambda x: x.index_select(axis.axis, at)
    matrix = torch.from_numpy(mode.matrix(axis).T.copy())
    return lambda x: _product(x, matrix, axis.axis)


def _along(mode: _Mode, axis: _Axis) -> Function:
    outside, function = mode.outside(axis), _inside(mode, axis)
    if outside is None or not outside.any():
        return function

    def masked(x: Value) -> Value:
        shape = [1] * x.dim()
        shape[axis.axis] = -1
        return function(x).masked_fill(torch.from_numpy(outside).reshape(shape), mode.extrapolated)

    return masked


def _product(x: Value, matrix: torch.Tensor, axis: int) -> Value:
    if not x.is_floating_point():
        return _product(x.float(), matrix, axis).to(x.dtype)
    return (x.movedim(axis, -1) @ matrix.to(x.dtype)).movedim(-1, axis)


def _list(tensor: torch.Tensor | None) -> list[float] | None:
    return None if tensor is None else tensor.tolist()


OPS: Mapping[tuple[str, str], Builder] = {("", "Resize"): _resize, ("", "Upsample"): _upsample}
