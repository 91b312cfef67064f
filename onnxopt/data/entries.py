"""Sources of single entries: what a file, a row or a text gives is one entry of a batch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from onnxopt.data.dataset import Source
from onnxopt.signature import Signature, TensorSpec


def entry_signature(
    signature: Signature, batched: Collection[str], batch_axes: Mapping[str, int]
) -> Signature:
    """The signature of one entry: for ``batched`` inputs a batch fixed above 1 is 1 in it."""
    return replace(
        signature,
        inputs=tuple(
            _entry(spec, batch_axes.get(spec.name, 0)) if spec.name in batched else spec
            for spec in signature.inputs
        ),
    )


def names_of(signature: Signature) -> tuple[str, ...]:
    """All inputs."""
    return tuple(spec.name for spec in signature.inputs)


def declared_batch(spec: TensorSpec, axis: int) -> int | None:
    """The size that an input declares for its batch axis; None where it leaves it open.

    An input without that axis counts as 1.
    """
    if spec.shape is None:
        return None
    size = spec.shape[axis] if axis < len(spec.shape) else 1
    return size if isinstance(size, int) else None


def largest_batch(
    signature: Signature, entries: Collection[str], batch_axes: Mapping[str, int]
) -> int:
    """How many entries the model wants in a call; 1 where it leaves that open."""
    specs = [spec for spec in signature.inputs if spec.name in entries]
    sizes = [declared_batch(spec, batch_axes.get(spec.name, 0)) for spec in specs]
    return max((size for size in sizes if size is not None), default=1)


def _entry(spec: TensorSpec, axis: int) -> TensorSpec:
    size = declared_batch(spec, axis)
    if spec.shape is None or size is None or size <= 1:
        return spec
    return replace(spec, shape=(*spec.shape[:axis], 1, *spec.shape[axis + 1 :]))


@dataclass(frozen=True)
class Opened:
    """A source, and the inputs for which its samples hold one entry of a batch.

    Inputs that are not named have the size that the model declares in every sample already.
    """

    source: Source
    entries: tuple[str, ...] = ()
