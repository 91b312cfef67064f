"""What a variant's results on a few samples say about unseen ones."""

from __future__ import annotations

from onnxopt.metrics import Interval, metric
from onnxopt.transform import Goal
from onnxopt_passes._trial import Outcome

TOP1 = metric("top1")


def outcome(error: float, loss: float, seen_high: float, samples: int = 64) -> Outcome:
    return Outcome(
        Interval(error, error, error, samples),
        Interval(loss, loss - 0.05, loss + 0.05, samples),
        (),
        Interval(loss, loss, seen_high, samples),
    )


def test_a_metric_that_few_samples_speak_for_allows_larger_errors() -> None:
    goal = Goal(TOP1, max_drop=0.01, samples=300)
    careful = Goal(TOP1, max_drop=0.01, samples=300, cautious=True)
    good = outcome(0.2, 0.001, seen_high=0.008)
    assert good.meets(goal)
    assert not good.meets(careful)
    assert outcome(0.09, 0.001, seen_high=0.008).meets(careful)


def test_what_was_seen_must_speak_for_it() -> None:
    goal = Goal(TOP1, max_drop=0.01, samples=300)
    assert not outcome(0.2, 0.001, seen_high=0.02).meets(goal)
    assert not outcome(0.2, 0.006, seen_high=0.008).meets(goal)
    assert not outcome(0.2, 0.001, seen_high=0.008, samples=16).meets(goal)
    assert not outcome(0.4, 0.001, seen_high=0.008).meets(goal)


def test_caution_allows_a_smaller_share_of_the_error() -> None:
    goal = Goal(max_error=0.05)
    careful = Goal(max_error=0.05, cautious=True)
    for error, fits in ((0.042, (True, False)), (0.043, (False, False)), (0.029, (True, True))):
        found = Outcome(Interval(error, error, error, 32), None)
        assert (found.meets(goal), found.meets(careful)) == fits
