"""The public verbs: each is one function that takes a model and typed options."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxopt.deferred import loader

if TYPE_CHECKING:
    from onnxopt.api.budget import allows
    from onnxopt.api.comparing import compare
    from onnxopt.api.delivering import Delivered, DeliverPlan, Delivery, default_plan, deliver
    from onnxopt.api.explaining import explain_steps
    from onnxopt.api.exporting import ExportResult, export
    from onnxopt.api.job import Job, load_job, run_job
    from onnxopt.api.model import ModelSummary, inspect, load, save
    from onnxopt.api.optimizing import OptimizeResult, optimize
    from onnxopt.api.options import Budget, RunOptions
    from onnxopt.api.packaging import package, verify
    from onnxopt.api.prune_search import PruneSearch
    from onnxopt.api.prune_steps import default_prune
    from onnxopt.api.pruning import PruneResult, prune
    from onnxopt.api.quantizing import QuantizeResult, default_quantize, quantize
    from onnxopt.api.recovering import RecoverResult, distill, recover
    from onnxopt.api.timing import benchmark, profile
    from onnxopt.api.workbench import DataSource, held_out
    from onnxopt.exporting import ExportOptions

__all__ = [
    "Budget",
    "DataSource",
    "DeliverPlan",
    "Delivered",
    "Delivery",
    "ExportOptions",
    "ExportResult",
    "Job",
    "ModelSummary",
    "OptimizeResult",
    "PruneResult",
    "PruneSearch",
    "QuantizeResult",
    "RecoverResult",
    "RunOptions",
    "allows",
    "benchmark",
    "compare",
    "default_plan",
    "default_prune",
    "default_quantize",
    "deliver",
    "distill",
    "explain_steps",
    "export",
    "held_out",
    "inspect",
    "load",
    "load_job",
    "optimize",
    "package",
    "profile",
    "prune",
    "quantize",
    "recover",
    "run_job",
    "save",
    "verify",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "onnxopt.api.budget": "allows",
        "onnxopt.api.comparing": "compare",
        "onnxopt.api.delivering": "Delivered DeliverPlan Delivery default_plan deliver",
        "onnxopt.api.explaining": "explain_steps",
        "onnxopt.api.exporting": "ExportResult export",
        "onnxopt.api.job": "Job load_job run_job",
        "onnxopt.api.model": "ModelSummary inspect load save",
        "onnxopt.api.optimizing": "OptimizeResult optimize",
        "onnxopt.api.options": "Budget RunOptions",
        "onnxopt.api.packaging": "package verify",
        "onnxopt.api.prune_search": "PruneSearch",
        "onnxopt.api.prune_steps": "default_prune",
        "onnxopt.api.pruning": "PruneResult prune",
        "onnxopt.api.quantizing": "QuantizeResult default_quantize quantize",
        "onnxopt.api.recovering": "RecoverResult distill recover",
        "onnxopt.api.timing": "benchmark profile",
        "onnxopt.api.workbench": "DataSource held_out",
        "onnxopt.exporting": "ExportOptions",
    },
)
