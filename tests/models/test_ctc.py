"""Reading text from CTC scores, and the metrics on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxopt.errors import DataError, ModelError
from onnxopt.metrics import Metric, metric
from onnxopt_models.tasks import pp_ocr_rec
from onnxopt_models.tasks.ctc import character_error_rate, charset, exact_match, read_text

CHARACTERS = ("", "a", "b", "c", " ")


def scores(*classes: int) -> np.ndarray:
    return np.eye(len(CHARACTERS), dtype=np.float32)[list(classes)][None]


def save_model(path: Path, metadata: dict[str, str]) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


def test_the_charset_is_the_blank_the_lines_and_a_space(tmp_path: Path) -> None:
    path = save_model(tmp_path / "m.onnx", {"character": "'\na\n\u2028\nb"})
    assert charset(path) == ("", "'", "a", "\u2028", "b", " ")


def test_a_model_without_charset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="character"):
        charset(save_model(tmp_path / "m.onnx", {}))


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ((1, 1, 0, 1, 2), "aab"),
        ((0, 0, 0), ""),
        ((4, 1, 4, 4, 2, 0, 4), "a b"),
        ((), ""),
    ],
)
def test_reading(classes: tuple[int, ...], text: str) -> None:
    assert read_text(scores(*classes)[0], CHARACTERS) == text


@pytest.mark.parametrize(
    ("classes", "label", "rate", "hit"),
    [
        ((1, 2, 3), "abc", 0.0, 1.0),
        ((1, 2), "abc", 1 / 3, 0.0),
        ((1, 2, 1), "abca", 0.25, 0.0),
        ((1, 2, 3), "", 3.0, 0.0),
    ],
)
def test_scores(classes: tuple[int, ...], label: str, rate: float, hit: float) -> None:
    outputs = {"other": np.zeros(3), "y": scores(*classes)}
    cer = character_error_rate("cer", lambda: CHARACTERS)
    exact = exact_match("exact", lambda: CHARACTERS)
    assert cer(outputs, label) == pytest.approx(rate)
    assert cer(outputs, np.array([label])) == pytest.approx(rate)
    assert exact(outputs, np.array([label])) == hit
    assert cer.weight(np.array([label])) == max(len(label), 1)


def test_outputs_and_labels_that_do_not_fit_are_named() -> None:
    cer = character_error_rate("cer", lambda: CHARACTERS)
    with pytest.raises(DataError, match=r"y \[1, 2, 4\].*\[1, steps, 5\]"):
        cer({"y": np.zeros((1, 2, 4))}, "a")
    with pytest.raises(DataError, match="one string"):
        cer({"y": scores(1)}, np.array(["a", "b"]))


def test_the_command_line_finds_the_metrics() -> None:
    assert metric(pp_ocr_rec.CER) is pp_ocr_rec.cer
    exact = metric(pp_ocr_rec.EXACT)
    assert isinstance(exact, Metric)
    assert exact.higher_is_better
    assert not pp_ocr_rec.cer.higher_is_better


@pytest.mark.real
def test_the_real_charset_has_a_class_for_each_score() -> None:
    characters = pp_ocr_rec.characters()
    assert len(characters) == 6625
    assert set("abcXYZ019 -.,:;!?") <= set(characters)
