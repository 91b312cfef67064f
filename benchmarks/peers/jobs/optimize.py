"""Optimizes a file with one of the tools, as its own documentation says."""

from __future__ import annotations

import importlib
from collections import Counter
from typing import Any


def load(tool: str) -> None:
    """Import the tool, so that a later task is timed without that."""
    importlib.import_module(_TOOLS[tool][0])


def run(tool: str, source: str, target: str) -> None:
    """Read ``source``, optimize it, write ``target``."""
    _TOOLS[tool][1](source, target)


def count(path: str) -> dict[str, Any]:
    """Nodes of a file, those of subgraphs and functions included, and its commonest ops."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    ops: Counter[str] = Counter()
    pending = [*model.graph.node, *(node for f in model.functions for node in f.node)]
    while pending:
        node = pending.pop()
        ops[node.op_type] += 1
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                pending += graph.node
    return {"nodes": ops.total(), "ops": dict(ops.most_common(8))}


def _onnxslim(source: str, target: str) -> None:
    import onnxslim

    onnxslim.slim(source, target)


def _onnxsim(source: str, target: str) -> None:
    import onnx
    import onnxsim

    model, _ = onnxsim.simplify(source)
    onnx.save(model, target)


def _onnxscript(source: str, target: str) -> None:
    import onnx_ir
    import onnxscript.optimizer

    model = onnx_ir.load(source)
    onnxscript.optimizer.optimize(model)
    onnx_ir.save(model, target)


def _onnxoptimizer(source: str, target: str) -> None:
    import onnx
    import onnxoptimizer

    onnx.save(onnxoptimizer.optimize(onnx.load(source)), target)


def _onnxruntime(source: str, target: str, level: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = target
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _ort_basic(source: str, target: str) -> None:
    _onnxruntime(source, target, "ORT_ENABLE_BASIC")


def _ort_all(source: str, target: str) -> None:
    _onnxruntime(source, target, "ORT_ENABLE_ALL")


def _ours(source: str, target: str, recipe: str | None, verify: bool = False) -> None:
    from onnxopt import api

    api.optimize(source, target, recipe=recipe, options=api.RunOptions(verify=verify))


def _clean(source: str, target: str) -> None:
    _ours(source, target, "clean")


def _exact(source: str, target: str) -> None:
    _ours(source, target, "exact")


def _target(source: str, target: str) -> None:
    _ours(source, target, None)


def _verified(source: str, target: str) -> None:
    _ours(source, target, None, verify=True)


_TOOLS = {
    "onnxslim": ("onnxslim", _onnxslim),
    "onnxsim": ("onnxsim", _onnxsim),
    "onnxscript": ("onnxscript.optimizer", _onnxscript),
    "onnxoptimizer": ("onnxoptimizer", _onnxoptimizer),
    "ort-basic": ("onnxruntime", _ort_basic),
    "ort-all": ("onnxruntime", _ort_all),
    "clean": ("onnxopt.api.optimizing", _clean),
    "exact": ("onnxopt.api.optimizing", _exact),
    "target": ("onnxopt.api.optimizing", _target),
    "target-verified": ("onnxopt.api.optimizing", _verified),
}
