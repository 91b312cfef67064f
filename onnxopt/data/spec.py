"""Opens data from its spec string."""

from __future__ import annotations

import random
import re
from pathlib import Path

from onnxopt.data.arrays import open_array_source
from onnxopt.data.batching import batched
from onnxopt.data.dataset import Source, SourceDataset
from onnxopt.data.entries import Opened, entry_signature, largest_batch, names_of
from onnxopt.data.folder import open_folder
from onnxopt.data.function import open_function
from onnxopt.data.options import DataOptions
from onnxopt.data.parquet import SUFFIXES as PARQUET
from onnxopt.data.parquet import open_parquet
from onnxopt.data.rows import open_csv
from onnxopt.data.sequences import choose_sequences
from onnxopt.data.sizes import each_size
from onnxopt.data.state import State
from onnxopt.data.synthetic import SAMPLES, synthesize
from onnxopt.data.table import open_table
from onnxopt.data.text import TEXT_FILES, open_text
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature

SUPPORTED = (
    "file.npz, table.csv or .parquet, text.txt, a folder of .npz or .npy files or of images, "
    "package.module:function, path/to/file.py:function, random"
)
_FUNCTION = re.compile(r"([A-Za-z_]\w*(\.[A-Za-z_]\w*)*|.*\.py):[A-Za-z_]\w*\Z", re.DOTALL)


def open_dataset(
    spec: str, signature: Signature, options: DataOptions | None = None
) -> SourceDataset:
    """Open data for a model.

    Args:
        spec: A ``.npz`` file (one array per input, cut along axis 0), a folder of them (one
            sample each), a folder of ``.npy`` files (one an input, cut likewise), a folder of
            images, a ``.csv`` or ``.parquet`` table, ``text.txt`` beside a ``tokenizer.json``,
            ``module:function``, or ``random``.
        signature: Of the model.
        options: What else is to be said about the data.

    Raises:
        UsageError: The spec or an option is not understood.
        DataError: The data does not exist or does not fit the model.
        BackendMissingError: The data needs a package that is not installed.
    """
    options = options or DataOptions()
    if not spec.strip():
        raise UsageError("an empty data spec", "a file, a folder, module:function or random")
    if spec == "random":
        return _made_up(signature, options)
    if options.state:
        signature = State(signature, options.state, each_size(options.dims)[0]).stateless
    if _FUNCTION.match(spec) and not Path(spec).exists():
        first = None if options.state else options.limit
        opened = Opened(open_function(spec, signature, first))
    else:
        opened = _open_path(Path(spec), spec, signature, options)
    return _batched(_chosen(opened.source, options), opened, signature, options)


def _open_path(path: Path, spec: str, signature: Signature, options: DataOptions) -> Opened:
    if path.is_dir():
        return open_folder(path, signature, options)
    if path.suffix == ".npz":
        return Opened(open_array_source(path, signature, options))
    if path.suffix == ".txt" or path.name in TEXT_FILES or (options.tokenizer and path.is_file()):
        return open_text(path, signature, options)
    if path.suffix in (".csv", *PARQUET):
        table = open_csv(path) if path.suffix == ".csv" else open_parquet(path)
        single = entry_signature(signature, names_of(signature), {})
        return Opened(open_table(table, single, options), names_of(signature))
    if path.is_file() or not path.suffix:
        raise UsageError(f"data {spec!r} is not understood", SUPPORTED)
    raise DataError(f"no file {spec}", todo=f"supported: {SUPPORTED}")


def _made_up(signature: Signature, options: DataOptions) -> SourceDataset:
    if options.batch is not None:
        raise UsageError("a batch for random inputs", todo="give the sizes with --dim")
    if options.state:
        raise UsageError("state for random inputs, which are no sequences", todo="leave it out")
    return synthesize(
        signature,
        dims=options.dims,
        seed=options.seed,
        samples=options.limit or SAMPLES,
        ranges=options.ranges,
    )


def _chosen(source: Source, options: DataOptions) -> SourceDataset:
    dataset = SourceDataset(source)
    if options.state:
        return choose_sequences(
            dataset, limit=options.limit, shuffle=options.shuffle, seed=options.seed
        )
    if not options.shuffle and options.limit is None:
        return dataset
    size = len(dataset)
    limit = size if options.limit is None else min(options.limit, size)
    if not options.shuffle and limit == size:
        return dataset
    drawn = random.Random(options.seed).sample(range(size), limit)
    return dataset.take(drawn if options.shuffle else sorted(drawn))


def _batched(
    dataset: SourceDataset, opened: Opened, signature: Signature, options: DataOptions
) -> SourceDataset:
    declared = largest_batch(signature, opened.entries, options.batch_axes)
    size = options.batch or declared
    if options.state and size > 1:
        raise UsageError(f"a declared batch of {size} cannot be filled with steps of one sequence")
    if size == declared == 1:
        return dataset
    return batched(dataset, signature, size, batch_axes=options.batch_axes, entries=opened.entries)
