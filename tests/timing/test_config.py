"""How long to measure where nobody says it."""

from __future__ import annotations

import pytest

from onnxopt.runtime import SessionConfig
from onnxopt.timing import BenchmarkConfig


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_loads_each_model_once(provider: str) -> None:
    session = SessionConfig(provider, threads=2)
    found = BenchmarkConfig.usual(session, seed=3)
    assert (found.session, found.seed) == (session, 3)
    assert (found.rounds, found.reload, found.renew) == (7, False, 0)


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
def test_elsewhere_every_turn_loads_anew(provider: str) -> None:
    session = SessionConfig(provider)
    assert BenchmarkConfig.usual(session, seed=3) == BenchmarkConfig(session, seed=3)
    assert BenchmarkConfig(session).reload
