"""PyTorch modules and exported programs."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import cli
import numpy as np
import pytest

from onnxopt import store
from onnxopt.errors import DataError, MismatchError, ModelError
from onnxopt.exporting import ExportOptions, export_model
from onnxopt.graph import stats
from onnxopt.signature import signature_of

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.drop = nn.Dropout(0.5)

    def forward(self, image, scale=None):
        hidden = self.drop(torch.relu(self.conv(image)).mean((2, 3)))
        if scale is not None:
            hidden = hidden * scale
        return {"logits": self.fc(hidden), "features": hidden}

def paired():
    return Net(), (torch.rand(1, 3, 8, 8),)

class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x * 2
        return x - 1

class ThroughNumpy(nn.Module):
    def forward(self, x):
        return x * 2 if x.numpy().sum() > 0 else x - 1

class Fixed(nn.Module):
    def forward(self, x):
        return x.reshape(1, 3)
"""
IMAGE = "image=float32[N,3,8,8]"


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


def test_a_factory_with_its_sample(nets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = nets.parent / "net.onnx"
    done = cli.run(
        capsys, "export", f"{nets}:paired", "-o", out, "--dynamic", "image=0:N", "--json"
    )
    assert done.code == 0, done.err
    found = done.json
    assert found["exporter"].endswith("(dynamo)") and found["opset"] == 18
    assert found["inputs"][0]["shape"] == ["N", 3, 8, 8]
    assert [(o["name"], o["shape"]) for o in found["outputs"]] == [
        ("logits", ["N", 5]),
        ("features", ["N", 4]),
    ]
    assert found["check"]["runs"] == 2 and not found["random_sample"]
    model = store.load(out)
    assert str(nets.parent).encode() not in out.read_bytes()
    assert str(signature_of(model).outputs[0]) == "logits: float32[N,5]"


def test_several_inputs_and_an_opset_of_ones_own(nets: Path) -> None:
    inputs = (IMAGE, "scale=float32[N,4]")
    made = export_model(f"{nets}:Net", ExportOptions(inputs=inputs, opset=20))
    assert made.opset == 20 and "opset 18 → 20" in made.notes
    older = export_model(f"{nets}:Net", ExportOptions(inputs=(IMAGE,), opset=17))
    assert older.opset == 17 and "TorchScript" in older.exporter
    assert any("writes opset 18 and newer" in note for note in older.notes)


def test_weights_by_safetensors_and_by_state_dict(nets: Path) -> None:
    from safetensors.torch import save_file

    namespace: dict[str, Any] = {}
    exec(NETS, namespace)
    net = namespace["Net"]()
    with torch.no_grad():
        net.fc.bias += 1
    save_file(net.state_dict(), nets.parent / "w.safetensors")
    torch.save({"state_dict": net.state_dict()}, nets.parent / "w.pt")
    feeds = {"image": np.ones((2, 3, 8, 8), np.float32)}
    expected = net.eval()(torch.ones(2, 3, 8, 8))["logits"].detach().numpy()
    from onnxopt.runtime import open_session

    for name in ("w.safetensors", "w.pt"):
        options = ExportOptions(inputs=(IMAGE,), weights=nets.parent / name)
        made = export_model(f"{nets}:Net", options)
        assert made.model is not None
        with open_session(made.model) as session:
            np.testing.assert_allclose(session.run(feeds)["logits"], expected, atol=1e-5)
    plain = export_model(f"{nets}:Net", ExportOptions(inputs=(IMAGE,), dry_run=True))
    assert plain.weights_sha256 != made.weights_sha256


def test_weights_that_do_not_fit(nets: Path) -> None:
    path = nets.parent / "w.pt"
    torch.save({"fc.weight": torch.zeros(7, 4), "other": torch.zeros(1)}, path)
    with pytest.raises(ModelError) as caught:
        export_model(f"{nets}:Net", ExportOptions(inputs=(IMAGE,), weights=path))
    for part in ("w.pt does not fit Net", "lacks conv.weight", "other too many", "7x4", "5x4"):
        assert part in str(caught.value)


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("boom",))


def test_weights_that_can_run_code_are_refused(
    nets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = nets.parent / "w.pt"
    path.write_bytes(pickle.dumps({"a": Bomb()}))
    with pytest.raises(ModelError, match="--trust-pickle"):
        export_model(f"{nets}:Net", ExportOptions(inputs=(IMAGE,), weights=path))
    assert "boom" not in capsys.readouterr().out


def test_control_flow_goes_through_torchscript_and_stays(nets: Path) -> None:
    made = export_model(f"{nets}:Branching", ExportOptions(inputs=("x=float32[N,3]",)))
    assert made.model is not None
    assert stats(made.model).ops["If"] == 1
    assert any("data-dependent" in note and "if x.sum() > 0" in note for note in made.notes)
    assert any("(TorchScript) instead" in note for note in made.notes)


def test_a_trace_that_lost_a_branch_is_told_and_found_out(nets: Path) -> None:
    np.savez(nets.parent / "up.npz", x=np.ones((2, 3), np.float32))
    options = ExportOptions(inputs=("x=float32[N,3]",), sample=str(nets.parent / "up.npz"))
    made = export_model(f"{nets}:ThroughNumpy", options)
    assert any("recorded only the path" in note for note in made.notes)
    folder = nets.parent / "samples"
    folder.mkdir()
    for number, sign in enumerate((1, -3)):
        np.savez(folder / f"{number}.npz", x=np.full((1, 3), sign, np.float32))
    with pytest.raises(MismatchError, match="recorded only the path"):
        export_model(
            f"{nets}:ThroughNumpy",
            ExportOptions(inputs=("x=float32[N,3]",), sample=str(folder)),
        )


def test_what_no_exporter_takes_has_every_reason(nets: Path) -> None:
    (nets.parent / "bad.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Impossible(nn.Module):\n"
        "    def forward(self, x):\n"
        "        return torch.special.airy_ai(x)\n"
    )
    with pytest.raises(ModelError) as caught:
        export_model(f"{nets.parent}/bad.py:Impossible", ExportOptions(inputs=("x=float32[2]",)))
    message = str(caught.value)
    assert "the dynamo exporter refused" in message and "airy" in message
    assert "the TorchScript, traced exporter refused" in message


def test_a_module_that_fixes_its_size(nets: Path) -> None:
    with pytest.raises(DataError, match=r"N=1 and in no other size"):
        export_model(f"{nets}:Fixed", ExportOptions(inputs=("x=float32[N,3]",)))


def test_inputs_are_forwards_parameters(nets: Path) -> None:
    with pytest.raises(DataError, match=r"has picture; wanted what forward\(image, scale=None\)"):
        export_model(f"{nets}:Net", ExportOptions(inputs=("picture=float32[N,3,8,8]",)))


def exported(path: Path) -> Path:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()).eval()
    rows = torch.export.Dim("rows")
    program = torch.export.export(module, (torch.rand(2, 4),), dynamic_shapes=({0: rows},))
    torch.export.save(program, str(path))
    return path


def test_exported_programs(tmp_path: Path) -> None:
    made = export_model(exported(tmp_path / "m.pt2"))
    assert [str(spec) for spec in made.inputs] == ["input: float32[N,4]"]
    assert made.check is not None and made.check.shapes == ("input 2x4", "input 4x4")
    assert len(made.weights_sha256) == 64


def test_a_program_that_can_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = exported(tmp_path / "m.pt2")
    evil = io.BytesIO()
    torch.save({"x": Bomb()}, evil)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as target:
        for info in source.infolist():
            held = source.read(info)
            target.writestr(info, evil.getvalue() if "sample_inputs" in info.filename else held)
    with pytest.raises(ModelError, match=r"more than tensors in .*sample_inputs.*--trust-pickle"):
        export_model(tmp_path / "evil.pt2")
    assert "boom" not in capsys.readouterr().out
    (tmp_path / "no.pt2").write_text("hello")
    with pytest.raises(ModelError, match="no exported program"):
        export_model(tmp_path / "no.pt2")


FACTORY = """
import sys
sys.path.insert(0, {code!r})
from efficientnet_lite_pytorch import EfficientNet

def network():
    return EfficientNet.from_name("efficientnet-lite0")
"""


@pytest.mark.real
@pytest.mark.slow
def test_efficientnet_from_its_weights(tmp_path: Path) -> None:
    from onnxopt.api import RunOptions, optimize
    from onnxopt_models.catalog import BuiltModel, load_catalog
    from onnxopt_models.fetch import fetch

    entry = load_catalog().find("effnet-lite0")
    assert isinstance(entry, BuiltModel)
    weights, code = (fetch(name) for name in entry.sources)
    (tmp_path / "effnet.py").write_text(FACTORY.format(code=str(code)))
    options = ExportOptions(inputs=("inputs=float32[N,3,224,224]",), weights=weights)
    made = export_model(f"{tmp_path}/effnet.py:network", options)
    assert made.model is not None and made.check is not None
    assert made.exporter.endswith("(dynamo)")
    assert made.check.worst < 1e-4
    done = optimize(made.model, tmp_path / "fast.onnx", options=RunOptions())
    assert done.equivalence is not None and done.equivalence.agrees
