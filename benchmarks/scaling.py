"""How the time of an exact recipe grows with the graph, and what a large file takes."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import document
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from peers import made_bert
from peers.environments import python_of
from peers.failure import PeerFailure

SIZES = (1_000, 5_000, 10_000, 50_000)
ONNXSIM_UP_TO = 10_000
WIDTH = 16
CHANNELS = 8
LARGE_MB = 50
"""Files from here on are to be handled in 1.3 times their size and 250 MB."""
LEAST_TURNS, MOST_TURNS, LONG_S = 3, 9, 15
"""Turns of commands, and after how many seconds no more begin."""
FAN = 64
"""Branches that one Sum adds up."""

_OURS = """
import sys, time
start, before = time.perf_counter(), time.process_time()
from onnxopt.cli import main
try:
    main(["optimize", *sys.argv[1:], "--no-verify", "--force", "--quiet"])
except SystemExit as done:
    code = done.code
import json
from onnxopt.timing.memory import peak_rss_bytes  # only now: a command prepares its process first
print(json.dumps({
    "code": code,
    "wall_s": time.perf_counter() - start,
    "cpu_s": time.process_time() - before,
    "peak_rss_bytes": peak_rss_bytes(),
}))
"""
_ONNXSIM = """
import sys, time, json
start, before = time.perf_counter(), time.process_time()
import onnx, onnxsim
model, _ = onnxsim.simplify(onnx.load(sys.argv[1]))
onnx.save(model, sys.argv[2])
print(json.dumps({
    "code": 0,
    "wall_s": time.perf_counter() - start,
    "cpu_s": time.process_time() - before,
}))
"""


def chain(count: int) -> onnx.ModelProto:
    """One elementwise node after the other; every second constant is shared by all."""
    graph = _Graph()
    last = "x"
    for index in range(count):
        match index % 6:
            case 1 | 3:
                last = graph.node("Add" if index % 6 == 1 else "Mul", last, graph.constant(index))
            case 5:
                last = graph.node("Add", last, graph.made[-5] if len(graph.made) > 4 else "x")
            case kind:
                last = graph.node(["Relu", "", "Tanh", "", "Sigmoid"][kind], last)
    return graph.model(last)


def fan(count: int) -> onnx.ModelProto:
    """Branches of four nodes side by side, added up in groups, and the sums again."""
    graph = _Graph()
    ends = []
    for index in range(count // 4):
        branch = graph.node("Mul", "x", graph.constant(index))
        ends.append(graph.node("Relu", graph.node("Tanh", graph.node("Neg", branch))))
    while len(ends) > 1:
        groups = [ends[at : at + FAN] for at in range(0, len(ends), FAN)]
        ends = [graph.node("Sum", *group) for group in groups]
    return graph.model(ends[0])


def shared(count: int) -> onnx.ModelProto:
    """A chain all of whose nodes read the same two constants."""
    graph = _Graph()
    last, ops = "x", ("Add", "Tanh", "Mul", "Sigmoid")
    for index in range(count):
        operands = [] if index % 2 else [graph.constant(index % 4 // 2, distinct=False)]
        last = graph.node(ops[index % 4], last, *operands)
    return graph.model(last)


def residual(count: int) -> onnx.ModelProto:
    """Blocks of Conv, BatchNormalization, Relu and a sum with what came in."""
    graph = _Graph(["N", CHANNELS, WIDTH, WIDTH])
    last = "x"
    for index in range(count // 4):
        kernel = graph.weight(f"kernel{index}", (CHANNELS, CHANNELS, 3, 3))
        names = [f"{word}{index}" for word in ("scale", "bias", "mean", "var")]
        inner = graph.node("Conv", last, kernel, pads=[1, 1, 1, 1])
        vectors = [graph.weight(name, (CHANNELS,)) for name in names]
        inner = graph.node("BatchNormalization", inner, *vectors)
        last = graph.node("Add", graph.node("Relu", inner), last)
    return graph.model(last)


SHAPES = {"chain": chain, "fan": fan, "shared constants": shared, "residual": residual}


class _Graph:
    """Nodes over tensors of one shape."""

    def __init__(self, shape: Sequence[str | int] = ("N", WIDTH)) -> None:
        self.shape = shape
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}
        self.made: list[str] = []

    def node(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        label = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], label, **attributes))
        self.made.append(name)
        return name

    def constant(self, number: int, *, distinct: bool = True) -> str:
        return self.weight(f"c{number if distinct and number % 2 else number % 2}", (WIDTH,))

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        if name not in self.weights:
            rng = np.random.default_rng(len(self.weights))
            array = rng.uniform(0.5, 1.5, shape).astype(np.float32)
            self.weights[name] = numpy_helper.from_array(array, name)
        return name

    def model(self, output: str) -> onnx.ModelProto:
        infos = [
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, self.shape)]
            for name in ("x", output)
        ]
        weights = list(self.weights.values())
        graph = helper.make_graph(self.nodes, "scaling", *infos, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(python: Path | str, code: str, arguments: Sequence[object]) -> dict[str, Any]:
    """What a child says of itself in its last line."""
    command = [str(python), "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["code"]:
        raise SystemExit(done.stderr)
    return found


def row(case: str, source: Path, folder: Path, peer: Path | None) -> dict[str, Any]:
    """One model through ours and, where it is asked for, onnxsim."""
    output = folder / "out.onnx"
    ours = run(sys.executable, _OURS, [source, "-o", output, "--recipe", "exact"])
    theirs = run(peer, _ONNXSIM, [source, output]) if peer is not None else None
    size = source.stat().st_size / 1e6
    return {
        "case": case,
        "MB": f"{size:.0f}",
        "ours, s": f"{ours['wall_s']:.2f}",
        "of it CPU": f"{ours['cpu_s']:.2f}",
        "peak RSS, MB": f"{ours['peak_rss_bytes'] / 1e6:.0f}",
        "allowed": f"{1.3 * size + 250:.0f}" if size > LARGE_MB else "",
        "onnxsim, s": "" if theirs is None else f"{theirs['wall_s']:.2f}",
        "CPU of that": "" if theirs is None else f"{theirs['cpu_s']:.2f}",
        **commands(source, output, peer),
    }


def commands(source: Path, output: Path, peer: Path | None) -> dict[str, str]:
    """The same as typed at a prompt: whole processes, without and with a check of the result."""
    ours = [Path(sys.executable).parent / "onnxopt", "optimize", source, "-o", output]
    ours += ["--recipe", "exact", "--force", "--quiet"]
    names = ("command, s", "onnxsim's", "verified", "onnxsim's, checked")
    if peer is None:
        return dict.fromkeys(names, "")
    theirs = [peer.parent / "onnxsim", source, output]
    typed = ([*ours, "--no-verify"], theirs, ours, [*theirs, "1"])
    return dict(zip(names, medians(typed), strict=True))


def medians(commands: Sequence[Sequence[object]]) -> list[str]:
    """The median wall times of processes that take turns; "fails" where one does."""
    taken: list[list[float]] = [[] for _ in commands]
    began = time.perf_counter()
    for turn in range(MOST_TURNS):
        if turn >= LEAST_TURNS and time.perf_counter() - began > LONG_S:
            break
        for command, row in zip(commands, taken, strict=True):
            row.append(seconds(command))
    middle = map(statistics.median, taken)
    return [f"{value:.2f}" if value < math.inf else "fails" for value in middle]


def seconds(command: Sequence[object]) -> float:
    """The wall time of a process; infinite where it fails."""
    started = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    return math.inf if done.returncode else time.perf_counter() - started


def onnxsim() -> Path | None:
    """The interpreter of onnxsim's environment, where it can be had."""
    try:
        return python_of("onnxsim", Path.home() / ".cache" / "onnxopt" / "benchmarks")
    except PeerFailure as failure:
        print(f"without onnxsim: {failure}", file=sys.stderr)
        return None


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="graphs of up to 5,000 nodes only")
    parser.add_argument("--onnxsim", type=Path, help="interpreter that has onnxsim")
    options = parser.parse_args()
    peer = options.onnxsim or onnxsim()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "in.onnx"
        for count in SIZES[:2] if options.quick else SIZES:
            for shape, make in SHAPES.items():
                onnx.save(make(count), source)
                rival = peer if count <= ONNXSIM_UP_TO else None
                rows.append(row(f"{shape}, {count:,} nodes", source, folder, rival))
                print(rows[-1], file=sys.stderr)
        if not options.quick:
            rows.append(row("BERT of 6 layers", made_bert.write(source), folder, peer))
    title = (
        "From file to file by the recipe `exact`, in a fresh process, imports included: first as "
        "calls of the libraries, without verifying; then as commands, without and with a check"
    )
    document.write("scaling", title, rows, None)


if __name__ == "__main__":
    main()
