"""Models inside others: as a function called twice, by another one, or as branches that read outer
values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import onnx
from corpus import Case
from onnx import TensorProto, helper

DOMAIN = "wrapped"
_FIRST_IR = 8


def as_function(case: Case) -> Case | None:
    """The model as a function that the main graph calls twice; None where it cannot be one."""
    graph, inputs = case.model.graph, _inputs(case.model)
    if not _can_be_wrapped(case.model):
        return None
    weights = graph.initializer
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in weights]
    function = helper.make_function(
        DOMAIN,
        "f",
        [value.name for value in inputs],
        [value.name for value in graph.output],
        [*constants, *graph.node],
        list(case.model.opset_import),
    )
    nodes, outputs = [], []
    for suffix in ("", "__again"):
        results = [_called(value, value.name + suffix) for value in graph.output]
        names = [value.name for value in results]
        reads = [value.name for value in inputs]
        nodes.append(helper.make_node("f", reads, names, f"call{suffix}", domain=DOMAIN))
        outputs += results
    model = helper.make_model(
        helper.make_graph(nodes, "calls", inputs, outputs),
        opset_imports=[*case.model.opset_import, helper.make_opsetid(DOMAIN, 1)],
        functions=[function],
        ir_version=case.model.ir_version,
    )
    return Case(f"{case.name} as a function", model, case.feeds)


def as_nested_function(case: Case) -> Case | None:
    """As ``as_function``, by way of another function that passes all on."""
    wrapped = as_function(case)
    if wrapped is None:
        return None
    model = wrapped.model
    (inner,) = model.functions
    call = helper.make_node("f", inner.input, inner.output, domain=DOMAIN)
    opsets = [*case.model.opset_import, helper.make_opsetid(DOMAIN, 1)]
    outer = helper.make_function(DOMAIN, "outer", inner.input, inner.output, [call], opsets)
    model.functions.insert(0, outer)
    for node in model.graph.node:
        node.op_type = outer.name
    return Case(f"{case.name} as a function in a function", model, case.feeds)


def as_branches(case: Case) -> Case | None:
    """The model as both branches of an If, which read inputs and weights from outside."""
    graph, inputs = case.model.graph, _inputs(case.model)
    if not _can_be_wrapped(case.model) or not _has_default_domain(case.model):
        return None
    outer = {value.name for value in inputs} | {tensor.name for tensor in graph.initializer}
    branches = {}
    for key in ("then_branch", "else_branch"):
        name = _renamed(outer, f"__{key}")
        nodes = [_copied(node, name) for node in graph.node]
        outputs = [_called(value, name(value.name)) for value in graph.output]
        branches[key] = helper.make_graph(nodes, key, [], outputs)
    results = [value.name for value in graph.output]
    choice = helper.make_tensor_value_info("choice__", TensorProto.BOOL, [])
    node = helper.make_node("If", ["choice__"], results, "if__", **branches)
    whole = helper.make_graph([node], "choice", [choice, *inputs], graph.output, graph.initializer)
    model = helper.make_model(
        whole, opset_imports=case.model.opset_import, ir_version=case.model.ir_version
    )
    return Case(f"{case.name} in branches", model, {**case.feeds, "choice__": np.array(True)})


WAYS: Mapping[str, Callable[[Case], Case | None]] = {
    "function": as_function,
    "nested": as_nested_function,
    "branches": as_branches,
}


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _can_be_wrapped(model: onnx.ModelProto) -> bool:
    graph = model.graph
    outside = {value.name for value in graph.input} | {t.name for t in graph.initializer}
    made = all(value.name not in outside for value in graph.output)
    plain = not model.functions and not graph.sparse_initializer
    return plain and made and model.ir_version >= _FIRST_IR


def _has_default_domain(model: onnx.ModelProto) -> bool:
    return any(entry.domain == "" for entry in model.opset_import)


def _called(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(value)
    copy.name = name
    return copy


def _renamed(outer: set[str], suffix: str) -> Callable[[str], str]:
    return lambda name: name if not name or name in outer else name + suffix


def _copied(node: onnx.NodeProto, name: Callable[[str], str]) -> onnx.NodeProto:
    """A copy under other names, bodies included."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [name(value) for value in node.input]
    copy.output[:] = [name(value) for value in node.output]
    copy.name = name(node.name)
    for attr in copy.attribute:
        for body in [*attr.graphs, *([attr.g] if attr.HasField("g") else [])]:
            nodes = [_copied(inner, name) for inner in body.node]
            del body.node[:]
            body.node.extend(nodes)
            for value in (*body.input, *body.output, *body.value_info, *body.initializer):
                value.name = name(value.name)
    return copy
