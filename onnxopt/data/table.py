"""Data from a table: a row is a sample, columns are inputs, features of one input, or the label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxopt.data.check import check_shape
from onnxopt.data.dataset import Sample, digest
from onnxopt.data.options import DataOptions
from onnxopt.data.picking import pick
from onnxopt.data.rows import Row, Table, hash_files, parse_labels
from onnxopt.data.state import state_hint
from onnxopt.errors import DataError
from onnxopt.signature import Signature, TensorSpec

_MAX_RANK = 2
_TRUTH = {"true": True, "false": False, "1": True, "0": False}
_SHOWN = 8


@dataclass(frozen=True)
class ColumnInput:
    """An input and the columns that it takes, in order."""

    spec: TensorSpec
    columns: tuple[str, ...]
    positions: tuple[int, ...]

    def read(self, row: Row) -> npt.NDArray[Any]:
        """The row's values: a scalar, ``[1]`` or ``[1, columns]``, as the input's rank says.

        Raises:
            DataError: A cell does not fit the type; the message names row and column.
        """
        rank = len(self.spec.shape or ())
        values = [self._value(row, at) for at in range(len(self.columns))]
        dtype = None if self.spec.dtype == "string" else np.dtype(self.spec.dtype)
        try:
            array = np.array(values if rank == _MAX_RANK else values[0], dtype)
        except OverflowError as error:
            raise DataError(f"{row.where}: a value is too large", f"{self.spec.dtype}") from error
        return array.reshape((1,) * (rank - array.ndim) + array.shape)

    def _value(self, row: Row, at: int) -> object:
        text, dtype = row.cells[self.positions[at]], self.spec.dtype
        try:
            return _parse(text, dtype)
        except (ValueError, KeyError) as error:
            raise DataError(
                f"{row.where}: column {self.columns[at]!r} is {text!r}",
                f"{dtype} as in {self.spec}",
            ) from error


@dataclass(frozen=True, eq=False)
class TableSource:
    """The rows of a table, read from the file when their turn comes."""

    table: Table
    inputs: tuple[ColumnInput, ...]
    label_at: int | None
    parse_label: Callable[[str], object]
    items: Sequence[str]
    notes: tuple[str, ...]
    is_random: bool = False

    @property
    def origin(self) -> str:
        """The file."""
        return str(self.table.path)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the file's bytes and what is taken from it."""
        taken = [(str(column.spec), column.positions) for column in self.inputs]
        return digest("table", *hash_files([self.table.path]), taken, self.label_at, *self.items)

    def read(self, indices: Sequence[int] | None) -> Iterator[Sample]:
        """The samples at these positions, in this order; all of them for None."""
        for row in pick(self.table.rows(), indices, self.origin):
            feeds = {column.spec.name: column.read(row) for column in self.inputs}
            label = None if self.label_at is None else self._label(row, self.label_at)
            yield Sample(feeds, label, self.items[row.index])

    def _label(self, row: Row, at: int) -> object:
        try:
            return self.parse_label(row.cells[at])
        except ValueError as error:
            raise DataError(f"{self.table.path} changed while it was in use") from error


def open_table(table: Table, signature: Signature, options: DataOptions) -> TableSource:
    """Choose columns and check every label.

    Inputs take the columns of their names; where a model's only input has no such column, it
    takes all columns but those of labels and items, in their order.

    Raises:
        DataError: The columns do not fit the inputs, there are no rows, or a label is missing.
    """
    named = [spec for spec in signature.inputs if spec.name in table.columns]
    by_name = len(named) == len(signature.inputs)
    label_at = table.label_position(options.labels)
    if by_name and any(table.columns.index(spec.name) == label_at for spec in named):
        label_at = None
    item_at = None if options.items is None else table.position(options.items)
    if by_name:
        inputs = tuple(_column_input(spec, (spec.name,), table) for spec in signature.inputs)
    else:
        features = [c for at, c in enumerate(table.columns) if at not in (label_at, item_at)]
        inputs = (_column_input(_only(signature, table), tuple(features), table),)
    parse, items = _scan(table, label_at, item_at)
    if options.state and item_at is None:
        items = (table.path.name,) * len(items)
    if not items:
        raise DataError(f"{table.path} holds no rows besides its header")
    used = {at for column in inputs for at in column.positions} | {label_at, item_at}
    unused = [name for at, name in enumerate(table.columns) if at not in used]
    return TableSource(table, inputs, label_at, parse, items, tuple(_notes(table, unused)))


def _scan(
    table: Table, label_at: int | None, item_at: int | None
) -> tuple[Callable[[str], object], tuple[str, ...]]:
    """How labels are read, and each row's item, in one pass over the file."""
    items: list[str] = []

    def labels() -> Iterator[tuple[str, str]]:
        for row in table.rows():
            items.append(str(row.index) if item_at is None else row.cells[item_at])
            if label_at is not None:
                yield row.where, row.cells[label_at]

    return parse_labels(labels()), tuple(items)


def _column_input(spec: TensorSpec, columns: tuple[str, ...], table: Table) -> ColumnInput:
    if spec.shape is None or not spec.dtype or len(spec.shape) > _MAX_RANK:
        raise DataError(
            f"input {spec} takes no rows of a table",
            "a known type and at most 2 axes",
            "give a folder of .npz files",
        )
    if len(columns) > 1 and len(spec.shape) < _MAX_RANK:
        raise DataError(f"{table.path.name}: {len(columns)} columns for {spec}", "one column")
    check_shape((1, len(columns))[: len(spec.shape)], spec, f"{table.path.name}, one row")
    return ColumnInput(spec, columns, tuple(map(table.position, columns)))


def _only(signature: Signature, table: Table) -> TensorSpec:
    if len(signature.inputs) == 1:
        return signature.inputs[0]
    missing = [spec.name for spec in signature.inputs if spec.name not in table.columns]
    raise DataError(
        f"{table.path.name} has no column for input {', '.join(missing)}",
        "a column for each input",
        state_hint(signature, missing) or f"it has {', '.join(table.columns)}",
    )


def _notes(table: Table, unused: list[str]) -> Iterator[str]:
    if unused:
        shown = ", ".join(unused[:_SHOWN]) + (", …" if len(unused) > _SHOWN else "")
        yield f"{table.path.name}: columns that are no inputs were ignored: {shown}"


def _parse(text: str, dtype: str) -> object:
    if dtype == "string":
        return text
    text = text.strip()
    if dtype == "bool":
        return _TRUTH[text.lower()]
    if np.dtype(dtype).kind in "iu" or dtype.startswith(("int", "uint")):
        return int(text)
    return float(text) if text else float("nan")
