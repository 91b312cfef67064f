"""A model that is run stretch by stretch gives what it gives as a whole."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.calibrate import tensor_sizes
from onnxopt.data import in_memory
from onnxopt.runtime import SessionConfig, open_session
from onnxopt_passes._walk import Walk

HEAD = '<ir_version: 9, opset_import: ["" : 17]> g '


@pytest.mark.parametrize("lengths", [(6, 6), (6, 9)])
def test_sizes_that_are_computed_may_cross_the_end_of_a_stretch(lengths: tuple[int, ...]) -> None:
    text = (
        "(float[1,1,h,w] x) => (float[1,1,k,l] y) { s = Shape(x) two = Constant<value_int=2>()"
        " sizes = Mul(s, two) one = Constant<value_ints=[1,1,2,2]>() wide = Div(sizes, one)"
        ' a = Relu(x) y = Resize<mode="nearest">(a, , , wide) }'
    )
    model = store.from_text(HEAD + text)
    random = np.random.default_rng(0)
    feeds = [{"x": random.normal(size=(1, 1, n, n)).astype(np.float32)} for n in lengths]
    config = SessionConfig(threads=1)
    walk = Walk(model, list(in_memory(feeds)), config)
    walk.until(["a"])
    found = walk.until(["y"])
    with open_session(model, config) as session:
        for sample, made in zip(feeds, found, strict=True):
            np.testing.assert_array_equal(made["y"], session.run(sample)["y"])


def test_sequences_have_no_size() -> None:
    text = (
        "(float[2,3] x) => (float[2,3] y) { s = SequenceConstruct(x, x) i = Constant<value_int=1>()"
        " e = SequenceAt(s, i) y = Relu(e) }"
    )
    model = store.from_text(HEAD + text)
    sequence = model.graph.node(0).outputs[0]
    sequence.type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    feeds = {"x": np.ones((2, 3), np.float32)}
    assert tensor_sizes(model, ["s", "e"], in_memory([feeds])) == {"e": 6}
