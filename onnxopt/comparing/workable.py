"""Made-up inputs that a model really takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx_ir as ir

from onnxopt.comparing.asking import GRACE_S, CheckLimits, ask, child_of, write_samples
from onnxopt.comparing.filed import Filed, model_of, path_of
from onnxopt.comparing.process import started
from onnxopt.comparing.request import Request
from onnxopt.data import (
    SizeChoices,
    SourceDataset,
    candidate_inputs,
    feedable_signature,
    in_sizes_of,
    variety_of,
)
from onnxopt.errors import ModelError


def workable_inputs(
    model: ir.Model | Path | Filed,
    *,
    dims: SizeChoices | None = None,
    seed: int = 0,
    samples: int = 4,
) -> SourceDataset:
    """Random inputs in two sizes that the model runs with, as far as it lets them vary.

    They are tried out in a child process: sizes that end it are sizes that the model rejects.

    Args:
        model: The original model.
        dims: Sizes of open dimensions, by symbolic name or ``input:axis``; these do not vary.
        seed: Of the generator.
        samples: How many.

    Raises:
        DataError: No size that was tried works, or an input cannot be made up.
        ModelError: The model does not load.
        LimitError: The model takes too long or too much memory.
    """
    signature = feedable_signature(model_of(model), dims or ())
    candidates = candidate_inputs(signature, dims=dims, seed=seed)
    try:
        accepted = _accepted(model, candidates)
    except ModelError:
        if not isinstance(model, Filed):
            raise
        accepted = _accepted(model.model, candidates)  # as it was read, perhaps it loads
    return in_sizes_of(candidates, accepted, samples)


def _accepted(model: ir.Model | Path | Filed, candidates: SourceDataset) -> list[int]:
    """Positions of the candidates that a model takes and whose sizes are new."""
    limits = CheckLimits()
    with tempfile.TemporaryDirectory(prefix="onnxopt-") as name, started(child_of(name)) as child:
        folder = Path(name)
        count = write_samples(candidates, {}, folder)
        request = Request(
            reference=path_of(model, folder, "reference"),
            candidate="",
            samples=count,
            enough=count,
            variety=variety_of(candidates),
            selective=True,
            may_reject=True,
            tolerance=None,
            candidate_provider="cpu",
            optimization="off",
            not_comparable={},
            together=False,
            timeout_s=limits.timeout_s + GRACE_S,
        )
        return [int(number) for number in ask(request, folder, limits, child)["accepted"]]
