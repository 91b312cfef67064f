"""The verb ``compare``: two models on data."""

from __future__ import annotations

from dataclasses import replace

from onnxopt import store
from onnxopt.api.budget import criteria_of
from onnxopt.api.options import Budget, RunOptions
from onnxopt.api.stateful import with_state
from onnxopt.api.workbench import open_data, runnable
from onnxopt.comparing import Comparison
from onnxopt.comparing import compare as compare_models
from onnxopt.data import Dataset
from onnxopt.runtime import SessionConfig
from onnxopt.signature import signature_of


def compare(
    reference: store.Source,
    candidate: store.Source,
    *,
    data: str | Dataset,
    metric: str | None = None,
    budget: Budget | None = None,
    session: SessionConfig | None = None,
    candidate_session: SessionConfig | None = None,
    options: RunOptions | None = None,
) -> Comparison:
    """Run two models on every sample and say how they differ.

    Args:
        reference: The model to be measured against.
        candidate: The other one.
        data: Samples; all of them are used.
        metric: What is reported of the task; the budget's metric by default.
        budget: What the metric or the outputs may lose; nothing is judged by default.
        session: How to run both; the CPU with ``options.threads`` threads by default.
        candidate_session: How to run the candidate, where that differs.
        options: Threads, seed, sizes of made-up inputs.

    Raises:
        OnnxoptError: A model or the data cannot be used.
    """
    options = options or RunOptions()
    loaded = store.load(reference)
    dataset = with_state(open_data(data, signature_of(loaded), options), loaded, options)
    criteria = criteria_of(budget or Budget(metric), options.seed)
    if budget is None:
        criteria = replace(criteria, limit=None)
    config = session or SessionConfig(threads=options.threads, spinning=False)
    return compare_models(
        runnable(reference),
        runnable(candidate),
        dataset,
        criteria,
        config=config,
        candidate_config=candidate_session,
        progress=options.progress,
    )
