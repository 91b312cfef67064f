"""spell-conv1d-as-conv2d."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxopt.graph import Editor, attribute, constant, drop_if_unread, is_op, label, record_origin
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.fuse._convolution import Convolution, read_convolution
from onnxopt_passes.fuse._shape import Layouts

_AXES_AS_INPUT = 13
_SEQUENCE_RANK = 3
_POINTWISE = frozenset(
    """
    Abs Cast Celu Clip Elu Erf Exp Gelu HardSigmoid HardSwish Identity LeakyRelu Mish Neg Relu Selu
    Sigmoid Softplus Softsign Sqrt Swish Tanh ThresholdedRelu
    """.split()  # noqa: SIM905 - readable
)
_PER_CHANNEL = frozenset({"BatchNormalization"})
_POOLS = frozenset({"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"})
_BINARY = frozenset({"Add", "Sub", "Mul", "Div", "Pow"})
_SPATIAL = ("kernel_shape", "strides", "dilations")


@dataclass(frozen=True)
class SpellConv1dAsConv2d(Pass):
    """``Conv(x[N,C,L], W[M,C,k]) = Squeeze(Conv(Unsqueeze(x)[N,C,1,L], W[M,C,1,k]))``.

    ONNX Runtime's CPU provider has its blocked layout, its direct depthwise kernels and its fused
    activations for images only. Whole regions of Convs with the pointwise, pooling, normalizing
    and channel-wise concatenating nodes between them get the axis, so that it is put in and taken
    out once at their borders. A Conv of few outputs stays, which blocks of channels would make many
    of (128 channels to one over 500 places: 25 us, 45 as an image), and so does one of one tap
    alone, where the borders take longer than is won.

    Attributes:
        outputs: A Conv of fewer outputs stays, unless it is depthwise.
    """

    looks_for = frozenset({"Conv"})

    outputs: int = 8

    def rewrite(self, model: ir.Model, context: Context) -> Iterator[Note]:
        """Lift every region that holds a Conv of rank 3."""
        editor, layouts = Editor(model), Layouts(model)
        for root in (model.graph, *(function.graph for function in model.functions.values())):
            version = root.opset_imports.get("", 0)
            if version < _AXES_AS_INPUT:
                heads = [n for n in root if _is_sequence_conv(n)]
                for node in heads:
                    yield Note.refused(node, f"opset {version} is too old; raise-opset first")
                continue
            for graph in (root, *root.subgraphs()):
                convs = {node for node in graph if self._gains(node)}
                for region in _regions(graph, layouts, convs):
                    if _pays(region):
                        yield _lift(editor, region, layouts)

    def _gains(self, node: ir.Node) -> bool:
        """Whether a node is a Conv of a sequence that is faster as one of an image."""
        conv = _sequence_conv(node)
        return conv is not None and (conv.group > 1 or conv.shape[0] >= self.outputs)


def _is_sequence_conv(node: ir.Node) -> bool:
    return _sequence_conv(node) is not None


def _sequence_conv(node: ir.Node) -> Convolution | None:
    """A Conv over sequences whose padding is written down."""
    conv = read_convolution(node) if is_op(node, "Conv") else None
    if not isinstance(conv, Convolution) or len(conv.shape) != _SEQUENCE_RANK:
        return None
    plain = attribute(node, "auto_pad", "NOTSET") in {"NOTSET", "VALID"}
    return conv if plain else None


def _pays(region: list[ir.Node]) -> bool:
    """Whether there is more than a single matrix product in it."""
    convs = [conv for conv in map(_sequence_conv, region) if conv is not None]
    return len(convs) > 1 or any(conv.group > 1 or conv.shape[-1] > 1 for conv in convs)


def _regions(graph: ir.Graph, layouts: Layouts, convs: set[ir.Node]) -> Iterator[list[ir.Node]]:
    """Connected nodes that can all be lifted, one of the Convs among them, each in graph order."""
    liftable = convs | {node for node in graph if _can_lift(node, layouts)}
    seen: set[ir.Node] = set()
    order = {node: place for place, node in enumerate(graph)}
    for head in graph:
        if head in seen or head not in convs:
            continue
        region, pending = {head}, [head]
        while pending:
            for other in _neighbours(pending.pop()):
                if other in liftable and other not in region:
                    region.add(other)
                    pending.append(other)
        seen |= region
        yield _trimmed(sorted(region, key=order.__getitem__))


def _neighbours(node: ir.Node) -> Iterator[ir.Node]:
    for value in node.inputs:
        producer = None if value is None else value.producer()
        if producer is not None and producer.graph is node.graph:
            yield producer
    for out in node.outputs:
        yield from (reader for reader, _ in out.uses() if reader.graph is node.graph)


def _trimmed(region: list[ir.Node]) -> list[ir.Node]:
    """Only what lies before, between or after Convs without forking off: what a Conv reaches.

    A pointwise node that no Conv comes before or after within the region gains nothing.
    """
    inside = set(region)
    forward, backward = set(), set()
    for node in region:
        sources = (v.producer() for v in node.inputs if v is not None)
        if _is_sequence_conv(node) or any(source in forward for source in sources):
            forward.add(node)
    for node in reversed(region):
        readers = (reader for out in node.outputs for reader, _ in out.uses())
        if _is_sequence_conv(node) or any(r in backward for r in readers if r in inside):
            backward.add(node)
    after = {node for node in forward if is_op(node, *_POINTWISE, *_PER_CHANNEL, *_BINARY)}
    return [node for node in region if node in forward and (node in backward or node in after)]


def _can_lift(node: ir.Node, layouts: Layouts) -> bool:
    if any(attr.is_ref() for attr in node.attributes.values()) or not node.outputs:
        return False
    if is_op(node, "Slice"):
        source = node.inputs[0]
        known = source is not None and layouts[source].rank == _SEQUENCE_RANK
        return known and _sliced_axes(node) is not None
    if layouts[node.outputs[0]].rank != _SEQUENCE_RANK:
        return False
    if is_op(node, *_POINTWISE, *_PER_CHANNEL, *_POOLS):
        plain = attribute(node, "auto_pad", "NOTSET") in {"NOTSET", "VALID"}
        single = not any(out.uses() or out.is_graph_output() for out in node.outputs[1:])
        source = node.inputs[0]
        return plain and single and source is not None and layouts[source].rank == _SEQUENCE_RANK
    if is_op(node, "Concat"):
        return attribute(node, "axis", 0) == 1
    return is_op(node, *_BINARY) and all(
        value is not None and (constant(value) is not None or layouts[value].rank == 3)
        for value in node.inputs
    )


def _sliced_axes(node: ir.Node) -> list[int] | None:
    """The axes that a Slice cuts, where they are constant."""
    given = node.inputs[3] if len(node.inputs) > 3 else None
    starts, axes = constant(node.inputs[1]), constant(given)
    if starts is None or (given is not None and axes is None):
        return None
    found = range(starts.size) if axes is None else axes.reshape(-1).tolist()
    return [int(axis) % _SEQUENCE_RANK for axis in found]


def _lift(editor: Editor, region: list[ir.Node], layouts: Layouts) -> Note:
    """Give a region's tensors an axis of size 1 before the last one."""
    inside = set(region)
    lifted: dict[ir.Value, ir.Value] = {}
    exits = [out for node in region for out in node.outputs[:1] if _leaves(out, inside)]
    for node in region:
        for place, value in enumerate(node.inputs):
            if value is not None and _is_data(node, place) and value.producer() not in inside:
                node.replace_input_with(place, _entered(editor, node, value, lifted))
                drop_if_unread(value)
        _widen(editor, node)
        for out in node.outputs[:1]:
            out.shape = _with_axis(out.shape)
    names = [out.name or "" for node in region for out in node.outputs[:1]]
    for value in exits:
        _leave(editor, value, inside)
    for node, name in zip(region, names, strict=True):
        node.outputs[0].name = editor.fresh(f"{name}/image")
    convs = sum(_is_conv(node) for node in region)
    return Note.applied(label(region[0]), f"{convs} Convs of sequences computed as images")


def _is_conv(node: ir.Node) -> bool:
    return is_op(node, "Conv")


def _is_data(node: ir.Node, place: int) -> bool:
    """Whether an input is a tensor that gets the axis; Clip's bounds and weights do not."""
    return place == 0 or is_op(node, *_BINARY, "Concat")


def _entered(
    editor: Editor, node: ir.Node, value: ir.Value, lifted: dict[ir.Value, ir.Value]
) -> ir.Value:
    array = constant(value)
    if array is not None:
        if array.ndim < 2:
            return value
        wide = np.expand_dims(array, array.ndim - 1)
        return editor.constant(node, f"{value.name}/image", wide)
    if value not in lifted:
        axes = editor.constant(node, f"{value.name}/axes", np.array([2], np.int64))
        lifted[value] = editor.insert_before(
            node, "Unsqueeze", [value, axes], f"{value.name}/image", origin=[node]
        )
        lifted[value].type, lifted[value].shape = value.type, _with_axis(value.shape)
    return lifted[value]


def _with_axis(shape: ir.Shape | None) -> ir.Shape | None:
    if shape is None or len(shape) != _SEQUENCE_RANK:
        return None
    return ir.Shape([shape[0], shape[1], 1, shape[2]])


def _widen(editor: Editor, node: ir.Node) -> None:
    """Spell a node's own numbers for two spatial axes, the first of size 1."""
    for name in _SPATIAL:
        numbers = attribute(node, name, ())
        if isinstance(numbers, list | tuple) and numbers:
            wide = [1, *(int(str(number)) for number in numbers)]
            node.attributes[name] = ir.AttrInt64s(name, wide)
    pads = attribute(node, "pads", ())
    if isinstance(pads, list | tuple) and pads:
        before, after = (int(str(number)) for number in pads)
        node.attributes["pads"] = ir.AttrInt64s("pads", [0, before, 0, after])
    if is_op(node, "Slice"):
        _widen_slice(editor, node)
    if _is_conv(node):
        weight = node.inputs[1]
        array = constant(weight)
        if weight is not None and array is not None:
            wide_weight = editor.constant(node, f"{weight.name}/image", np.expand_dims(array, 2))
            node.replace_input_with(1, wide_weight)
            drop_if_unread(weight)


def _widen_slice(editor: Editor, node: ir.Node) -> None:
    axes = [axis + (axis > 1) for axis in _sliced_axes(node) or ()]
    if len(node.inputs) < 4:
        node.resize_inputs(4)
    old = node.inputs[3]
    new = editor.constant(node, f"{node.outputs[0].name}/axes", np.array(axes, np.int64))
    node.replace_input_with(3, new)
    if old is not None:
        drop_if_unread(old)


def _leaves(value: ir.Value, inside: set[ir.Node]) -> bool:
    return value.is_graph_output() or any(node not in inside for node, _ in value.uses())


def _leave(editor: Editor, value: ir.Value, inside: set[ir.Node]) -> None:
    """Give readers outside the tensor without the axis, under its own name."""
    producer, dims = value.producer(), None if value.shape is None else list(value.shape)
    graph = None if producer is None else producer.graph
    if producer is None or graph is None:
        return
    name = value.name or ""
    members = [(node, place) for node, place in value.uses() if node in inside]
    squeeze = ir.Node("", "Squeeze", [None, None], num_outputs=1, name=editor.fresh(f"{name}/flat"))
    record_origin(squeeze, [producer])
    graph.insert_after(producer, squeeze)
    flat = squeeze.outputs[0]
    flat.type = value.type
    flat.shape = None if dims is None else ir.Shape([dims[0], dims[1], dims[3]])
    value.replace_all_uses_with(flat, replace_graph_outputs=True)
    for node, place in members:
        node.replace_input_with(place, value)
    squeeze.replace_input_with(0, value)
    axes = editor.constant(squeeze, f"{name}/axes", np.array([2], np.int64))
    squeeze.replace_input_with(1, axes)
    value.name = None
    flat.name = name
