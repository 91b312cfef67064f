"""Feeds and outputs between numpy and ONNX Runtime, for dtypes numpy knows and those it does not.

ONNX Runtime takes and gives numpy arrays, but not of bfloat16, float8 and the types narrower than
a byte. Those travel as raw bytes in an OrtValue; narrow elements are packed, the first in the
lowest bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from onnxopt.errors import DataError
from onnxopt.signature import TensorSpec

if TYPE_CHECKING:
    import onnxruntime as ort

Feeds = Mapping[str, npt.NDArray[Any]]

_RENAMED = {"float": "FLOAT", "double": "DOUBLE"}
_RAW_TYPES = {
    kind.numpy().name: kind
    for kind in ir.DataType
    if kind not in (ir.DataType.UNDEFINED, ir.DataType.STRING) and kind.numpy().num >= 256
}
_BYTE = 8


def spec_of(arg: ort.NodeArg) -> TensorSpec:
    """Describe an input or output of a session.

    ONNX Runtime gives no dimensions both for scalars and for unknown ranks: the shape is then None.
    """
    dtype = dtype_name(str(arg.type))
    dims = tuple(dim if isinstance(dim, int | str) else None for dim in arg.shape)
    return TensorSpec(arg.name, dtype, dims if dims and dtype else None)


def dtype_name(runtime_type: str) -> str:
    """The numpy name for ``tensor(float)`` and its like; empty for what is no dense tensor."""
    if not runtime_type.startswith("tensor("):
        return ""
    inner = runtime_type.removeprefix("tensor(").removesuffix(")")
    if inner == "string":
        return "string"
    known = ir.DataType.__members__.get(_RENAMED.get(inner, inner.upper()))
    return known.numpy().name if known is not None else ""


def needs_raw(specs: Iterable[TensorSpec]) -> bool:
    """Whether any of these has a dtype that numpy itself does not know."""
    return any(spec.dtype in _RAW_TYPES for spec in specs)


def check_feeds(feeds: Feeds, specs: Mapping[str, TensorSpec], required: Iterable[str]) -> None:
    """Compare names, dtypes and shapes with what the model declares.

    Raises:
        DataError: naming the first input that does not fit.
    """
    missing = [name for name in required if name not in feeds]
    if missing:
        raise DataError(f"no value for input {', '.join(missing)}", _inputs_text(specs.values()))
    for name, value in feeds.items():
        spec = specs.get(name)
        if spec is None:
            raise DataError(f"the model has no input {name!r}", _inputs_text(specs.values()))
        if spec.dtype:
            _check_tensor(value, spec)


def to_feed(value: Any, spec: TensorSpec) -> Any:
    """A checked feed as ``InferenceSession.run`` takes it."""
    if not spec.dtype:
        return value
    return to_ort_value(value, spec) if spec.dtype in _RAW_TYPES else _plain(value, spec)


def _plain(value: npt.NDArray[Any], spec: TensorSpec) -> npt.NDArray[Any]:
    """An array in the machine's byte order, in one piece; strings as objects."""
    if spec.dtype == "string":
        return _text_array(value)
    return np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")).reshape(value.shape)


def to_ort_value(value: npt.NDArray[Any], spec: TensorSpec) -> ort.OrtValue:
    """A checked feed as an OrtValue, which borrows an array and keeps it alive."""
    from onnxruntime import OrtValue

    array = _plain(value, spec)
    kind = _RAW_TYPES.get(spec.dtype)
    if kind is None:
        return OrtValue.ortvalue_from_numpy(array)
    raw: npt.NDArray[Any] = array.reshape(-1).view(f"u{max(kind.bitwidth // _BYTE, 1)}")
    if kind.bitwidth < _BYTE:
        raw = np.resize(pack(raw, kind.bitwidth), raw.size)  # only the packed bytes are read
    return OrtValue.ortvalue_from_numpy_with_onnx_type(raw.reshape(array.shape), int(kind))


def from_ort_value(value: ort.OrtValue, spec: TensorSpec) -> npt.NDArray[Any]:
    """A copy of a tensor that the runtime made."""
    kind = _RAW_TYPES.get(spec.dtype)
    if kind is None:
        array: npt.NDArray[Any] = value.numpy()
        return array
    shape = tuple(value.shape())
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.empty(shape, kind.numpy())
    size = -(-count * kind.bitwidth // _BYTE)
    raw = np.frombuffer(ctypes.string_at(value.data_ptr(), size), np.uint8)
    if kind.bitwidth < _BYTE:
        raw = unpack(raw, kind.bitwidth, count)
    return raw.view(kind.numpy()).reshape(shape).copy()


def pack(values: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Put ``8 / bits`` elements in each byte, the first in the lowest bits."""
    per_byte = _BYTE // bits
    padded = np.zeros(-(-values.size // per_byte) * per_byte, np.uint8)
    padded[: values.size] = values & ((1 << bits) - 1)
    shifts = np.arange(per_byte, dtype=np.uint8) * bits
    packed: npt.NDArray[np.uint8] = np.bitwise_or.reduce(
        padded.reshape(-1, per_byte) << shifts, axis=1, dtype=np.uint8
    )
    return packed


def unpack(data: npt.NDArray[np.uint8], bits: int, count: int) -> npt.NDArray[np.uint8]:
    """Undo ``pack``: one element a byte."""
    shifts = np.arange(_BYTE // bits, dtype=np.uint8) * bits
    spread = (data[:, None] >> shifts) & ((1 << bits) - 1)
    return spread.reshape(-1)[:count].astype(np.uint8)


def _check_tensor(value: Any, spec: TensorSpec) -> None:
    if not isinstance(value, np.ndarray | np.generic):
        raise DataError(f"input {spec.name} is a {type(value).__name__}", "a numpy array")
    found = "string" if value.dtype.kind in "UOST" else value.dtype.name
    if found != spec.dtype:
        raise DataError(f"input {spec.name} has dtype {found}", str(spec), "cast the data")
    if spec.shape is not None and not _fits(value.shape, spec.shape):
        dims = ",".join(map(str, value.shape))
        raise DataError(f"input {spec.name} has shape [{dims}]", str(spec), "reshape the data")


def _fits(shape: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(not isinstance(w, int) or s == w for s, w in zip(shape, wanted, strict=True))


def _text_array(value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Strings as objects; ONNX Runtime reads memory at random from arrays of bytes."""
    as_text = [item.decode() if isinstance(item, bytes) else str(item) for item in value.flat]
    return np.array(as_text, dtype=object).reshape(value.shape)


def _inputs_text(specs: Iterable[TensorSpec]) -> str:
    return "; ".join(map(str, specs)) or "no inputs at all"
