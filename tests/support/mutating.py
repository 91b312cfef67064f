"""Small random changes to a model: near misses of the patterns that passes look for.

Every mutation keeps the names of existing values and gives a model that is meant to be valid, but
need not be: whoever mutates asks ONNX Runtime. What the file declared for values other than
inputs is forgotten, since it may no longer be true.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import onnx
from onnx import helper, numpy_helper

Mutation = Callable[[onnx.ModelProto, Random], None]

COMMUTATIVE = frozenset({"Add", "Mul", "Min", "Max", "And", "Or", "Equal", "Sum"})
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
FREE_WEIGHTS_SINCE_IR = 4


def mutated(model: onnx.ModelProto, rng: Random, count: int) -> onnx.ModelProto:
    """A copy with up to ``count`` mutations."""
    result = copy.deepcopy(model)
    for _ in range(count):
        rng.choice(MUTATIONS)(result, rng)
    declare_outputs(result)
    return result


def expose(model: onnx.ModelProto, rng: Random) -> None:
    """One more value is a graph output."""
    taken = {value.name for value in model.graph.output}
    free = [name for name in made(model.graph) if name not in taken]
    if free:
        model.graph.output.append(onnx.ValueInfoProto(name=rng.choice(free)))


def read_twice(model: onnx.ModelProto, rng: Random) -> None:
    """One more node reads a value."""
    names = [*made(model.graph), *(value.name for value in model.graph.input)]
    if names:
        op, name = rng.choice(["Identity", "Shape", "Neg", "Relu"]), rng.choice(names)
        add_reader(model, op, name)


def swap_operands(model: onnx.ModelProto, rng: Random) -> None:
    """``a + b`` is ``b + a``."""
    nodes = [n for n in model.graph.node if n.op_type in COMMUTATIVE and len(n.input) == 2]
    if nodes:
        node = rng.choice(nodes)
        node.input[:] = reversed(node.input)


def change_number(model: onnx.ModelProto, rng: Random) -> None:
    """A constant holds other numbers."""
    tensors = list(constants(model.graph))
    if tensors:
        tensor = rng.choice(tensors)
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind in "fiu" and array.size and array.dtype.isbuiltin:
            tensor.CopyFrom(numpy_helper.from_array(other_numbers(array, rng), tensor.name))


def other_numbers(array: np.ndarray, rng: Random) -> np.ndarray:
    changed = np.array(array)
    flat = changed.reshape(-1)
    where = slice(None) if rng.random() < 0.4 else rng.randrange(flat.size)
    with np.errstate(all="ignore"):
        if array.dtype.kind == "f":
            factor = rng.choice([0.0, -1.0, 2.0, 0.5, 1.01, 1e-30, 1e30, np.inf, np.nan, -0.0])
            flat[where] = flat[where] * factor if rng.random() < 0.8 else factor
        else:
            step = np.array(rng.choice([1, -1, 2, -2])).astype(array.dtype)  # wraps around
            flat[where] = flat[where] + step
    return changed


def broadcast_constant(model: onnx.ModelProto, rng: Random) -> None:
    """A constant gets a leading axis, loses one, or a number is written as a vector."""
    tensors = [t for t in constants(model.graph) if t.data_type in FLOATS]
    if tensors:
        tensor = rng.choice(tensors)
        array = numpy_helper.to_array(tensor)
        if array.ndim and array.shape[0] == 1 and rng.random() < 0.5:
            array = array[0]
        else:
            array = array[None]
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def free_weight(model: onnx.ModelProto, rng: Random) -> None:
    """A weight is an input, with a default or without."""
    graph = model.graph
    inputs = {value.name for value in graph.input}
    weights = [t for t in graph.initializer if t.name not in inputs]
    if weights:
        tensor = rng.choice(weights)
        declare_input(graph, tensor)
        if rng.random() < 0.5 and model.ir_version >= FREE_WEIGHTS_SINCE_IR:
            graph.initializer.remove(tensor)


def old_ir(model: onnx.ModelProto, rng: Random) -> None:
    """IR version 3, where every weight is an input."""
    graph = model.graph
    inputs = {value.name for value in graph.input}
    for tensor in graph.initializer:
        if tensor.name not in inputs:
            declare_input(graph, tensor)
    if not model.functions:
        model.ir_version = 3


def change_attribute(model: onnx.ModelProto, rng: Random) -> None:
    """An attribute is a little different, or gone."""
    found = [
        (node, attr)
        for node in nodes(model.graph)
        for attr in node.attribute
        if attr.type in (attr.INT, attr.INTS, attr.FLOAT)
    ]
    if not found:
        return
    node, attr = rng.choice(found)
    if rng.random() < 0.3:
        node.attribute.remove(attr)
    elif attr.type == attr.INT:
        attr.i += rng.choice([-2, -1, 1, 2])
    elif attr.type == attr.FLOAT:
        attr.f *= rng.choice([0.5, 1.01, 2.0, -1.0])
    elif len(attr.ints):
        attr.ints[rng.randrange(len(attr.ints))] += rng.choice([-1, 1])


def change_size(model: onnx.ModelProto, rng: Random) -> None:
    """A dimension of an input is dynamic, or a number, or zero, or another symbol."""
    weights = {tensor.name for tensor in model.graph.initializer}
    dims = [
        dim
        for value in model.graph.input
        if value.name not in weights
        for dim in value.type.tensor_type.shape.dim
    ]
    if dims:
        dim = rng.choice(dims)
        match rng.randrange(4):
            case 0:
                dim.dim_param = rng.choice("NM")
            case 1:
                dim.Clear()
            case 2:
                dim.dim_value = rng.choice([0, 1, 2])
            case _:
                dim.dim_param = "K"


def insert_noop(model: onnx.ModelProto, rng: Random) -> None:
    """A node between a value and one of its readers that changes nothing, or hardly."""
    graph = model.graph
    places = [
        (at, slot, name)
        for at, node in enumerate(graph.node)
        for slot, name in enumerate(node.input)
        if name
    ]
    if not places:
        return
    at, slot, name = rng.choice(places)
    new = fresh(model, f"{name}_between")
    op = rng.choice(["Identity", "Identity", "Neg", "Add", "Mul", "Relu"])
    operands = [name]
    if op in ("Add", "Mul"):
        number = rng.choice([0.0, 1.0, 2.0, -1.0]) if op == "Add" else rng.choice([1.0, 0.5, -2.0])
        tensor = numpy_helper.from_array(np.float32(number), fresh(model, "number"))
        graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
        at += 1
        operands.insert(rng.randrange(2), tensor.name)
    graph.node[at].input[slot] = new
    graph.node.insert(at, helper.make_node(op, operands, [new]))


def share_constant(model: onnx.ModelProto, rng: Random) -> None:
    """Two readers of equally shaped weights read one."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    slots = [
        (node, slot, weights[name])
        for node in nodes(model.graph)
        for slot, name in enumerate(node.input)
        if name in weights
    ]
    if len(slots) > 1:
        (node, slot, tensor), (_, _, other) = rng.sample(slots, 2)
        if (tensor.data_type, list(tensor.dims)) == (other.data_type, list(other.dims)):
            node.input[slot] = other.name


def wrap_in_if(model: onnx.ModelProto, rng: Random) -> None:
    """All nodes stand in both branches of an If and read the inputs and weights from outside."""
    graph = model.graph
    if any(node.op_type == "Constant" for node in graph.node) and rng.random() < 0.5:
        return
    inner = set(made(graph))
    if not graph.node or any(value.name not in inner for value in graph.output):
        return
    bodies = []
    for suffix in ("", "_else"):
        body = onnx.GraphProto(name=f"branch{suffix}")
        body.node.extend(graph.node)
        body.output.extend(graph.output)
        renames = {name: f"{name}{suffix or '_then'}" for name in inner_names(body)}
        rename(body, renames)
        bodies.append(body)
    condition = fresh(model, "condition")
    outputs = [value.name for value in graph.output]
    node = helper.make_node(
        "If", [condition], outputs, then_branch=bodies[0], else_branch=bodies[1]
    )
    del graph.node[:]
    graph.node.append(node)
    if rng.random() < 0.5:
        value = numpy_helper.from_array(np.array(rng.random() < 0.5), condition)
        graph.node.insert(0, helper.make_node("Constant", [], [condition], value=value))
    else:
        graph.input.append(helper.make_tensor_value_info(condition, onnx.TensorProto.BOOL, []))


def wrap_in_function(model: onnx.ModelProto, rng: Random) -> None:
    """All nodes stand in a function that is called once or twice."""
    graph = model.graph
    if model.functions or not graph.node or model.ir_version < 8:
        return
    weights = [tensor.name for tensor in graph.initializer]
    inputs = list(dict.fromkeys([*(value.name for value in graph.input), *weights]))
    outputs = [value.name for value in graph.output]
    if set(outputs) & set(inputs):
        return
    body = helper.make_function(
        "local", "wrapped", inputs, outputs, list(graph.node), list(model.opset_import)
    )
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("local", 1))
    del graph.node[:]
    graph.node.append(helper.make_node("wrapped", inputs, outputs, domain="local"))
    if rng.random() < 0.5:
        more = [fresh(model, f"{name}_again") for name in outputs]
        graph.node.append(helper.make_node("wrapped", inputs, more, domain="local"))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in more)


def other_float(model: onnx.ModelProto, rng: Random) -> None:
    """All of single precision is double or half precision."""
    kind = rng.choice([onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16])
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    graph = model.graph
    for tensor in constants(graph):
        if tensor.data_type == onnx.TensorProto.FLOAT:
            with np.errstate(all="ignore"):
                array = numpy_helper.to_array(tensor).astype(dtype)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            value.type.tensor_type.elem_type = kind
    for node in nodes(graph):
        for attr in node.attribute:
            if attr.name == "to" and attr.i == onnx.TensorProto.FLOAT:
                attr.i = kind


def other_opset(model: onnx.ModelProto, rng: Random) -> None:
    """Another opset, as it stands: only some models mean the same in both."""
    for entry in model.opset_import:
        if entry.domain == "":
            entry.version = rng.choice([9, 11, 12, 13, 17, 18, 21, 24])


def declare_outputs(model: onnx.ModelProto) -> None:
    """Let inference say what the outputs are now."""
    del model.graph.value_info[:]
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    if any(map(_ends_inference, model.graph.node)):
        return
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except onnx.shape_inference.InferenceError:
        return  # no valid model: for ONNX Runtime to say
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)


def _ends_inference(node: onnx.NodeProto) -> bool:
    """Whether onnx's inference would end the process: a Split of fewer parts than outputs."""
    parts = [attr.i for attr in node.attribute if attr.name == "num_outputs"]
    return node.op_type == "Split" and any(count < len(node.output) for count in parts)


MUTATIONS: tuple[Mutation, ...] = (
    expose,
    read_twice,
    swap_operands,
    swap_operands,
    change_number,
    change_number,
    broadcast_constant,
    free_weight,
    old_ir,
    change_attribute,
    change_size,
    change_size,
    insert_noop,
    insert_noop,
    share_constant,
    wrap_in_if,
    wrap_in_function,
    other_float,
    other_opset,
)


def nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Of a graph or function and its subgraphs."""
    for node in graph.node:
        yield node
        for attr in node.attribute:
            if attr.HasField("g"):
                yield from nodes(attr.g)


def constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Weights and the tensors of Constant nodes, also in subgraphs."""
    yield from graph.initializer
    for node in graph.node:
        for attr in node.attribute:
            if attr.HasField("g"):
                yield from constants(attr.g)
            elif attr.HasField("t"):
                yield attr.t


def made(graph: onnx.GraphProto) -> list[str]:
    """What the nodes of the graph itself compute."""
    return [name for node in graph.node for name in node.output if name]


def inner_names(graph: onnx.GraphProto) -> list[str]:
    return [name for node in nodes(graph) for name in node.output if name]


def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for node in nodes(graph):
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attr in node.attribute:
            if attr.HasField("g"):
                for value in attr.g.output:
                    value.name = names.get(value.name, value.name)
    for value in graph.output:
        value.name = names.get(value.name, value.name)


def fresh(model: onnx.ModelProto, name: str) -> str:
    taken = {n for node in nodes(model.graph) for n in (*node.input, *node.output)}
    taken |= {value.name for value in (*model.graph.input, *model.graph.initializer)}
    while name in taken:
        name += "_"
    return name


def add_reader(model: onnx.ModelProto, op: str, name: str) -> None:
    new = fresh(model, f"{name}_{op.lower()}")
    model.graph.node.append(helper.make_node(op, [name], [new]))
    model.graph.output.append(onnx.ValueInfoProto(name=new))


def declare_input(graph: onnx.GraphProto, tensor: onnx.TensorProto) -> None:
    info = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
    graph.input.append(info)
