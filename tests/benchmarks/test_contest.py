"""Contestants are timed together; one that does not run is left out and says why."""

from __future__ import annotations

from pathlib import Path

from peers.accuracy import Judged, judge
from peers.contest import Contestant, Timed, time_together
from peers.failure import PeerFailure

from onnxopt.data import synthesize
from onnxopt.metrics import metric
from onnxopt.signature import signature_of
from onnxopt.store import from_text, load, save
from onnxopt.timing import BenchmarkConfig

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,4] x) => (float[1,4] y) <float[4] w = {1, 2, 3, 4}> { y = OP(x, w) }"""


def model(path: Path, op: str) -> Path:
    return save(from_text(TEXT.replace("OP", op)), path).path


def test_a_contest_with_a_broken_contestant(tmp_path: Path) -> None:
    shipped = model(tmp_path / "shipped.onnx", "Mul")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    contestants = [
        Contestant("shipped", shipped),
        Contestant("other", model(tmp_path / "other.onnx", "Add")),
        Contestant("broken", broken),
    ]
    data = synthesize(signature_of(load(shipped)), dims={}, seed=0, samples=9)
    config = BenchmarkConfig(rounds=2, turn_seconds=0.01, warmup_seconds=0.1)
    timed = time_together(contestants, [s.feeds for s in data.take([0])], config, tmp_path)
    judged = judge(contestants, data, metric("cosine"), tmp_path)
    first, other = timed["shipped"], judged["other"]
    assert isinstance(first, Timed)
    assert (first.speedup, len(first.rounds_ms)) == (1.0, 2)
    assert isinstance(other, Judged)
    assert other.samples == 9
    assert other.relative_l2 > 0.1
    for found in (timed["broken"], judged["broken"]):
        assert isinstance(found, PeerFailure)
        assert "broken.onnx" in found.text


def test_the_size_counts_the_weights_beside(tmp_path: Path) -> None:
    path = tmp_path / "model.xml"
    path.write_text("1234")
    path.with_suffix(".bin").write_bytes(bytes(10))
    assert Contestant("ir", path).size_bytes == 14
