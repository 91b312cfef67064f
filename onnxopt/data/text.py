"""Data from a file of texts: one a line, or a table of texts and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from onnxopt.data.check import check_feeds
from onnxopt.data.dataset import Sample, digest
from onnxopt.data.entries import Opened, entry_signature, largest_batch, names_of
from onnxopt.data.options import DataOptions
from onnxopt.data.picking import pick
from onnxopt.data.rows import Row, hash_files, open_csv, parse_labels
from onnxopt.data.tokens import TextInputs, text_inputs
from onnxopt.errors import DataError
from onnxopt.signature import Signature

TEXT_FILES = ("text.txt", "text.csv")
TOKENIZER = "tokenizer.json"


@dataclass(frozen=True)
class Texts:
    """A file of texts.

    Attributes:
        path: The file.
        rows: Reads it anew.
        text_at: The cell of the text.
        label_at: The cell of the label.
        item_at: The cell of the source item.
    """

    path: Path
    rows: Callable[[], Iterator[Row]]
    text_at: int = 0
    label_at: int | None = None
    item_at: int | None = None


@dataclass(frozen=True, eq=False)
class TextSource:
    """One text a sample, read and tokenized when its turn comes."""

    texts: Texts
    inputs: TextInputs
    signature: Signature
    parse_label: Callable[[str], object]
    items: Sequence[str]
    tokenizer: Path
    notes: tuple[str, ...] = ()
    is_random: bool = False

    @property
    def origin(self) -> str:
        """The file."""
        return str(self.texts.path)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the bytes of texts and tokenizer, and what is made of them."""
        made = self.inputs
        how = (made.inputs, made.length, made.padding, made.tokenizer.truncation)
        at = (self.texts.text_at, self.texts.label_at)
        return digest("text", *hash_files([self.texts.path, self.tokenizer]), how, at, *self.items)

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        for row in pick(self.texts.rows(), indices, self.origin):
            feeds = self.inputs.read(row.cells[self.texts.text_at], row.where)
            feeds = check_feeds(feeds, self.signature, row.where)
            yield Sample(feeds, self._label(row), self.items[row.index])

    def _label(self, row: Row) -> object | None:
        if self.texts.label_at is None:
            return None
        try:
            return self.parse_label(row.cells[self.texts.label_at])
        except ValueError as error:
            raise DataError(f"{self.texts.path} changed while it was in use") from error


def open_text(path: Path, signature: Signature, options: DataOptions) -> Opened:
    """Open a file of texts.

    A ``.csv`` has a column ``text`` and at will one of labels; in another file every line that
    is not blank is a text.

    Raises:
        DataError: File or tokenizer are missing or damaged, or a label is.
        UsageError: The model has inputs that get nothing from a text.
        BackendMissingError: tokenizers is not installed.
    """
    tokenizer = options.tokenizer or path.parent / TOKENIZER
    texts = _table(path, options) if path.suffix == ".csv" else Texts(path, lambda: _lines(path))
    parse, items = _scan(texts)
    if not items:
        raise DataError(f"{path} holds no texts")
    names = names_of(signature)
    single = entry_signature(signature, names, {})
    batch = options.batch or largest_batch(signature, names, {})
    inputs = text_inputs(single, tokenizer, max_length=options.max_length, pad=batch > 1)
    return Opened(TextSource(texts, inputs, single, parse, items, tokenizer), names)


def _table(path: Path, options: DataOptions) -> Texts:
    table = open_csv(path)
    item_at = None if options.items is None else table.position(options.items)
    text_at, label_at = table.position("text"), table.label_position(options.labels)
    return Texts(path, table.rows, text_at, label_at, item_at)


def _lines(path: Path) -> Iterator[Row]:
    index = 0
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield Row(index, f"{path.name}, line {number}", (line.rstrip("\n"),))
                    index += 1
    except FileNotFoundError as error:
        raise DataError(f"no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text ({error})", "UTF-8") from error


def _scan(texts: Texts) -> tuple[Callable[[str], object], tuple[str, ...]]:
    """How labels are read, and each row's item, in one pass over the file."""
    items: list[str] = []

    def labels() -> Iterator[tuple[str, str]]:
        for row in texts.rows():
            items.append(str(row.index) if texts.item_at is None else row.cells[texts.item_at])
            if texts.label_at is not None:
                yield row.where, row.cells[texts.label_at]

    return parse_labels(labels()), tuple(items)
