"""Loops that leave out steps by a mask, as Keras writes them."""

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
X = RNG.normal(size=(6, 4, 2)).astype(np.float32)
MASKS = {
    "none": np.zeros((6, 4, 1), bool),
    "all": np.ones((6, 4, 1), bool),
    "some": np.array([[0, 1, 1, 0], [1, 1, 0, 0], [0, 1, 0, 0]] * 2, bool)[..., None],
}
STEP = """
    xk = Gather <axis = 0> (x, i)
    mk = Gather <axis = 0> (mask, i)
    a = MatMul(xk, w)
    s = MatMul(hi, r)
    t = Add(a, s)
    hk = Tanh(t)
    go = Identity(on)
"""
CHOSEN = "hm = Where(mk, hk, hi) out = Where(mk, hk, nothing)"
MULTIPLIED = """
    nk = Not(mk)
    m = Cast <to = 1> (mk)
    n = Cast <to = 1> (nk)
    p = Mul(m, hk)
    q = Mul(hi, n)
    hm = Add(p, q)
    z = Mul(n, start)
    out = Add(z, p)
"""
COMPLEMENT = """
    m = Cast <to = 1> (mk)
    n = Sub(unit, m)
    p = Mul(m, hk)
    q = Mul(hi, n)
    hm = Add(p, q)
    out = Mul(hk, m)
"""
TURNED = "nk = Not(mk) hm = Where(nk, hi, hk) out = Where(nk, start, hk)"
HIDDEN = "hm = Where(mk, hk, hi) out = Identity(hm)"


def model(body: str, *, step: str = STEP, opset: int = 17) -> str:
    return f"""<ir_version: 8, opset_import: ["" : {opset}]>
g (float[t,b,2] x, bool[t,b,1] mask) => (float[b,2] last, float[t,b,2] y) <{WEIGHTS}> {{ {START}
  last, y = Loop (count, yes, start) <body = inner
    (int64 i, bool on, float[b,2] hi) => (bool go, float[b,2] hm, float[b,2] out) {{
    {step} {body} }}>
}}"""


REPEATED = f"""<ir_version: 8, opset_import: ["" : 17]>
g (float[t,b,2] x, bool[t,b,1] mask) => (float[b,2] last, float[t,b,2] y) <{WEIGHTS}> {{ {START}
  before, last, y = Loop (count, yes, start, start) <body = inner
    (int64 i, bool on, float[b,2] pi, float[b,2] hi) =>
    (bool go, float[b,2] pm, float[b,2] hm, float[b,2] out) {{
    {STEP} hm = Where(mk, hk, hi) pm = Where(mk, hk, pi) out = Identity(pm) }}>
}}"""

BACKWARDS = (
    model(CHOSEN)
    .replace(
        "xk = Gather <axis = 0> (x, i)",
        """
    m0 = Sub(count, unit0)
    k = Sub(m0, i)
    xk = Gather <axis = 0> (x, k)""",
    )
    .replace("(mask, i)", "(mask, k)")
)
BACKWARDS = BACKWARDS.replace("bool yes", "int64 unit0 = {1}, bool yes")


@pytest.mark.parametrize("mask", sorted(MASKS))
@pytest.mark.parametrize(
    "text",
    [*map(model, (CHOSEN, MULTIPLIED, COMPLEMENT, TURNED, HIDDEN)), REPEATED, BACKWARDS],
    ids=["chosen", "multiplied", "complement", "turned", "hidden", "repeated", "backwards"],
)
def test_steps_are_left_out(text: str, mask: str) -> None:
    before = store.from_text(text)
    after, notes = rewriting.apply(RecognizeRnn(), before)
    ops = Counter(node.op_type for node in all_nodes(after))
    assert (ops["RNN"], ops["Loop"]) == (1, 0), notes
    for x, steps in ((X, MASKS[mask]), (X[:2, :1], MASKS[mask][:2, :1])):
        feeds = {"x": x, "mask": steps}
        expected, found = run(before, feeds), run(after, feeds)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


RAW = "hm = Where(mk, hk, hi) out = Identity(hk)"
ODD_START = model(CHOSEN).replace("float nothing = {0}", "float nothing = {1}")
OTHER = STEP + "ok = Gather <axis = 0> (mask, zero)"
NUMBERS = """
    n = Sub(unit, mk)
    p = Mul(mk, hk)
    q = Mul(hi, n)
    hm = Add(p, q)
    out = Mul(hk, mk)
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (model(RAW), "more than a state of its cell under its mask"),
        (ODD_START, "not zero"),
        (model(CHOSEN, step=OTHER.replace("(mask, i)", "(mask, zero)")), "is not its index"),
        (
            model("hm = Where(mk, hk, hi) out = Where(ok, hk, nothing)", step=OTHER),
            "under its mask",
        ),
        (model(HIDDEN, opset=10), "needs opset 11"),
    ],
    ids=["raw", "start", "fixed", "other", "opset"],
)
def test_refused(text: str, reason: str) -> None:
    after, notes = rewriting.apply(RecognizeRnn(), store.from_text(text))
    assert any(node.op_type == "Loop" for node in all_nodes(after))
    assert any(reason in note.reason for note in notes), notes


def test_a_mask_of_numbers_is_none() -> None:
    text = model(NUMBERS).replace("bool[t,b,1] mask", "float[t,b,1] mask")
    after, _ = rewriting.apply(RecognizeRnn(), store.from_text(text))
    assert any(node.op_type == "Loop" for node in all_nodes(after))
