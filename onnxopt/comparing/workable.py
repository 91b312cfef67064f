"""Made-up inputs that a model really takes."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from onnxopt.data import (
    Feeds,
    SizeChoices,
    SourceDataset,
    feedable_signature,
    synthesize_workable,
)
from onnxopt.errors import LimitError, OnnxoptError
from onnxopt.runtime import Session, SessionConfig, open_session
from onnxopt.store import load


def workable_inputs(
    model: ir.Model | Path,
    *,
    dims: SizeChoices | None = None,
    seed: int = 0,
    samples: int = 4,
) -> SourceDataset:
    """Random inputs in two sizes that the model runs with, tried out in this process.

    Args:
        model: The original model.
        dims: Sizes of open dimensions, by symbolic name or ``input:axis``.
        seed: Of the generator.
        samples: How many.

    Raises:
        DataError: No size that was tried works, or an input cannot be made up.
        ModelError: The model does not load.
    """
    loaded = model if isinstance(model, ir.Model) else load(model)
    with open_session(model, SessionConfig(spinning=False, optimization="off")) as session:
        return synthesize_workable(
            feedable_signature(loaded, dims or ()),
            lambda feeds: _complaint(session, feeds),
            dims=dims,
            seed=seed,
            samples=samples,
        )


def _complaint(session: Session, feeds: Feeds) -> str | None:
    try:
        session.run(feeds)
    except LimitError:
        raise
    except OnnxoptError as error:
        return str(error)
    return None
