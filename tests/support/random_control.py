"""Branches and loops that read values from outside, for random models."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from random_graphs import Builder, Value
from random_pointwise import activation, affine, gelu, hard_swish, noop, silu, square

INNER = (activation, affine, silu, hard_swish, gelu, noop, square)


def conditional(b: Builder, x: Value) -> Value:
    """An If whose branches read outer values."""
    if b.flag():
        condition = b.hold(b.flag(), np.bool_)
    else:
        size = b.emit("Size", [x])[0]
        condition = b.emit("Greater", [size, b.hold(b.rng.choice([0, 30]), np.int64)])[0]
    bodies = []
    for name in ("then", "otherwise"):
        with b.body() as inner:
            result = b.rng.choice(INNER)(inner, x)
            if result.name == x.name or b.flag(0.2):
                result = Value(inner.emit("Identity", [result])[0], x.shape)
            bodies.append(graph_of(inner, name, [], [result]))
    return b.op("If", condition, then_branch=bodies[0], else_branch=bodies[1], shape=x.shape)


def loop(b: Builder, x: Value) -> Value:
    """A Loop that carries a tensor and reads others from outside."""
    with b.body() as inner:
        state = Value(inner.name("state"), x.shape)
        inner.values.append(state)
        result = b.rng.choice(INNER)(inner, state)
        other = b.rng.choice([v for v in b.values if v.shape == x.shape])
        result = inner.op("Mul", inner.op("Add", result, other), inner.hold(0.5))
        names = [inner.name("round"), inner.name("go")]
        go = inner.emit("Identity", [names[1]])[0]
        body = graph_of(inner, "body", [state], [result])
    body.input.insert(0, helper.make_tensor_value_info(names[1], 9, []))
    body.input.insert(0, helper.make_tensor_value_info(names[0], 7, []))
    body.output.insert(0, helper.make_tensor_value_info(go, 9, []))
    trips = b.hold(b.rng.choice([0, 1, 2, 3]), np.int64)
    condition = b.hold(b.flag(0.9), np.bool_) if b.flag() else ""
    return b.op("Loop", trips, condition, x, body=body, shape=x.shape)


def graph_of(b: Builder, name: str, inputs: list[Value], outputs: list[Value]) -> onnx.GraphProto:
    def info(value: Value) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(value.name, 1, None)

    return helper.make_graph(b.nodes, name, map(info, inputs), map(info, outputs), b.weights)
