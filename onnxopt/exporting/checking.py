"""The exported model against what the framework itself computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.comparing import OutputAgreement, compare_value
from onnxopt.data import Feeds
from onnxopt.errors import MismatchError, ModelError
from onnxopt.exactness import Tolerance
from onnxopt.exporting.source import Outputs
from onnxopt.metrics.metric import is_float
from onnxopt.runtime import Session, SessionConfig, open_session

CLOSE = 1e-4
"""A float output agrees within this share of its largest value, or of 1 where that is smaller."""


@dataclass(frozen=True)
class Check:
    """The evidence that source and export compute the same.

    Attributes:
        runs: How often both ran.
        outputs: The worst found for each output.
        shapes: Shapes of the first input in the runs, as text.
    """

    runs: int
    outputs: tuple[OutputAgreement, ...]
    shapes: tuple[str, ...]

    @property
    def worst(self) -> float:
        """The largest absolute error of any output."""
        return max((output.max_abs for output in self.outputs), default=0.0)

    def __str__(self) -> str:
        sizes = " and ".join(dict.fromkeys(self.shapes))
        times = "once" if self.runs == 1 else f"{self.runs} times"
        return f"ran {times} ({sizes}), largest difference {self.worst:.2g}"


def check(
    model: ir.Model,
    framework: str,
    runs: Sequence[tuple[Feeds, Outputs]],
    hints: Sequence[str] = (),
) -> Check:
    """Run a model and compare it with what its source computed.

    Args:
        model: The exported model.
        framework: Who computed the expected outputs, for messages.
        runs: Feeds with the expected outputs.
        hints: What was said about the conversion; a mismatch repeats it.

    Raises:
        MismatchError: An output differs by more than ``CLOSE``; the message holds the numbers.
        ModelError: The model does not load.
    """
    found: dict[str, OutputAgreement] = {}
    with open_session(model, SessionConfig(spinning=False)) as session:
        names = {spec.name for spec in session.inputs}
        for number, (feeds, expected) in enumerate(runs, 1):
            where = f"run {number} of {len(runs)} ({_shape(feeds)})"
            used = {name: feeds[name] for name in feeds if name in names}
            made = _run(session, used, framework, where, hints)
            for name, reference in expected.items():
                one = agreement(name, reference, made[name])
                if one.verdict == "differ":
                    raise _mismatch(one, framework, where, hints)
                known = found.get(name)
                found[name] = one if known is None or one.max_abs > known.max_abs else known
    return Check(len(runs), tuple(found.values()), tuple(_shape(feeds) for feeds, _ in runs))


def agreement(name: str, reference: npt.NDArray[Any], made: Any) -> OutputAgreement:
    """One output: floats within the tolerance, everything else equal."""
    reference = np.asarray(reference)
    made = np.asarray(made)
    if is_float(reference) and is_float(made) and reference.dtype != made.dtype:
        reference = reference.astype(made.dtype)  # frameworks may compute wider than they export
    largest = 0.0
    if is_float(reference) and reference.size:
        finite = np.abs(reference[np.isfinite(reference)].astype(np.float64))
        largest = float(finite.max()) if finite.size else 0.0
    return compare_value(name, reference, made, Tolerance(CLOSE * max(1.0, largest), 0.0))


def _run(
    session: Session, feeds: Feeds, framework: str, where: str, hints: Sequence[str]
) -> dict[str, Any]:
    try:
        return session.run(feeds)
    except ModelError as error:
        raise MismatchError(
            f"the exported model does not take what {framework} runs in {where}: {error.found}",
            "the same inputs",
            "; ".join(("nothing was written", *hints)),
        ) from error


def _mismatch(
    one: OutputAgreement, framework: str, where: str, hints: Sequence[str]
) -> MismatchError:
    return MismatchError(
        f"output {one.name} of the exported model is not what {framework} computes: {one.reason}; "
        f"largest difference {one.max_abs:.3g} in {where}",
        f"agreement within {CLOSE:g} of the largest value, and equal labels",
        "; ".join(("nothing was written", *hints)),
    )


def _shape(feeds: Feeds) -> str:
    name, first = next(iter(feeds.items()), ("no input", np.zeros(())))
    return f"{name} {'x'.join(map(str, np.shape(first))) or 'scalar'}"
