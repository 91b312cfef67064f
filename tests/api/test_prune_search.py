"""The search for the most that a budget lets go: which shares are tried, and by what."""

from __future__ import annotations

import pytest

from onnxopt.api.prune_search import Probe, PruneSearch, _bisect, _is_likely, to_confirm
from onnxopt.api.prune_steps import default_prune, shares
from onnxopt.metrics import Interval


@pytest.mark.parametrize("limit", [0.0, 0.3, 0.5, 0.99])
def test_bisecting_finds_the_last_share_inside(limit: float) -> None:
    candidates, asked = shares("channels"), list[float]()

    def fits(keep: float) -> bool:
        asked.append(keep)
        return keep >= limit

    _bisect(candidates, fits)
    inside = [keep for keep in asked if keep >= limit]
    expected = [keep for keep in candidates if keep >= limit]
    assert inside[-1:] == expected[-1:]
    assert len(asked) <= 6


@pytest.mark.parametrize("kind", ["channels", "magnitude", "nm"])
def test_every_share_has_steps(kind: str) -> None:
    made = [default_prune(kind, keep) for keep in shares(kind)]  # type: ignore[arg-type]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    ("mean", "half", "unseen", "likely"),
    [
        (0.02, 0.02, 100, True),
        (0.02, 0.04, 100, False),
        (0.02, 0.04, 400, True),
        (0.045, 0.001, 100, False),
        (-0.01, 0.05, 100, True),
    ],
)
def test_a_mean_in_the_middle_with_an_interval_inside(
    mean: float, half: float, unseen: int, likely: bool
) -> None:
    found = Interval(mean, mean - half, mean + half, 100)
    assert _is_likely(found, 0.05, 0.85, unseen) is likely
    assert _is_likely(found, 0.05, 0.85, unseen, is_close=True) is (mean <= 0.85 * 0.05)


def probe(keep: float, *, fits: bool, pruned: bool = True) -> Probe:
    return Probe(keep, default_prune("channels", keep), 0.0, None, fits, pruned)


def test_what_is_confirmed_goes_from_gentle_to_strong() -> None:
    probes = [probe(0.5, fits=True), probe(0.25, fits=False), probe(0.4, fits=True)]
    found = to_confirm(PruneSearch(), probes)
    assert found == [default_prune("channels", keep) for keep in (0.7, 0.55, 0.4)]
    assert to_confirm(PruneSearch(), [probe(0.9, fits=True, pruned=False)]) == []
