"""quantize-weights: kernels, errors of each form, sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kernels import kernels, relative_error, with_weights
from rewriting import apply, hits

from onnxopt import store
from onnxopt_passes.quantize._blocks import in_blocks
from onnxopt_passes.quantize.quantize_weights import QuantizeWeights

LAYER = "(float[3,5,100] x) => (float[3,5,96] y) { m = MatMul(x, w) y = Add(m, b) }"
TABLE = "(int64[5] i) => (float[5,128] y) { y = Gather(w, i) }"

# Relative error of the weights, to 8 %: those of normal numbers, by bits, symmetry and block.
ERRORS = {
    (4, True, 32): 0.085,
    (4, True, 128): 0.103,
    (4, False, 32): 0.078,
    (4, False, 128): 0.104,
    (8, True, 32): 0.0052,
    (8, True, 128): 0.0064,
    (8, False, 32): 0.0046,
    (8, False, 128): 0.0061,
}


@pytest.mark.parametrize(("form", "error"), ERRORS.items())
def test_the_error_of_each_form(form: tuple[int, bool, int], error: float) -> None:
    bits, symmetric, block = form
    matrix = np.random.default_rng(0).standard_normal((64, 512))
    found = in_blocks(matrix, block, bits, symmetric=symmetric).numbers() - matrix
    relative = np.linalg.norm(found) / np.linalg.norm(matrix)
    assert relative == pytest.approx(error, rel=0.08)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("level", [0, 1, 4])
def test_the_kernel_computes_what_the_codes_say(
    bits: int, symmetric: bool, level: int, tmp_path: Path
) -> None:
    before = with_weights(LAYER, w=(100, 96), b=(96,))
    options = {"bits": bits, "symmetric": symmetric, "accuracy_level": level, "block_size": 32}
    after, notes = apply(QuantizeWeights.from_options(options), before)
    assert hits(notes) == 2  # the layer, and what was saved
    assert kernels(after, tmp_path) == {"com.microsoft:MatMulNBits": 1}
    assert relative_error(before, after) < (0.1 if bits == 4 else 0.009)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_table_is_fetched_from_codes(bits: int, symmetric: bool, tmp_path: Path) -> None:
    before = with_weights(TABLE, w=(200, 128))
    options = {"bits": bits, "symmetric": symmetric, "block_size": 32}
    after, _ = apply(QuantizeWeights.from_options(options), before)
    assert kernels(after, tmp_path) == {"com.microsoft:GatherBlockQuantized": 1}
    assert 0 < relative_error(before, after) < (0.1 if bits == 4 else 0.006)


@pytest.mark.parametrize(("bits", "share"), [(8, 0.2666), (4, 0.1416)])
def test_the_last_note_says_what_was_saved(bits: int, share: float) -> None:
    before = with_weights("(float[1,512] x) => (float[1,64] y) { y = MatMul(x, w) }", w=(512, 64))
    _, notes = apply(QuantizeWeights.from_options({"bits": bits, "block_size": 64}), before)
    figures = notes[-1].figures
    assert figures["before"] == 512 * 64 * 4
    assert float(figures["after"]) / float(figures["before"]) == pytest.approx(share, abs=1e-3)


def test_one_weight_read_twice_is_coded_once() -> None:
    text = """(float[5,64] x, float[5,64] z) => (float[5,64] a, float[5,64] b) {
        a = MatMul(x, w) b = MatMul(z, w) }"""
    before = with_weights(text, w=(64, 64))
    after, _ = apply(QuantizeWeights(), before)
    assert sorted(after.graph.initializers) == ["w/q", "w/scale"]
    assert relative_error(before, after) < 0.01


def test_layers_with_a_product_that_is_read_keep_it() -> None:
    text = """(float[5,64] x) => (float[5,64] y, float[5,64] m) {
        m = MatMul(x, w) y = Add(m, b) }"""
    before = with_weights(text, w=(64, 64), b=(64,))
    after, _ = apply(QuantizeWeights(), before)
    assert [value.name for value in after.graph.outputs] == ["y", "m"]
    assert relative_error(before, after) < 0.01


def test_running_it_again_changes_nothing() -> None:
    once, _ = apply(QuantizeWeights(), with_weights(LAYER, w=(100, 96), b=(96,)))
    twice, notes = apply(QuantizeWeights(), once)
    assert hits(notes) == 0
    assert "already quantized: weight-only" in notes[0].reason
    assert store.same_graph(once, twice) is None
