"""Loops as exporters write them: what collects the states, what counts, what stops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import rewriting
from looping import START, WEIGHTS, run

from onnxopt import store
from onnxopt.graph import all_nodes
from onnxopt_passes.recurrent.recognize_rnn import RecognizeRnn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3, 2)).astype(np.float32)

CELL = """
    a = MatMul(xk, w)
    s = MatMul(hi, r)
    t = Add(a, s)
    hk = Tanh(t)
"""


def model(loop: str, outputs: str, *, inputs: str = "float[t,b,2] x", more: str = "") -> str:
    return f"""<ir_version: 8, opset_import: ["" : 17]>
g ({inputs}) => ({outputs}) <{WEIGHTS}{more}> {{ {START} {loop} }}"""


def rewrite(text: str):
    before = store.from_text(text)
    after, notes = rewriting.apply(RecognizeRnn(), before)
    return before, after, notes


def assert_replaced(text: str, count: int = 1, **arrays) -> None:
    before, after, notes = rewrite(text)
    ops = Counter(node.op_type for node in all_nodes(after))
    assert ops["RNN"] == count, notes
    assert not ops.keys() & {"Loop", "Tanh", "SequenceInsert", "ConcatFromSequence"}
    assert [out.name for out in after.graph.outputs] == [out.name for out in before.graph.outputs]
    for x in (X, X[:3, :1]):
        expected, found = run(before, {"x": x, **arrays}), run(after, {"x": x, **arrays})
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def assert_refused(text: str, reason: str) -> None:
    _, after, notes = rewrite(text)
    assert any(node.op_type == "Loop" for node in all_nodes(after))
    assert any(reason in note.reason for note in notes), notes


def plain(count: str = "count", index: str = "i", position: str = "", extra: str = "") -> str:
    return f"""
  last, y = Loop ({count}, yes, start) <body = inner
    (int64 i, bool on, float[b,2] hi) => (bool go, float[b,2] hk, float[b,2] out) {{
    {position}
    xk = Gather <axis = 0> (x, {index})
    {CELL} {extra}
    go = Identity(on)
    out = Identity(hk)
  }}>"""


def test_a_counted_loop() -> None:
    assert_replaced(model(plain(), "float[t,b,2] y, float[b,2] last"))


def test_fewer_iterations_than_positions() -> None:
    assert_replaced(
        model(plain("n"), "float[n,b,2] y", inputs="float[t,b,2] x, int64 n"),
        n=np.array(2, np.int64),
    )


def test_from_the_last_position_to_the_first() -> None:
    position = "m = Sub(count, one0) k = Sub(m, i)"
    text = model(plain(index="k", position=position), "float[t,b,2] y, float[b,2] last")
    assert_replaced(text.replace("bool yes", "int64 one0 = {1}, bool yes"))


def test_states_collected_in_a_sequence() -> None:
    loop = f"""
  empty = SequenceEmpty <dtype = 1> ()
  all, last = Loop (count, yes, empty, start) <body = inner
    (int64 i, bool on, seq(float[b,2]) si, float[b,2] hi) =>
    (bool go, seq(float[b,2]) so, float[b,2] hk) {{
    xk = Gather <axis = 0> (x, i)
    {CELL}
    so = SequenceInsert(si, hk)
    go = Identity(on)
  }}>
  y = ConcatFromSequence <axis = 1, new_axis = 1> (all)"""
    assert_replaced(model(loop, "float[b,t,2] y, float[b,2] last"))


def test_states_collected_by_concatenation() -> None:
    loop = f"""
  none = Expand(nothing, bounds)
  all, last = Loop (count, yes, none, start) <body = inner
    (int64 i, bool on, float[n,b,2] si, float[b,2] hi) =>
    (bool go, float[m,b,2] so, float[b,2] hk) {{
    xk = Gather <axis = 0> (x, i)
    {CELL}
    new = Unsqueeze(hk, front)
    so = Concat <axis = 0> (si, new)
    go = Identity(on)
  }}>
  y = Neg(all)"""
    bounds = "bounds = Concat <axis = 0> (front, batch, two)"
    assert_replaced(model(bounds + loop, "float[t,b,2] y"))


def test_positions_of_a_split_sequence() -> None:
    loop = f"""
  parts = SplitToSequence <axis = 0, keepdims = 0> (x)
  length = SequenceLength(parts)
  last, y = Loop (length, yes, start) <body = inner
    (int64 i, bool on, float[b,2] hi) => (bool go, float[b,2] hk, float[b,2] out) {{
    xk = SequenceAt(parts, i)
    {CELL}
    go = Identity(on)
    out = Identity(hk)
  }}>"""
    assert_replaced(model(loop, "float[t,b,2] y, float[b,2] last"))


def test_two_layers_in_one_body() -> None:
    loop = """
  last, last2, y = Loop (count, yes, start, start) <body = inner
    (int64 i, bool on, float[b,2] hi, float[b,2] gi) =>
    (bool go, float[b,2] hk, float[b,2] gk, float[b,2] out) {
    xk = Gather <axis = 0> (x, i)
    a = MatMul(xk, w)
    s = MatMul(hi, r)
    t = Add(a, s)
    hk = Tanh(t)
    a2 = MatMul(hk, r)
    s2 = MatMul(gi, w)
    t2 = Add(a2, s2)
    gk = Tanh(t2)
    go = Identity(on)
    out = Identity(gk)
  }>"""
    assert_replaced(model(loop, "float[t,b,2] y, float[b,2] last, float[b,2] last2"), 2)


def test_an_operator_of_one_position_in_the_body() -> None:
    loop = """
  last, y = Loop (count, yes, start) <body = inner
    (int64 i, bool on, float[b,2] hi) => (bool go, float[b,2] hk, float[b,2] out) {
    xk = Gather <axis = 0> (x, i)
    xs = Unsqueeze(xk, front)
    hs = Unsqueeze(hi, front)
    all, hn = RNN <hidden_size = 2> (xs, w3, r3, b3, , hs)
    hk = Squeeze(hn, front)
    go = Identity(on)
    out = Identity(hk)
  }>"""
    more = """, float[1,2,2] w3 = {0.5, -1, 0.3, 0.2}, float[1,2,2] r3 = {0.1, 0.4, -0.3, 0.9},
  float[1,4] b3 = {0.1, 0.2, 0.3, 0.4}"""
    assert_replaced(model(loop, "float[t,b,2] y, float[b,2] last", more=more))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            plain(extra="more = Relu(hk)")
            .replace("(on)", "(yes)")
            .replace("= Identity(hk)", "= Neg(more)"),
            "more than a state",
        ),
        (plain(index="zero"), "not its index"),
        (plain(index="k", position="k = Add(i, one0)"), "neither from the first on"),
        (plain("n", index="k", position="k = Sub(n, i)"), "neither from the first on"),
        (
            plain(
                position="q = ReduceMax <keepdims = 0> (hi)", extra="z = Less(q, nothing)"
            ).replace("Identity(on)", "Identity(z)"),
            "condition",
        ),
    ],
)
def test_loops_that_do_more(text: str, reason: str) -> None:
    whole = model(text, "float[t,b,2] y", inputs="float[t,b,2] x, int64 n")
    assert_refused(whole.replace("bool yes", "int64 one0 = {1}, bool yes"), reason)
