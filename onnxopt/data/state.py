"""Recurrent state: outputs that the next step takes as inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data.dataset import Feeds
from onnxopt.data.sizes import dimension_key, is_state_batch
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature, TensorSpec

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_BEFORE = frozenset({"in", "input", "prev", "previous", "past", "init", "initial", "old", "0"})
_AFTER = frozenset({"out", "output", "n", "next", "new", "present", "current", "final", "1"})


@dataclass(frozen=True)
class State:
    """Which output becomes which input of the next step.

    Attributes:
        signature: Of the model, state included.
        pairs: Input to output.
        dims: Sizes of open dimensions of the first state, by symbolic name or ``input:axis``.

    Raises:
        UsageError: A pair names no input or output, or the two do not fit each other.
    """

    signature: Signature
    pairs: Mapping[str, str]
    dims: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.pairs.values())) != len(self.pairs):
            raise UsageError("one output is the state of two inputs", "one input for each output")
        outputs = {spec.name: spec for spec in self.signature.outputs}
        for name, output in self.pairs.items():
            before, after = self.signature.input(name), outputs.get(output)
            if before is None or after is None:
                known = ", ".join(outputs if before else _names(self.signature))
                what = f"output {output!r}" if before else f"input {name!r}"
                raise UsageError(f"state: no {what}", f"one of {known}")
            if not _fit(before, after):
                raise UsageError(f"state: {after} cannot become {before}", "equal types and shapes")

    @property
    def stateless(self) -> Signature:
        """The signature of what data must give: all other inputs."""
        kept = tuple(spec for spec in self.signature.inputs if spec.name not in self.pairs)
        return replace(self.signature, inputs=kept)

    def first(self, feeds: Feeds) -> dict[str, npt.NDArray[Any]]:
        """Zeros for the first step.

        An open dimension has the size of its symbol in ``feeds`` or ``dims``; a batch dimension
        (the first, or the middle of ``[layers, batch, hidden]``) that of the other inputs.

        Args:
            feeds: The other inputs of that step.

        Raises:
            UsageError: The size of a dimension cannot be told.
        """
        known = {**_sizes(self.stateless, feeds), **self.dims}
        return {
            spec.name: np.zeros(self._shape(spec, known, feeds), np.dtype(spec.dtype))
            for spec in self.signature.inputs
            if spec.name in self.pairs
        }

    def following(self, outputs: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The state for the next step out of all outputs of this one.

        Raises:
            DataError: An output is missing.
        """
        missing = [output for output in self.pairs.values() if output not in outputs]
        if missing:
            raise DataError(f"{where}: no output {missing[0]} to become state")
        return {name: outputs[output] for name, output in self.pairs.items()}

    def _shape(self, spec: TensorSpec, known: Mapping[str, int], feeds: Feeds) -> tuple[int, ...]:
        return tuple(
            dim if isinstance(dim, int) else self._size(spec, axis, known, feeds)
            for axis, dim in enumerate(spec.shape or ())
        )

    def _size(self, spec: TensorSpec, axis: int, known: Mapping[str, int], feeds: Feeds) -> int:
        for key in (f"{spec.name}:{axis}", dimension_key(spec, axis)):
            if key in known:
                return known[key]
        if axis == 0 or is_state_batch(spec.shape or (), axis):
            shapes: Iterator[tuple[int, ...]] = (
                np.shape(feeds[name]) for name in _names(self.stateless)
            )
            batch = next((shape[0] for shape in shapes if shape), None)
            if batch is not None:
                return batch
        key = dimension_key(spec, axis)
        raise UsageError(f"state {spec}: size of {key} is not known", todo=f"give --dim {key}=N")


def propose_state(signature: Signature) -> dict[str, str]:
    """Pairs whose names leave no doubt (``state`` and ``stateN``, ``h0`` and ``hn``,
    ``past.0.key`` and ``present.0.key``), with types and shapes that fit.

    Only a proposal: nothing uses it unasked. None where it would leave no other input or output.
    """
    matches = [
        (before.name, after.name)
        for before in signature.inputs
        for after in signature.outputs
        if _fit(before, after) and _stems(before.name, _BEFORE) & _after_stems(after.name)
    ]
    befores = [before for before, _ in matches]
    afters = [after for _, after in matches]
    pairs = {b: a for b, a in matches if befores.count(b) == 1 == afters.count(a)}
    some_left = min(len(signature.inputs), len(signature.outputs)) > len(pairs)
    return pairs if some_left else {}


def state_hint(signature: Signature, missing: Iterable[str]) -> str:
    """What to say of inputs that data lacks where they may be state; empty where none may."""
    pairs = propose_state(signature)
    words = " ".join(f"--state {name}={pairs[name]}" for name in missing if name in pairs)
    return f"if it is carried from step to step, give {words}" if words else ""


def _fit(before: TensorSpec, after: TensorSpec) -> bool:
    if before.shape is None or before.dtype in {"", "string"} or before.dtype != after.dtype:
        return False
    if after.shape is None:
        return True
    return len(before.shape) == len(after.shape) and all(
        one == two or not (isinstance(one, int) and isinstance(two, int))
        for one, two in zip(before.shape, after.shape, strict=True)
    )


def _stems(name: str, marks: frozenset[str]) -> set[tuple[str, ...]]:
    """The words of a name, and without a mark at its beginning or end."""
    plain = name.replace("past_key_values", "past").replace("present_key_values", "present")
    words = tuple(word.lower() for word in _WORD.findall(plain))
    found = {words}
    if words and words[0] in marks:
        found.add(words[1:])
    if words and words[-1] in marks:
        found.add(words[:-1])
    return found - {()}


def _after_stems(name: str) -> set[tuple[str, ...]]:
    """Also ``hn`` as ``h``: a last word of two letters that ends in n."""
    found = _stems(name, _AFTER)
    short = {(*words[:-1], words[-1][0]) for words in found if re.fullmatch("[a-z]n", words[-1])}
    return found | short


def _sizes(signature: Signature, feeds: Feeds) -> dict[str, int]:
    """Sizes of named dimensions in these feeds."""
    return {
        dim: size
        for spec in signature.inputs
        for dim, size in zip(spec.shape or (), np.shape(feeds[spec.name]), strict=False)
        if isinstance(dim, str)
    }


def _names(signature: Signature) -> list[str]:
    return [spec.name for spec in signature.inputs]
