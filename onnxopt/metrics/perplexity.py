"""Perplexity of a language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from onnxopt.errors import DataError
from onnxopt.metrics.counting import Floats, ratio, totals
from onnxopt.metrics.metric import Counts, Metric, Outputs, pick_output
from onnxopt.metrics.naming import spell_metric


def perplexity(*, output: str | None = None) -> Metric:
    """``exp(-mean log p(token))`` over all tokens of the set; lower is better.

    Args:
        output: Logits [batch, steps, tokens]; the first float output by default. The label holds
            the wanted token of each step, negative where none counts.
    """
    return Metric(
        spell_metric("perplexity", {"output": output}, {}),
        lambda outputs, label: _log_likelihood(outputs, label, output),
        higher_is_better=False,
        statistic=_perplexity,
    )


def _log_likelihood(outputs: Outputs, label: Any, output: str | None) -> tuple[float, float]:
    """Negative log-likelihood in nats, and over how many tokens."""
    tokens = np.asarray(label).reshape(-1)
    if tokens.dtype.kind not in "iu" or not (tokens >= 0).any():
        raise DataError(f"label of type {tokens.dtype}", "a token for each step")
    logits = pick_output(outputs, output)
    size = logits.shape[-1] if logits.ndim else 0
    if size == 0 or logits.size != tokens.size * size:
        raise DataError(f"{tokens.size} tokens for logits of shape {list(logits.shape)}")
    if tokens.max() >= size:
        raise DataError(f"token {tokens.max()} of {size}")
    kept = np.flatnonzero(tokens >= 0)
    rows = logits.reshape(-1, size)[kept].astype(np.float64)
    own = rows[np.arange(len(kept)), tokens[kept]]
    top = rows.max(axis=1)
    loss = float((np.log(np.exp(rows - top[:, None]).sum(axis=1)) + top - own).sum())
    if not np.isfinite(loss):
        raise DataError("the likelihood of a token is not finite")
    return loss, float(len(kept))


def _perplexity(losses: Sequence[tuple[float, float]]) -> Callable[[Counts], Floats]:
    features = np.array(losses)

    def value(counts: Counts) -> Floats:
        loss, tokens = totals(counts, features).T
        return np.asarray(np.exp(ratio(loss, tokens)))

    return value
