"""Data: samples from files, functions or a generator, checked against a model's signature."""

from onnxopt.data.batching import batched
from onnxopt.data.dataset import Dataset, Feeds, Sample, SourceDataset, in_memory
from onnxopt.data.options import DataOptions
from onnxopt.data.preprocess import PRESETS, Preprocess
from onnxopt.data.sequences import run_sequences, unroll
from onnxopt.data.sizes import MAX_PLANS, Dimension, Sizes, SizesSeen, open_dimensions, size_plans
from onnxopt.data.spec import open_dataset
from onnxopt.data.split import Split, calibration_only, split
from onnxopt.data.state import State, propose_state
from onnxopt.data.synthetic import candidate_inputs, synthesize, synthesize_workable

__all__ = [
    "MAX_PLANS",
    "PRESETS",
    "DataOptions",
    "Dataset",
    "Dimension",
    "Feeds",
    "Preprocess",
    "Sample",
    "Sizes",
    "SizesSeen",
    "SourceDataset",
    "Split",
    "State",
    "batched",
    "calibration_only",
    "candidate_inputs",
    "in_memory",
    "open_dataset",
    "open_dimensions",
    "propose_state",
    "run_sequences",
    "size_plans",
    "split",
    "synthesize",
    "synthesize_workable",
    "unroll",
]
