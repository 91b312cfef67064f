"""onnx_ir's reader and writer of messages, with errors of one line."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

import onnx
import onnx_ir as ir

from onnxopt.errors import ModelError, OnnxoptError
from onnxopt.guard import printable


def read(proto: onnx.ModelProto) -> ir.Model:
    """Build the model of a message.

    Raises:
        ModelError: The message does not make a graph.
    """
    with explained("the model is malformed"), _collector_paused():
        return ir.serde.deserialize_model(proto)


@contextlib.contextmanager
def explained(found: str) -> Iterator[None]:
    """Turn any error of onnx_ir into a ``ModelError``: a wrong model provokes all kinds."""
    try:
        yield
    except OnnxoptError:
        raise
    except Exception as error:
        raise ModelError(f"{found}: {_root_cause(error)}") from error


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Reading makes many objects and no garbage; walking them again and again costs a third."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _root_cause(error: BaseException) -> str:
    """The first sentence of what an error comes from, on one line."""
    while (earlier := error.__cause__ or error.__context__) is not None:
        error = earlier
    sentence = " ".join(str(error).split(". ")[0].split())
    return printable(sentence, 200) or type(error).__name__
