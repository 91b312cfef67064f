"""External data: which files may be read, and what they must hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import pytest

from onnxopt.errors import ModelError
from onnxopt.store import load, save

WEIGHT = np.arange(600, dtype=np.float32)


def reference(location: str, **entries: object) -> onnx.TensorProto:
    tensor = onnx.TensorProto(
        name="w", data_type=1, dims=[600], data_location=onnx.TensorProto.EXTERNAL
    )
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def write(folder: Path, model_of: Any, location: str = "w.bin", **entries: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    proto = model_of([oh.make_node("Add", ["x", "w"], ["y"])], [reference(location, **entries)])
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def weight(path: Path) -> np.ndarray[Any, Any]:
    tensor = load(path).graph.initializers["w"].const_value
    assert tensor is not None
    return tensor.numpy()


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(path)
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_offset_and_length(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"12345" + WEIGHT.tobytes() + b"rest")
    path = write(tmp_path, model_of, offset=5, length=2400)
    np.testing.assert_array_equal(weight(path), WEIGHT)
    with pytest.raises(ValueError, match="read-only"):
        weight(path)[0] = 1


@pytest.mark.parametrize("location", ["w.bin", "./w.bin", "sub/w.bin"])
def test_places_inside(location: str, model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / location).write_bytes(WEIGHT.tobytes())
    np.testing.assert_array_equal(weight(write(tmp_path, model_of, location)), WEIGHT)


@pytest.mark.parametrize(
    "location", ["../w.bin", "sub/../../w.bin", "/etc/passwd", "", ".", "C:\\w.bin", "a\0b", ".."]
)
def test_places_outside(location: str, model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    refused(write(tmp_path / "folder", model_of, location), "wanted a file in the model's own")


def test_missing(model_of: Any, tmp_path: Path) -> None:
    refused(write(tmp_path, model_of), "cannot read external data", "w.bin", "No such file")


def test_no_regular_file(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "w.bin").mkdir()
    refused(write(tmp_path, model_of), "is a folder")
    os.mkfifo(tmp_path / "pipe")
    refused(write(tmp_path, model_of, "pipe"), "is no regular file")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"length": 2396}, "has length 2396; wanted 2400 for float[600]"),
        ({"length": 2404}, "has length 2404"),
        ({"offset": 4}, "bytes 4 to 2404"),
        ({"offset": -4}, "offset must be non-negative, got -4"),
        ({"offset": 1 << 70}, "inside its 2400 bytes"),
        ({"offset": "nonsense"}, "malformed"),
    ],
)
def test_ranges(entries: dict[str, object], message: str, model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    refused(write(tmp_path, model_of, **entries), message)


def test_an_empty_data_file(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"")
    refused(write(tmp_path, model_of), "bytes 0 to 2400")


def test_a_link_out_of_the_folder(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    path = write(tmp_path / "folder", model_of)
    (path.parent / "w.bin").symlink_to(tmp_path / "secret")
    refused(path, "is a link to", "outside the model's folder", "if you trust the model")


def test_a_linked_folder_that_leads_out(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    path = write(tmp_path / "folder", model_of, "sub/w.bin")
    (path.parent / "sub").symlink_to(tmp_path)
    refused(path, "outside the model's folder")


def test_a_link_inside_the_folder(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "real.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "w.bin").symlink_to("real.bin")
    np.testing.assert_array_equal(weight(write(tmp_path, model_of)), WEIGHT)


def test_a_hard_link(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(WEIGHT.tobytes())
    path = write(tmp_path / "folder", model_of)
    (path.parent / "w.bin").hardlink_to(tmp_path / "elsewhere")
    np.testing.assert_array_equal(weight(path), WEIGHT)


def test_the_hugging_face_cache(model_of: Any, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "abc" / "onnx"
    blobs.mkdir()
    written = write(tmp_path / "made", model_of, "model.onnx_data")
    written.rename(blobs / "f00d")
    (blobs / "beef").write_bytes(WEIGHT.tobytes())
    snapshot.mkdir(parents=True)
    (snapshot / "model.onnx").symlink_to("../../../blobs/f00d")
    (snapshot / "model.onnx_data").symlink_to("../../../blobs/beef")
    path = snapshot / "model.onnx"
    np.testing.assert_array_equal(weight(path), WEIGHT)
    save(load(path), path)
    assert not path.is_symlink(), "the link is replaced, the blob is not touched"
    assert (blobs / "f00d").stat().st_size < 1000
    np.testing.assert_array_equal(weight(path), WEIGHT)


def test_a_model_reached_through_a_linked_folder(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "w.bin").write_bytes(WEIGHT.tobytes())
    write(tmp_path / "real", model_of)
    (tmp_path / "link").symlink_to("real")
    np.testing.assert_array_equal(weight(tmp_path / "link" / "model.onnx"), WEIGHT)


def test_bytes_have_no_folder(model_of: Any, tmp_path: Path) -> None:
    data = write(tmp_path, model_of).read_bytes()
    with pytest.raises(ModelError, match="load it from its path"):
        load(data)


def test_many_tensors_share_one_map(model_of: Any, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    tensors = []
    for index in range(50):
        tensor = reference("w.bin", offset=4 * index, length=400)
        tensor.name, tensor.dims[0] = f"w{index}", 100
        tensors.append(tensor)
    proto = model_of([oh.make_node("Relu", ["x"], ["y"])], tensors)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    model = load(path)
    bases = set()
    for index in range(50):
        tensor = model.graph.initializers[f"w{index}"].const_value
        np.testing.assert_array_equal(tensor.numpy(), WEIGHT[index : index + 100])
        base = tensor.numpy().base
        while isinstance(base, np.ndarray):
            base = base.base
        bases.add(id(base.obj))
    assert len(bases) == 1
