"""What a model takes, in words: ``image=float32[N,3,224,224]`` and ``image=0:N``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from onnxopt.errors import UsageError
from onnxopt.signature import TensorSpec

_INPUT = re.compile(r"(?P<name>[^=\[\]]+)=(?P<dtype>\w+)\[(?P<sizes>[^\[\]]*)\]")
_AXIS = re.compile(r"(?P<axis>-?\d+):(?P<label>[A-Za-z_]\w*)")
_FORM = "NAME=DTYPE[SIZES], such as image=float32[N,3,224,224]"


def parse_input(text: str) -> TensorSpec:
    """``image=float32[N,3,224,224]`` as a spec.

    Raises:
        UsageError: It is not of that form.
    """
    match = _INPUT.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"input {text!r}", _FORM)
    dtype = match["dtype"]
    if dtype not in ("string", "bfloat16"):
        try:
            dtype = np.dtype(dtype).name
        except TypeError as error:
            raise UsageError(f"input {text!r}: no dtype {dtype!r}", _FORM) from error
    words = [word.strip() for word in match["sizes"].split(",") if word.strip()]
    return TensorSpec(match["name"].strip(), dtype, tuple(_dim(word, text) for word in words))


def parse_dynamic(text: str) -> tuple[str, dict[int, str]]:
    """``image=0:N`` or ``image=0:N,2:H`` as an input's name and its dynamic axes.

    Raises:
        UsageError: It is not of that form.
    """
    name, equals, axes = text.rpartition("=")
    found = [_AXIS.fullmatch(word.strip()) for word in axes.split(",")]
    if not (name and equals) or None in found:
        raise UsageError(f"dynamic {text!r}", "NAME=AXIS:LABEL, such as image=0:N")
    return name, {int(match["axis"]): match["label"] for match in found if match is not None}


def with_dynamic(inputs: Sequence[TensorSpec], words: Iterable[str]) -> tuple[TensorSpec, ...]:
    """The inputs with some axes left open.

    Raises:
        UsageError: A word is not of its form, or names no input or no axis of it.
    """
    specs = {spec.name: spec for spec in inputs}
    for word in words:
        name, axes = parse_dynamic(word)
        if name not in specs:
            raise UsageError(f"dynamic {word!r}: no input {name!r}", f"one of {', '.join(specs)}")
        specs[name] = _opened(specs[name], axes, word)
    return tuple(specs.values())


def _opened(spec: TensorSpec, axes: dict[int, str], word: str) -> TensorSpec:
    shape = list(spec.shape or ())
    for axis, label in axes.items():
        if not -len(shape) <= axis < len(shape):
            raise UsageError(f"dynamic {word!r}: no axis {axis} in {spec}")
        shape[axis] = label
    return replace(spec, shape=tuple(shape))


def _dim(word: str, text: str) -> int | str:
    if word.isdecimal():
        return int(word)
    if re.fullmatch(r"[A-Za-z_][\w+]*", word):
        return word
    raise UsageError(f"input {text!r}: size {word!r}", _FORM)
