"""Hypothesis tests in batches that run side by side, each with examples of its own."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, seed, settings

_FACTOR = 20


def hunt(body: object, batch: int, examples: int, config: pytest.Config) -> None:
    """Run a hypothesis test with other examples in each batch, the same ones every time.

    ``--full`` takes twenty times as many.
    """
    many = examples * (_FACTOR if config.getoption("--full", default=False) else 1)
    quiet = settings(
        max_examples=many,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    seed(batch)(quiet(body))()  # type: ignore[arg-type]
