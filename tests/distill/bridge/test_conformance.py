"""Every op that the bridge knows computes what ONNX Runtime computes, on onnx's own models."""

from __future__ import annotations

import corpus
import pytest

pytest.importorskip("torch")

import bridging

SAMPLED = 10
LEAST_CASES, LEAST_OPS = 1000, 135
"""With ``--full``: how many cases agree, of how many ops."""


def test_the_corpus_agrees_with_onnx_runtime(request: pytest.FixtureRequest) -> None:
    is_full = request.config.getoption("--full", default=False)
    every = 1 if is_full else SAMPLED
    tally = bridging.Tally()
    for case in corpus.cases(every):
        bridging.judge(case, tally)
    assert tally.wrong == []
    assert len(tally.agreed) >= LEAST_CASES // every
    if is_full:
        assert len(tally.ops) >= LEAST_OPS
