"""Data: samples from files, functions or a generator, checked against a model's signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxopt.deferred import loader

if TYPE_CHECKING:
    from onnxopt.data.batching import batched
    from onnxopt.data.dataset import Dataset, Feeds, Sample, SourceDataset, in_memory
    from onnxopt.data.implied import feedable_signature
    from onnxopt.data.options import DataOptions
    from onnxopt.data.preprocess import PRESETS, Preprocess
    from onnxopt.data.sequences import Carried, run_sequences, unroll, unrolled_source
    from onnxopt.data.sizes import (
        MAX_PLANS,
        Dimension,
        SizeChoices,
        Sizes,
        SizesSeen,
        each_size,
        open_dimensions,
        size_plans,
    )
    from onnxopt.data.spec import open_dataset
    from onnxopt.data.splitting import Split, calibration_only, split
    from onnxopt.data.state import State, propose_state
    from onnxopt.data.synthetic import candidate_inputs, in_sizes_of, synthesize, variety_of

__all__ = [
    "MAX_PLANS",
    "PRESETS",
    "Carried",
    "DataOptions",
    "Dataset",
    "Dimension",
    "Feeds",
    "Preprocess",
    "Sample",
    "SizeChoices",
    "Sizes",
    "SizesSeen",
    "SourceDataset",
    "Split",
    "State",
    "batched",
    "calibration_only",
    "candidate_inputs",
    "each_size",
    "feedable_signature",
    "in_memory",
    "in_sizes_of",
    "open_dataset",
    "open_dimensions",
    "propose_state",
    "run_sequences",
    "size_plans",
    "split",
    "synthesize",
    "unroll",
    "unrolled_source",
    "variety_of",
]

__getattr__, __dir__ = loader(
    __name__,
    {
        "onnxopt.data.batching": "batched",
        "onnxopt.data.dataset": "Dataset Feeds Sample SourceDataset in_memory",
        "onnxopt.data.implied": "feedable_signature",
        "onnxopt.data.options": "DataOptions",
        "onnxopt.data.preprocess": "PRESETS Preprocess",
        "onnxopt.data.sequences": "Carried run_sequences unroll unrolled_source",
        "onnxopt.data.sizes": (
            "MAX_PLANS Dimension SizeChoices Sizes SizesSeen each_size open_dimensions size_plans"
        ),
        "onnxopt.data.spec": "open_dataset",
        "onnxopt.data.splitting": "Split calibration_only split",
        "onnxopt.data.state": "State propose_state",
        "onnxopt.data.synthetic": "candidate_inputs in_sizes_of synthesize variety_of",
    },
)
