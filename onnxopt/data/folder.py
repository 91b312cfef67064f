"""Opens a folder as what its files say it is."""

from __future__ import annotations

from pathlib import Path

from onnxopt.data.arrays import open_array_source
from onnxopt.data.entries import Opened, entry_signature
from onnxopt.data.images import images_in, open_images
from onnxopt.data.npz import npz_files, open_npz_folder
from onnxopt.data.options import DataOptions
from onnxopt.data.picture_input import picture_input
from onnxopt.data.preprocess import find_preprocess
from onnxopt.data.sequences import ChainedSource
from onnxopt.data.text import TEXT_FILES, open_text
from onnxopt.errors import DataError
from onnxopt.signature import Signature

SUPPORTED = ".npz files (one sample each), .npy files (one input each), images, text.txt, text.csv"


def open_folder(folder: Path, signature: Signature, options: DataOptions) -> Opened:
    """Open a folder.

    Raises:
        DataError: It holds nothing that is understood, or more than one kind of data.
    """
    kinds = [kind for kind, present in _kinds(folder).items() if present]
    if len(kinds) != 1:
        found = " and ".join(kinds) or "no data"
        raise DataError(f"folder {folder} holds {found}", f"one kind: {SUPPORTED}")
    if kinds == ["images"]:
        return _open_images(folder, signature, options)
    if kinds[0] in TEXT_FILES:
        return open_text(folder / kinds[0], signature, options)
    if kinds == [".npy files"]:
        return Opened(open_array_source(folder, signature, options))
    if options.state:
        paths = npz_files(folder)
        parts = tuple(open_array_source(path, signature, options) for path in paths)
        return Opened(ChainedSource(parts, str(folder)))
    return Opened(open_npz_folder(folder, signature, labels=options.labels))


def _kinds(folder: Path) -> dict[str, bool]:
    return {
        ".npz files": any(folder.glob("*.npz")),
        ".npy files": any(folder.glob("*.npy")),
        "images": bool(images_in(folder)),
        **{name: (folder / name).is_file() for name in TEXT_FILES},
    }


def _open_images(folder: Path, signature: Signature, options: DataOptions) -> Opened:
    steps = find_preprocess(options.preprocess, folder)
    name = picture_input(signature, steps)[0].name
    single = entry_signature(signature, (name,), options.batch_axes)
    return Opened(open_images(folder, single, steps, options), (name,))
