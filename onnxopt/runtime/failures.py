"""Turns ONNX Runtime's exceptions into the library's one-line errors."""

from __future__ import annotations

import re

from onnxopt.errors import LimitError, ModelError, OnnxoptError

_NOISE = re.compile(
    r"\x1b\[[0-9;]*m"  # colours
    r"|\[ONNXRuntimeError\] : \d+ : (?=[A-Z_]+ : )"
    r"|/\S+\.(?:h|cc|cpp):\d+ (?:- )?"
    r"|Exception (?:from|during loading:?) ?(?:\S+\.cpp:\d+:)?"
    r"|(?:onnx)?[Rr]untime error Status Message: ?"
)
_LONGEST = 400
_HINTS = {
    "Input names mismatch": "take the weights out of the graph inputs (freeze-default-inputs)",
}
_OUT_OF_MEMORY = ("Failed to allocate memory", "bad_alloc", "out of memory", "Out of memory")


def message_of(error: BaseException) -> str:
    """ONNX Runtime's message in one line without colours, source paths and repetition."""
    text = " ".join(_NOISE.sub(" ", str(error)).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def load_failure(label: str, provider: str, error: BaseException) -> OnnxoptError:
    """The error for a model that a provider does not load."""
    reason = message_of(error)
    if _is_out_of_memory(reason):
        return LimitError(f"not enough memory to load {label}: {reason}")
    loader = "ONNX Runtime" if provider == "cpu" else f"provider {provider}"
    hint = next((hint for words, hint in _HINTS.items() if words in reason), "")
    return ModelError(f"{loader} does not load {label}: {reason}", todo=hint)


def run_failure(label: str, error: BaseException) -> OnnxoptError:
    """The error for a run that failed although names, dtypes and ranks were right."""
    reason = message_of(error)
    if _is_out_of_memory(reason):
        return LimitError(f"not enough memory to run {label}: {reason}")
    return ModelError(f"{label} fails while running: {reason}")


def _is_out_of_memory(reason: str) -> bool:
    return any(word in reason for word in _OUT_OF_MEMORY)
