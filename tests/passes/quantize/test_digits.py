"""The embedded model, exactly rewritten and quantized: as accurate, and in integers throughout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import pipeline, store
from onnxopt.data import in_memory
from onnxopt.recipe import Recipe
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.targets import load_target
from onnxopt.transform import Context
from onnxopt_models.digits import CALIBRATION, MODEL, TEST

SAMPLES = 64


@pytest.fixture(scope="module")
def int8() -> ir.Model:
    images = np.load(CALIBRATION)["image"][:SAMPLES]
    context = Context(
        target=load_target("x64-vnni"), calibration=in_memory({"image": x[None]} for x in images)
    )
    recipe = Recipe.parse("exact | quantize-static")
    return pipeline.run(store.load(MODEL), recipe, context).model


def outputs(model: Path | ir.Model) -> np.ndarray:
    with open_session(model) as session:
        return np.concatenate(
            [session.run({"image": x[None]})["logits"] for x in np.load(TEST)["image"]]
        )


def test_accuracy_drops_by_half_a_point_at_most(int8: ir.Model) -> None:
    labels = np.load(TEST)["labels"]
    exact, integer = outputs(MODEL), outputs(int8)
    drop = (exact.argmax(1) == labels).mean() - (integer.argmax(1) == labels).mean()
    assert drop <= 0.005
    error = np.linalg.norm(integer - exact) / np.linalg.norm(exact)
    assert error == pytest.approx(0.019, rel=0.25)


def test_all_but_the_ends_runs_in_integers(int8: ir.Model, tmp_path: Path) -> None:
    path = tmp_path / "optimized.onnx"
    with open_session(int8, SessionConfig(optimized_model_path=path)):
        pass
    ops = Counter(f"{n.domain}:{n.op_type}".removeprefix(":") for n in ir.load(path).graph)
    assert ops["QuantizeLinear"] == ops["DequantizeLinear"] == 1
    assert ops["com.microsoft:QLinearConv"] == 23
    assert ops["com.microsoft.nchwc:Conv"] == 1  # the stem, for which fp32 has a kernel of its own
    assert ops["com.microsoft:QLinearMul"] == 14  # one a HardSwish, the stem's apart


def test_it_is_a_third_of_the_size(int8: ir.Model) -> None:
    assert len(store.serialize(int8)) < 0.33 * MODEL.stat().st_size
