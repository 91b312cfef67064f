"""Learning rates, hints and how many updates fit into a time; no torch needed."""

from __future__ import annotations

import pytest

from onnxopt.distill.plan import Plan
from onnxopt.distill.schedule import Speed, affordable_steps, make_schedule, suitable_rate
from onnxopt.errors import UsageError


def test_the_rate_rises_then_falls_to_nothing() -> None:
    schedule = make_schedule(Plan(steps=100, rate=1.0, warmup=0.1), 100)
    rates = [schedule.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert max(rates) == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 1e-3


def test_hints_fade_half_way() -> None:
    schedule = make_schedule(Plan(steps=100, hint_weight=2.0), 100)
    assert [schedule.hint_weight_at(step) for step in (0, 25, 50, 80)] == [2.0, 1.0, 0.0, 0.0]


def test_the_rate_suits_the_error() -> None:
    found = [suitable_rate(error) for error in (0.0, 0.01, 0.1, 0.5, 3.0, float("nan"))]
    assert found == [1e-4, 1e-4, 4e-4, 2e-3, 2e-3, 2e-3]


def test_updates_that_fit() -> None:
    speed = Speed(update=0.1, evaluation=1.0, lesson=0.01)
    assert affordable_steps(speed, 121 + 2.0, lessons=100, batch=10) == 10 + 1000
    assert affordable_steps(speed, 21 + 8.0, lessons=10_000, batch=10) == 40
    assert affordable_steps(speed, 0.0, lessons=100, batch=10) == 20


@pytest.mark.parametrize(
    "wrong", [{"rate": -1.0}, {"steps": -1}, {"batch": 0}, {"warmup": 1.0}, {"temperature": 0.0}]
)
def test_plans_are_checked(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=name):
        Plan(**wrong)  # type: ignore[arg-type]


def test_five_minutes_where_nothing_is_said() -> None:
    assert Plan().seconds == 300
    assert Plan(minutes=2).seconds == 120
    assert Plan(steps=10).seconds == float("inf")
    assert Plan(steps=10, minutes=1).seconds == 60
