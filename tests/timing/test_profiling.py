"""What a profile says about models whose kernels are known; nothing about how fast they are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnx_ir as ir
import psutil
import pytest
from onnx import numpy_helper, parser

from onnxopt.errors import BackendMissingError, DataError, UsageError
from onnxopt.runtime import SessionConfig, available_providers
from onnxopt.timing import Profile, ProfileConfig, profile
from onnxopt.timing.naming import ModelNames
from onnxopt.timing.profile_result import Tally
from onnxopt.timing.profiling import _notes, _tally
from onnxopt.timing.trace import Activity, Kernel

QUICK = ProfileConfig(sessions=2, session_seconds=0.01, timeout_seconds=60)
CNN = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8,16,16] x) => (float[N,M] y)
<int64[2] flat = {1, -1}>
{ c = Conv <pads = [1, 1, 1, 1]> (x, w, b)
  r = Relu (c)
  e = Exp (r)
  t = Transpose <perm = [0, 2, 3, 1]> (e)
  y = Reshape (t, flat) }"""


def cnn() -> ir.Model:
    rng = np.random.default_rng(0)
    proto = parser.parse_model(CNN)
    for name, shape in (("w", (16, 8, 3, 3)), ("b", (16,))):
        proto.graph.initializer.append(
            numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name)
        )
    model = ir.serde.deserialize_model(proto)
    for node in model.graph:
        node.name = "" if node.op_type == "Exp" else f"n/{node.op_type}"
    return model


X = np.random.default_rng(1).normal(size=(1, 8, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    path = tmp_path_factory.mktemp("models") / "m.onnx"
    ir.save(cnn(), path)
    return profile(path, [{"x": X}, {"x": -X}], QUICK)


def test_every_node_of_the_optimised_graph_is_there(found: Profile) -> None:
    ops = {node.op for node in found.nodes}
    assert {"Conv", "Exp", "Transpose", "Reshape"} <= ops
    assert "Relu" not in ops  # ONNX Runtime fused it
    assert all(node.calls == 1 for node in found.nodes)
    assert {node.provider for node in found.nodes} == {"CPUExecutionProvider"}
    assert [node.ms for node in found.nodes] == sorted((n.ms for n in found.nodes), reverse=True)


def test_nodes_carry_the_names_of_the_model(found: Profile) -> None:
    origin = {node.op: node.model_node for node in found.nodes}
    assert origin["Conv"] in ("n/Conv", "n/Relu")
    assert origin["Exp"] == "e"  # it has no name: called after its output
    assert origin["Transpose"] == "n/Transpose"
    assert origin.get("ReorderOutput") is None


def test_kernel_time_is_told_from_wall_time(found: Profile) -> None:
    assert 0 < found.kernel_ms <= found.profiled_ms
    assert found.run_ms > 0
    assert found.sessions == 2
    assert found.runs >= 2 * 2 * QUICK.least_passes
    assert found.runs % 4 == 0  # whole passes in each session


def test_shares_add_up_by_operator_kind_and_node(found: Profile) -> None:
    for rows in (found.nodes, found.ops, found.kinds):
        assert sum(row.share for row in rows) == pytest.approx(1)
    assert [group.name for group in found.kinds] == [
        "integer",
        "float",
        "conversion",
        "layout",
        "other",
    ]
    assert sum(group.nodes for group in found.kinds) == len(found.nodes)
    assert found.kind("integer").ms == found.kind("integer").nodes == 0
    assert found.kind("float").ms > 0 < found.kind("layout").nodes


def test_the_result_is_json(found: Profile) -> None:
    document = json.loads(found.to_json())
    assert document["kinds"][1]["name"] == "float"
    assert document["environment"]["versions"]["onnxruntime"]
    assert document == json.loads(json.dumps(asdict(found)))


def test_quantized_kernels_are_integer_time() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[1,64] x) => (float[1,32] y)'
        " <float s = {0.1}, uint8 z = {128}, float sw = {0.01}, int8 zw = {0}>"
        "{ q = QuantizeLinear (x, s, z)\n d = DequantizeLinear (q, s, z)"
        " v = DequantizeLinear (w, sw, zw)\n m = MatMul (d, v)"
        " p = QuantizeLinear (m, s, z)\n y = DequantizeLinear (p, s, z) }"
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((64, 32), np.int8), "w"))
    feeds = {"x": np.ones((1, 64), np.float32)}
    found = profile(model.SerializeToString(), [feeds], QUICK)
    assert found.kind("integer").nodes == 1
    assert found.kind("conversion").nodes == 2
    assert found.kind("float").nodes == 0
    assert found.model == "(in memory)"


def test_a_loop_counts_the_calls_of_its_body() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[64] x) => (float[64] y)'
        "<int64 n = {5}, bool t = {1}> {"
        " y = Loop(n, t, x) <body = b (int64 i, bool c, float[64] a) => (bool d, float[64] e)"
        " { d = Identity(c)\n e = Exp(a) }> }"
    )
    feeds = {"x": np.zeros(64, np.float32)}
    found = profile(model.SerializeToString(), [feeds], QUICK)
    calls = {node.op: node.calls for node in found.nodes}
    assert (calls["Loop"], calls["Exp"]) == (1, 5)


def test_names_without_a_model_behind_them() -> None:
    names = ModelNames(cnn())
    cases = {
        "n/Conv": "n/Conv",
        "r_nchwc": "n/Relu",
        "n/Conv_token_12": "n/Conv",
        "n/Exp/LayerNormFusion/": None,
        "n/Conv/MatmulTransposeFusion/": "n/Conv",
        "ReorderOutput_token_3": None,
    }
    assert {name: names.find(Kernel(name, "Conv", 99)) for name in cases} == cases
    assert names.find(Kernel("Exp_2", "Exp", 2)) == "e"
    assert names.find(Kernel("Exp_1", "Exp", 1)) is None  # the node there is another
    assert names.find(Kernel("Exp_40", "Exp", 40)) is None


def test_sessions_are_put_side_by_side() -> None:
    def part(*kernels: tuple[str, list[float]], runs: int) -> dict[str, object]:
        rest = {"provider": "p", "inputs": [], "outputs": [], "calls": 1}
        listed = [({"name": n, "op": n, "index": 0}, {**rest, "ms": ms}) for n, ms in kernels]
        return {"run_ms": [0.0] * runs, "kernels": listed}

    parts = [part(("a", [1, 3, 5, 7]), runs=4), part(("b", [2, 4]), ("a", [8, 8]), runs=2)]
    tally = _tally(parts, samples=2)
    assert [kernel.name for kernel in tally.kernels] == ["a", "b"]
    assert tally.times.tolist() == [[2, 6, 8], [0, 0, 3]]
    assert (tally.runs, tally.totals_ms) == (6, [2, 6, 11])


def test_notes_say_what_to_hold_against_the_numbers() -> None:
    def notes(device: str, run_ms: float, *totals: float) -> list[str]:
        count = len(totals)
        activity = Activity("p", (), (), calls=10 * count, ms=list(totals))
        tally = Tally((Kernel("a", "Add", 0),), (activity,), count)
        return list(_notes(device, run_ms, tally))

    assert notes("cpu", 2.0, 1.0, 1.0, 1.01) == []
    (slowed,) = notes("cpu", 0.98, 1.0, 1.0, 1.01)
    assert "the profiler adds at least 2.0 µs to each call" in slowed
    (noisy,) = notes("cpu", 5, 1.0, 1.0, 2.0, 2.0)
    assert noisy.startswith("noisy: ")
    assert "GPU" in notes("gpu", 5, 1.0)[0]


def test_what_cannot_be_profiled(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sessions=0"):
        ProfileConfig(sessions=0)
    with pytest.raises(DataError, match="no value for input x"):
        profile(cnn(), [{"z": X}], QUICK)
    if not any(p.name == "cuda" and p.usable for p in available_providers()):
        with pytest.raises(BackendMissingError, match="provider cuda"):
            profile(cnn(), [{"x": X}], ProfileConfig(session=SessionConfig(provider="cuda")))
    assert not psutil.Process().children(recursive=True)


def test_odd_names_of_nodes() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[4] x) => (float[4] y)'
        "{ a = Exp(x)\n b = Exp(a)\n c = Exp(b)\n y = Exp(c) }"
    )
    odd = ['a"b', "a\\b", "a\nb", "größe"]
    for node, name in zip(model.graph.node, odd, strict=True):
        node.name = name
    feeds = {"x": np.zeros(4, np.float32)}
    found = profile(model.SerializeToString(), [feeds], QUICK)
    assert sorted(node.model_node or "" for node in found.nodes) == sorted(odd)


def test_a_model_without_nodes() -> None:
    model = parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 21]> g (float[4] x) => (float[4] y) {y = Identity(x)}'
    )
    model.graph.output[0].name = "x"
    del model.graph.node[:]
    found = profile(model.SerializeToString(), [{"x": np.zeros(4, np.float32)}], QUICK)
    assert (found.nodes, found.ops, found.kernel_ms) == ((), (), 0)
    assert all(kind.share == 0 for kind in found.kinds)
