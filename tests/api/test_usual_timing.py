"""All verbs that time what they made do it alike: as is usual on the target's provider."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxopt import api, store, timing
from onnxopt.api import RunOptions, delivering, optimizing
from onnxopt.api.workbench import Workbench
from onnxopt.data import Sample, in_memory
from onnxopt.errors import UsageError
from onnxopt.timing import BenchmarkConfig

MODEL = store.from_text(
    '<ir_version: 8, opset_import: ["" : 17]>g (float[1,4] x) => (float[1,4] y) { y = Neg(x) }'
)
OPTIONS = RunOptions(target="cuda", seed=5)


def as_asked(candidates: Any, feeds: Any, config: BenchmarkConfig, progress: Any) -> Any:
    return config


def asked_by_deliver(
    plan: api.DeliverPlan, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> BenchmarkConfig:
    """What ``deliver`` times its candidates with."""
    session = Workbench.open(MODEL, None, OPTIONS).session
    made = [SimpleNamespace(model=MODEL, name="as-shipped", session=session)]
    asked: list[BenchmarkConfig] = []

    def stop(candidates: Any, feeds: Any, config: BenchmarkConfig, progress: Any) -> None:
        asked.append(config)
        raise UsageError("enough seen")

    monkeypatch.setattr(delivering, "check_target", lambda bench: None)
    monkeypatch.setattr(delivering, "_make", lambda *args: made)
    monkeypatch.setattr(delivering, "time_candidates", stop)
    ones = [Sample({"x": np.full((1, 4), n, np.float32)}, None, str(n)) for n in range(20)]
    with pytest.raises(UsageError, match="enough seen"):
        api.deliver(MODEL, folder / "b", data=in_memory(ones), plan=plan, options=OPTIONS)
    return asked[0]


def test_verbs_and_bundles_time_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Workbench.open(MODEL, None, OPTIONS)
    usual = BenchmarkConfig.usual(bench.session, seed=5)
    monkeypatch.setattr(timing, "benchmark", as_asked)
    found: Any = optimizing.time_both(bench, {"a": MODEL, "b": MODEL}, times=4)
    assert found == replace(usual, rounds=4 * usual.rounds)
    assert asked_by_deliver(api.default_plan(), tmp_path, monkeypatch) == usual
    assert not usual.reload


def test_a_plan_that_says_how_long_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = api.DeliverPlan({}, BenchmarkConfig(rounds=9))
    found = asked_by_deliver(plan, tmp_path, monkeypatch)
    assert (found.rounds, found.reload, found.session.provider) == (9, True, "cuda")
