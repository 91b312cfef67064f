from __future__ import annotations

from collections.abc import Callable

import pytest

from onnxopt.signature import Signature, TensorSpec


@pytest.fixture
def inputs() -> Callable[..., Signature]:
    """A signature from ``name=(dtype, *dims)``."""

    def make(**specs: tuple[object, ...]) -> Signature:
        made = [TensorSpec(name, str(s[0]), tuple(s[1:])) for name, s in specs.items()]  # type: ignore[arg-type]
        return Signature(tuple(made), ())

    return make
