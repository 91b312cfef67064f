"""Values that stay in the device's memory; on the CPU, whose memory is the host's."""

from __future__ import annotations

import numpy as np
import pytest

from onnxopt import store
from onnxopt.errors import UsageError
from onnxopt.runtime import SessionConfig, open_session
from onnxopt.runtime.bound import memory_of
from onnxopt.runtime.settings import settings_for

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,2] x, int64 k) => (float[N,2] y, int64[2] s) {
  f = Cast<to=1>(k)
  y = Mul(x, f)
  s = Shape(x)
}"""


def test_bound_runs_give_what_copied_ones_give() -> None:
    model = store.from_text(MODEL)
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(3, 2), "k": np.array(2)}
    with (
        open_session(model) as copied,
        open_session(model, SessionConfig(io_binding=True)) as bound,
    ):
        expected = copied.run(feeds)
        found = bound.run(feeds)
        assert list(found) == list(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
        call = bound.prepare(feeds, ["y"])
        first, second = call()[0], call()[0]
        assert first is second
        np.testing.assert_array_equal(second.numpy(), expected["y"])
        assert list(bound.run({**feeds, "x": np.ones((1, 2), np.float32)})["s"]) == [1, 2]


def test_text_cannot_be_bound() -> None:
    text = store.from_text("""<ir_version: 8, opset_import: ["" : 17]>
        g (string[N] x) => (string[N] y) { y = Identity(x) }""")
    with (
        open_session(text, SessionConfig(io_binding=True)) as session,
        pytest.raises(UsageError, match="io_binding with x: string"),
    ):
        session.run({"x": np.array(["a"])})


def test_a_cuda_graph_is_asked_of_cuda_alone_and_with_binding() -> None:
    for config in ({"provider": "cpu", "io_binding": True}, {"provider": "cuda"}):
        with pytest.raises(UsageError, match="cuda_graph on"):
            SessionConfig(**config, cuda_graph=True)  # type: ignore[arg-type]
    config = SessionConfig("cuda", io_binding=True, cuda_graph=True)
    assert settings_for("cuda", config, ()).options["enable_cuda_graph"] == "1"
    assert "enable_cuda_graph" not in settings_for("cuda", SessionConfig("cuda"), ()).options


def test_memory_is_the_devices() -> None:
    assert memory_of("cuda") == memory_of("tensorrt") == "cuda"
    assert memory_of("cpu") == memory_of("openvino") == "cpu"
