"""Captchas of the PyPI package `captcha`, drawn from a seed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from onnxopt.errors import BackendMissingError
from onnxopt_models.tasks.render import Pixels
from onnxopt_models.tasks.splits import is_in
from onnxopt_models.tasks.task import Request

PACKAGE = "captcha"
_T = TypeVar("_T")


class _Generator(Protocol):
    character_rotate: tuple[int, int]
    word_space_probability: float

    def generate_image(self, chars: str) -> Any: ...


class _Draws:
    """Stands in for the module ``secrets``, with numbers that a seed decides."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def randbelow(self, end: int) -> int:
        """A number below ``end``."""
        return int(self.rng.integers(end))

    def randbits(self, bits: int) -> int:
        """A number of so many bits."""
        return int(self.rng.integers(1 << bits))

    def choice(self, values: Sequence[_T]) -> _T:
        """One of the values."""
        return values[self.randbelow(len(values))]


class CaptchaRenderer:
    """Draws captchas of 160 x 60; the package's code runs in a copy of its module.

    Args:
        degrees: How far letters are turned at most.
        gaps: Whether there are spaces between some letters.

    Raises:
        BackendMissingError: The package is not installed.
    """

    def __init__(self, *, degrees: int = 30, gaps: bool = True) -> None:
        spec = importlib.util.find_spec(f"{PACKAGE}.image")
        if spec is None or spec.loader is None:
            raise BackendMissingError(
                f"the package {PACKAGE} is missing", todo="pip install onnxopt[zoo]"
            )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self._draws = _Draws()
        module.secrets = self._draws  # type: ignore[attr-defined]
        self._generator = cast(_Generator, module.ImageCaptcha())
        self._generator.character_rotate = (-degrees, degrees)
        self._generator.word_space_probability = 0.5 if gaps else 1.0

    def picture(self, text: str, rng: np.random.Generator) -> Pixels:
        """Draw ``text``; equal arguments and generator states give equal pixels."""
        self._draws.rng = rng
        return np.asarray(self._generator.generate_image(text).convert("RGB"))


def captchas(
    renderer: CaptchaRenderer, alphabet: str, lengths: range, request: Request
) -> Iterator[tuple[str, Pixels]]:
    """The requested captchas: random texts of the split, none of them twice."""
    seen: set[str] = set()
    rng = np.random.default_rng([request.seed, 4])
    while len(seen) < request.samples:
        length = int(rng.integers(lengths.start, lengths.stop))
        text = "".join(rng.choice(list(alphabet), length))
        if text in seen or not is_in(text, request.split):
            continue
        look = np.random.default_rng([request.seed, 5, len(seen)])
        seen.add(text)
        yield text, renderer.picture(text, look)
