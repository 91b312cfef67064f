"""Runs a model that ONNX Runtime has loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from onnxopt.errors import ModelError, UsageError
from onnxopt.fixed import parse_fixed, without_fixed
from onnxopt.runtime import values
from onnxopt.runtime.binding import runtime_errors
from onnxopt.runtime.bound import bound_call, check_bindable
from onnxopt.runtime.config import SessionInfo
from onnxopt.runtime.failures import run_failure
from onnxopt.runtime.source import Source
from onnxopt.signature import TensorSpec

if TYPE_CHECKING:
    import onnxruntime as ort


class Session:
    """A model loaded in ONNX Runtime; made by ``open_session``, closed by ``close`` or ``with``.

    Attributes:
        info: What is in force.
        inputs: The inputs that must be fed.
        outputs: All outputs, in order.
        fixed: Inputs that were built into the model, with their values.
    """

    def __init__(
        self,
        inner: ort.InferenceSession,
        info: SessionInfo,
        source: Source,
        bound_to: str | None = None,
    ) -> None:
        self._inner: ort.InferenceSession | None = inner
        self._label = source.label
        self._source = source
        self._bound_to = bound_to
        self._errors = runtime_errors()
        self.info = info
        arguments = inner.get_inputs()
        self.inputs = tuple(values.spec_of(arg) for arg in arguments)
        self.outputs = tuple(values.spec_of(arg) for arg in inner.get_outputs())
        defaults = [values.spec_of(arg) for arg in inner.get_overridable_initializers()]
        self._feedable = {spec.name: spec for spec in (*self.inputs, *defaults)}
        self._required = [a.name for a in arguments if not str(a.type).startswith("optional")]
        self.fixed = parse_fixed(inner.get_modelmeta().custom_metadata_map)

    def run(self, feeds: values.Feeds, outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once.

        Args:
            feeds: One value for each input; an initializer that is also an input may be fed too,
                and so may an input that was built into the model, if with the same value.
            outputs: Names of the wanted outputs; None for all.

        Returns:
            Arrays by output name; sequences come as lists, maps as dicts.

        Raises:
            DataError: a name, dtype or shape does not fit the inputs.
            ModelError: the model fails on these feeds.
        """
        names = self._wanted(outputs)
        found = self.prepare(feeds, names)() if names else []
        if self._bound_to is not None:
            found = [value.numpy() for value in found]
        return dict(zip(names, found, strict=True))

    def prepare(
        self, feeds: values.Feeds, outputs: Sequence[str] | None = None
    ) -> Callable[[], list[Any]]:
        """Check and convert the feeds once; each call of the result then only runs the model.

        For timing: nothing but ONNX Runtime happens in the call. With ``io_binding`` not even
        copying between host and device: the call gives the device's own values.
        """
        inner = self._open()
        names = self._wanted(outputs)
        if self.fixed:
            feeds = without_fixed(feeds, self.fixed, self._feedable)
        values.check_feeds(feeds, self._feedable, self._required)
        specs = {spec.name: spec for spec in self.outputs}
        wanted = [specs[name] for name in names]
        if self._bound_to is not None:
            given = [self._feedable[name] for name in feeds]
            check_bindable([*given, *wanted])
            ready = {name: values.to_feed(v, self._feedable[name]) for name, v in feeds.items()}
            return self._guarded(bound_call(inner, ready, names, self._bound_to))
        if values.needs_raw(wanted):
            return self._guarded(_raw_call(inner, self._ort_values(feeds), wanted))
        ready = {name: values.to_feed(value, self._feedable[name]) for name, value in feeds.items()}
        return self._guarded(lambda: list(inner.run(names, ready)))

    def end_profiling(self) -> Path:
        """Stop profiling and return the file that holds the profile.

        Raises:
            UsageError: the session was opened without ``profile_prefix``.
        """
        path = self._open().end_profiling()
        if not path:
            raise UsageError("the session does not profile", "profile_prefix in SessionConfig")
        return Path(path)

    def close(self) -> None:
        """Free the model; running it afterwards is a ``UsageError``."""
        self._inner = None
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _open(self) -> ort.InferenceSession:
        if self._inner is None:
            raise UsageError(f"the session of {self._label} is closed")
        return self._inner

    def _wanted(self, outputs: Sequence[str] | None) -> list[str]:
        known = [spec.name for spec in self.outputs]
        if outputs is None:
            return known
        for name in outputs:
            if name not in known:
                raise UsageError(f"the model has no output {name!r}", f"some of {', '.join(known)}")
        return list(outputs)

    def _ort_values(self, feeds: values.Feeds) -> dict[str, ort.OrtValue]:
        for name in feeds:
            if not self._feedable[name].dtype:
                found = f"{self._label} mixes bfloat16 or narrower outputs with the input {name}"
                raise ModelError(found, "dense tensors only beside such outputs")
        return {n: values.to_ort_value(v, self._feedable[n]) for n, v in feeds.items()}

    def _guarded(self, call: Callable[[], list[Any]]) -> Callable[[], list[Any]]:
        def run() -> list[Any]:
            try:
                return call()
            except self._errors as error:
                raise run_failure(self._label, error) from error

        return run


def _raw_call(
    inner: ort.InferenceSession, feeds: dict[str, ort.OrtValue], wanted: Sequence[TensorSpec]
) -> Callable[[], list[Any]]:
    """A run whose outputs numpy's own dtypes cannot hold."""
    names = [spec.name for spec in wanted]

    def call() -> list[Any]:
        made = inner.run_with_ort_values(names, feeds)
        return [values.from_ort_value(m, s) for m, s in zip(made, wanted, strict=True)]

    return call
