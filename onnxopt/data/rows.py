"""Tables as rows of text, such as a CSV file's, and labels out of them."""

from __future__ import annotations

import csv
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from onnxopt.data.options import LABELS
from onnxopt.errors import DataError

_MISSING = frozenset({"", "nan"})
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        index: Place among the rows after the header; -1 for the header.
        where: Names it in errors, by file and the line it ends on.
        cells: Its texts.
    """

    index: int
    where: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table(ABC):
    """A file of rows with named columns.

    Attributes:
        path: The file.
        columns: Their names, in order; none appears twice.
    """

    path: Path
    columns: tuple[str, ...]

    @abstractmethod
    def rows(self) -> Iterator[Row]:
        """Every row, read anew from the file.

        Raises:
            DataError: The file is damaged.
        """

    def label_position(self, asked: str) -> int | None:
        """Where the labels stand; unless asked for by name, ``label`` is found too.

        Raises:
            DataError: There is no column of the name asked for.
        """
        if asked != LABELS:
            return self.position(asked)
        found = [name for name in (LABELS, "label") if name in self.columns]
        return self.position(found[0]) if found else None

    def position(self, column: str) -> int:
        """Where a column stands.

        Raises:
            DataError: There is no such column.
        """
        if column not in self.columns:
            raise DataError(
                f"{self.path.name} has no column {column!r}",
                todo=f"it has {', '.join(self.columns)}",
            )
        return self.columns.index(column)


@dataclass(frozen=True)
class CsvTable(Table):
    """A CSV file whose first row names the columns, in UTF-8 with or without a mark."""

    def rows(self) -> Iterator[Row]:
        """Every row after the first; empty lines are left out."""
        rows = read_rows(self.path)
        next(rows, None)
        for row in rows:
            if len(row.cells) != len(self.columns):
                raise DataError(
                    f"{row.where} has {len(row.cells)} cells", f"{len(self.columns)}, as the header"
                )
            yield row


def open_csv(path: Path) -> CsvTable:
    """Read the header.

    Raises:
        DataError: The file is missing or empty, or a column appears twice.
    """
    header = next(read_rows(path), None)
    if header is None:
        raise DataError(f"{path} is empty", "a first row that names the columns")
    columns = tuple(cell.strip() for cell in header.cells)
    check_columns(path, columns)
    return CsvTable(path, columns)


def check_columns(path: Path, columns: tuple[str, ...]) -> None:
    """Raise ``DataError`` where two columns have one name."""
    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{path.name} has two columns {twice!r}")


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a file that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for index, cells in enumerate(filter(None, reader), start=-1):
                yield Row(index, f"{path.name}, line {reader.line_num}", tuple(cells))
    except FileNotFoundError as error:
        raise DataError(f"no file {path}") from error
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise DataError(f"{path} cannot be read as CSV ({error})", "UTF-8") from error


def parse_labels(texts: Iterable[tuple[str, str]]) -> Callable[[str], object]:
    """How a column of labels is read: as integers, else as numbers, else as text.

    Args:
        texts: Where each stands, and itself.

    Raises:
        DataError: One is empty or NaN; the message names its row.
    """
    kinds: list[Callable[[str], object]] = [int, _finite, str]
    for where, text in texts:
        if text.strip().lower() in _MISSING:
            raise DataError(f"{where}: the label is {text.strip() or 'empty'}", "a value")
        while not _reads(kinds[0], text):
            del kinds[0]
    return kinds[0]


def hash_files(paths: Iterable[Path]) -> Iterator[str]:
    """SHA-256 of each file's bytes."""
    for path in paths:
        state = hashlib.sha256()
        try:
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    state.update(chunk)
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror})") from error
        yield state.hexdigest()


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _reads(kind: Callable[[str], object], text: str) -> bool:
    try:
        kind(text)
    except ValueError:
        return False
    return True
