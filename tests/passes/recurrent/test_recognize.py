"""Cells in random spellings become one operator and compute the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
import rewriting
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_models import Choice, build, feeds

from onnxopt import store
from onnxopt.graph import all_nodes
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.transform import Context, Pass
from onnxopt_passes.recurrent.recognize_gru import RecognizeGru
from onnxopt_passes.recurrent.recognize_lstm import RecognizeLstm
from onnxopt_passes.recurrent.recognize_rnn import RecognizeRnn
from onnxopt_passes.simplify.eliminate_dead_nodes import EliminateDeadNodes
from onnxopt_passes.simplify.fold_constants import FoldConstants
from onnxopt_passes.simplify.infer_shapes import InferShapes

PATIENT = settings(max_examples=150, deadline=None, derandomize=True)
STEPS: dict[str, Pass] = {"LSTM": RecognizeLstm(), "GRU": RecognizeGru(), "RNN": RecognizeRnn()}


@st.composite
def choices(draw: st.DrawFn) -> Choice:
    def one(*options: object) -> object:
        return draw(st.sampled_from(options))

    kind = one("LSTM", "LSTM", "GRU", "RNN")
    form = one("unrolled", "unrolled", "loop", "while", "scan")
    after = kind != "GRU" or one(True, False)
    product = one("fused", "gemm", "concat", "separate", "hoisted", "gemm-chain")
    if kind == "GRU":
        product = one("fused", "gemm", "hoisted") if after else one("separate", "concat")
    if kind == "RNN" and product == "separate":
        product = "concat"
    backward = one("no", "no", "index", "slice")
    pick = one("gather", "slice", "split", "inputs", "negative")
    outputs = st.sets(
        st.sampled_from(["stack", "stack1", "flat", "last", "memory", "middle", "sum", "reversed"]),
        min_size=1,
        max_size=3,
    )
    narrow = product in ("concat", "gemm-chain") or form == "scan"  # ONNX Runtime wants the batch
    return Choice(
        kind=kind,
        order=tuple(draw(st.permutations(range(4)))),
        product=product,
        cut=one("split", "sizes", "slice"),
        squash=one("each", "joined"),
        spelling=draw(st.integers(0, 4)),
        after=after,
        hard=one(False, False, True),
        bias=one(True, False),
        coupled=one(False, False, True),
        form=form,
        pick=pick,
        axis=one(0, 1),
        backward=backward,
        outputs=tuple(sorted(draw(outputs) | ({"last"} if one(True, False) else {"stack"}))),
        start=one("shape", "input", "shape" if narrow else "constant"),
        opset=one(11, 13, 17, 18),
        layers=1 if product == "hoisted" or form != "unrolled" else one(1, 2),
        folded=one(False, True),
        seed=draw(st.integers(0, 1000)),
    )


@given(choices())
@PATIENT
def test_random_cells(choice: Choice) -> None:
    before = store.load(build(choice))
    fold = (FoldConstants(),) if choice.folded else ()
    for step in (EliminateDeadNodes(), *fold, InferShapes()):
        list(step.rewrite(before, Context()))  # as in the recipe
    after, notes = rewriting.apply(STEPS[choice.kind], before)

    assert rewriting.hits(notes) == choice.layers, notes
    ops = Counter(node.op_type for node in all_nodes(after))
    assert ops[choice.kind] == choice.layers
    assert not {"Loop", "Scan", "Sigmoid", "HardSigmoid", "Tanh"} & set(ops)
    check(before, after, choice)
    assert not any(note.kind == "applied" for note in rewriting.apply(STEPS[choice.kind], after)[1])


def check(before, after, choice: Choice) -> None:
    for time, batch in ((5, 2), (3, 1)):
        arrays = feeds(choice, time=time, batch=batch)
        expected, found = run(before, arrays), run(after, arrays)
        assert list(expected) == list(found)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


def run(model, arrays):
    with open_session(model, SessionConfig(optimization="off", threads=1)) as session:
        names = {spec.name for spec in session.inputs}
        return session.run({name: array for name, array in arrays.items() if name in names})
