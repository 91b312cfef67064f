"""Open sizes of inputs, where a target's int8 is only right with fixed ones."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.data import in_memory
from onnxopt.errors import BackendMissingError
from onnxopt.targets import load_target
from onnxopt.transform import Context, Note, Pass
from onnxopt_passes.quantize import _open_sizes
from onnxopt_passes.quantize.quantize_mixed import QuantizeMixed
from onnxopt_passes.quantize.quantize_static import QuantizeStatic

STEPS = [QuantizeStatic(placement="all"), QuantizeMixed()]


def conv(batch: str) -> ir.Model:
    return store.from_text(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float[{batch},64,8,8] x, float k) => (float[{batch},64,8,8] y)"
        f" <float[64,64,1,1] w = {{{', '.join(['0.5', '-0.25'] * 2048)}}}, float k = {{1}}>"
        " { y = Conv(x, w) }"
    )


def notes(step: Pass, model: ir.Model, target: str) -> list[Note]:
    random = np.random.default_rng(0)
    samples = [{"x": random.standard_normal((1, 64, 8, 8), np.float32)} for _ in range(4)]
    context = Context(
        target=load_target(target), calibration=in_memory(samples), teacher=model.clone()
    )
    return list(step.rewrite(model, context))


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(config: object) -> None:
        raise BackendMissingError("it is not there")

    monkeypatch.setattr(_open_sizes, "check_config", refuse)


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize("step", STEPS, ids=str)
def test_they_keep_a_model_in_float_where_the_provider_cannot_be_asked(step: Pass) -> None:
    model = conv("N")
    (note,) = notes(step, model, "x64-openvino-vnni")
    assert note.kind == "refused"
    assert "as those of x are" in note.reason
    assert "--dim" in note.reason
    assert [node.op_type for node in model.graph] == ["Conv"]


@pytest.mark.usefixtures("absent")
@pytest.mark.parametrize(
    ("batch", "target"), [("1", "x64-openvino-vnni"), ("1", "x64-openvino"), ("N", "x64-vnni")]
)
def test_fixed_sizes_and_other_targets_are_as_ever(batch: str, target: str) -> None:
    model = conv(batch)
    assert any(note.kind == "applied" for note in notes(STEPS[0], model, target))


def test_what_the_provider_shows_decides_where_it_is_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_open_sizes, "check_config", lambda config: None)
    model = conv("N")
    found = notes(STEPS[0], model, "x64-openvino-vnni")
    assert any(note.kind == "applied" for note in found)
    target = load_target("x64-openvino-vnni")
    assert "--dim" in _open_sizes.open_sizes(conv("N"), target)
    assert not _open_sizes.open_sizes(conv("1"), target)
