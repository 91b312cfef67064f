"""Ranges that follow from the operand hold every value, and not much more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt import store
from onnxopt.data import in_memory
from onnxopt.runtime import open_session
from onnxopt_passes.quantize._reach import reach

BODIES = [
    "y = HardSwish(x)",
    "y = HardSigmoid<alpha = 0.1, beta = 0.6>(x)",
    "y = Sigmoid(x)",
    "y = LeakyRelu<alpha = 0.2>(x)",
    "y = Mul(x, k)",
    "y = Div(x, k)",
    "y = Add(k, x)",
    "y = Sub(x, k)",
]
ENDS = st.tuples(st.floats(-20, 0), st.floats(0, 20))


@pytest.mark.parametrize("body", BODIES)
@settings(max_examples=20, deadline=None)
@given(ends=ENDS)
def test_every_value_is_in_reach(body: str, ends: tuple[float, float]) -> None:
    text = '<ir_version: 8, opset_import: ["" : 17]> g (float[N] x) => (float[N] y)'
    model = store.from_text(f"{text} <float k = {{3}}> {{ {body} }}")
    values = np.linspace(*ends, 201).astype(np.float32)
    (sample,) = in_memory([{"x": values}])
    with open_session(model) as session:
        y = session.run(sample.feeds)["y"]
    found = reach(next(iter(model.graph)), ends)
    margin = 1e-5 * (1 + abs(y).max())
    assert found.low - margin <= y.min()
    assert y.max() <= found.high + margin
    if "HardSigmoid" not in body:  # whose codes span [0, 1] in any case
        assert found.high <= max(y.max(), 0) + margin
        assert found.low >= min(y.min(), 0) - 0.01
