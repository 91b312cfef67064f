"""Turns one text into the inputs of a language model. tokenizers has its home here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data.dataset import Feeds
from onnxopt.data.state import state_hint
from onnxopt.errors import BackendMissingError, DataError, UsageError
from onnxopt.signature import Signature, TensorSpec

_NAMES = {
    "ids": ("input_ids", "ids", "input_word_ids", "token_ids", "tokens"),
    "mask": ("attention_mask", "mask", "input_mask"),
    "types": ("token_type_ids", "segment_ids", "input_type_ids", "type_ids"),
    "positions": ("position_ids",),
}
_PADDING_TOKENS = ("[PAD]", "<pad>")
_RANK = 2


@dataclass(frozen=True)
class Padding:
    """What fills up a text: ids, segment ids, and on which side."""

    token: int
    type: int
    left: bool


@dataclass(frozen=True)
class TokenInput:
    """An input and what it gets of a text."""

    spec: TensorSpec
    role: str


@dataclass(frozen=True, eq=False)
class TextInputs:
    """How a text becomes feeds.

    Attributes:
        tokenizer: Loaded, with truncation set and padding off.
        inputs: Which input gets what.
        length: Every text is filled up to it; None keeps each text's own.
        padding: What with; None where no text is filled up.
    """

    tokenizer: Any
    inputs: tuple[TokenInput, ...]
    length: int | None
    padding: Padding | None

    def read(self, text: str, where: str) -> Feeds:
        """The feeds of one text, each ``[1, tokens]``.

        Raises:
            DataError: It gives no tokens.
        """
        encoded = self.tokenizer.encode(text)
        if not encoded.ids:
            raise DataError(f"{where} gives no tokens", "a text that is not empty")
        rows = {
            "ids": encoded.ids,
            "mask": encoded.attention_mask,
            "types": encoded.type_ids,
            "positions": range(len(encoded.ids)),
        }
        return {i.spec.name: self._array(rows[i.role], i) for i in self.inputs}

    def _array(self, values: Any, target: TokenInput) -> npt.NDArray[Any]:
        row = list(values)
        if self.length is not None and self.padding is not None:
            fills = {"ids": self.padding.token, "types": self.padding.type}
            rest = [fills.get(target.role, 0)] * (self.length - len(row))
            row = rest + row if self.padding.left else row + rest
        return np.array([row], np.dtype(target.spec.dtype))


def text_inputs(
    signature: Signature, path: Path, *, max_length: int | None, pad: bool
) -> TextInputs:
    """Load a tokenizer and decide which input gets what.

    Args:
        signature: Of the model.
        path: The ``tokenizer.json``.
        max_length: Texts are cut after so many tokens; None leaves the tokenizer's own limit.
        pad: Whether texts must have equal length although the model leaves it open.

    Raises:
        DataError: The file is missing or no tokenizer.
        UsageError: An input gets nothing, or ``max_length`` does not fit the model.
        BackendMissingError: tokenizers is not installed.
    """
    inputs = tuple(_role(spec, signature) for spec in signature.inputs)
    declared = _declared_length(inputs)
    if declared is not None and max_length is not None and max_length > declared:
        raise UsageError(
            f"max length of {max_length} tokens", f"at most the {declared} that the model declares"
        )
    tokenizer = _load(path)
    own = tokenizer.truncation or {}
    limits = [n for n in (max_length or own.get("max_length"), declared) if n is not None]
    if limits:
        frame = tokenizer.num_special_tokens_to_add(False)
        if min(limits) <= frame:
            raise UsageError(
                f"texts of {min(limits)} tokens", f"more than the {frame} that frame each text"
            )
        kept = {name: own[name] for name in ("stride", "strategy", "direction") if name in own}
        tokenizer.enable_truncation(min(limits), **kept)
    if pad and not limits:
        raise UsageError("texts of unequal length fill no batch", todo="give --max-length")
    length = declared or (min(limits) if pad else None)
    padding = None if length is None else _padding(tokenizer, path)
    tokenizer.no_padding()
    return TextInputs(tokenizer, inputs, length, padding)


def _role(spec: TensorSpec, signature: Signature) -> TokenInput:
    plain = spec.name.lower().removesuffix(":0").rpartition("/")[2]
    role = next((role for role, names in _NAMES.items() if plain in names), None)
    if role is None and len(signature.inputs) == 1:
        role = "ids"
    shape = spec.shape or (None,) * _RANK
    if role is None or len(shape) != _RANK or spec.dtype in {"", "string"}:
        known = ", ".join(names[0] for names in _NAMES.values())
        raise UsageError(
            f"input {spec} gets nothing from a text",
            f"inputs of 2 axes called {known}",
            state_hint(signature, [spec.name]),
        )
    return TokenInput(spec, role)


def _declared_length(inputs: tuple[TokenInput, ...]) -> int | None:
    shapes = [i.spec.shape for i in inputs if i.spec.shape is not None]
    return next((shape[1] for shape in shapes if isinstance(shape[1], int)), None)


def _padding(tokenizer: Any, path: Path) -> Padding:
    """The tokenizer's own padding, else its token of the usual name."""
    own = tokenizer.padding
    if own is not None:
        return Padding(own["pad_id"], own["pad_type_id"], own["direction"] == "left")
    found = (tokenizer.token_to_id(name) for name in _PADDING_TOKENS)
    token = next((token for token in found if token is not None), None)
    if token is None:
        raise DataError(
            f"{path} has no padding, which the model's fixed length or a batch needs",
            f"padding in the file, or a token {' or '.join(_PADDING_TOKENS)}",
        )
    return Padding(token, 0, left=False)


def _load(path: Path) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BackendMissingError(
            "text needs tokenizers", todo="pip install 'onnxopt[text]'"
        ) from error
    if not path.is_file():
        raise DataError(f"no file {path}", todo="give a tokenizer.json with --tokenizer")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain Exception for a bad file
        raise DataError(f"{path} is no tokenizer ({error})") from error
