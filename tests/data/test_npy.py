from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxopt.data import npy
from onnxopt.data.npy import Archive
from onnxopt.errors import DataError, LimitError, OnnxoptError


def header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    form = "<H" if version == (1, 0) else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(form, len(text)) + text.encode()


def npz(path: Path, content: bytes, *, compressed: bool = False) -> Path:
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("x.npy", content)
    return path


def described(shape: str, descr: str = "<f4") -> bytes:
    return header(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no valid .npy header"),
        (b"not numpy at all", "no numpy array"),
        (b"\x93NUMPY\x09\x00" + bytes(8), "format version"),
        (described("(3,)"), "12 bytes; wanted the 0 bytes"),
        (described("(1000000000000, 1000000000000)"), "bytes that the file holds"),
        (described("(-1, -1)") + bytes(4), "bytes that the file holds"),
        (described("(3.5,)"), "no valid .npy header"),
        (described("(1,)", "nonsense"), "no valid .npy header"),
        (header("{'descr': " + "(" * 5000), "no valid .npy header"),
        (header("[" * 9000), "no valid .npy header"),
        (header("x = 1\n  y"), "no valid .npy header"),
    ],
)
def test_bad_headers(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        Archive(npz(tmp_path / "a.npz", content))
    assert "\n" not in str(caught.value)


def test_a_huge_header_is_not_read(tmp_path: Path) -> None:
    content = b"\x93NUMPY\x02\x00" + struct.pack("<I", 4_000_000_000) + b" " * 1_000_000
    with pytest.raises(LimitError, match="header of 4000000000 bytes"):
        Archive(npz(tmp_path / "a.npz", content, compressed=True))


def test_objects_and_structures_are_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, ...]]:
            return os.mkdir, (str(tmp_path / "boom"),)

    np.savez(tmp_path / "a.npz", x=np.array([Bomb()], dtype=object))
    with pytest.raises(DataError, match="holds Python objects"):
        Archive(tmp_path / "a.npz")
    assert not (tmp_path / "boom").exists()
    assert pickle  # what numpy would have used
    np.savez(tmp_path / "b.npz", x=np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]))
    with pytest.raises(DataError, match="structured type"):
        Archive(tmp_path / "b.npz")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """The header fits the member, and the member would be far more than the budget."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", described("(1, 8000000)") + bytes(32_000_000))
    with Archive(path) as opened, pytest.MonkeyPatch.context() as patch:
        patch.setattr(npy, "MAX_SLICE_BYTES", 1_000_000)
        with pytest.raises(LimitError, match="needs 32000000 bytes at once"):
            opened.read("x")
        with pytest.raises(LimitError, match="needs 32000000 bytes at once"):
            opened.read_slice("x", 0, 0, 1)


def test_no_zip_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"plain text")
    with pytest.raises(DataError, match=r"is no \.npz file"):
        Archive(tmp_path / "a.npz")
    with pytest.raises(DataError, match="no file"):
        Archive(tmp_path / "missing.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_data(tmp_path: Path, compressed: bool) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, 100_000, dtype=np.uint8)
    (np.savez_compressed if compressed else np.savez)(buffer, x=noise)
    content = bytearray(buffer.getvalue())
    content[500:60_000] = bytes(59_500)
    (tmp_path / "a.npz").write_bytes(content)
    with Archive(tmp_path / "a.npz") as archive:
        if compressed:
            with pytest.raises(DataError, match="damaged"):
                archive.read("x")
        else:  # a plain member is not checked against its checksum: that would read all of it
            assert archive.read("x").shape == (100_000,)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_mutated_files_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    buffer = io.BytesIO()
    compressed = data.draw(st.booleans())
    array = np.arange(300, dtype=np.float32).reshape(3, 100)
    (np.savez_compressed if compressed else np.savez)(buffer, x=array)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    path = tmp_path_factory.mktemp("fuzz") / "a.npz"
    path.write_bytes(content)
    try:
        with Archive(path) as archive:
            for name in archive.members:
                archive.read(name)
    except OnnxoptError as error:
        assert "\n" not in str(error)
