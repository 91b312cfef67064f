from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxopt.data import DataOptions, SourceDataset, open_dataset
from onnxopt.errors import BackendMissingError, DataError, UsageError
from onnxopt.signature import Signature

Inputs = Callable[..., Signature]
VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "good": 4, "bad": 5, "very": 6}
SPECIAL = {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}
SPECIAL["[SEP]"] = {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}


def description(**changes: object) -> str:
    """A tokenizer.json with whole words, as BERT's frames them."""
    piece = [{"SpecialToken": {"id": n, "type_id": 0}} for n in ("[CLS]", "[SEP]")]
    single = [piece[0], {"Sequence": {"id": "A", "type_id": 0}}, piece[1]]
    made: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": SPECIAL,
        },
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": VOCABULARY, "unk_token": "[UNK]"},
    }
    return json.dumps(made | changes)


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., SourceDataset]:
    pytest.importorskip("tokenizers")

    def make(
        signature: Signature, text: str = "very good\n", name: str = "text.txt", **options: object
    ) -> SourceDataset:
        (tmp_path / name).write_text(text, encoding="utf-8")
        if not (tmp_path / "tokenizer.json").exists():
            (tmp_path / "tokenizer.json").write_text(description())
        return open_dataset(str(tmp_path), signature, DataOptions(**options))  # type: ignore[arg-type]

    return make


@pytest.fixture
def bert(inputs: Inputs) -> Signature:
    shape = ("int64", "batch", "sequence")
    return inputs(input_ids=shape, attention_mask=shape, token_type_ids=shape)


def test_lines(opened: Callable[..., SourceDataset], bert: Signature, tmp_path: Path) -> None:
    dataset = opened(bert, "\ufeffVery good\n\nbad\n")
    for _ in range(2):
        first, second = dataset
        assert first.feeds["input_ids"].tolist() == [[2, 6, 4, 3]]
        assert first.feeds["attention_mask"].tolist() == [[1, 1, 1, 1]]
        assert first.feeds["token_type_ids"].tolist() == [[0, 0, 0, 0]]
        assert second.feeds["input_ids"].tolist() == [[2, 5, 3]]
    assert (first.label, first.item, second.item) == (None, "0", "1")
    assert [s.item for s in dataset.take([1, 0])] == ["1", "0"]
    assert len(open_dataset(str(tmp_path / "text.txt"), bert)) == 2


def test_a_table_of_labels(opened: Callable[..., SourceDataset], bert: Signature) -> None:
    text = 'label,text,who\n1,"good, ""very"" good",a\n0,bad,a\n'
    dataset = opened(bert, text, "text.csv", items="who")
    assert [s.label for s in dataset] == [1, 0]
    assert [s.feeds["input_ids"].shape[1] for s in dataset] == [8, 3]
    assert list(dataset.items) == ["a", "a"]
    with pytest.raises(DataError, match=r"text\.csv, line 2: the label is empty"):
        opened(bert, "label,text\n,good\n", "text.csv")


def test_fixed_lengths_are_cut_and_filled_up(
    opened: Callable[..., SourceDataset], inputs: Inputs
) -> None:
    shape = ("int32", 1, 5)
    signature = inputs(input_ids=shape, attention_mask=shape, position_ids=shape)
    short, long = opened(signature, "good\ngood bad good bad good\n")
    assert short.feeds["input_ids"].tolist() == [[2, 4, 3, 0, 0]]
    assert short.feeds["attention_mask"].tolist() == [[1, 1, 1, 0, 0]]
    assert short.feeds["position_ids"].tolist() == [[0, 1, 2, 0, 0]]
    assert long.feeds["input_ids"].tolist() == [[2, 4, 5, 4, 3]]
    assert short.feeds["input_ids"].dtype == np.int32
    (cut, _) = opened(signature, "very very good\nbad\n", max_length=4)
    assert cut.feeds["input_ids"].tolist() == [[2, 6, 6, 3, 0]]
    with pytest.raises(UsageError, match="at most the 5 that the model declares"):
        opened(signature, max_length=6)


def test_the_file_s_own_padding(
    opened: Callable[..., SourceDataset], inputs: Inputs, tmp_path: Path, bert: Signature
) -> None:
    padding = {
        "strategy": {"Fixed": 9},
        "direction": "Left",
        "pad_to_multiple_of": None,
        "pad_id": 1,
        "pad_type_id": 7,
        "pad_token": "[UNK]",
    }
    (tmp_path / "tokenizer.json").write_text(description(padding=padding))
    shape = ("int64", None, 5)
    (sample,) = opened(inputs(ids=shape, segment_ids=shape))
    assert sample.feeds["ids"].tolist() == [[1, 2, 6, 4, 3]]
    assert sample.feeds["segment_ids"].tolist() == [[7, 0, 0, 0, 0]]
    (sample,) = opened(bert)  # an open length needs none
    assert sample.feeds["input_ids"].tolist() == [[2, 6, 4, 3]]


def test_the_file_s_own_truncation(
    opened: Callable[..., SourceDataset], bert: Signature, tmp_path: Path
) -> None:
    own = {"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (tmp_path / "tokenizer.json").write_text(description(truncation=own))
    text = "good bad very good\n"
    (sample,) = opened(bert, text)
    assert sample.feeds["input_ids"].tolist() == [[2, 6, 4, 3]]
    (sample,) = opened(bert, text, max_length=3)
    assert sample.feeds["input_ids"].tolist() == [[2, 4, 3]]
    with pytest.raises(UsageError, match="texts of 2 tokens; wanted more than the 2 that frame"):
        opened(bert, text, max_length=2)


def test_batches_have_equal_lengths(
    opened: Callable[..., SourceDataset], bert: Signature, inputs: Inputs
) -> None:
    text = "good\nvery good\nbad\n"
    first, second = opened(bert, text, batch=2, max_length=4)
    assert first.feeds["input_ids"].tolist() == [[2, 4, 3, 0], [2, 6, 4, 3]]
    assert second.feeds["attention_mask"].tolist() == [[1, 1, 1, 0]]
    with pytest.raises(UsageError, match="give --max-length"):
        opened(bert, text, batch=2)
    (fixed,) = opened(inputs(tokens=("int64", 2, 4)), text)
    assert fixed.feeds["tokens"].shape == (2, 4)


def test_one_input_of_any_name(opened: Callable[..., SourceDataset], inputs: Inputs) -> None:
    (sample,) = opened(inputs(words=("int64", None, None)))
    assert sample.feeds["words"].tolist() == [[2, 6, 4, 3]]


def test_what_does_not_fit(
    opened: Callable[..., SourceDataset], inputs: Inputs, tmp_path: Path, bert: Signature
) -> None:
    shape = ("int64", None, None)
    with pytest.raises(UsageError, match=r"input image: .* gets nothing from a text"):
        opened(inputs(input_ids=shape, image=shape))
    with pytest.raises(DataError, match="holds no texts"):
        opened(bert, "\n \n")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer\.json is no tokenizer") as caught:
        opened(bert)
    assert "\n" not in str(caught.value)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"no file .*tokenizer\.json; give .* --tokenizer"):
        open_dataset(str(tmp_path), bert)
    model = {"type": "WordLevel", "vocab": {"good": 0, "[UNK]": 1}, "unk_token": "[UNK]"}
    bare = description(model=model, post_processor=None)
    (tmp_path / "tokenizer.json").write_text(bare)
    with pytest.raises(DataError, match="has no padding"):
        opened(inputs(ids=("int64", 1, 4)))


def test_fingerprints(
    opened: Callable[..., SourceDataset], bert: Signature, tmp_path: Path
) -> None:
    first = opened(bert).fingerprint
    assert first == opened(bert).fingerprint
    assert first != opened(bert, "bad\n").fingerprint
    assert opened(bert).fingerprint != opened(bert, max_length=3).fingerprint
    (tmp_path / "tokenizer.json").write_text(description(normalizer=None))
    assert first != opened(bert).fingerprint


def test_without_tokenizers(
    tmp_path: Path, bert: Signature, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("good\n")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(BackendMissingError, match=r"pip install 'onnxopt\[text\]'"):
        open_dataset(str(tmp_path), bert)
