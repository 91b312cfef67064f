"""Fourier transforms; a complex number is two entries of a last axis."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.site import Function, Site, Value

_AXIS_AS_INPUT = 20


def _complex(x: Value) -> Value:
    """[.., 1] or [.., 2] without its last axis."""
    return x.squeeze(-1) if x.shape[-1] == 1 else torch.view_as_complex(x.contiguous())


def _transformed(x: Value, length: int, axis: int, *, onesided: bool) -> Value:
    made = torch.fft.fft(x, length, axis)
    made = made.narrow(axis, 0, length // 2 + 1) if onesided else made
    return torch.view_as_real(made.resolve_conj())


def _dft(site: Site) -> Function:
    by_input = site.opset >= _AXIS_AS_INPUT
    inverse, onesided = bool(site.attr("inverse", 0)), bool(site.attr("onesided", 0))
    lengths = site.number(1)
    axes = site.number(2, default=-2) if by_input else None
    fixed = site.attr("axis", 1)

    def run(*values: Value) -> Value:
        x = values[0]
        axis = (fixed if axes is None else axes(values)) % x.dim()
        length = lengths(values) or x.shape[axis]
        if inverse and onesided:
            whole = lengths(values) or 2 * (x.shape[axis] - 1)
            return torch.fft.irfft(_complex(x), whole, axis).unsqueeze(-1)
        if inverse:
            made = torch.fft.ifft(_complex(x), length, axis)
            return torch.view_as_real(made.resolve_conj())
        return _transformed(_complex(x), length, axis, onesided=onesided)

    return run


def _short_time(site: Site) -> Function:
    onesided, steps, lengths = bool(site.attr("onesided", 1)), site.number(1), site.number(3)

    def run(*values: Value) -> Value:
        signal = values[0]
        signal = _complex(signal) if signal.dim() == 3 else signal
        window = values[2] if site.has(2) else None
        length = lengths(values) or values[2].shape[0]
        frames = signal.unfold(1, length, steps(values))
        frames = frames if window is None else frames * window
        return _transformed(frames, length, 2, onesided=onesided)

    return run


OPS: Mapping[tuple[str, str], Builder] = {("", "DFT"): _dft, ("", "STFT"): _short_time}
