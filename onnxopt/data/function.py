"""Data from a Python function that yields feeds."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from onnxopt.data.check import check_feeds
from onnxopt.data.dataset import Sample, digest, sample_digest
from onnxopt.data.picking import pick
from onnxopt.errors import DataError
from onnxopt.signature import Signature

_PAIR = 2


@dataclass(frozen=True, eq=False)
class FunctionSource:
    """Calls a function anew for every pass over the data; holds one sample at a time.

    The function takes no arguments and returns an iterable of feeds, of (feeds, label) pairs, or
    of ``Sample``.
    """

    function: Callable[[], Iterable[Any]]
    signature: Signature
    origin: str
    limit: int | None = None
    notes: tuple[str, ...] = ()
    is_random: bool = False

    @property
    def items(self) -> Sequence[str]:
        """The source items; the first access runs through the data once."""
        return self._scan[0]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all values; the first access runs through the data once."""
        return self._scan[1]

    @cached_property
    def _scan(self) -> tuple[tuple[str, ...], str]:
        items, digests = [], []
        for sample in self._samples():
            items.append(sample.item)
            digests.append(sample_digest(sample))
        return tuple(items), digest(*digests)

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        return pick(self._samples(), indices, self.origin)

    def _samples(self) -> Iterator[Sample]:
        try:
            made = itertools.islice(iter(self.function()), self.limit)
            for index, value in enumerate(made):
                yield self._sample(value, index)
        except DataError:
            raise
        except Exception as error:  # the function is the user's: it may raise anything
            raise DataError(f"{self.origin} raised {type(error).__name__}: {error}") from error

    def _sample(self, value: Any, index: int) -> Sample:
        where = f"{self.origin}[{index}]"
        feeds, label, item = value, None, str(index)
        if isinstance(value, Sample):
            feeds, label, item = value.feeds, value.label, value.item
        elif isinstance(value, tuple) and len(value) == _PAIR:
            feeds, label = value
        if not isinstance(feeds, Mapping):
            raise DataError(
                f"{where} is a {type(value).__name__}", "a dict of feeds, or (feeds, label)"
            )
        checked = check_feeds(feeds, self.signature, where)
        # copies: samples are kept, and run at once, while the function may fill its arrays anew
        owned = {n: v.copy() if isinstance(v, np.ndarray) else v for n, v in checked.items()}
        return Sample(owned, label, item)


def open_function(spec: str, signature: Signature, limit: int | None = None) -> FunctionSource:
    """Import ``package.module:function`` or ``path/to/file.py:function``.

    Raises:
        DataError: There is no such module or function.
    """
    function = import_function(spec)
    return FunctionSource(function, signature, spec, limit)


def import_function(spec: str) -> Callable[..., Any]:
    """The function that ``module:name`` or ``file.py:name`` names.

    Raises:
        DataError: There is no such module or function.
    """
    function = import_object(spec)
    if not callable(function):
        raise DataError(f"{spec} is no function")
    return function  # type: ignore[no-any-return]


def import_object(spec: str) -> Any:
    """Whatever ``module:name`` or ``file.py:name`` names.

    Raises:
        DataError: There is no such module, or nothing of that name in it.
    """
    place, _, name = spec.rpartition(":")
    module = _module_of_file(Path(place)) if place.endswith(".py") else _module(place)
    if not hasattr(module, name):
        raise DataError(f"{place} has no {name!r}")
    return getattr(module, name)


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # a module is code: importing it may raise anything
        raise DataError(
            f"cannot import {name} ({error})", todo="a file works too: path/to/file.py:function"
        ) from error


def _module_of_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise DataError(f"no file {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a module is code: running it may raise anything
        raise DataError(f"{path} raised {type(error).__name__}: {error}") from error
    return module
