"""``optimize --explain``: every hit and every refusal with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli import run

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
g (float[N,4] x) => (float[N,4] y) <float[4] one = {1, 1, 1, 1}, int64[1] big = {30000000}> {
  a = Identity(x)
  b = Identity(a)
  c = Neg(b)
  far = ConstantOfShape <value: tensor = float[1] {2.0}> (big)
  least = ReduceMin <keepdims = 0> (far)
  y = Mul(c, least)
}"""


def test_hits_and_refusals_by_reason(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.onnx"
    result = run(capsys, "optimize", model, "-o", output, "--recipe", "exact", "--explain", "-q")
    assert result.code == 0, result.err
    plain = run(capsys, "optimize", model, "-o", output, "--recipe", "exact", "--force")
    assert "nothing to do for" not in plain.out
    shown = run(
        capsys, "optimize", model, "-o", output, "--recipe", "exact", "--explain", "--force"
    )
    lines = shown.out.splitlines()
    start = next(i for i, x in enumerate(lines) if x.startswith("eliminate-identities (bitwise)"))
    assert "2 applied, 0 refused" in lines[start]
    assert lines[start + 1].startswith("  + ")
    assert any(line.startswith("nothing to do for freeze-default-inputs") for line in lines)


def test_the_account_is_part_of_the_document(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["optimize", model, "--recipe", "exact", "--json", "-o", tmp_path / "out.onnx"]
    assert "accounts" not in run(capsys, *words).json
    document = run(capsys, *words, "--explain", "--force").json
    accounts = {account["pass"]: account for account in document["accounts"]}
    assert len(accounts) == len({step["step"] for step in document["steps"]})
    removed = accounts["eliminate-identities"]
    assert sum(len(reason["nodes"]) for reason in removed["applied"]) == 2
    steps = [step for step in document["steps"] if step["step"] == "fold-constants"]
    (refusal,) = accounts["fold-constants"]["refused"]
    assert refusal["reason"] == steps[-1]["notes"][-1]["reason"]
    assert accounts["fold-constants"]["runs"] == len(steps)
