"""Files that appear under their name whole, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType

_CHUNK_BYTES = 8 << 20


class AtomicFile:
    """A new file that is written beside its destination and renamed into place.

    Until ``commit`` there is only a hidden temporary file, which is removed when the ``with``
    block is left without a commit. A process killed inside leaves that file behind, nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._temporary = folder / f".onnxopt-{secrets.token_hex(8)}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self._temporary, flags, 0o666)
        self._hash = hashlib.sha256()
        self._committed = False
        self.size = 0

    def __enter__(self) -> AtomicFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        if not self._committed:
            with contextlib.suppress(OSError):
                self._temporary.unlink()

    @property
    def sha256(self) -> str:
        """Digest of what was written so far, in hex."""
        return self._hash.hexdigest()

    def write(self, data: memoryview | bytes) -> None:
        """Append ``data``."""
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view[:_CHUNK_BYTES])
            self._hash.update(view[:written])
            self.size += written
            view = view[written:]

    def align(self, size: int) -> None:
        """Append zeros up to a multiple of ``size``."""
        self.write(bytes(-self.size % size))

    def commit(self, path: Path) -> None:
        """Make the file durable and give it its name, replacing a file there.

        The permissions of a replaced file are kept.
        """
        with contextlib.suppress(FileNotFoundError):
            self._temporary.chmod(stat.S_IMODE(path.stat().st_mode))
        os.fsync(self._descriptor)
        self._temporary.replace(path)
        self._committed = True
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; not every system and file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
