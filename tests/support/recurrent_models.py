"""Random recurrent cells in many spellings, unrolled or in loops, as ONNX models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = {"t": 5, "b": 2}
"""Sizes of the dynamic axes in the first of two runs."""


@dataclass(frozen=True)
class Choice:
    """One model: every field is an independent choice of spelling."""

    kind: str = "LSTM"
    order: tuple[int, ...] = (0, 1, 2, 3)
    product: str = "fused"  # fused, gemm, concat, separate, hoisted, gemm-chain
    cut: str = "split"  # split, sizes, slice
    squash: str = "each"  # each, joined
    spelling: int = 0
    after: bool = True
    hard: bool = False
    bias: bool = True
    coupled: bool = False
    form: str = "unrolled"  # unrolled, loop, while, scan
    pick: str = "gather"  # gather, slice, split, inputs, negative
    axis: int = 0
    backward: str = "no"  # no, index, slice
    outputs: tuple[str, ...] = ("stack",)
    start: str = "shape"  # shape, constant, input
    opset: int = 17
    steps: int = 4
    width: int = 3
    hidden: int = 4
    layers: int = 1
    folded: bool = False
    seed: int = 0


@dataclass
class Nodes:
    """A graph under construction."""

    opset: int
    rng: np.random.Generator
    prefix: str = ""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    count: int = 0

    def op(self, op_type: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        self.count += 1
        names = [f"{self.prefix}v{self.count}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def const(self, array: Any, dtype: Any = np.float32) -> str:
        self.count += 1
        name = f"{self.prefix}k{self.count}"
        self.weights.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.const(numbers, np.int64)

    def matrix(self, *shape: int) -> np.ndarray:
        return self.rng.normal(0, 0.5, shape).astype(np.float32)

    def squeeze(self, value: str, axis: int) -> str:
        if self.opset < 13:
            return self.op("Squeeze", value, axes=[axis])
        return self.op("Squeeze", value, self.ints(axis))

    def unsqueeze(self, value: str, axis: int) -> str:
        if self.opset < 13:
            return self.op("Unsqueeze", value, axes=[axis])
        return self.op("Unsqueeze", value, self.ints(axis))

    def split(self, value: str, sizes: Sequence[int], axis: int, *, sized: bool) -> list[str]:
        if self.opset < 13:
            return self.op("Split", value, outputs=len(sizes), axis=axis, split=list(sizes))
        extra = [self.ints(*sizes)] if sized else []
        more = {"num_outputs": len(sizes)} if self.opset >= 18 and not sized else {}
        return self.op("Split", value, *extra, outputs=len(sizes), axis=axis, **more)

    def swap(self, left: str, right: str) -> tuple[str, str]:
        return (left, right) if self.rng.random() < 0.5 else (right, left)

    def add(self, left: str, right: str) -> str:
        return self.op("Add", *self.swap(left, right))

    def mul(self, left: str, right: str) -> str:
        return self.op("Mul", *self.swap(left, right))


class Cell:
    """Writes steps of one cell with shared weights."""

    def __init__(self, choice: Choice, nodes: Nodes, width: int) -> None:
        self.choice, self.nodes, self.width = choice, nodes, width
        self.gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[choice.kind]
        size = self.gates * choice.hidden
        self.w, self.r = nodes.matrix(width, size), nodes.matrix(choice.hidden, size)
        self.b, self.c = nodes.matrix(size), nodes.matrix(size)
        h = choice.hidden
        products = choice.product
        self.w_name = nodes.const(self.w.T if products.startswith("gemm") else self.w)
        self.r_name = nodes.const(self.r.T if products.startswith("gemm") else self.r)
        self.both = nodes.const(np.concatenate([self.w, self.r]))
        self.b_name, self.c_name = nodes.const(self.b), nodes.const(self.c)
        self.parts = [
            tuple(nodes.const(a[..., k * h : (k + 1) * h]) for a in (self.w, self.r, self.b))
            for k in range(self.gates)
        ]
        self.one = nodes.const(1.0)

    def hoist(self, sequence: str) -> str:
        """The input product of all steps at once."""
        projected = self.nodes.op("MatMul", sequence, self.w_name)
        return self.nodes.add(projected, self.b_name) if self.choice.bias else projected

    def step(self, x: str, state: tuple[str, ...]) -> tuple[str, ...]:
        if self.choice.kind == "LSTM":
            return self.lstm(x, *state)
        return (self.gru if self.choice.kind == "GRU" else self.rnn)(x, state[0])

    def from_input(self, x: str) -> str:
        n, bias = self.nodes, self.choice.bias
        if self.choice.product == "hoisted":
            return x
        if self.choice.product.startswith("gemm"):
            return n.op("Gemm", x, self.w_name, *([self.b_name] if bias else []), transB=1)
        product = n.op("MatMul", x, self.w_name)
        return n.add(product, self.b_name) if bias else product

    def from_state(self, h: str, bias: bool) -> str:
        n = self.nodes
        if self.choice.product.startswith("gemm"):
            return n.op("Gemm", h, self.r_name, *([self.c_name] if bias else []), transB=1)
        product = n.op("MatMul", h, self.r_name)
        return n.add(product, self.c_name) if bias else product

    def sums(self, x: str, h: str) -> str:
        n = self.nodes
        if self.choice.product == "concat":
            product = n.op("MatMul", n.op("Concat", x, h, axis=1), self.both)
            return n.add(product, self.b_name) if self.choice.bias else product
        if self.choice.product == "gemm-chain":
            return n.op("Gemm", h, self.r_name, self.from_input(x), transB=1)
        return n.add(self.from_input(x), self.from_state(h, self.choice.bias))

    def cut(self, value: str, count: int) -> list[str]:
        n, h = self.nodes, self.choice.hidden
        if count == 1:
            return [value]
        if self.choice.cut != "slice":
            return n.split(value, [h] * count, 1, sized=self.choice.cut == "sizes")
        return [
            n.op("Slice", value, n.ints(k * h), n.ints((k + 1) * h), n.ints(-1))
            for k in range(count)
        ]

    def separate(self, x: str, h: str) -> list[str]:
        n = self.nodes
        sums = []
        for w, r, b in self.parts:
            total = n.add(n.op("MatMul", x, w), n.op("MatMul", h, r))
            sums.append(n.add(total, b) if self.choice.bias else total)
        return sums

    def sigmoid(self, value: str) -> str:
        return self.nodes.op("HardSigmoid" if self.choice.hard else "Sigmoid", value)

    def lstm(self, x: str, h: str, c: str) -> tuple[str, str]:
        n, order, size = self.nodes, self.choice.order, self.choice.hidden
        separate = self.choice.product == "separate"
        if self.choice.squash == "joined" and not separate:
            whole = self.sums(x, h)
            first, rest = n.split(whole, [3 * size, size], 1, sized=True)
            gates, turn = self.cut(self.sigmoid(first), 3), order[0] % 3
            i, f, o = gates[turn], gates[turn - 1], gates[turn - 2]
            g = n.op("Tanh", rest)
        else:
            sums = self.separate(x, h) if separate else self.cut(self.sums(x, h), 4)
            if self.choice.spelling % 2:
                sums[order[1]] = n.add(sums[order[1]], self.one)
            f, o = (self.sigmoid(sums[order[k]]) for k in (1, 2))
            i = "" if self.choice.coupled else self.sigmoid(sums[order[0]])
            g = n.op("Tanh", sums[order[3]])
        if self.choice.coupled:
            i = n.op("Sub", self.one, f)
        memory = n.add(n.mul(f, c), n.mul(i, g))
        return n.mul(o, n.op("Tanh", memory)), memory

    def gru(self, x: str, h: str) -> tuple[str]:
        n = self.nodes
        if not self.choice.after:
            return (self.blend(*self.gru_before(x, h), h),)
        left, right = self.cut(self.from_input(x), 3), self.cut(self.from_state(h, True), 3)
        a, b, c = self.choice.order[:3] if 3 not in self.choice.order[:3] else (0, 1, 2)
        z, r = (self.sigmoid(n.add(left[k], right[k])) for k in (a, b))
        return (self.blend(z, n.op("Tanh", n.add(left[c], n.mul(r, right[c]))), h),)

    def gru_before(self, x: str, h: str) -> tuple[str, str]:
        n, wh = self.nodes, self.parts[2][0]
        if self.choice.product == "concat":
            gates = n.op("MatMul", n.op("Concat", x, h, axis=1), self.gates_both)
            z, r = self.cut(self.sigmoid(n.add(gates, self.gates_bias)), 2)
            joined = n.op("Concat", x, n.mul(r, h), axis=1)
            return z, n.op("Tanh", n.add(n.op("MatMul", joined, self.new_both), self.parts[2][2]))
        sums = []
        for k in range(2):
            w, r, b = self.parts[k]
            sums.append(n.add(n.add(n.op("MatMul", x, w), b), n.op("MatMul", h, r)))
        z, r = (self.sigmoid(value) for value in sums)
        inner = n.op("MatMul", n.mul(r, h), self.parts[2][1])
        total = n.add(n.op("MatMul", x, wh), inner)
        return z, n.op("Tanh", n.add(total, self.parts[2][2]))

    @property
    def gates_both(self) -> str:
        size = self.choice.hidden
        if not hasattr(self, "_gates"):
            both = np.concatenate([self.w, self.r])
            self._gates = self.nodes.const(both[:, : 2 * size])
            self._new = self.nodes.const(both[:, 2 * size :])
            self._bias = self.nodes.const(self.b[: 2 * size])
        return self._gates

    @property
    def gates_bias(self) -> str:
        return self._bias

    @property
    def new_both(self) -> str:
        return self._new

    def blend(self, z: str, new: str, h: str) -> str:
        n = self.nodes
        match self.choice.spelling % 5:
            case 0:
                return n.add(n.mul(n.op("Sub", self.one, z), new), n.mul(z, h))
            case 1:
                return n.add(n.mul(n.op("Sub", h, new), z), new)
            case 2:
                return n.add(h, n.mul(z, n.op("Sub", new, h)))
            case 3:
                return n.op("Sub", h, n.mul(z, n.op("Sub", h, new)))
            case _:
                return n.add(n.mul(z, new), n.mul(n.op("Sub", self.one, z), h))

    def rnn(self, x: str, h: str) -> tuple[str]:
        return (self.nodes.op("Tanh", self.sums(x, h)),)


def build(choice: Choice) -> onnx.ModelProto:
    """The model of a choice: inputs ``x`` (or ``x0`` …), perhaps ``h0`` and ``c0``."""
    nodes = Nodes(choice.opset, np.random.default_rng(choice.seed))
    inputs, outputs = _Model(choice, nodes).write()
    graph = helper.make_graph(nodes.nodes, "g", inputs, outputs, nodes.weights)
    opsets = [helper.make_opsetid("", choice.opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return model


class _Model:
    def __init__(self, choice: Choice, nodes: Nodes) -> None:
        self.choice, self.n = choice, nodes

    def write(self) -> tuple[list[Any], list[Any]]:
        c = self.choice
        unrolled = c.form == "unrolled"
        time = c.steps if unrolled else "t"
        apart = unrolled and c.pick == "inputs" and c.product != "hoisted"
        shape = [time, "b", c.width] if c.axis == 0 else ["b", time, c.width]
        if apart:
            names = [f"x{k}" for k in range(c.steps)]
            inputs = [_info(name, ["b", c.width]) for name in names]
        else:
            names, inputs = ["x"], [_info("x", shape)]
        states = self.first_states(names[0], 0 if apart else 1 - c.axis, inputs)
        if not unrolled:
            outputs = self.loop(states)
        else:
            outputs = self.unrolled(names if apart else None, states)
        return inputs, outputs

    def first_states(self, source: str, axis: int, inputs: list[Any]) -> list[str]:
        c, n = self.choice, self.n
        count = 2 if c.kind == "LSTM" else 1
        if c.start == "input":
            names = ["h0", "c0"][:count]
            inputs += [_info(name, ["b", c.hidden]) for name in names]
            return names
        if c.start == "constant":
            return [n.const(np.zeros((1, c.hidden)))] * count
        size = n.op("Gather", n.op("Shape", source), n.const(axis, np.int64), axis=0)
        shape = n.op("Concat", n.unsqueeze(size, 0), n.ints(c.hidden), axis=0)
        if n.rng.random() < 0.5:
            return [n.op("Expand", n.const(0.0), shape)] * count
        zero = numpy_helper.from_array(np.zeros(1, np.float32))
        return [n.op("ConstantOfShape", shape, value=zero)] * count

    def unrolled(self, steps: list[str] | None, states: list[str]) -> list[Any]:
        c, n = self.choice, self.n
        results: list[tuple[str, ...]] = []
        source, axis, width = "x", c.axis, c.width
        for layer in range(c.layers):
            cell = Cell(c, n, width)
            if c.product == "hoisted":
                assert layer == 0
                source = cell.hoist(source)
            if steps is None:
                steps = self.picks(source, axis)
            state, results = tuple(states), []
            for x in steps:
                state = cell.step(x, state)
                results.append(state)
            steps, width = [state[0] for state in results], c.hidden
        return self.outputs(results)

    def picks(self, source: str, axis: int) -> list[str]:
        c, n = self.choice, self.n
        if c.backward == "slice":
            source = n.op("Slice", source, n.ints(-1), n.ints(-(2**63)), n.ints(axis), n.ints(-1))
        order = list(range(c.steps))
        if c.pick == "split":
            parts = n.split(source, [1] * c.steps, axis, sized=True)
            picked = [n.squeeze(part, axis) for part in parts]
        elif c.pick == "slice":
            picked = [
                n.squeeze(n.op("Slice", source, n.ints(k), n.ints(k + 1), n.ints(axis)), axis)
                for k in order
            ]
        else:
            shift = c.steps if c.pick == "negative" else 0
            indices = [n.const(k - shift, np.int64) for k in order]
            picked = [n.op("Gather", source, index, axis=axis) for index in indices]
        return picked[::-1] if c.backward == "index" else picked

    def outputs(self, results: list[tuple[str, ...]]) -> list[Any]:
        c, n = self.choice, self.n
        hidden = [state[0] for state in results]
        found = {}
        for name in c.outputs:
            if name in ("stack", "stack1", "reversed"):
                axis = 1 if name == "stack1" else 0
                parts = [n.unsqueeze(h, axis) for h in hidden]
                parts = parts[::-1] if name == "reversed" else parts
                found[name] = n.op("Concat", *parts, axis=axis)
            elif name == "flat":
                found[name] = n.op("Concat", *hidden, axis=1)
            elif name == "last":
                found[name] = n.op("Neg", hidden[-1])
            elif name == "memory":
                found[name] = n.op("Neg", results[-1][-1])
            elif name == "middle":
                found[name] = n.op("Neg", hidden[len(hidden) // 2])
            else:
                found[name] = n.op("Sum", *hidden)
        for name, value in found.items():
            n.nodes.append(helper.make_node("Identity", [value], [f"y_{name}"]))
        return [_info(f"y_{name}", None) for name in found]

    def loop(self, states: list[str]) -> list[Any]:
        c, n = self.choice, self.n
        cell = Cell(c, n, c.width)
        source = cell.hoist("x") if c.product == "hoisted" else "x"
        if c.backward == "slice":
            source = n.op("Slice", source, n.ints(-1), n.ints(-(2**63)), n.ints(c.axis), n.ints(-1))
        count = n.op("Gather", n.op("Shape", source), n.const(c.axis, np.int64), axis=0)
        body = Nodes(c.opset, n.rng, "in_")
        cell.nodes = body
        names = ["h_in", "c_in"][: len(states)]
        carried = [_info(name, [None, c.hidden]) for name in names]
        if c.form == "scan":
            width = c.width if c.product != "hoisted" else cell.gates * c.hidden
            new = cell.step("x_in", tuple(names))
            scan = body.op("Identity", new[0])
            inner = [*carried, _info("x_in", [None, width])]
            graph = helper.make_graph(
                body.nodes, "body", inner, [_info(v, None) for v in (*new, scan)], body.weights
            )
            results = n.op(
                "Scan",
                *states,
                source,
                outputs=len(states) + 1,
                body=graph,
                num_scan_inputs=1,
                scan_input_axes=[c.axis],
                scan_input_directions=[int(c.backward == "index")],
            )
            return self.loop_outputs(results, len(states))
        counter = c.form == "while"
        index = "k_in" if counter else "i_in"
        position = index
        if c.backward == "index":
            last = body.op("Sub", count, body.const(1, np.int64))
            position = body.op("Sub", last, index)
        new = cell.step(body.op("Gather", source, position, axis=c.axis), tuple(names))
        scan = body.op("Identity", new[0])
        inner = [_info("i_in", [], TensorProto.INT64), _info("go_in", [], TensorProto.BOOL)]
        outer, extra_in, extra_out = [count, n.const(True, np.bool_)], [], []
        if counter:
            following = body.op("Add", "k_in", body.const(1, np.int64))
            go = body.op("Less", following, count)
            outer = [count, n.op("Less", n.const(0, np.int64), count)]
            extra_in, extra_out = [_info("k_in", [], TensorProto.INT64)], [following]
            outer.append(n.const(0, np.int64))
        else:
            go = body.op("Identity", "go_in")
        ends = [_info(go, [], TensorProto.BOOL)]
        ends += [_info(v, [], TensorProto.INT64) for v in extra_out]
        ends += [_info(v, None) for v in (*new, scan)]
        graph = helper.make_graph(
            body.nodes, "body", [*inner, *extra_in, *carried], ends, body.weights
        )
        total = len(extra_out) + len(states) + 1
        results = n.op("Loop", *outer, *states, outputs=total, body=graph)
        return self.loop_outputs(results[len(extra_out) :], len(states))

    def loop_outputs(self, results: list[str], count: int) -> list[Any]:
        n, found = self.n, {}
        named = {"last": results[0], "memory": results[count - 1], "stack": results[-1]}
        for name in self.choice.outputs:
            if name in named:
                found[name] = n.op("Neg", named[name])
        if not found:
            found["stack"] = n.op("Neg", results[-1])
        for name, value in found.items():
            n.nodes.append(helper.make_node("Identity", [value], [f"y_{name}"]))
        return [_info(f"y_{name}", None) for name in found]


def feeds(choice: Choice, *, time: int, batch: int) -> dict[str, np.ndarray]:
    """Inputs for the model; ``time`` counts for loops only."""
    rng = np.random.default_rng(choice.seed + time + batch)
    length = choice.steps if choice.form == "unrolled" else time
    shape = (length, batch) if choice.axis == 0 else (batch, length)
    arrays = {"x": rng.normal(size=(*shape, choice.width)).astype(np.float32)}
    for k in range(choice.steps):
        arrays[f"x{k}"] = rng.normal(size=(batch, choice.width)).astype(np.float32)
    for name in ("h0", "c0"):
        arrays[name] = rng.normal(size=(batch, choice.hidden)).astype(np.float32)
    return arrays


def _info(name: str, shape: Sequence[Any] | None, dtype: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, dtype, shape)


__all__ = ["SIZES", "Choice", "build", "feeds", "replace"]
