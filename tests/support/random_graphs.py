"""Random valid models out of the patterns that passes look for, and inputs for them.

Everything is drawn from a ``random.Random``, so that hypothesis can stand behind it and shrink.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Dim = int | str
OPSETS = (11, 13, 17, 18, 21)
BATCHES = (2, 1, 0)
"""Sizes of the dynamic batch ``N`` that the feeds have."""


@dataclass(frozen=True)
class Value:
    """A float tensor: its name and its shape, in which only the first axis may be ``N``."""

    name: str
    shape: tuple[Dim, ...]

    @property
    def rank(self) -> int:
        return len(self.shape)


class Builder:
    """Collects nodes; knows every value in scope."""

    def __init__(self, rng: Random, opset: int, outer: Builder | None = None) -> None:
        self.rng, self.opset, self.outer = rng, opset, outer
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.values: list[Value] = list(outer.values) if outer else []
        self.exposed: list[Value] = []
        self.numbers = outer.numbers if outer else np.random.default_rng(rng.randrange(1 << 16))
        self.count: list[int] = outer.count if outer else [0]
        self.odd = outer.odd if outer else rng.random() < 0.1
        self.shared: dict[tuple[int, ...], str] = dict(outer.shared) if outer else {}

    def name(self, stem: str) -> str:
        self.count[0] += 1
        return f"{stem}{self.count[0]}"

    def flag(self, chance: float = 0.5) -> bool:
        return self.rng.random() < chance

    def emit(self, op: str, inputs: Sequence[Any], outputs: int = 1, **attrs: Any) -> list[str]:
        names = [i.name if isinstance(i, Value) else i for i in inputs]
        made = [self.name(op.lower()[:6]) for _ in range(outputs)]
        attrs = {key: value for key, value in attrs.items() if value is not None}
        domain = attrs.pop("domain", "")
        node = helper.make_node(op, names, made, domain=domain, **attrs)
        if self.flag(0.7):
            node.name = f"node_{made[0]}"
        self.nodes.append(node)
        return made

    def op(self, op: str, *inputs: Any, shape: Sequence[Dim] | None = None, **attrs: Any) -> Value:
        """A node with one float output, of the shape of its first input unless said."""
        (name,) = self.emit(op, inputs, **attrs)
        first = next(i for i in inputs if isinstance(i, Value)) if shape is None else None
        made = Value(name, tuple(shape) if first is None else first.shape)
        if self.flag(0.05):
            self.remember(made)
        if self.flag(0.02):
            self.exposed.append(made)
        return made

    def hold(self, array: Any, dtype: Any = np.float32) -> str:
        """A constant: a weight or a Constant node."""
        name = self.name("c")
        tensor = numpy_helper.from_array(np.asarray(array, dtype), name)
        if self.flag(0.75):
            self.weights.append(tensor)
        else:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def ints(self, *numbers: int) -> str:
        return self.hold(list(numbers), np.int64)

    def weight(self, *shape: int) -> str:
        """Random numbers that keep what they multiply about as large; sometimes shared."""
        if shape in self.shared and self.flag(0.2):
            return self.shared[shape]
        fan_in = max(1, int(np.prod(shape[1:])))
        array = self.numbers.standard_normal(shape) / np.sqrt(fan_in)
        name = self.hold(array)
        self.shared[shape] = name
        return name

    def vector(self, size: int, *tail: int, positive: bool = False) -> str:
        array = self.numbers.uniform(0.5, 1.5, (size, *tail))
        if not positive:
            array *= self.numbers.choice([-1, 1], array.shape)
        if self.odd and self.flag(0.3) and not positive:
            array.reshape(-1)[:1] = self.rng.choice([np.nan, np.inf, 0.0, -0.0, 1e-38])
        return self.hold(array)

    def number(self, *choices: float) -> str:
        """One number, as a scalar or with some axes."""
        value = self.rng.choice(choices or (2.0, 0.5, -1.5, 3.0, 1.0))
        return self.hold(np.full((1,) * self.rng.choice([0, 0, 1, 1]), value))

    def remember(self, value: Value) -> None:
        """Let patterns go on from a value, if only its first axis is open."""
        if all(isinstance(size, int) for size in value.shape[1:]):
            self.values.append(value)

    def pick(self, rank: int) -> Value | None:
        found = [value for value in self.values if value.rank == rank]
        return self.rng.choice(found[-6:] if self.flag(0.8) else found) if found else None

    @contextmanager
    def body(self) -> Iterator[Builder]:
        yield Builder(self.rng, self.opset, self)


@dataclass(frozen=True)
class Made:
    """A model and sets of inputs for it."""

    proto: onnx.ModelProto
    feeds: list[Mapping[str, Any]]


def random_model(rng: Random) -> Made:
    """A model of one or a few chains of patterns."""
    from random_patterns import grow

    opset = rng.choice(OPSETS)
    builder = Builder(rng, opset)
    batch: Dim = rng.choice(["N", "N", 1, 2])
    inputs = [Value("x", (batch, *rng.choice([(4, 6, 6), (6, 8), (8,), (4, 5), (3, 4, 4)])))]
    if builder.flag(0.4):
        inputs.append(Value("z", inputs[0].shape if builder.flag() else (batch, 8)))
    builder.values += inputs
    for _ in range(rng.choice([1, 2, 3, 4, 6, 8])):
        grow(builder)
    return Made(_finish(builder, inputs), _feeds(builder, inputs, batch))


def _finish(builder: Builder, inputs: list[Value]) -> onnx.ModelProto:
    rng = builder.rng
    taken = {value.name for value in inputs}
    made = [value for value in builder.values if value.name not in taken]
    ends = made[-1:] + [value for value in made[:-1] if builder.flag(0.1)] + builder.exposed
    outputs = {value.name: value for value in ends if value.name in _made_at_top(builder)}
    if not outputs:
        last = builder.op("Relu", builder.values[-1])
        outputs[last.name] = last
    infos = [_info(value, declared=True) for value in inputs]
    for tensor in builder.weights:
        if rng.random() < 0.03:
            infos.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    graph = helper.make_graph(
        builder.nodes,
        "random",
        infos,
        [_info(value, declared=builder.flag(0.7)) for value in outputs.values()],
        builder.weights,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", builder.opset)], ir_version=8
    )


def _made_at_top(builder: Builder) -> set[str]:
    return {name for node in builder.nodes for name in node.output}


def _info(value: Value, *, declared: bool) -> onnx.ValueInfoProto:
    shape = list(value.shape) if declared else [None] * value.rank
    return helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape)


def _feeds(builder: Builder, inputs: list[Value], batch: Dim) -> list[Mapping[str, Any]]:
    sizes = BATCHES if batch == "N" else (batch,)
    return [
        {
            value.name: builder.numbers.standard_normal([size, *value.shape[1:]]).astype(np.float32)
            for value in inputs
        }
        for size in sizes
    ]
