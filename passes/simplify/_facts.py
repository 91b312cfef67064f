"""What is known about shapes and small integer tensors before a model runs."""

from __future__ import annotations

import contextlib

import onnx
import onnx_ir as ir

from onnxopt import graph as edit
from onnxopt_passes.simplify._calls import (
    Argument,
    Calls,
    calls_in_order,
    common_arguments,
    constant_of,
    takes_options,
)
from onnxopt_passes.simplify._contents import CONTENT_OPS, Content, content_of_constant
from onnxopt_passes.simplify._expression import Expression, Number, atom
from onnxopt_passes.simplify._inference import InferenceFailed, infer_body, infer_protos
from onnxopt_passes.simplify._result_shapes import RESULT_SHAPES

_INT32_TOP = 1 << 31
_KEPT = "onnxopt.facts"

Shape = tuple[Number, ...]

_MADE_UP = "unk__"
_NAMELESS = frozenset({"none", "null", "unknown", "unk", "dynamic", "dim"})


def facts_of(model: ir.Model) -> Facts:
    """What is known of a model as it stands; kept with it until something in it changes."""
    kept = model.meta.get(_KEPT)
    if isinstance(kept, Facts) and kept.still_hold(model):
        return kept
    facts = Facts(model)
    model.meta[_KEPT] = facts
    return facts


class Facts:
    """Shapes as polynomials of the model's symbolic sizes, and integers computed from them.

    Only what follows from the graph inputs counts; what a file declares for a value in between
    may be stale. Sizes of one name are one size, as ONNX has it; a nameless size equals only
    itself. In the body of a function, what its calls have in common counts; see ``_enter``. Facts
    stay true while a model is rewritten, for the values that keep their meaning; values made later
    have none. Computed when first asked for.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._inferred: dict[ir.Value, onnx.TypeProto] | None = None
        self._shapes: dict[ir.Value, Shape | None] = {}
        self._contents: dict[ir.Value, Content | None] = {}
        self._aliases: dict[str, Number] = {}
        self._nameless = 0
        self._bodies = 0
        self._scope = ""
        self._seen: list[object] = []

    def still_hold(self, model: ir.Model) -> bool:
        """Whether nothing was changed since these facts were found, or none was needed yet."""
        return self._model is model and (self._inferred is None or self._seen == _snapshot(model))

    def shape(self, value: ir.Value | None) -> Shape | None:
        """The sizes of a tensor's axes, or None where not even their number is known."""
        if value is None:
            return None
        self._compute()
        if value not in self._shapes:
            tensor = edit.constant_tensor(value)
            sizes = None if tensor is None else tuple(int(n) for n in tensor.shape.numpy())
            self._shapes[value] = sizes
        return self._shapes[value]

    def content(self, value: ir.Value | None) -> Content | None:
        """The elements of a small tensor of integers or truth values; None for unknown ones."""
        if value is None:
            return None
        self._compute()
        if value not in self._contents:
            self._contents[value] = content_of_constant(value)
        return self._contents[value]

    def dtype(self, value: ir.Value | None) -> ir.DataType | None:
        """The type of a tensor's elements, where known."""
        if value is None:
            return None
        if isinstance(value.type, ir.TensorType):
            return value.dtype
        self._compute()
        known = (self._inferred or {}).get(value)
        code = known.tensor_type.elem_type if known is not None else 0
        return ir.DataType(code) if code else None

    def _compute(self) -> None:
        if self._inferred is not None:
            return
        try:
            self._inferred = infer_protos(self._model)
        except InferenceFailed:
            self._inferred = {}
        self._seen = _snapshot(self._model)
        graph = self._model.graph
        for value in graph.inputs:
            self._shapes[value] = self._read(value)
        self._walk(graph, graph.opset_imports.get("", 0))
        for function, calls in calls_in_order(self._model):
            self._enter(function, calls)
        for function in self._model.functions.values():
            self._hide(function)

    def _enter(self, function: ir.Function, calls: Calls) -> None:
        """Learn what holds in a body whoever calls it; all callers have been learnt of before."""
        arguments = common_arguments(function, calls, self, self._fresh)
        self._bodies += 1
        self._scope = f"{_MADE_UP}{self._bodies}:"  # names in one body mean nothing elsewhere
        inferred = self._inferred = self._inferred or {}
        types = [self._spell(argument) for argument in arguments]
        constants = {}
        for value, argument, known in zip(function.inputs, arguments, types, strict=True):
            self._shapes[value], self._contents[value] = argument.shape, argument.content
            if known is not None:
                inferred[value] = known
            array = constant_of(argument)
            if array is not None:
                constants[value] = array
        with contextlib.suppress(InferenceFailed):
            inferred.update(infer_body(self._model, function, types, constants))
        self._walk(function.graph, function.opset_imports.get("", 0))

    def _spell(self, argument: Argument) -> onnx.TypeProto | None:
        """An argument's type, its sizes under names that lead back to them."""
        if argument.dtype is None:
            return None
        proto = onnx.TypeProto()
        proto.tensor_type.elem_type = int(argument.dtype)
        if argument.shape is not None:
            proto.tensor_type.shape.ClearField("dim")
            for size in argument.shape:
                dim = proto.tensor_type.shape.dim.add()
                if isinstance(size, int):
                    dim.dim_value = size
                else:
                    dim.dim_param = f"size {size}"
                    self._aliases[self._scope + dim.dim_param] = size
        return proto

    def _hide(self, function: ir.Function) -> None:
        """Forget what nodes read and give whose options come from the callers: who looks at such a
        node may take an option that is not written there for its default.
        """
        for node in function.all_nodes():
            if takes_options(node):
                for value in (*node.inputs, *node.outputs):
                    if value is not None:
                        self._shapes[value] = self._contents[value] = None

    def _walk(self, graph: ir.Graph, version: int) -> None:
        for node in graph:
            inner = list(edit.subgraphs(node))
            for subgraph in inner:
                self._walk(subgraph, version)
            for value in node.outputs:
                self._shapes[value] = self._read(value, alone=bool(inner))
            if not inner and not (self._scope and takes_options(node)):
                self._learn(node, version)

    def _learn(self, node: ir.Node, version: int) -> None:
        """Let the node's own rules say what inference does not know."""
        value = node.outputs[0] if node.outputs else None
        if value is None:
            return
        rules = RESULT_SHAPES.get(node.domain, {})
        if node.op_type in rules:
            self._improve(value, rules[node.op_type](node, version, self))
        content = None if node.domain else CONTENT_OPS.get(node.op_type)
        if content is not None and len(node.outputs) == 1:
            found = content(node, version, self)
            self._contents[value] = found if found is None or _fits(found, value) else None

    def _improve(self, value: ir.Value, better: tuple[Number | None, ...] | None) -> None:
        """Take over sizes that a rule knows; names made up for them mean those from now on."""
        if better is None:
            return
        known = self._shapes.get(value)
        if known is None:
            known = tuple(self._fresh() for _ in better)
        if len(known) != len(better):
            return
        pairs = list(zip(known, better, strict=True))
        sizes = tuple(a if b is None or isinstance(a, int) else b for a, b in pairs)
        for old, new in zip(known, sizes, strict=True):
            name = _name_of(old)
            if name is not None and name.startswith(_MADE_UP) and old != new:
                self._aliases[name] = new
        self._shapes[value] = sizes

    def _read(self, value: ir.Value, *, alone: bool = False) -> Shape | None:
        """What inference says; ``alone``: names from inside a body mean nothing outside."""
        inferred = (self._inferred or {}).get(value)
        if inferred is None or not inferred.tensor_type.HasField("shape"):
            return None
        return tuple(self._number(dim, alone) for dim in inferred.tensor_type.shape.dim)

    def _number(self, dim: onnx.TensorShapeProto.Dimension, alone: bool) -> Number:
        if dim.HasField("dim_value"):
            return dim.dim_value
        name = dim.dim_param
        if _is_nameless(name) or (alone and name.startswith(_MADE_UP)):
            return self._fresh()
        name = self._scope + name
        if name not in self._aliases:
            self._aliases[name] = atom(name)
        return self._aliases[name]

    def _fresh(self) -> Number:
        self._nameless += 1
        return atom(f"?{self._nameless}")


def _snapshot(model: ir.Model) -> list[object]:
    """All that facts depend on; compares by identity, fast where nothing changed."""
    seen: list[object] = []
    for graph in edit.all_graphs(model):
        seen += [(value, value.shape, value.type) for value in graph.inputs]
        seen += [(value, value.const_value) for value in graph.initializers.values()]
        seen += list(graph.outputs)
        for node in graph:
            attributes = tuple(node.attributes.values())
            seen.append((node, node.op_type, node.inputs, node.outputs, attributes))
        seen.append(tuple(graph.opset_imports.items()))
    return seen


def _fits(content: Content, value: ir.Value) -> bool:
    """Whether no known element of what may be a 32-bit tensor went over its range."""
    if isinstance(value.type, ir.TensorType) and value.dtype == ir.DataType.INT64:
        return True
    return all(abs(x) < _INT32_TOP for x in content.reshape(-1) if isinstance(x, int))


def _name_of(number: Number) -> str | None:
    """The atom that a number is, where it is just one."""
    if isinstance(number, Expression) and len(number.terms) == 1:
        atoms, factor = number.terms[0]
        return atoms[0] if factor == 1 and len(atoms) == 1 else None
    return None


def _is_nameless(name: str) -> bool:
    """Some exporters write the same word for every size they do not know."""
    return name.lower() in _NAMELESS or not any(c.isalpha() for c in name)
