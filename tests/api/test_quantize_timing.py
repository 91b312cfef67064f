"""Which file is faster is asked again where the first answer is none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from onnxopt.api import quantizing


@pytest.mark.parametrize(
    ("first", "asked"), [((1.1, 1.2), [1]), ((0.8, 0.9), [1]), ((0.9, 1.5), [1, 4])]
)
def test_a_timing_that_cannot_tell_is_taken_again_with_more_rounds(
    first: tuple[float, float], asked: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    intervals = [first, (1.2, 1.3)]
    times_asked: list[int] = []

    def time_both(bench: Any, models: Any, times: int = 1, sessions: Any = None) -> Any:
        low, high = intervals[len(times_asked)]
        times_asked.append(times)
        return SimpleNamespace(ratios=[SimpleNamespace(is_faster=low > 1, is_slower=high < 1)])

    monkeypatch.setattr(quantizing, "time_both", time_both)
    timing: Any = quantizing._timed(SimpleNamespace(), {}, {})  # type: ignore[arg-type]
    assert times_asked == asked
    assert timing.ratios[0].is_faster == (first != (0.8, 0.9))
