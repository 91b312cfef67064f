from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.comparing import Filed, check_equivalence, workable_inputs
from onnxopt.errors import DataError
from onnxopt.exactness import Exactness

Build = Callable[..., ir.Model]

CRASHES = """g (float[N, T] x) => (float[A, B, C] y) <int64[1] zero = {{0}}, int64[1] one = {{1}},
    int64[1] two = {{2}}, int64[1] three = {{3}}, int64[1] first = {{{first}}},
    int64[1] last = {{99999999}}> {{
    state = Slice(x, zero, three, one) rest = Slice(x, first, last, one)
    steps = Unsqueeze(rest, two)
    end, y = Scan<num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
        body = b (float[N, K] s, float[N, M] step) => (float[N, K] t, float[N, J] found)
        {{ found = Concat<axis = 1>(s, step) t = Identity(s) }}>(state, steps) }}"""
"""ONNX Runtime divides by zero where a Scan with this axis has no steps: here, few columns."""


def shapes(model: ir.Model, **dims: int) -> set[tuple[int, ...]]:
    return {sample.feeds["x"].shape for sample in workable_inputs(model, dims=dims)}


def test_sizes_that_the_model_takes(build: Build) -> None:
    model = build("""g (float[N, T] x) => (float[7, 11] y) <int64[2] s = {7, 11}> {
        y = Reshape(x, s) }""")
    with pytest.raises(DataError, match=r"rejects all .* made-up inputs: .*set sizes with --dim"):
        workable_inputs(model)
    assert shapes(model, N=7, T=11) == {(7, 11)}
    assert shapes(build("g (float[N, T] x) => (float[N, T] y) { y = Relu(x) }")) == {
        (1, 16),
        (2, 24),
    }


def test_fallbacks(build: Build) -> None:
    model = build("""g (float[N, 3, H, W] x) => (float[1, 3, A, B] y) <int64[1] s = {1}> {
        y = MaxPool<kernel_shape = [200, 200], strides = [9, 9]>(x) }""")
    assert {shape[0] for shape in shapes(model)} == {1, 2}
    assert {shape[2:] for shape in shapes(model)} == {(224, 224), (320, 320)}


def test_one_dimension_at_a_time_where_two_together_fail(build: Build) -> None:
    model = build(
        """g (float[N, 3, H, W] x) => (float[A, B] y) <int64[4] s = {0, 0, 64, -1}> {
        n = Shape<start = 3, end = 4>(x) c = Concat<axis = 0>(s0, n) r = Reshape(x, c)
        y = Flatten(r) }""".replace("s = {0, 0, 64, -1}", "s0 = {0, 0, 64}").replace("[4]", "[3]")
    )
    found = shapes(model)
    assert {shape[0] for shape in found} == {1, 2}
    assert {shape[2] for shape in found} == {64}
    assert len({shape[3] for shape in found}) == 2


def test_a_size_that_takes_the_process_down_is_rejected(build: Build, tmp_path: Path) -> None:
    text = CRASHES.format(first=20)
    model = build(text)
    assert all(shape[1] > 20 for shape in shapes(model))
    file = tmp_path / "model.onnx"
    store.save(model, file)
    assert len(workable_inputs(Filed(model, file))) == 4
    found = check_equivalence(model, build(text), None, Exactness.BITWISE)
    assert found.agrees, str(found)
    assert "0" in found.rejected


def test_where_every_size_takes_it_down(build: Build) -> None:
    model = build(CRASHES.format(first=100_000))
    with pytest.raises(DataError, match=r"made-up inputs: it ends the process with SIGFPE"):
        workable_inputs(model)
