"""How far all outputs of a sample are from the reference's, as one number."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxopt.comparing.agreement import OutputAgreement, compare_outputs
from onnxopt.comparing.kinds import Kind, kinds_of


@dataclass(frozen=True)
class SampleError:
    """What one sample's outputs miss.

    Attributes:
        outputs: The worst float output's relative L2 error; of unequal elements where none is
            float; None where nothing can be compared.
        kinds: Of each kind of numbers inside an output, the L2 norms of the error and of what the
            reference gives.
    """

    outputs: float | None
    kinds: tuple[tuple[float, float], ...] = ()

    def worst(self, usual: Sequence[float]) -> float | None:
        """The largest of the errors; None where nothing can be compared.

        The error of a kind is relative to what the reference gives, or usually gives where that is
        more: the scores of an image that shows nothing are noise.

        Args:
            usual: For each kind, its ``usual_sizes``.
        """
        if self.outputs is None:
            return None
        sizes = [max(size, often) for (_, size), often in zip(self.kinds, usual, strict=False)]
        found = [error / size for (error, _), size in zip(self.kinds, sizes, strict=False) if size]
        return max([self.outputs, *found])


class Fidelity:
    """Compares the outputs of one sample after the other with a reference's.

    Args:
        reference: The model that the others are compared with.
        excused: Outputs that differ from run to run, with the reason.
    """

    def __init__(self, reference: ir.Model, excused: Mapping[str, str]) -> None:
        self.excused = excused
        self._kinds = tuple(one for one in kinds_of(reference) if one.output not in excused)

    def of(
        self, expected: Mapping[str, Any], found: Mapping[str, Any], unread: Collection[str] = ()
    ) -> SampleError:
        """Compare two models' outputs of one sample.

        Args:
            expected: The reference's.
            found: The other model's.
            unread: Outputs that do not count where others are left: state.
        """
        agreements = compare_outputs(expected, found, None, self.excused)
        return self.judged(agreements, expected, found, unread)

    def judged(
        self,
        agreements: Sequence[OutputAgreement],
        expected: Mapping[str, Any],
        found: Mapping[str, Any],
        unread: Collection[str] = (),
    ) -> SampleError:
        """The same, of outputs that have been compared."""
        read = [one for one in agreements if one.name not in unread] or agreements
        names = {one.name for one in read}
        kinds = [_norms(one, expected, found) for one in self._kinds if one.output in names]
        return SampleError(worst_output(read), tuple(kinds))


def usual_sizes(errors: Collection[SampleError]) -> tuple[float, ...]:
    """What the reference usually gives of each kind: the root mean square over samples."""
    sizes = [[size for _, size in one.kinds] for one in errors if one.kinds]
    if not sizes:
        return ()
    return tuple(float(one) for one in np.sqrt(np.mean(np.square(sizes), axis=0)))


def worst_output(agreements: Sequence[OutputAgreement]) -> float | None:
    """The worst float output's relative L2 error; of unequal elements where none is float."""
    comparable = [one for one in agreements if one.verdict != "not-comparable"]
    floats = [one.relative_l2 for one in comparable if one.relative_l2 is not None]
    return max(floats or [one.mismatch for one in comparable], default=None)


def _norms(
    kind: Kind, expected: Mapping[str, Any], found: Mapping[str, Any]
) -> tuple[float, float]:
    """Norms of the error and of the reference, where both are finite; zeros for other than tensors.

    What makes outputs incomparable, or infinite, shows in the error of the whole output.
    """
    ours, theirs = (np.asarray(values.get(kind.output, ())) for values in (expected, found))
    floats = ours.dtype.kind == theirs.dtype.kind == "f"
    if not floats or ours.shape != theirs.shape or not ours.ndim:
        return 0.0, 0.0
    a, b = kind.of(ours), kind.of(theirs)
    both = np.isfinite(a) & np.isfinite(b)
    # summed by numpy: a BLAS would sum in an order that depends on its threads
    error, size = (np.square(np.where(both, x, 0.0)).sum() for x in (a - b, a))
    return math.sqrt(error), math.sqrt(size)
