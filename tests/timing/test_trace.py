from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxopt.errors import LimitError, ModelError
from onnxopt.timing.kinds import kind_of
from onnxopt.timing.trace import Kernel, read_trace


def run(start: int, length: int) -> dict[str, Any]:
    return {"cat": "Session", "name": "model_run", "ts": start, "dur": length, "args": {}}


def call(name: str, op: str, start: int, length: int) -> dict[str, Any]:
    arguments = {
        "op_name": op,
        "node_index": "7",
        "provider": "CPUExecutionProvider",
        "input_type_shape": [{"float": [1]}, {"uint8": [2, 3]}],
        "output_type_shape": [{"float": []}],
    }
    head = {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": length}
    return {**head, "args": arguments}


def written(folder: Path, *events: dict[str, Any]) -> Path:
    path = folder / "trace.json"
    path.write_text(json.dumps(events))
    return path


def test_kernels_are_added_up_by_run(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        call("a", "Add", 5, 1),  # before the first run: while loading
        call("a", "Add", 12, 3),
        call("a", "Add", 16, 2),
        run(10, 10),
        call("a", "Add", 31, 4),
        run(30, 12),
    )
    trace = read_trace(path, runs=2)
    assert trace.run_ms == pytest.approx((0.010, 0.012))
    (done,) = trace.kernels.values()
    assert list(trace.kernels) == [Kernel("a", "Add", 7)]
    assert (done.inputs, done.outputs) == (("float", "uint8"), ("float",))
    assert (done.calls, done.ms) == (3, pytest.approx([0.005, 0.004]))
    (later,) = read_trace(path, runs=2, skip=1).kernels.values()
    assert (later.calls, later.ms) == (1, pytest.approx([0.004]))


def test_a_kernel_that_calls_others_keeps_its_own_time(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        call("body", "Add", 3, 4),
        call("inner", "Neg", 11, 2),
        call("if", "If", 10, 5),
        call("body", "Add", 16, 2),
        call("loop", "Loop", 2, 20),
        call("after", "Mul", 22, 1),
        run(0, 30),
    )
    own = {k.name: done.ms[0] for k, done in read_trace(path, runs=1).kernels.items()}
    expected = {"body": 0.006, "inner": 0.002, "if": 0.003, "loop": 0.009, "after": 0.001}
    assert own == pytest.approx(expected)
    assert sum(own.values()) == pytest.approx(0.021)  # nothing counts twice


def test_a_trace_that_ends_early_is_a_limit(tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"holds 1 of 2 runs; .* profile fewer runs"):
        read_trace(written(tmp_path, run(0, 1)), runs=2)


def test_a_trace_that_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text('[{"name": "a"b_kernel_time"}]')
    with pytest.raises(ModelError, match="does not parse"):
        read_trace(path, runs=1)


@pytest.mark.parametrize(
    ("op", "inputs", "outputs", "kind"),
    [
        ("Conv", ["float", "float"], ["float"], "float"),
        ("QLinearConv", ["uint8", "float", "uint8", "int8"], ["uint8"], "integer"),
        ("DynamicQuantizeMatMul", ["float", "int8"], ["float"], "integer"),
        ("MaxPool", ["uint8"], ["uint8"], "integer"),
        ("QuantizeLinear", ["float", "float", "uint8"], ["uint8"], "conversion"),
        ("Cast", ["int64"], ["float"], "conversion"),
        ("Transpose", ["uint8"], ["uint8"], "layout"),
        ("ReorderOutput", ["float"], ["float"], "layout"),
        ("Gather", ["int64", "int64"], ["int64"], "other"),
        ("RandomNormal", [], ["float"], "float"),
        ("MatMul", ["float16", "float16"], ["float16"], "float"),
        ("Add", ["bfloat16", "bfloat16"], ["bfloat16"], "float"),
        ("Loop", ["int64", "bool", "float"], ["float"], "other"),
        ("OpenVINOExecutionProvider_9_0", ["float"], ["float"], "other"),
    ],
)
def test_kinds(op: str, inputs: list[str], outputs: list[str], kind: str) -> None:
    assert kind_of(op, inputs, outputs) == kind
