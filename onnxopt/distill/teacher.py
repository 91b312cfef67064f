"""The teacher: the original in ONNX Runtime, with inner tensors as further outputs."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import onnx_ir as ir

from onnxopt.calibrate.tapping import with_outputs
from onnxopt.data import Feeds, Sample
from onnxopt.distill.hints import Hint
from onnxopt.errors import DataError, OnnxoptError
from onnxopt.fixed import Values
from onnxopt.runtime import SessionConfig, open_session

Arrays = dict[str, Any]


class Teacher:
    """Says what a student should compute; closed by ``with``.

    Args:
        model: The original; any operator ONNX Runtime runs.
        tensors: What to look at.
        hints: Inner tensors to look at, as the student should make them.
        fixed: Values of inputs that the student has built in.
        threads: Of the runtime.
    """

    def __init__(
        self,
        model: ir.Model,
        tensors: Sequence[str],
        hints: Sequence[Hint] = (),
        fixed: Values | None = None,
        threads: int = 1,
    ) -> None:
        names = list(dict.fromkeys([*tensors, *(hint.name for hint in hints)]))
        config = SessionConfig(threads=threads, spinning=False)
        self._session = open_session(with_outputs(model, names), config)
        self._hints = {hint.name: hint for hint in hints if hint.name not in tensors}
        self._needed = [spec.name for spec in self._session.inputs]
        self._fixed = fixed or {}

    def says(self, feeds: Feeds, where: str = "sample") -> Arrays:
        """The tensors for one sample, or for several joined to one.

        Raises:
            DataError: An input is missing or does not fit.
            ModelError: The model fails.
        """
        given = {**self._fixed, **feeds}
        missing = [name for name in self._needed if name not in given]
        if missing:
            raise DataError(f"{where} has no {', '.join(missing)}", "every input of the teacher")
        try:
            found = self._session.run({name: given[name] for name in self._needed})
        except OnnxoptError as error:
            raise type(error)(f"teacher, {where}: {error.found}", error.wanted) from error
        return {name: self._shaped(name, value) for name, value in found.items()}

    def teach(self, sample: Sample) -> Arrays:
        """The tensors for one sample."""
        return self.says(sample.feeds, f"sample {sample.item}")

    def close(self) -> None:
        """Free the model."""
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _shaped(self, name: str, value: Any) -> Any:
        hint = self._hints.get(name)
        shaped = np.asarray(value) if hint is None else hint.target(np.asarray(value))
        return shaped.astype(np.float32, copy=False)
