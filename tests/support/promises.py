"""What every recipe promises on every model, checked on one model with a few sets of inputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import judging
import numpy as np
import onnx
import onnx_ir as ir

from onnxopt import pipeline, store
from onnxopt.comparing import kept, random_outputs
from onnxopt.data.synthetic import candidate_inputs
from onnxopt.errors import OnnxoptError
from onnxopt.exactness import Exactness
from onnxopt.pipeline import PipelineResult
from onnxopt.recipe import Recipe
from onnxopt.runtime import open_session
from onnxopt.signature import signature_of

Feeds = Mapping[str, Any]

SAMPLES = 2
RTOL, ATOL = 1e-3, 1e-4
HALF_LIMIT = 6e4


class Unusable(Exception):
    """The model is no case: it cannot be loaded, fed or run."""


class Specimen:
    """A model with inputs it takes; what the original computes is computed once.

    Raises:
        Unusable: ONNX Runtime does not run the model on any of the inputs.
    """

    def __init__(self, proto: onnx.ModelProto, feeds: Sequence[Feeds] | None = None) -> None:
        try:
            self.model = store.load(proto)
            if random_outputs(self.model):
                raise Unusable("random numbers")
            onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True)
            self.proto = judging.proto_of(self.model)
            tried = feeds if feeds is not None else self._made_up()
            found = self._run_all(self.model, tried)
        except (
            OnnxoptError,
            onnx.shape_inference.InferenceError,
            RuntimeError,
            ValueError,
        ) as error:
            raise Unusable(str(error)) from error
        self.feeds = [feed for feed, _ in found][:SAMPLES]
        self.before = [tensors for _, tensors in found][:SAMPLES]
        if not self.feeds:
            raise Unusable("no inputs that the model takes")
        again = tensors(self.model, self.feeds[0])
        if disagreement(self.before[0], again, list(again), Exactness.BITWISE):
            raise Unusable("computes something else each time")

    @functools.cached_property
    def content(self) -> str:
        return store.content_hash(self.model)

    @functools.cached_property
    def is_valid(self) -> bool:
        return judging.invalidity(self.proto) is None

    def violation(self, recipe: Recipe, *, settles: bool = False) -> str | None:
        """The first promise that a recipe breaks; ``settles`` asks for a second run to find
        nothing.
        """
        try:
            result = pipeline.run(self.model, recipe)
        except OnnxoptError as error:
            return f"raises {error}"
        if store.content_hash(self.model) != self.content:
            return "the caller's model was changed"
        if store.content_hash(result.model) == self.content:
            return None
        if not result.changed:
            return "changed, but no note says so"
        return self._wrong(result) or (unsettled(result) if settles else None)

    def _wrong(self, result: PipelineResult) -> str | None:
        if result.remarks:
            return "; ".join(result.remarks)
        proto = judging.proto_of(result.model)
        found = judging.interface_change(self.proto, proto)
        if found is None and self.is_valid:
            found = judging.invalidity(proto)
        if found:
            return found
        left = kept.between(self.model, result.model)
        for feeds, whole in zip(self.feeds, self.before, strict=True):
            before = {
                name: kept.take(value, left[name]) if name in left else value
                for name, value in whole.items()
            }
            try:
                after = tensors(result.model, feeds)
            except (OnnxoptError, ValueError) as error:
                return f"does not run: {error}"
            found = disagreement(before, after, self.outputs, result.exactness)
            if found:
                return found
        return None

    @property
    def outputs(self) -> list[str]:
        return [value.name or "" for value in self.model.graph.outputs]

    def _made_up(self) -> list[Feeds]:
        dataset = candidate_inputs(signature_of(self.model))
        return [sample.feeds for sample in dataset][:12]

    @staticmethod
    def _run_all(
        model: ir.Model, tried: Sequence[Feeds]
    ) -> list[tuple[Feeds, dict[str, np.ndarray]]]:
        found = []
        with open_session(exposed(model), judging.UNOPTIMIZED) as session:
            for feeds in tried:
                try:
                    found.append((feeds, session.run(feeds)))
                except OnnxoptError:
                    continue
        return found


def unsettled(result: PipelineResult) -> str | None:
    """Whether the same recipe finds something to do in its own result."""
    again = pipeline.run(result.model, result.recipe)
    if store.structural_hash(again.model) == store.structural_hash(result.model):
        return None
    hits = {step.step: step.notes for step in again.results if step.changed}
    return f"a second run still finds something: {hits}"


def exposed(model: ir.Model) -> ir.Model:
    """A copy that gives out what every node of the main graph computes."""
    copy = store.load(store.serialize(model))
    outputs = copy.graph.outputs
    for node in copy.graph:
        if node.op_type != "Constant":
            outputs.extend(v for v in node.outputs if v.name and not v.is_graph_output())
    return copy


def tensors(model: ir.Model, feeds: Feeds) -> dict[str, Any]:
    with open_session(exposed(model), judging.UNOPTIMIZED) as session:
        return session.run(feeds)


def disagreement(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    outputs: Sequence[str],
    exactness: Exactness,
) -> str | None:
    """The first output or value of the same name that is not what it was."""
    for name in (*outputs, *(n for n in before if n in after and n not in outputs)):
        if name not in after:
            return f"output {name} is gone"
        if not same(before[name], after[name], exactness):
            role = "output" if name in outputs else "value"
            return f"{role} {name} differs: {shown(before[name])} became {shown(after[name])}"
    return None


def same(a: Any, b: Any, exactness: Exactness) -> bool:
    """Whether two values agree: to the bit, or up to rounding relative to the largest number.

    A pass that only rounds may also give a number where overflow gave none, never the reverse.
    """
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y, exactness) for x, y in zip(a, b, strict=True))
    if not isinstance(a, np.ndarray) or a.dtype.kind not in "fc" or exactness.is_exact is False:
        return bool(np.array_equal(a, b))
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    half = a.dtype == np.float16  # the CPU computes it in single precision, rounding here or there
    if exactness is Exactness.BITWISE and not half:
        return bool(np.array_equal(a, b, equal_nan=True))
    finite = np.isfinite(a)
    if not np.isfinite(b[finite]).all():
        return half and bool((np.abs(a[finite & ~np.isfinite(b)]) > HALF_LIMIT).all())
    loose = 20 if half else 1
    x, y = a[finite].astype(np.float64), b[finite].astype(np.float64)
    scale = max(1.0, float(np.abs(x).max(initial=0.0)))
    return bool(np.allclose(y, x, rtol=RTOL * loose, atol=ATOL * scale * loose))


def shown(value: Any) -> str:
    if not isinstance(value, np.ndarray):
        return str(value)[:80]
    return f"{value.dtype}{list(value.shape)} {value.reshape(-1)[:6]}"
