"""Models in and out: safe load, atomic and deterministic save, text, hashes, comparison.

Everything is done once and in one place: bytes are checked where they enter (``load``), and a
model in memory is trusted from then on.
"""

from onnxopt.store.compare import same_graph
from onnxopt.store.encode import encode_external, serialize
from onnxopt.store.hashes import content_hash, structural_hash
from onnxopt.store.load import TEXT_SUFFIX, Source, load
from onnxopt.store.packed import FileSize, file_size
from onnxopt.store.save import SavedModel, save
from onnxopt.store.sparse import is_marked as is_stored_sparsely
from onnxopt.store.sparse import marked as stored_sparsely
from onnxopt.store.sparse import saved_bytes
from onnxopt.store.text import from_text, to_text

__all__ = [
    "TEXT_SUFFIX",
    "FileSize",
    "SavedModel",
    "Source",
    "content_hash",
    "encode_external",
    "file_size",
    "from_text",
    "is_stored_sparsely",
    "load",
    "same_graph",
    "save",
    "saved_bytes",
    "serialize",
    "stored_sparsely",
    "structural_hash",
    "to_text",
]
