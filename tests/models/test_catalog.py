"""The shipped catalog is well formed, and a malformed one is refused in one line."""

from __future__ import annotations

from importlib import resources

import pytest

from onnxopt.errors import DataError, UsageError
from onnxopt_models.catalog import (
    Asset,
    BuiltModel,
    EmbeddedModel,
    ZooModel,
    load_catalog,
    parse_catalog,
)
from onnxopt_models.tasks import TASKS, find_task

HASH = "0" * 64
WHEEL = f"""
[[wheel]]
package = "some-wheel"
version = "1.0"
sha256 = "{HASH}"
size_bytes = 10
licence = "MIT"
"""
MODEL = f"""
[[model]]
id = "some"
summary = "a model"
opset = 17
wheel = "some-wheel"
licence = "unstated"
[[model.files]]
path = "pkg/some.onnx"
sha256 = "{HASH}"
size_bytes = 5
"""


def shipped_text() -> str:
    return resources.files("onnxopt_models").joinpath("catalog.toml").read_text(encoding="utf-8")


def test_every_wheel_is_used_and_every_model_says_what_it_is() -> None:
    catalog = load_catalog()
    used = {entry.wheel for entry in (*catalog.model, *catalog.asset, *catalog.archive)}
    assert used == {wheel.package for wheel in catalog.wheel}
    for entry in catalog.entries:
        assert entry.summary
        assert entry.licence
    for model in catalog.model:
        assert sum(file.size_bytes for file in model.files) < 1 << 30


def test_tasks_and_models_name_each_other() -> None:
    catalog = load_catalog()
    for task in TASKS:
        entry = catalog.find(task.model)
        assert isinstance(entry, ZooModel | BuiltModel | EmbeddedModel)
        assert entry.task == task.name
    for entry in catalog.models:
        assert not entry.task or find_task(entry.task)


def test_the_kinds_of_entries() -> None:
    catalog = load_catalog()
    assert isinstance(catalog.find("pp-ocr-rec"), ZooModel)
    assert isinstance(catalog.find("digits"), EmbeddedModel)
    assert isinstance(catalog.find("font-lato"), Asset)


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="pp-ocr-rec") as caught:
        load_catalog().find("resnet")
    assert "font-lato" not in str(caught.value)


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="pp-ocr-rec, pp-ocr-det"):
        find_task("nothing")


def test_a_minimal_catalog_parses() -> None:
    catalog = parse_catalog(WHEEL + MODEL)
    entry = catalog.find("some")
    assert isinstance(entry, ZooModel)
    assert entry.files[0].name == "some.onnx"
    assert catalog.wheel_of(entry).version == "1.0"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('id = "some"', 'id = "some"\nmood = "fine"', "mood"),
        ('path = "pkg/some.onnx"', 'path = "../some.onnx"', "inside"),
        ('path = "pkg/some.onnx"', 'path = "/etc/passwd"', "inside"),
        ('path = "pkg/some.onnx"', 'path = "pkg\\\\some.onnx"', "inside"),
        ('path = "pkg/some.onnx"', 'path = "c:some.onnx"', "inside"),
        ('id = "some"', 'id = "../some"', "pattern"),
        (f'sha256 = "{HASH}"', 'sha256 = "abc"', "pattern"),
        ('package = "some-wheel"', 'package = "--index-url=x"', "pattern"),
        ('version = "1.0"', 'version = "1.0 --pre"', "pattern"),
        ('wheel = "some-wheel"', 'wheel = "other"', "unlisted wheel"),
        ("size_bytes = 5", "size_bytes = 0", "greater"),
        ("[[model]]", "[[model", "TOML"),
    ],
)
def test_a_malformed_catalog_is_refused(old: str, new: str, complaint: str) -> None:
    text = WHEEL + MODEL
    assert old in text
    with pytest.raises(DataError, match=complaint) as caught:
        parse_catalog(text.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_two_entries_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="two entries are called some"):
        parse_catalog(WHEEL + MODEL + MODEL)


def test_a_built_model_is_of_listed_sources_and_pinned_by_them() -> None:
    built = f"""
[[built]]
id = "made"
summary = "made here"
sources = ["words"]
package = "torch"
size_bytes = 9
opset = 17
licence = "MIT"
[[asset]]
id = "words"
summary = "words"
wheel = "some-wheel"
licence = "MIT"
[[asset.files]]
path = "pkg/words.txt"
sha256 = "{HASH}"
size_bytes = 5
"""
    catalog = parse_catalog(WHEEL + built)
    assert catalog.pins("made") == (f"words.txt {HASH}",)
    assert [model.id for model in catalog.models] == ["made"]
    with pytest.raises(DataError, match="made names the unlisted source other"):
        parse_catalog(WHEEL + built.replace('["words"]', '["other"]'))


def test_unknown_tables_are_refused() -> None:
    with pytest.raises(DataError, match="extra"):
        parse_catalog(shipped_text() + "\n[extra]\n")
