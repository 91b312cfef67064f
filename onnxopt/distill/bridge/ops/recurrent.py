"""LSTM, GRU and RNN: torch's own where they agree, else step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from onnxopt.distill.bridge.ops.elementwise import Builder
from onnxopt.distill.bridge.ops.rounding import dynamic_codes
from onnxopt.distill.bridge.ops.shape import reverse_sequences
from onnxopt.distill.bridge.site import Function, Site, UnsupportedError, Value

Activation = Callable[[Value], Value]

_TORCH_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""ONNX's gates i o f c, z r h in torch's order i f c o, r z h."""

_DEFAULTS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}


@dataclass(frozen=True)
class _Weights:
    """Of one direction: input [gates·hidden, in], recurrent [gates·hidden, hidden], biases."""

    inward: Value
    recurrent: Value
    bias_inward: Value
    bias_recurrent: Value
    peepholes: Value


class _Recurrent:
    """What the three ops share."""

    def __init__(self, site: Site) -> None:
        self.op = site.node.op_type.removeprefix("DynamicQuantize")
        self.directions = {"forward": (False,), "reverse": (True,)}.get(
            site.text("direction", "forward"), (False, True)
        )
        self.hidden = site.attr("hidden_size")
        self.batch_first = bool(site.attr("layout", 0))
        self.after = bool(site.attr("linear_before_reset", 0))
        self.clip = site.attr("clip")
        self.coupled = bool(site.attr("input_forget", 0))
        names = site.attr("activations") or _DEFAULTS[self.op] * len(self.directions)
        self.names = tuple(name.decode() if isinstance(name, bytes) else name for name in names)
        self.activations = _activations(site, self.names)
        self.peepholes = self.op == "LSTM" and site.has(7)
        self.fake: Activation = _same

    @property
    def is_plain(self) -> bool:
        """Whether torch has it, apart from lengths."""
        each = len(_DEFAULTS[self.op])
        first = tuple(name.lower() for name in self.names[:each])
        usual = tuple(name.lower() for name in _DEFAULTS[self.op])
        same = all(name.lower() in first for name in self.names)
        known = first == usual or (self.op == "RNN" and first == ("relu",))
        whole = self.clip is None and not self.coupled and not self.peepholes
        return known and same and whole and (self.op != "GRU" or self.after)


def _same(x: Value) -> Value:
    return x


def _activations(site: Site, names: Sequence[str]) -> list[Activation]:
    alphas, betas = list(site.attr("activation_alpha", ())), list(site.attr("activation_beta", ()))
    return [_activation(name, alphas, betas) for name in names]


def _activation(name: str, alphas: list[float], betas: list[float]) -> Activation:
    """An activation; takes its parameters off the lists where it has some."""

    def take(values: list[float], default: float) -> float:
        return values.pop(0) if values else default

    simple = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "softsign": F.softsign,
        "softplus": F.softplus,
    }
    low = name.lower()
    if low in simple:
        function: Activation = simple[low]
        return function
    if low == "hardsigmoid":
        a, b = take(alphas, 0.2), take(betas, 0.5)
        return lambda x: torch.clamp(x * a + b, 0.0, 1.0)
    if low == "affine":
        a, b = take(alphas, 1.0), take(betas, 0.0)
        return lambda x: x * a + b
    if low == "leakyrelu":
        a = take(alphas, 0.01)
        return lambda x: F.leaky_relu(x, a)
    if low == "elu":
        a = take(alphas, 1.0)
        return lambda x: F.elu(x, a)
    if low == "scaledtanh":
        a, b = take(alphas, 1.0), take(betas, 1.0)
        return lambda x: a * torch.tanh(b * x)
    raise UnsupportedError(f"its activation is {name!r}")


def _recurrent(site: Site) -> Function:
    shared = _Recurrent(site)
    has_lengths = site.has(4)

    def run(
        x: Value,
        w: Value,
        r: Value,
        b: Value = None,
        lengths: Value = None,
        *rest: Value,
    ) -> Value:
        states, peepholes = list(rest[: 1 + (shared.op == "LSTM")]), rest[2:3]
        if shared.batch_first:
            x = x.transpose(0, 1)
            states = [None if s is None else s.transpose(0, 1) for s in states]
        states = _initial(shared, x, states)
        if has_lengths and bool((lengths == x.shape[0]).all()):
            lengths = None
        if shared.is_plain and lengths is None:
            made = _native(shared, x, w, r, b, states)
        else:
            made = _stepwise(shared, x, w, r, b, lengths, states, *peepholes)
        if not shared.batch_first:
            return made
        return made[0].permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in made[1:])

    return run


def _coded(site: Site) -> Function:
    """com.microsoft DynamicQuantizeLSTM: integer matrices, inputs and state in uint8."""
    shared = _Recurrent(site)
    shared.fake = _in_uint8

    def run(x: Value, w: Value, r: Value, *rest: Value) -> Value:
        b, lengths, hidden, memory, peepholes, *codes = (*rest, *[None] * 9)[:9]
        inward, recurrent = _matrix(w, *codes[:2]), _matrix(r, *codes[2:4])
        states = _initial(shared, x, [hidden, memory])
        return _stepwise(shared, x, inward, recurrent, b, lengths, states, peepholes)

    return run


def _matrix(codes: Value, scale: Value, zero: Value) -> Value:
    """Codes [directions, columns, rows] as [directions, rows, columns]."""
    shape = (codes.shape[0], -1, 1)
    wide = codes.to(scale.dtype).transpose(1, 2)
    return (wide - zero.to(scale.dtype).reshape(shape)) * scale.reshape(shape)


def _in_uint8(x: Value) -> Value:
    codes, scale, zero = dynamic_codes(x)
    return (codes - zero) * scale


def _initial(shared: _Recurrent, x: Value, given: list[Value]) -> list[Value]:
    count = 2 if shared.op == "LSTM" else 1
    given += [None] * (count - len(given))
    zero = x.new_zeros(len(shared.directions), x.shape[1], shared.hidden)
    return [zero if state is None else state for state in given]


def _native(
    shared: _Recurrent, x: Value, w: Value, r: Value, b: Value, states: list[Value]
) -> tuple[Value, ...]:
    """Torch's own implementation.

    Args:
        shared: The op.
        x: [time, batch, in].
        w: [directions, gates·hidden, in].
        r: [directions, gates·hidden, hidden].
        b: [directions, 2·gates·hidden], input's then recurrent's; None for 0.
        states: Each [directions, batch, hidden].
    """
    order, backward = _TORCH_ORDER[shared.op], shared.directions == (True,)
    weights = []
    for index in range(len(shared.directions)):
        biases = () if b is None else b[index].chunk(2)
        weights += [_ordered(part, order) for part in (w[index], r[index], *biases)]
    both = len(shared.directions) == 2
    x = x.flip(0) if backward else x
    settings = (b is not None, 1, 0.0, False, both, False)
    if shared.op == "LSTM":
        y, h, c = torch.lstm(x, states, weights, *settings)
        last = [h, c]
    else:
        relu = shared.names[0].lower() == "relu"
        function = torch.gru if shared.op == "GRU" else torch.rnn_relu if relu else torch.rnn_tanh
        y, h = function(x, states[0], weights, *settings)
        last = [h]
    y = y.flip(0) if backward else y
    wide = y.reshape(*y.shape[:2], len(shared.directions), shared.hidden)
    return wide.transpose(1, 2), *last


def _ordered(stacked: Value, order: Sequence[int]) -> Value:
    if len(order) == 1:
        return stacked
    gates = stacked.chunk(len(order))
    return torch.cat([gates[index] for index in order])


def _stepwise(
    shared: _Recurrent,
    x: Value,
    w: Value,
    r: Value,
    b: Value,
    lengths: Value,
    states: list[Value],
    peepholes: Value = None,
) -> tuple[Value, ...]:
    cell, each = _CELLS[shared.op], len(_DEFAULTS[shared.op])
    outputs, last = [], []
    for index, backward in enumerate(shared.directions):
        bias, rest = (None, None) if b is None else b[index].chunk(2)
        holes = None if peepholes is None else peepholes[index].chunk(3)
        weights = _Weights(w[index], r[index], bias, rest, holes)
        functions = shared.activations[index * each : (index + 1) * each]
        state = [part[index] for part in states]
        y, end = _sweep(shared, cell, functions, weights, x, lengths, state, backward)
        outputs.append(y)
        last.append(end)
    return torch.stack(outputs, 1), *(torch.stack(parts) for parts in zip(*last, strict=True))


def _sweep(
    shared: _Recurrent,
    cell: Callable[..., tuple[Value, ...]],
    functions: Sequence[Activation],
    weights: _Weights,
    x: Value,
    lengths: Value,
    state: Sequence[Value],
    backward: bool,
) -> tuple[Value, Sequence[Value]]:
    """One direction; sequences that have ended keep their state and emit zeros."""
    if backward:
        x = x.flip(0) if lengths is None else reverse_sequences(x, lengths, 1, 0)
    projected = F.linear(shared.fake(x), weights.inward, weights.bias_inward)
    rows = []
    for step in range(x.shape[0]):
        made = cell(shared, functions, weights, projected[step], state)
        if lengths is None:
            rows.append(made[0])
            state = made
            continue
        alive = (lengths > step).unsqueeze(1)
        rows.append(torch.where(alive, made[0], torch.zeros_like(made[0])))
        state = [torch.where(alive, new, old) for new, old in zip(made, state, strict=True)]
    y = torch.stack(rows)
    if backward:
        y = y.flip(0) if lengths is None else reverse_sequences(y, lengths, 1, 0)
    return y, state


def _clipped(shared: _Recurrent, x: Value) -> Value:
    return x if shared.clip is None else x.clamp(-shared.clip, shared.clip)


def _lstm_cell(
    shared: _Recurrent,
    functions: Sequence[Activation],
    weights: _Weights,
    x: Value,
    state: Sequence[Value],
) -> tuple[Value, ...]:
    f, g, h = functions
    hidden, memory = state
    gates = x + F.linear(shared.fake(hidden), weights.recurrent, weights.bias_recurrent)
    i, o, t, c = gates.chunk(4, 1)
    holes = weights.peepholes
    if holes is not None:
        i, t = i + holes[0] * memory, t + holes[2] * memory
    i = f(_clipped(shared, i))
    t = 1 - i if shared.coupled else f(_clipped(shared, t))
    memory = t * memory + i * g(_clipped(shared, c))
    if holes is not None:
        o = o + holes[1] * memory
    return f(_clipped(shared, o)) * h(memory), memory


def _gru_cell(
    shared: _Recurrent,
    functions: Sequence[Activation],
    weights: _Weights,
    x: Value,
    state: Sequence[Value],
) -> tuple[Value, ...]:
    f, g = functions
    (hidden,) = state
    size, bias = shared.hidden, weights.bias_recurrent
    gates = weights.recurrent[: 2 * size], weights.recurrent[2 * size :]
    biases = (None, None) if bias is None else (bias[: 2 * size], bias[2 * size :])
    zr = x[:, : 2 * size] + F.linear(hidden, gates[0], biases[0])
    z, r = f(_clipped(shared, zr)).chunk(2, 1)
    if shared.after:
        inner = r * F.linear(hidden, gates[1], biases[1])
    else:
        inner = F.linear(r * hidden, gates[1], biases[1])
    candidate = g(_clipped(shared, x[:, 2 * size :] + inner))
    return ((1 - z) * candidate + z * hidden,)


def _rnn_cell(
    shared: _Recurrent,
    functions: Sequence[Activation],
    weights: _Weights,
    x: Value,
    state: Sequence[Value],
) -> tuple[Value, ...]:
    total = x + F.linear(state[0], weights.recurrent, weights.bias_recurrent)
    return (functions[0](_clipped(shared, total)),)


_CELLS: Mapping[str, Callable[..., tuple[Value, ...]]] = {
    "GRU": _gru_cell,
    "LSTM": _lstm_cell,
    "RNN": _rnn_cell,
}

OPS: Mapping[tuple[str, str], Builder] = {
    **{("", name): _recurrent for name in _CELLS},
    ("com.microsoft", "DynamicQuantizeLSTM"): _coded,
}
