"""Sizes to try for the dimensions that a model leaves open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from onnxopt.data.dataset import Feeds
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature, TensorSpec

Sizes = Mapping[str, int]
"""Dimension key to size: a symbolic name, or ``input:axis`` for one without a name."""

SizeChoices = Mapping[str, int | tuple[int, ...]]
"""Likewise, where several sizes may be wanted; lists are read in step."""

_FAVOURITES: Mapping[str, tuple[int, ...]] = {
    "batch": (1, 2),
    "channels": (3, 1),
    "image": (64, 96, 224, 320),
    "sequence": (16, 24, 128, 512, 288, 576, 1600, 16000),
    "other": (4, 6, 1, 2),
}
"""Per role, the first and second choice, then fallbacks in step with one another."""

_TIMES = (64, 256)

MAX_PLANS = 24
"""The most plans of sizes for one signature."""

_UNNAMED = frozenset({"", "?", "-1"})
_ENOUGH = 2
_IMAGE_RANK, _STATE_RANK, _FEW_CHANNELS = 4, 3, 4


@dataclass(frozen=True)
class Dimension:
    """One open dimension.

    Attributes:
        key: How ``--dim`` calls it.
        places: Every (input, axis) it stands at.
        choices: Sizes worth trying, best first.
    """

    key: str
    places: tuple[tuple[str, int], ...]
    choices: tuple[int, ...]


def open_dimensions(signature: Signature) -> tuple[Dimension, ...]:
    """The dimensions without a declared size, in order; equal symbols are one dimension.

    Raises:
        DataError: The rank of an input is unknown, so that only data can tell.
    """
    places: dict[str, list[tuple[str, int]]] = {}
    roles: dict[str, str] = {}
    for spec in signature.inputs:
        if spec.shape is None:
            raise DataError(f"input {spec} cannot be made up", todo="give samples with --data")
        for axis, dim in enumerate(spec.shape):
            if not isinstance(dim, int):
                key = dimension_key(spec, axis)
                places.setdefault(key, []).append((spec.name, axis))
                roles.setdefault(key, _role(spec, axis))
    return tuple(
        Dimension(key, tuple(where), _FAVOURITES[roles[key]]) for key, where in places.items()
    )


def dimension_key(spec: TensorSpec, axis: int) -> str:
    """The symbol of an open dimension, or ``input:axis`` where it has none worth the name."""
    dim = None if spec.shape is None else spec.shape[axis]
    return dim if isinstance(dim, str) and dim not in _UNNAMED else f"{spec.name}:{axis}"


def size_plans(signature: Signature, fixed: SizeChoices) -> tuple[Sizes, ...]:
    """Assignments of all open dimensions, most promising first, without repeats.

    The first uses every first choice and the second every second one, so that the two together
    give two sizes for each open dimension; the others are fallbacks for models that only work
    at certain sizes, or where one dimension must not change with another.

    Args:
        signature: Of the model.
        fixed: Sizes the user set, by symbolic name or ``input:axis``; of a list, plan ``i`` takes
            entry ``i`` modulo its length.

    Raises:
        UsageError: ``fixed`` names no open dimension, a size is below 1, or lists differ in length.
        DataError: The rank of an input is unknown.
    """
    dimensions = open_dimensions(signature)
    choices = [_resolve(dimensions, sizes) for sizes in each_size(fixed)]
    found: list[Sizes] = []
    for plan in _plans([d for d in dimensions if d.key not in choices[0]]):
        if plan not in found:
            found.append(plan)
    number = max(len(choices), min(len(found), MAX_PLANS))
    pairs = ((choices[at % len(choices)], found[at % len(found)]) for at in range(number))
    return tuple({**chosen, **plan} for chosen, plan in pairs)


def each_size(sizes: SizeChoices) -> tuple[Sizes, ...]:
    """One choice for each entry of the lists; single sizes stand in all of them.

    Raises:
        UsageError: Lists differ in length.
    """
    lists = {name: given for name, given in sizes.items() if isinstance(given, tuple)}
    lengths = {len(given) for given in lists.values()}
    if len(lengths) > 1:
        listed = ", ".join(f"{name}: {len(given)}" for name, given in lists.items())
        raise UsageError(f"lists of {listed} sizes", "lists of one length, which are read in step")
    return tuple(
        {name: given[at] if isinstance(given, tuple) else given for name, given in sizes.items()}
        for at in range(max(lengths, default=1))
    )


def _plans(dimensions: list[Dimension]) -> Iterator[Sizes]:
    """All dimensions in step; all but the batch; all ones; one dimension at a time.

    Last comes a first axis that is no batch but time, and long enough for windows.
    """
    longest = max((len(d.choices) for d in dimensions), default=1)
    diagonal = [{d.key: _choice(d, at) for d in dimensions} for at in range(longest)]
    single = {d.key: 1 for d in dimensions if d.choices == _FAVOURITES["batch"]}
    yield from diagonal
    yield from ({**plan, **single} for plan in diagonal)
    yield {d.key: 1 for d in dimensions}
    for plan in diagonal:
        for d in dimensions:
            other = next(size for size in d.choices if size != plan[d.key])
            yield {**plan, **single, d.key: other}
    yield from ({**diagonal[0], **dict.fromkeys(single, size)} for size in _TIMES)


def _choice(dimension: Dimension, at: int) -> int:
    """The first choice stands in where there are fewer."""
    return dimension.choices[at if at < len(dimension.choices) else 0]


class SizesSeen:
    """Which sizes each axis of each input had in the samples that a model accepted."""

    def __init__(self, enough: int = _ENOUGH) -> None:
        self._sizes: dict[tuple[str, int], set[int]] = {}
        self._accepted = 0
        self._enough = enough

    def add(self, feeds: Feeds) -> None:
        """Note an accepted sample."""
        self._accepted += 1
        for place, size in _places(feeds):
            self._sizes.setdefault(place, set()).add(size)

    def would_gain(self, feeds: Feeds) -> bool:
        """Whether a sample shows an axis in one of as many sizes as are enough.

        As many first samples always do.
        """
        if self._accepted < self._enough:
            return True
        seen = ((self._sizes.get(place, set()), size) for place, size in _places(feeds))
        return any(size not in sizes and len(sizes) < self._enough for sizes, size in seen)


def _places(feeds: Feeds) -> Iterator[tuple[tuple[str, int], int]]:
    for name, value in feeds.items():
        for axis, size in enumerate(getattr(value, "shape", ())):
            yield (name, axis), size


def _resolve(dimensions: tuple[Dimension, ...], fixed: Sizes) -> dict[str, int]:
    by_place = {f"{name}:{axis}": d.key for d in dimensions for name, axis in d.places}
    known = {d.key for d in dimensions}
    chosen: dict[str, int] = {}
    for name, size in fixed.items():
        key = name if name in known else by_place.get(name)
        if key is None:
            raise UsageError(
                f"dimension {name!r} is not open in this model",
                wanted=f"one of {', '.join(sorted(known))}" if known else "no --dim at all",
            )
        if size < 1:
            raise UsageError(f"dimension {name}={size}", "a size from 1")
        chosen[key] = size
    return chosen


def _role(spec: TensorSpec, axis: int) -> str:
    shape = spec.shape or ()
    if axis == 0 or is_state_batch(shape, axis):
        return "batch"
    if len(shape) < _IMAGE_RANK:
        return "sequence" if axis == 1 else "other"
    if len(shape) > _IMAGE_RANK:
        return "sequence"
    last = shape[-1]
    channels_last = (
        isinstance(last, int) and last <= _FEW_CHANNELS and not isinstance(shape[1], int)
    )
    return "channels" if axis == (_IMAGE_RANK - 1 if channels_last else 1) else "image"


def is_state_batch(shape: tuple[int | str | None, ...], axis: int) -> bool:
    """The middle of [layers, batch, hidden], a recurrent state."""
    layers, hidden = shape[0], shape[-1]
    sized = isinstance(layers, int) and layers > 1 and isinstance(hidden, int)
    return len(shape) == _STATE_RANK and axis == 1 and sized
