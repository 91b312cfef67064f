"""Saving: whole or not at all, the same bytes every time, and nothing lost."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from onnxopt.errors import LimitError, ModelError, UsageError
from onnxopt.store import SavedModel, content_hash, load, same_graph, save, serialize

EXTERNAL = 1000
"""A threshold that every model here exceeds."""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(path: Path, size: int = 600) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result: np.ndarray[Any, Any] = session.run(None, {"x": np.zeros(size, np.float32)})[0]
    return result


def test_one_file(chain: Any, tmp_path: Path) -> None:
    model = load(chain())
    saved = save(model, tmp_path / "m.onnx")
    assert saved == SavedModel(
        tmp_path / "m.onnx", None, saved.path.stat().st_size, sha256(saved.path), None
    )
    assert saved.path.read_bytes() == serialize(model)
    assert listed(tmp_path) == ["m.onnx"]
    onnx.checker.check_model(str(saved.path))


def test_two_files(chain: Any, tmp_path: Path) -> None:
    proto = chain()
    saved = save(load(proto), str(tmp_path / "m.onnx"), external_threshold_bytes=EXTERNAL)
    data = saved.data_path
    assert data is not None and data.parent == tmp_path
    assert re.fullmatch(r"m\.onnx\.[0-9a-f]{12}\.data", data.name)
    assert data.name.split(".")[2] == sha256(data)[:12]
    assert saved.size_bytes == saved.path.stat().st_size + data.stat().st_size
    assert (saved.sha256, saved.data_sha256) == (sha256(saved.path), sha256(data))
    offsets = [
        int(entry.value)
        for tensor in onnx.load(saved.path, load_external_data=False).graph.initializer
        for entry in tensor.external_data
        if entry.key == "offset"
    ]
    assert offsets == [0, 4096, 8192]
    onnx.checker.check_model(str(saved.path))
    assert same_graph(load(saved.path), load(proto)) is None
    expected = sum(onnx.numpy_helper.to_array(w) for w in proto.graph.initializer)
    np.testing.assert_allclose(run(saved.path), expected, rtol=1e-5, atol=1e-6)


def test_weights_of_constants_in_branches_and_functions(model_of: Any, tmp_path: Path) -> None:
    weight = onnx.helper.make_tensor(
        "c", 1, [600], np.arange(600, dtype=np.float32).tobytes(), raw=True
    )
    constant = onnx.helper.make_node("Constant", [], ["c"], value=weight)
    add = onnx.helper.make_node("Add", ["x", "c"], ["s"])
    output = onnx.helper.make_tensor_value_info("s", 1, [600])
    branch = onnx.helper.make_graph([constant, add], "branch", [], [output])
    opsets = [onnx.helper.make_opsetid("", 18)]
    body = onnx.helper.make_function("local", "F", ["x"], ["s"], [constant, add], opsets)
    flag = onnx.helper.make_tensor("flag", onnx.TensorProto.BOOL, [], [True])
    proto = model_of(
        [
            onnx.helper.make_node("If", ["flag"], ["t"], then_branch=branch, else_branch=branch),
            onnx.helper.make_node("F", ["t"], ["y"], domain="local"),
        ],
        [flag],
        functions=[body],
    )
    saved = save(load(proto), tmp_path / "m.onnx", external_threshold_bytes=EXTERNAL)
    assert saved.data_path is not None and saved.path.stat().st_size < 2400
    assert content_hash(load(saved.path)) == content_hash(load(proto))
    twice = 2 * np.frombuffer(weight.raw_data, np.float32)
    np.testing.assert_array_equal(run(saved.path), twice)


def test_equal_tensors_are_stored_once(chain: Any, tmp_path: Path) -> None:
    model = load(chain())
    shared = model.graph.initializers["w0"].const_value
    model.graph.initializers["w1"].const_value = shared
    saved = save(model, tmp_path / "m.onnx", external_threshold_bytes=EXTERNAL)
    assert saved.data_path is not None and saved.data_path.stat().st_size == 4096 + 2400
    back = load(saved.path).graph.initializers
    for name in ("w0", "w1"):
        np.testing.assert_array_equal(back[name].const_value, shared)


def test_over_the_file_it_came_from(chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    for threshold in (10**9, EXTERNAL, EXTERNAL, 10**9):
        save(load(chain()), path, external_threshold_bytes=EXTERNAL)
        model = load(path)
        model.graph.initializers.pop("w2").replace_all_uses_with(model.graph.initializers["w1"])
        before = content_hash(model)
        save(model, path, external_threshold_bytes=threshold)
        assert content_hash(load(path)) == before
        np.testing.assert_array_equal(  # the mapped old weights are still there
            model.graph.initializers["w0"].const_value,
            load(path).graph.initializers["w0"].const_value,
        )


def test_the_replaced_models_data_goes_last_and_no_other(chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    bystanders = [tmp_path / "m.onnx.data", tmp_path / "m.onnx.0123456789ab.data"]
    for bystander in bystanders:
        bystander.write_bytes(b"not of the model that is replaced")
    other = save(load(chain(seed=5)), tmp_path / "other.onnx", external_threshold_bytes=EXTERNAL)
    first = save(load(chain(seed=1)), path, external_threshold_bytes=EXTERNAL)
    again = save(load(chain(seed=1)), path, external_threshold_bytes=EXTERNAL)
    assert first == again
    second = save(load(chain(seed=2)), path, external_threshold_bytes=EXTERNAL)
    assert first.data_path is not None and not first.data_path.exists()
    assert second.data_path is not None and second.data_path.exists()
    save(load(chain(seed=2)), path)
    assert not second.data_path.exists()
    assert other.data_path is not None and other.data_path.exists()
    assert all(bystander.exists() for bystander in bystanders)


def test_permissions(chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    old = os.umask(0o027)
    try:
        save(load(chain()), path)
        assert path.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)
    path.chmod(0o604)
    save(load(chain()), path)
    assert path.stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("threshold", [10**9, EXTERNAL])
def test_refused_targets(threshold: int, chain: Any, tmp_path: Path) -> None:
    model = load(chain())
    (tmp_path / "folder").mkdir()
    for target, part in (
        (tmp_path / "none" / "m.onnx", "No such file"),
        (tmp_path / "folder", "is a folder"),
        (tmp_path / "m.onnxtxt", "names ONNX text"),
    ):
        with pytest.raises(UsageError, match=part) as caught:
            save(model, target, external_threshold_bytes=threshold)
        assert "\n" not in str(caught.value)
    assert listed(tmp_path) == ["folder"]


def test_the_model_is_not_touched(chain: Any, tmp_path: Path) -> None:
    model = load(chain())
    held = {name: value.const_value for name, value in model.graph.initializers.items()}
    save(model, tmp_path / "m.onnx", external_threshold_bytes=EXTERNAL)
    for name, value in model.graph.initializers.items():
        assert value.const_value is held[name]


def test_a_model_of_onnx_ir(chain: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    proto = chain()
    proto.graph.initializer[0].metadata_props.add(key="k", value="v")
    onnx.save(proto, tmp_path / "in" / "m.onnx", save_as_external_data=True, size_threshold=0)
    foreign = ir.load(tmp_path / "in" / "m.onnx")
    saved = save(foreign, tmp_path / "out.onnx")
    assert same_graph(load(saved.path), load(chain())) is None
    assert serialize(foreign) == serialize(load(saved.path)), "no reference to the other file"
    (tmp_path / "in" / "m.onnx").unlink()
    next((tmp_path / "in").iterdir()).unlink()
    lost = ir.from_proto(onnx.load(saved.path))
    lost.graph.initializers["w0"].const_value = ir.ExternalTensor(
        "gone.bin", 0, 2400, ir.DataType.FLOAT, shape=ir.Shape([600]), name="w0", base_dir=tmp_path
    )
    with pytest.raises(ModelError, match="data of tensor 'w0' cannot be read"):
        save(lost, tmp_path / "lost.onnx")
    assert listed(tmp_path) == ["in", "out.onnx"]


def test_a_model_in_a_wrong_state(chain: Any, tmp_path: Path) -> None:
    model = load(chain())
    next(iter(model.graph)).outputs[0].name = None
    with pytest.raises(ModelError, match="cannot be serialized"):
        save(model, tmp_path / "m.onnx")
    assert not listed(tmp_path)


def test_over_two_gigabytes_in_one_piece(chain: Any) -> None:
    model = load(chain(weights=1))
    huge = np.broadcast_to(np.float32(0), (1 << 29,))
    model.graph.initializers["w0"].const_value = ir.Tensor(huge, name="w0")
    with pytest.raises(LimitError, match="save it to a file with external data"):
        serialize(model)


HASH_SEED_PROGRAM = """
import sys
from onnxopt.store import content_hash, load, save, structural_hash
model = load(sys.argv[1])
saved = save(model, sys.argv[2], external_threshold_bytes=int(sys.argv[3]))
print(saved.sha256, saved.data_sha256, content_hash(model), structural_hash(model))
"""


@pytest.mark.parametrize("threshold", [10**9, EXTERNAL])
def test_the_same_bytes_in_every_process(threshold: int, chain: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.onnx"
    proto = chain()
    for key in "zyxabc":
        proto.metadata_props.add(key=key, value=key)
    source.write_bytes(proto.SerializeToString())
    printed = {
        subprocess.run(
            [sys.executable, "-c", HASH_SEED_PROGRAM, source, tmp_path / "m.onnx", str(threshold)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "random")
    }
    assert len(printed) == 1


def killed_at(call: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child that dies just before its n-th system call that changes a file;
    False where it finished before."""
    child = os.fork()
    if child == 0:
        left = call

        def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
            def wrapper(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **kwargs)

            return wrapper

        for name in ("open", "write", "fsync", "replace", "unlink", "chmod", "close"):
            setattr(os, name, deadly(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("before", "after"),
    [(10**9, 10**9), (EXTERNAL, EXTERNAL), (EXTERNAL, 10**9), (10**9, EXTERNAL)],
)
def test_killed_at_any_moment(before: int, after: int, chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    old, new = load(chain(seed=1)), load(chain(seed=2))
    outcomes = {content_hash(old): 0, content_hash(new): 0}
    call = 0
    while True:
        save(old, path, external_threshold_bytes=before)
        killed = killed_at(call, lambda: save(new, path, external_threshold_bytes=after))
        outcomes[content_hash(load(path))] += 1
        if not killed:
            break
        call += 1
    assert call > 5 and all(outcomes.values())
    assert content_hash(load(path)) == content_hash(new)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random(chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    models = [load(chain(seed=seed, size=100_000)) for seed in (1, 2)]
    known = {content_hash(model) for model in models}
    save(models[0], path)
    for delay in np.random.default_rng(0).uniform(0.001, 0.08, 12):
        child = os.fork()
        if child == 0:
            while True:
                for threshold in (10**9, EXTERNAL):
                    for model in models:
                        save(model, path, external_threshold_bytes=threshold)
        try:
            signal.sigtimedwait([], float(delay))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert content_hash(load(path)) in known


@pytest.mark.parametrize("threshold", [10**9, EXTERNAL])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_disk_full(
    call: str, threshold: int, chain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    save(load(chain(seed=1)), path)
    intact = path.read_bytes()

    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for allowed in range(4):
        save(load(chain(seed=1)), path)
        calls = iter([getattr(os, call)] * allowed)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, lambda *args, calls=calls: next(calls, full)(*args))
            try:
                save(load(chain(seed=2)), path, external_threshold_bytes=threshold)
            except LimitError as error:
                assert "No space left on device" in str(error)
                assert "\n" not in str(error)
                assert path.read_bytes() == intact
                assert listed(tmp_path) == ["m.onnx"]
            else:
                assert call == "fsync" and allowed, "not every folder can be synchronised"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_file_size_limit(chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = load(chain(size=100_000))
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        try:
            save(model, path)
        except LimitError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert not listed(tmp_path)
