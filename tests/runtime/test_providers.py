from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from onnxopt.errors import BackendMissingError, ModelError, UsageError
from onnxopt.runtime import SessionConfig, available_providers, open_session, plugins
from onnxopt.runtime.plugins import Plugin, installed_plugins
from onnxopt.runtime.providers import short_name
from onnxopt.runtime.settings import settings_for


def usable(name: str) -> bool:
    return any(info.usable for info in available_providers() if info.name == name)


def test_the_cpu_comes_first_and_whatever_is_unusable_has_a_reason() -> None:
    infos = available_providers()
    assert (infos[0].name, infos[0].kind, infos[0].usable) == ("cpu", "builtin", True)
    assert all(bool(info.reason) != info.usable for info in infos)


def test_short_names() -> None:
    assert short_name("CUDAExecutionProvider") == "cuda"
    assert short_name("NvTensorRTRTXExecutionProvider") == "tensorrt-rtx"
    assert short_name("openvino") == "openvino"


def test_an_unknown_provider_lists_the_available_ones(relu: bytes) -> None:
    with pytest.raises(UsageError, match=r"unknown provider 'abacus'; wanted one of cpu"):
        open_session(relu, SessionConfig(provider="abacus"))


@pytest.mark.parametrize("name", ["cuda", "tensorrt", "CUDAExecutionProvider"])
def test_a_gpu_that_is_not_there_is_exit_6_with_a_reason_and_no_noise(
    relu: bytes, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if usable(short_name(name)):
        pytest.skip("this machine has one")
    with pytest.raises(BackendMissingError, match=short_name(name)) as caught:
        open_session(relu, SessionConfig(provider=name))
    assert caught.value.exit_code == 6
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_known_provider_that_is_not_in_this_build(relu: bytes) -> None:
    with pytest.raises(BackendMissingError, match="not part of this build"):
        open_session(relu, SessionConfig(provider="vitisai"))


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_provider_without_such_a_setting_refuses_the_precision(
    provider: str, precision: str
) -> None:
    config = SessionConfig(provider=provider, precision=precision)  # type: ignore[arg-type]
    with pytest.raises(BackendMissingError, match=f"no setting for precision {precision}"):
        settings_for(provider, config, ())


def test_cuda_in_fp32_is_no_tf32() -> None:
    assert settings_for("cuda", SessionConfig(provider="cuda"), ()).options == {"use_tf32": "0"}
    asked = SessionConfig(provider="cuda", precision="tf32", layout="nhwc")
    found = settings_for("cuda", asked, ())
    assert found.options == {"use_tf32": "1", "prefer_nhwc": "1"}
    assert "compute capability 8.0" in found.notes[0]


@pytest.mark.parametrize("provider", ["cpu", "openvino", "tensorrt"])
def test_only_cuda_lays_out_convolutions_as_asked(provider: str) -> None:
    with pytest.raises(BackendMissingError, match=f"{provider} has no setting for layout nhwc"):
        settings_for(provider, SessionConfig(provider=provider, layout="nhwc"), ())


def test_tf32_is_nothing_a_processor_has() -> None:
    with pytest.raises(BackendMissingError, match="no setting for precision tf32"):
        settings_for("cpu", SessionConfig(precision="tf32"), ())


def test_a_provider_nobody_knows_how_to_steer_says_so() -> None:
    assert "not under control" in settings_for("other", SessionConfig(), ()).notes[0]


class FakeDistribution:
    version = "1.0"
    files = None

    def __init__(self, name: str) -> None:
        self.metadata = {"Name": name}


def test_plugins_are_found_by_the_name_of_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("onnxruntime_ep_abacus")
    module.get_library_path = lambda: "/nowhere/abacus.so"  # type: ignore[attr-defined]
    module.get_ep_name = lambda: "AbacusExecutionProvider"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    names = ("onnxruntime-ep-abacus", "onnxruntime-ep-broken", "onnxruntime", "numpy")
    dists = [FakeDistribution(name) for name in names]
    monkeypatch.setattr(plugins.importlib.metadata, "distributions", lambda: dists)
    library = Path("/nowhere/abacus.so")
    good, broken = installed_plugins()
    assert good == Plugin("onnxruntime_ep_abacus", "1.0", "AbacusExecutionProvider", library)
    assert "onnxruntime_ep_broken" in broken.problem
    reasons = {info.name: info.reason for info in available_providers() if info.kind == "plugin"}
    assert "does not load" in reasons["abacus"]
    assert "ModuleNotFoundError" in reasons["broken"]


def test_importing_the_runtime_does_not_import_onnxruntime() -> None:
    code = "import sys, onnxopt.runtime; sys.exit('onnxruntime' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


Make = Callable[..., bytes]


@pytest.fixture
def openvino() -> None:
    pytest.importorskip("onnxruntime_ep_openvino")


@pytest.mark.usefixtures("openvino")
def test_openvino_runs_the_model_and_states_what_is_in_force(relu: bytes) -> None:
    with open_session(relu, SessionConfig(provider="openvino")) as session:
        info = session.info
        assert (info.provider, info.device, info.threads) == ("openvino", "cpu", 1)
        assert info.placement == {"OpenVINOExecutionProvider": 1}
        result = session.run({"x": np.array([[1, -2, 3]], np.float32)})
        np.testing.assert_array_equal(result["y"], [[1, 0, 3]])


@pytest.mark.usefixtures("openvino")
def test_openvino_refuses_what_this_machine_cannot_hold(relu: bytes) -> None:
    with pytest.raises(BackendMissingError, match="threads=4096"):
        open_session(relu, SessionConfig(provider="openvino", threads=4096))
    from onnxopt.runtime.providers import find_provider

    able = find_provider("openvino").devices()[0].ep_metadata["OPTIMIZATION_CAPABILITIES"].split()
    config = SessionConfig(provider="openvino", precision="bf16")
    if "BF16" in able:
        assert open_session(relu, config).info.precision == "bf16"
    else:
        with pytest.raises(BackendMissingError, match="no fast bf16"):
            open_session(relu, config)


@pytest.mark.usefixtures("openvino")
def test_openvino_keeps_to_the_asked_threads(make_model: Make) -> None:
    import time

    body = "y0 = MatMul(x, x)\n y1 = MatMul(y0, x)\n y = Tanh(y1)"
    model = make_model("float[512,512] x", "float[512,512] y", body)
    x = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32) / 32
    with open_session(model, SessionConfig(provider="openvino", threads=1)) as session:
        call = session.prepare({"x": x})
        call()
        cpu, wall = time.process_time(), time.perf_counter()
        while time.perf_counter() - wall < 0.5:
            call()
        share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    assert share < 1.2  # all cores of a machine with two give 2


@pytest.mark.usefixtures("openvino")
def test_openvino_that_takes_no_node_is_an_error(make_model: Make) -> None:
    model = make_model("string[N] x", "string[N] y", "y = StringConcat(x, x)")
    with pytest.raises(BackendMissingError, match="runs none of the 1 nodes"):
        open_session(model, SessionConfig(provider="openvino"))


@pytest.mark.usefixtures("openvino")
def test_openvino_on_weights_that_are_inputs_says_what_to_do() -> None:
    from onnx import parser

    model = parser.parse_model(
        '<ir_version: 4, opset_import: ["" : 9]> g (float[2] x, float[2] w) => (float[2] y)'
        " <float[2] w = {1, 1}> { y = Add(x, w) }"
    )
    with pytest.raises(ModelError, match=r"Input names mismatch .*freeze-default-inputs"):
        open_session(model.SerializeToString(), SessionConfig(provider="openvino"))
