"""Rows of a Parquet file. pyarrow has its home here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxopt.data.rows import Row, Table, check_columns
from onnxopt.errors import BackendMissingError, DataError

SUFFIXES = (".parquet", ".pq")
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class ParquetTable(Table):
    """A Parquet file; null is an empty cell, and numbers are written so that they read back."""

    def rows(self) -> Iterator[Row]:
        """Every row, a batch of them in memory."""
        pyarrow = _pyarrow()
        index = 0
        try:
            with pyarrow.parquet.ParquetFile(self.path) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE):
                    for values in zip(*(c.to_pylist() for c in batch.columns), strict=True):
                        cells = tuple("" if v is None else str(v) for v in values)
                        yield Row(index, f"{self.path.name}, row {index}", cells)
                        index += 1
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{self.path} cannot be read as Parquet ({error})") from error


def open_parquet(path: Path) -> ParquetTable:
    """Read the names of the columns.

    Raises:
        DataError: The file is missing or no Parquet, or a column appears twice.
        BackendMissingError: pyarrow is not installed.
    """
    pyarrow = _pyarrow()
    if not path.is_file():
        raise DataError(f"no file {path}")
    try:
        columns = tuple(pyarrow.parquet.read_schema(path).names)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read as Parquet ({error})") from error
    check_columns(path, columns)
    return ParquetTable(path, columns)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise BackendMissingError(
            "Parquet needs pyarrow", todo="pip install 'onnxopt[tables]'"
        ) from error
    return pyarrow
