"""The parts that all frameworks share: words for sizes, samples, names, opsets, evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.data import DataOptions, open_dataset
from onnxopt.errors import DataError, MismatchError, ModelError, UsageError
from onnxopt.exporting import ExportOptions, export_model
from onnxopt.exporting import exporter as exporter_module
from onnxopt.exporting.dimensions import parse_input, with_dynamic
from onnxopt.exporting.opsets import settle
from onnxopt.exporting.source import Converted, Plan, SelfContained
from onnxopt.graph import opset
from onnxopt.signature import TensorSpec, signature_of
from onnxopt.targets import load_target

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[2,3] in_0) => (float[2,3] out_0) <float[1] name = {2}> { out_0 = Mul(in_0, name) }"""


@dataclass(frozen=True, eq=False)
class Doubling(SelfContained):
    """A made-up framework: its model doubles, its exporter makes what ``text`` says."""

    text: str = TEXT
    inputs: tuple[TensorSpec, ...] | None = (TensorSpec("name", "float32", ("N", 3)),)
    factor: float = 2.0
    origin: str = "file.py:double"
    framework: str = "doubling 1.0"
    exporter: str = "doubler 1.0"
    opset: int = 17
    seen: list[Plan] = field(default_factory=list)
    most: int = 100

    def weights_sha256(self) -> str:
        return "ab" * 32

    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        array = next(iter(feeds.values()))
        if len(array) > self.most:
            raise ModelError(f"no more than {self.most} rows")
        return {"doubled": array * np.float32(self.factor)}

    def convert(self, plan: Plan) -> Converted:
        self.seen.append(plan)
        return Converted(store.from_text(self.text), self.exporter, ("made by hand",))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter_module, "open_source", lambda given, options: given)


def test_inputs_and_axes_in_words() -> None:
    spec = parse_input("image=float32[N, 3,224,W]")
    assert spec == TensorSpec("image", "float32", ("N", 3, 224, "W"))
    assert parse_input("x=int64[]").shape == ()
    opened = with_dynamic((TensorSpec("x", "float32", (2, 3)),), ("x=0:N,-1:W",))
    assert opened[0].shape == ("N", "W")


@pytest.mark.parametrize("word", ["image", "image=float32", "x=floaty[2]", "x=float32[2,-1]"])
def test_bad_inputs_are_told_the_form(word: str) -> None:
    with pytest.raises(UsageError, match=r"image=float32\[N,3,224,224\]"):
        parse_input(word)


@pytest.mark.parametrize(
    ("word", "message"),
    [("x", "image=0:N"), ("x=N", "image=0:N"), ("y=0:N", "no input 'y'"), ("x=5:N", "no axis 5")],
)
def test_bad_axes(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_dynamic((TensorSpec("x", "float32", (2, 3)),), (word,))


@pytest.mark.usefixtures("given")
def test_an_export_is_named_opened_signed_and_verified_in_two_sizes() -> None:
    source = Doubling()
    made = export_model(source, ExportOptions())
    assert made.model is not None and made.check is not None
    signature = signature_of(made.model)
    assert [str(s) for s in signature.inputs] == ["name: float32[N,3]"]
    assert [str(s) for s in signature.outputs] == ["doubled: float32[N,3]"]
    assert made.check.shapes[-1] != made.check.shapes[0]
    assert made.check.worst == 0
    props = made.model.metadata_props
    assert props["onnxopt.export.source"] == "file.py:double"
    assert props["onnxopt.export.exporter"] == "doubler 1.0"
    assert props["onnxopt.export.weights_sha256"] == "ab" * 32
    assert made.model.graph.name == "double"
    assert source.seen[0].example["name"].shape[0] >= 2
    assert source.seen[0].dynamic_axes(made.inputs[0]) == {0: "N"}
    assert "made by hand" in made.notes
    assert made.is_random


@pytest.mark.usefixtures("given")
def test_a_wrong_export_is_refused_with_the_numbers() -> None:
    with pytest.raises(MismatchError, match=r"output doubled .*doubling 1.0.*difference .*run 1"):
        export_model(Doubling(factor=2.001))
    assert MismatchError("x").exit_code == 4


@pytest.mark.usefixtures("given")
def test_an_exporter_that_adds_or_loses_outputs_is_refused() -> None:
    two = TEXT.replace("(float[2,3] out_0)", "(float[2,3] out_0, float[2,3] b)").replace(
        "Mul(in_0, name)", "Mul(in_0, name) b = Neg(in_0)"
    )
    with pytest.raises(ModelError, match="2 outputs; wanted 1"):
        export_model(Doubling(text=two))


@pytest.mark.usefixtures("given")
def test_a_dry_run_converts_nothing() -> None:
    source = Doubling()
    made = export_model(source, ExportOptions(dry_run=True, opset=19))
    assert not source.seen
    assert (made.model, made.check, made.opset) == (None, None, 19)
    assert [str(spec) for spec in made.outputs] == ["doubled: float32[N,3]"]


@pytest.mark.usefixtures("given")
def test_a_source_that_runs_in_one_size_only_is_no_dynamic_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", name=np.ones((1, 3), np.float32))
    with pytest.raises(DataError, match=r"N=1 and in no other size.*no more than 1 rows"):
        export_model(
            Doubling(inputs=None, most=1),
            ExportOptions(sample=str(tmp_path / "s.npz"), dynamic=("name=0:N",)),
        )


@pytest.mark.usefixtures("given")
def test_outputs_can_be_called_otherwise() -> None:
    made = export_model(Doubling(), ExportOptions(outputs=("twice",)))
    assert [spec.name for spec in made.outputs] == ["twice"]
    with pytest.raises(UsageError, match="2 names for outputs doubled"):
        export_model(Doubling(), ExportOptions(outputs=("a", "b")))


@pytest.mark.usefixtures("given")
def test_the_sample_says_what_a_source_takes_that_does_not(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing says what the model takes; wanted --input"):
        export_model(Doubling(inputs=None))
    path = tmp_path / "s.npz"
    np.savez(path, name=np.ones((4, 3), np.float32), labels=np.zeros(4))
    made = export_model(Doubling(inputs=None), ExportOptions(sample=str(path)))
    assert [str(spec) for spec in made.inputs] == ["name: float32[4,3]"]
    assert not made.is_random


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((4, 5), np.float32), "axis 1 has size 5|is 4x5|is 1x5|wanted 3"),
        (np.ones((4, 3), np.float64), "name is float64; wanted float32"),
        (None, "no data for input name"),
    ],
)
def test_a_sample_that_does_not_fit(tmp_path: Path, array: Any, message: str) -> None:
    np.savez(tmp_path / "s.npz", **({"name": array} if array is not None else {"x": np.ones(2)}))
    with pytest.raises(DataError, match=message):
        export_model(Doubling(), ExportOptions(sample=str(tmp_path / "s.npz")))


def test_a_sample_written_beside_the_model_can_be_read_as_data(tmp_path: Path) -> None:
    from onnxopt.api import export

    (tmp_path / "m.onnxtxt").write_text(TEXT.replace("float[2,3]", "float[N,3]"))
    done = export(
        tmp_path / "m.onnxtxt", tmp_path / "m.onnx", sample_output=tmp_path / "sample.npz"
    )
    assert done.saved is not None and done.sample is not None
    signature = signature_of(store.load(done.saved.path))
    data = open_dataset(str(done.sample), signature, DataOptions())
    assert len(list(data)) == 2
    assert done.to_json()["check"]["runs"] == 3


def test_onnx_is_brought_to_what_a_target_loads() -> None:
    target = load_target("x64-avx2")
    old = store.from_text(
        TEXT.replace('"" : 17', '"" : 13').replace("ir_version: 8", "ir_version: 7")
    )
    model, notes = settle(old, None, target)
    assert (opset(model), model.ir_version) == (17, 8)
    assert notes == ("opset 13 → 17", "IR version 7 → 8")
    assert settle(model, None, target)[1] == ()
    raised, notes = settle(model, 20, target)
    assert opset(raised) == 20
    with pytest.raises(ModelError, match="opset 99 was asked for; wanted at most"):
        settle(raised, 99, target)


def test_an_older_opset_is_declared_where_nothing_differs() -> None:
    target = load_target("x64-avx2")
    model = store.from_text(TEXT.replace('"" : 17', '"" : 20'))
    assert opset(settle(model, 18, target)[0]) == 18
    text = """<ir_version: 8, opset_import: ["" : 18]>
    g (float[N] x, int64[1] a) => (float[M] y) { y = ReduceMax(x, a) }"""
    with pytest.raises(ModelError, match="ReduceMax of opset 18 is not defined alike in 17"):
        settle(store.from_text(text), 17, target)


def test_ir_version_3_loses_its_listed_weights() -> None:
    text = """<ir_version: 3, opset_import: ["" : 9]>
    g (float[2] x, float[1] w) => (float[2] y) <float[1] w = {2}> { y = Mul(x, w) }"""
    made = export_model(store.from_text(text))
    assert made.model is not None
    assert [spec.name for spec in signature_of(made.model).inputs] == ["x"]
    assert isinstance(made.model, ir.Model)
    assert len(made.model.graph.inputs) == 1
