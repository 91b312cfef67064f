"""Where folded weights go: types, functions, provenance, notes."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import rewriting

from onnxopt import store
from onnxopt.graph import PROVENANCE_KEY
from onnxopt_passes.fuse.fuse_conv_affine import FuseConvAffine
from onnxopt_passes.fuse.fuse_conv_bn import FuseConvBn


def scaled_conv(dtype: type[np.generic], weight: float, scale: float) -> ir.Model:
    """``Mul(Conv(x, weight), scale)`` in a given type."""
    element = ir.DataType.from_numpy(np.dtype(dtype))
    x = ir.val("x", element, [1, 1, 2, 2])
    w = ir.val("w", const_value=ir.tensor(np.full((1, 1, 1, 1), weight, dtype), name="w"))
    s = ir.val("s", const_value=ir.tensor(np.full((), scale, dtype), name="s"))
    conv = ir.node("Conv", [x, w], num_outputs=1, name="conv")
    mul = ir.node("Mul", [conv.outputs[0], s], num_outputs=1, name="mul")
    conv.outputs[0].name, mul.outputs[0].name = "c", "y"
    mul.outputs[0].type = ir.TensorType(element)
    graph = ir.Graph(
        [x], mul.outputs, nodes=[conv, mul], initializers=[w, s], opset_imports={"": 22}, name="g"
    )
    return ir.Model(graph, ir_version=10)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_weights_keep_their_type(dtype: type[np.generic]) -> None:
    result, notes = rewriting.apply(FuseConvAffine(), scaled_conv(dtype, 3.0, 0.5))

    assert rewriting.hits(notes) == 1
    tensor = result.graph.initializers["w"].const_value
    assert tensor is not None
    assert tensor.numpy().dtype == dtype
    assert tensor.numpy().item() == 1.5


@pytest.mark.parametrize(
    ("weight", "scale", "reason"),
    [(6e4, 4.0, "not finite in float16"), (1e-3, 1e-4, "underflows float16")],
)
def test_half_precision_that_cannot_hold_the_result_is_refused(
    weight: float, scale: float, reason: str
) -> None:
    result, notes = rewriting.apply(FuseConvAffine(), scaled_conv(np.float16, weight, scale))

    assert [note.kind for note in notes] == ["refused"]
    assert reason in notes[0].reason
    assert [node.op_type for node in result.graph] == ["Conv", "Mul"]


def test_a_dead_channel_in_single_precision_is_no_obstacle() -> None:
    """Weight decay leaves channels of denormal size; losing them changes nothing."""
    _, notes = rewriting.apply(FuseConvAffine(), scaled_conv(np.float32, 1e-30, 1e-15))

    assert rewriting.hits(notes) == 1


def test_the_convolution_remembers_what_went_into_it() -> None:
    result, notes = rewriting.apply(FuseConvAffine(), scaled_conv(np.float32, 3.0, 0.5))

    (conv,) = result.graph
    assert conv.name == "conv"
    assert conv.metadata_props[PROVENANCE_KEY] == "conv,mul"
    assert notes[0].node == "conv"
    assert "Mul mul" in notes[0].reason


def test_weights_in_a_function_body_stay_there() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[1,2,4,4] x) => (float[1,2,4,4] y) { y = local.f(x) }
        <domain: "local", opset_import: ["" : 17]>
        f (a) => (b)
        {
          w = Constant<value: tensor = float[2,2,1,1] {1, 2, 3, 4}>()
          t = Constant<value: tensor = float[2,1,1] {5, 6}>()
          c = Conv(a, w)
          b = Add(c, t)
        }"""
    model = store.from_text(text)
    result, notes = rewriting.apply(FuseConvAffine(), model)

    assert rewriting.hits(notes) == 1
    (function,) = result.functions.values()
    assert [node.op_type for node in function] == ["Constant", "Constant", "Conv"]
    feeds = {"x": np.ones((1, 2, 4, 4), np.float32)}
    rewriting.assert_same_names_mean_same_tensors(model, result, feeds)


def test_attributes_that_are_function_parameters_are_refused() -> None:
    """The padding is not known inside the body, so a shift before the Conv may not move."""
    text = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
        g (float[1,1,4,4] x) => (float[1,1,4,4] y) { y = local.f<p: ints = [1, 1, 1, 1]>(x) }
        <domain: "local", opset_import: ["" : 17]>
        f <p>(a) => (b)
        {
          w = Constant<value: tensor = float[1,1,3,3] {1, 2, 3, 4, 5, 6, 7, 8, 9}>()
          t = Constant<value: tensor = float {5}>()
          s = Add(a, t)
          b = Conv<pads: ints = @p>(s, w)
        }"""
    _, notes = rewriting.apply(FuseConvAffine(), store.from_text(text))

    assert [note.kind for note in notes] == ["refused"]
    assert "parameters of the function" in notes[0].reason


def test_an_outer_weight_that_only_a_loop_body_reads_is_changed_in_place() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,1,2,2] x) => (float[1,1,2,2] y)
        <float[1,1,1,1] w = {2}, float half = {0.5}, int64 three = {3}, bool go = {1}>
        {
          y = Loop(three, go, x) <body = b (int64 i, bool k, float[1,1,2,2] h)
            => (bool m, float[1,1,2,2] o) {
            m = Identity(k)
            c = Conv(h, w)
            o = Mul(c, half)
          }>
        }"""
    model = store.from_text(text)
    result, notes = rewriting.apply(FuseConvAffine(), model)

    assert rewriting.hits(notes) == 1
    assert "half" not in result.graph.initializers
    feeds = {"x": np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)}
    rewriting.assert_same_names_mean_same_tensors(model, result, feeds)


def test_ranks_come_from_the_nodes_where_nothing_is_declared() -> None:
    """A constant of shape [1,1,1,1] before a Conv whose input is an undeclared Relu of a Conv."""
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,2,4,4] x) => (float[1,2,4,4] y, float[1,2,4,4] r)
        <float[2,2,1,1] w = {1, 2, 3, 4}, float[2,2,1,1] v = {1, 2, 3, 4},
         float[1,1,1,1] s = {2}, float[2,1,1] t = {1, 2}>
        {
          c = Conv(x, w)
          r = Relu(c)
          m = Mul(r, s)
          a = Add(m, t)
          y = Conv(a, v)
        }"""
    _, notes = rewriting.apply(FuseConvAffine(), store.from_text(text))

    assert rewriting.hits(notes) == 1


def test_two_normalizations_in_a_row_both_go() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
        g (float[1,2,4,4] x) => (float[1,2,4,4] y)
        <float[2,2,1,1] w = {1, 2, 3, 4},
         float[2] s = {1, 2}, float[2] o = {3, 4}, float[2] u = {5, 6}>
        {
          c = Conv(x, w)
          n = BatchNormalization(c, s, o, o, u)
          y = BatchNormalization(n, s, o, o, u)
        }"""
    model = store.from_text(text)
    result, notes = rewriting.apply(FuseConvBn(), model)

    assert rewriting.hits(notes) == 2
    assert [node.op_type for node in result.graph] == ["Conv"]
    feeds = {"x": np.ones((1, 2, 4, 4), np.float32)}
    rewriting.assert_same_names_mean_same_tensors(model, result, feeds)
