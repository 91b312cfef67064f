"""Running a model stretch by stretch gives what running it whole gives."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import pipeline, store
from onnxopt.calibrate.tapping import with_outputs
from onnxopt.data import in_memory, synthesize
from onnxopt.errors import ModelError
from onnxopt.graph import rewrite_constant
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.signature import signature_of
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_models.digits import CALIBRATION, MODEL
from onnxopt_passes._walk import Walk

PLAIN = SessionConfig(spinning=False)


def test_it_gives_the_tensors_of_the_whole_model() -> None:
    data = in_memory({"image": x[None]} for x in np.load(CALIBRATION)["image"][:3])
    context = Context(target=load_target("x64-vnni"), calibration=data)
    model = pipeline.run(store.load(MODEL), Recipe.parse("exact | quantize-static"), context).model
    names = [n.outputs[0].name or "" for n in model.graph if n.op_type in ("Conv", "Gemm")]
    walk = Walk(model, list(data), PLAIN)
    found = {name: walk.until([name]) for name in names}
    with open_session(with_outputs(model, names), PLAIN) as session:
        for number, sample in enumerate(data):
            for name, expected in session.run(sample.feeds).items():
                np.testing.assert_allclose(found[name][number][name], expected, atol=1e-4)


def test_a_weight_changed_on_the_way_counts_from_there_on(make: Callable[..., ir.Model]) -> None:
    model = make(
        "(float[1,2] x) => (float[1,2] z) { y = MatMul(x, v) z = MatMul(y, w) }", v=(2, 2), w=(2, 2)
    )
    samples = list(synthesize(signature_of(model), dims={}, seed=0, samples=2))
    walk = Walk(model, samples, PLAIN)
    (y, *_) = walk.until(["y"])
    rewrite_constant(model.graph.initializers["w"], np.eye(2, dtype=np.float32))
    (z, *_) = walk.until(["z"])
    np.testing.assert_array_equal(y["y"], z["z"])


def test_what_a_subgraph_reads_is_kept(make: Callable[..., ir.Model]) -> None:
    model = store.from_text(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[2] x, bool c) => (float[2] z) {'
        " y = Neg(x) a = Abs(x)"
        " z = If(c) <then_branch = t () => (float[2] p) { p = Add(y, a) },"
        " else_branch = e () => (float[2] q) { q = Sub(y, a) }> }"
    )
    feeds = {"x": np.array([1, -2], np.float32), "c": np.array(True)}
    walk = Walk(model, list(in_memory([feeds])), PLAIN)
    walk.until(["a"])
    np.testing.assert_array_equal(walk.until(["z"])[0]["z"], [0, 4])


def test_graph_order_is_asked_for(make: Callable[..., ir.Model]) -> None:
    model = make("(float[2] x) => (float[2] z) { y = Neg(x) z = Abs(y) }")
    walk = Walk(model, list(synthesize(signature_of(model), dims={}, seed=0, samples=1)), PLAIN)
    walk.until(["z"])
    with pytest.raises(ModelError, match="graph order"):
        walk.until(["y"])
