"""Block boundaries, and which of them a student can be compared at; no torch needed."""

from __future__ import annotations

import classroom
import numpy as np
import pytest

from onnxopt import store
from onnxopt.comparing.kept import Kept
from onnxopt.comparing.scaling import ChannelScale, record
from onnxopt.distill.cuts import cuts
from onnxopt.distill.hints import Hint, choose
from onnxopt.errors import UsageError


def test_blocks_end_where_one_tensor_is_left() -> None:
    found = {cut.name: cut.depth for cut in cuts(classroom.teacher())}
    assert found["block1"] == 0.25
    assert found["flat"] == 0.75
    assert not {"r2", "c2", "c3", "c1"} & found.keys()


def test_a_mask_for_every_layer_leaves_sums_as_boundaries() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[N,2] x, float[N,2] mask) => (float[N,2] y) <float[2,2] w = {1,0,0,1}> {
      a = MatMul(x, w)  a1 = Mul(a, mask)  h1 = Add(a1, x)
      b = MatMul(h1, w) b1 = Mul(b, mask)  h2 = Add(b1, h1)
      c = MatMul(h2, w) c1 = Mul(c, mask)  y = Add(c1, h2)
    }"""
    assert [cut.name for cut in cuts(store.from_text(text))] == ["h1", "h2", "y"]


def test_hints_are_what_both_have() -> None:
    teacher = classroom.teacher()
    student = teacher.clone()
    assert [hint.name for hint in choose(teacher, student, "auto")] == ["block1", "flat"]
    assert choose(teacher, student, "none") == ()
    next(v for n in student.graph for v in n.outputs if v.name == "block1").name = "other"
    assert [hint.name for hint in choose(teacher, student, "auto")] == ["flat"]
    assert [hint.name for hint in choose(teacher, student, ("c2",))] == ["c2"]
    with pytest.raises(UsageError, match="no tensor 'block1'"):
        choose(teacher, student, ("block1",))


def test_scales_are_found_and_undone() -> None:
    teacher = classroom.teacher()
    student = teacher.clone()
    record(student, {"block1": ChannelScale(1, np.full(8, 2.0))})
    (first, _) = choose(teacher, student, "auto")
    value = np.ones((1, 8, 2, 2), np.float32)
    np.testing.assert_array_equal(first.target(value), value / 2)


def test_kept_channels_are_picked() -> None:
    hint = Hint("h", (Kept(1, 4, np.array([0, 3])),))
    value = np.arange(8, dtype=np.float32).reshape(1, 4, 2)
    np.testing.assert_array_equal(hint.target(value), value[:, [0, 3]])
