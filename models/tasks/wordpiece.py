"""The tokenizer of BERT uncased (Wu et al., 2016; Devlin et al., 2018)."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from onnxopt.errors import DataError

UNKNOWN, BEGIN, END = "[UNK]", "[CLS]", "[SEP]"
LONGEST_WORD = 100
_ASCII_MARKS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


@dataclass(frozen=True)
class WordPiece:
    """Text to token numbers.

    Attributes:
        numbers: Of each piece; pieces inside a word begin with ``##``.
        longest: The most tokens, the two that frame a text included.
    """

    numbers: Mapping[str, int]
    longest: int = 128

    @classmethod
    def read(cls, path: Path, longest: int = 128) -> WordPiece:
        """A tokenizer from a file with one piece a line.

        Raises:
            DataError: It lacks a piece that every text needs.
        """
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        numbers = {piece: number for number, piece in enumerate(lines)}
        for piece in (UNKNOWN, BEGIN, END):
            if piece not in numbers:
                raise DataError(f"{path.name} has no piece {piece}")
        return cls(numbers, longest)

    def encode(self, text: str) -> list[int]:
        """The numbers of a text's tokens, framed."""
        pieces = [piece for word in split_words(text) for piece in self._pieces(word)]
        framed = [BEGIN, *pieces[: self.longest - 2], END]
        return [self.numbers[piece] for piece in framed]

    def _pieces(self, word: str) -> list[str]:
        """The longest known piece from the left, again and again."""
        found: list[str] = []
        start = 0
        while start < len(word) <= LONGEST_WORD:
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if prefix + word[start:e] in self.numbers), None)
            if end is None:
                return [UNKNOWN]
            found.append(prefix + word[start:end])
            start = end
        return found or [UNKNOWN]


def split_words(text: str) -> list[str]:
    """Lower-case words without accents; each mark of punctuation is a word of its own."""
    spaced = []
    for character in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(character)
        if category == "Mn" or (category in ("Cc", "Cf") and not character.isspace()):
            continue
        alone = character in _ASCII_MARKS or category.startswith("P") or _is_ideograph(character)
        spaced.append(f" {character} " if alone else character)
    return "".join(spaced).split()


def _is_ideograph(character: str) -> bool:
    code = ord(character)
    return 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0xF900 <= code <= 0xFAFF
