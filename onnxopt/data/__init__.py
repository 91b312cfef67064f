"""Data: samples from files, functions or a generator, checked against a model's signature."""

from onnxopt.data.dataset import Dataset, Feeds, Sample, SourceDataset, in_memory
from onnxopt.data.sizes import MAX_PLANS, Dimension, Sizes, SizesSeen, open_dimensions, size_plans
from onnxopt.data.spec import open_dataset
from onnxopt.data.split import Split, calibration_only, split
from onnxopt.data.synthetic import candidate_inputs, synthesize, synthesize_workable

__all__ = [
    "MAX_PLANS",
    "Dataset",
    "Dimension",
    "Feeds",
    "Sample",
    "Sizes",
    "SizesSeen",
    "SourceDataset",
    "Split",
    "calibration_only",
    "candidate_inputs",
    "in_memory",
    "open_dataset",
    "open_dimensions",
    "size_plans",
    "split",
    "synthesize",
    "synthesize_workable",
]
