"""Built models: made once in a process of their own, of pinned sources, and said to be missing."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from onnxopt.errors import BackendMissingError, ModelError
from onnxopt.progress import no_progress
from onnxopt.runtime import open_session
from onnxopt.signature import signature_of
from onnxopt.store import load
from onnxopt_models import building
from onnxopt_models.building import build, build_key, check_buildable, is_built
from onnxopt_models.catalog import BuiltModel, load_catalog
from onnxopt_models.fetch import fetch

WRITES = "import pathlib, sys; pathlib.Path(sys.argv[-1]).write_text(' '.join(sys.argv[1:-1]))\n"
FAILS = "raise SystemExit('the weights are of another network')\n"
SILENT = ""


def entry(name: str) -> BuiltModel:
    return BuiltModel(
        id=name,
        summary="made by a test",
        sources=("some",),
        package="numpy",
        size_bytes=1,
        licence="MIT",
        opset=17,
    )


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `room` whose room `built` stands in for the real one."""
    built = tmp_path / "path" / "room" / "built"
    built.mkdir(parents=True)
    for folder in (built, built.parent):
        (folder / "__init__.py").write_text("")
    for name, code in (("writes", WRITES), ("fails", FAILS), ("silent", SILENT)):
        (built / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    monkeypatch.setattr(building, "__package__", "room")
    monkeypatch.setattr(building, "_ROOM", built)
    return built


def test_a_model_is_built_once_and_checked(room: Path, tmp_path: Path) -> None:
    home, model = tmp_path / "cache" / "writes-1", entry("writes")
    seen: list[int] = []
    assert not is_built(home, model)
    build(model, [Path("a"), Path("b")], home, lambda what, done, total: seen.append(done))
    assert (home / "writes.onnx").read_text() == "a b"
    assert json.loads((home / "built.json").read_text())["versions"]["numpy"] == np.__version__
    assert seen == [0, 1]
    assert is_built(home, model)
    assert [path.name for path in home.parent.iterdir()] == ["writes-1"]
    (home / "writes.onnx").write_text("damaged")
    assert not is_built(home, model)
    build(model, [Path("c")], home, no_progress)
    assert (home / "writes.onnx").read_text() == "c"


@pytest.mark.parametrize(
    ("name", "reason"), [("fails", "of another network"), ("silent", "exit status 0")]
)
def test_a_failure_is_one_line_and_leaves_nothing(
    room: Path, tmp_path: Path, name: str, reason: str
) -> None:
    home = tmp_path / "cache" / name
    with pytest.raises(ModelError, match=f"{name} could not be built.*{reason}"):
        build(entry(name), [], home, no_progress)
    assert list(home.parent.iterdir()) == []


def test_the_key_follows_sources_and_code(room: Path) -> None:
    before = build_key(["one", "two"])
    assert before == build_key(["one", "two"]) != build_key(["two", "one"])
    (room / "fails.py").write_text(SILENT)
    assert build_key(["one", "two"]) != before


def test_without_its_package_the_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "find_spec", lambda name: None)
    with pytest.raises(BackendMissingError, match=r"torch; pip install onnxopt\[torch\]") as caught:
        fetch("effnet-lite0", tmp_path)
    assert caught.value.exit_code == 6
    assert not list(tmp_path.iterdir())


def test_every_built_model_has_a_module_and_an_extra() -> None:
    for model in load_catalog().built:
        assert find_spec(f"onnxopt_models.built.{model.module}") is not None
        assert model.package == "torch"


def test_a_package_that_is_there_is_no_obstacle() -> None:
    check_buildable(entry("writes"))


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="needs torch")
@pytest.mark.parametrize("name", ["effnet-lite0", "recommender"])
def test_a_real_model_is_built_twice_alike(name: str, tmp_path: Path) -> None:
    first, second = (fetch(name, tmp_path / part) for part in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    signature = signature_of(load(first))
    assert all(spec.shape is not None and spec.shape[0] == "N" for spec in signature.inputs)
    with open_session(first) as session:
        for rows in (1, 3):
            feeds = {
                spec.name: np.zeros(
                    (rows, *(int(size) for size in (spec.shape or ())[1:] if size is not None)),
                    np.float32 if "float" in str(spec.dtype) else np.int64,
                )
                for spec in signature.inputs
            }
            assert next(iter(session.run(feeds).values())).shape[0] == rows
