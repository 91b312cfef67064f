"""Judges what a recipe makes of a model of the corpus: promises, signature, validity, outputs."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import corpus
import numpy as np
import onnx
import onnx_ir as ir

from onnxopt import pipeline, registry, store
from onnxopt.errors import ModelError, OnnxoptError
from onnxopt.exactness import Tolerance
from onnxopt.graph import all_nodes
from onnxopt.pipeline import PipelineResult
from onnxopt.presets import PRESETS
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.targets import load_target, target_names
from onnxopt.transform import Context, Pass

RANDOM = frozenset(
    {"Bernoulli", "Multinomial"}
    | {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
UNOPTIMIZED = SessionConfig(optimization="off", threads=1)


class Subject:
    """A case of the corpus; the original is checked and run once, when first needed.

    Raises:
        ModelError: The store does not take in the model.
    """

    def __init__(self, case: corpus.Case) -> None:
        self.case = case
        self.name = case.name
        self.model: ir.Model = store.load(case.model)
        self._verdicts: dict[tuple[str, Tolerance], str | None] = {}

    @functools.cached_property
    def content(self) -> str:
        return store.content_hash(self.model)

    @functools.cached_property
    def proto(self) -> onnx.ModelProto:
        return proto_of(self.model)

    @functools.cached_property
    def is_valid(self) -> bool:
        return invalidity(self.proto) is None

    @functools.cached_property
    def outputs(self) -> dict[str, Any] | None:
        """What the original computes; None where ONNX Runtime does not run it, or at random."""
        if any(node.op_type in RANDOM for node in all_nodes(self.model)):
            return None
        try:
            return compute(self.case.model.SerializeToString(), self.case.feeds)
        except OnnxoptError:
            return None

    def problem(self, recipe: Recipe, context: Context | None = None) -> str | None:
        """What goes wrong when a recipe runs on the model."""
        try:
            result = pipeline.run(self.model, recipe, context)
        except OnnxoptError as error:
            return f"{self.name}: {error}"
        found = self._unkept_promise(result) or self._verdict(result)
        return found and f"{self.name}: {found}"

    def _unkept_promise(self, result: PipelineResult) -> str | None:
        if result.remarks:
            return "; ".join(result.remarks)
        if store.content_hash(self.model) != self.content:
            return "the caller's model was changed"
        if not result.changed and store.content_hash(result.model) != self.content:
            return "changed, but no note says so"
        return None

    def _verdict(self, result: PipelineResult) -> str | None:
        """Equal results are judged once."""
        tolerance = result.recipe.exactness.tolerance
        assert tolerance is not None
        key = store.content_hash(result.model), tolerance
        if key[0] == self.content:
            return None
        if key not in self._verdicts:
            self._verdicts[key] = self._judge(result.model, tolerance)
        return self._verdicts[key]

    def _judge(self, model: ir.Model, tolerance: Tolerance) -> str | None:
        proto = proto_of(model)
        found = interface_change(self.proto, proto)
        if found is None and self.is_valid:
            found = invalidity(proto)
        if found or self.outputs is None:
            return found
        try:
            after = compute(proto.SerializeToString(), self.case.feeds)
        except OnnxoptError as error:
            return str(error)
        return difference(self.outputs, after, tolerance)


def subjects(every: int, offset: int) -> Iterator[Subject]:
    """Every n-th case of the corpus that the store takes in at all."""
    for case in corpus.cases(every, offset):
        try:
            yield Subject(case)
        except ModelError:
            continue  # a sparse weight, say: refused when loaded, which has its own tests


def exact_passes() -> list[Pass]:
    """All installed passes that promise exactness and need nothing."""
    found = [pass_class() for pass_class in registry.passes().values() if not pass_class.needs]
    return [step for step in found if step.exactness.is_exact]


def exact_recipes() -> dict[str, Recipe]:
    """Every exact preset, and what every target does to models that become integer or stay float;
    equal recipes once.
    """
    texts = {name: name for name in PRESETS}
    for name in target_names():
        target = load_target(name)
        texts[f"{name} exact"] = target.exact_recipe
        texts[f"{name} float"] = f"{target.exact_recipe} | {target.float_recipe}".rstrip(" |")
    recipes = {name: Recipe.parse(text) for name, text in texts.items()}
    once = {str(recipe): name for name, recipe in reversed(recipes.items())}
    return {name: recipes[name] for name in recipes if once[str(recipes[name])] == name}


def proto_of(model: ir.Model) -> onnx.ModelProto:
    return onnx.ModelProto.FromString(store.serialize(model))


def compute(model: bytes | ir.Model, feeds: dict[str, Any]) -> dict[str, Any]:
    """What a model computes from the feeds it needs; defaults stay."""
    with open_session(model, UNOPTIMIZED) as session:
        names = {spec.name for spec in session.inputs}
        return session.run({name: value for name, value in feeds.items() if name in names})


def compute_fed(model: ir.Model, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """What a model computes from all of the feeds, defaults among them."""
    with open_session(model, UNOPTIMIZED) as session:
        return session.run(feeds)


def invalidity(proto: onnx.ModelProto) -> str | None:
    """What onnx's checker has against a model."""
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        return f"invalid: {' '.join(str(error).split())}"
    return None


def interface_change(before: onnx.ModelProto, after: onnx.ModelProto) -> str | None:
    """What of the signature, the outputs or the model's own metadata is not as it was.

    An output without a type or shape may get one; defaults may leave the inputs.
    """
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        if getattr(before, field) != getattr(after, field):
            return f"{field} {getattr(after, field)!r} in place of {getattr(before, field)!r}"
    if properties(before) != properties(after) or before.graph.name != after.graph.name:
        return "metadata or graph name differ"
    inputs = [required_inputs(proto) for proto in (before, after)]
    if inputs[0] != inputs[1]:
        return f"inputs {inputs[1]} in place of {inputs[0]}"
    old, new = before.graph.output, after.graph.output
    if [value.name for value in old] != [value.name for value in new]:
        return f"outputs {[v.name for v in new]} in place of {[v.name for v in old]}"
    for a, b in zip(old, new, strict=True):
        if a != declared_like(a, b):
            return f"output {b} in place of {a}"
    return None


def properties(proto: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in proto.metadata_props}


def required_inputs(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in proto.graph.initializer}
    return [value for value in proto.graph.input if value.name not in weights]


def declared_like(model: onnx.ValueInfoProto, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The value without what the other does not declare."""
    reduced = onnx.ValueInfoProto()
    reduced.CopyFrom(value)
    if not model.type.WhichOneof("value"):
        reduced.ClearField("type")
    elif model.type.HasField("tensor_type") and not model.type.tensor_type.HasField("shape"):
        reduced.type.tensor_type.ClearField("shape")
    if not model.HasField("type"):
        reduced.ClearField("type")
    return reduced


def difference(before: dict[str, Any], after: dict[str, Any], tolerance: Tolerance) -> str | None:
    """Which outputs do not agree."""
    if list(before) != list(after):
        return f"outputs {list(after)} in place of {list(before)}"
    wrong = [name for name in before if not agree(before[name], after[name], tolerance)]
    return f"{wrong} differ" if wrong else None


def agree(a: Any, b: Any, tolerance: Tolerance) -> bool:
    """Whether two outputs agree: floats by the tolerance, all else exactly."""
    if isinstance(a, list):
        return len(a) == len(b) and all(agree(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(agree(a[k], b[k], tolerance) for k in a)
    if not isinstance(a, np.ndarray) or not isinstance(b, np.ndarray):
        return bool(a == b)
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    if a.dtype.kind == "V":
        return a.tobytes() == b.tobytes()
    if a.dtype.kind not in "fc":
        return bool((a == b).all())
    return np.allclose(b, a, rtol=tolerance.rtol, atol=tolerance.atol, equal_nan=True)
