from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxopt.data import (
    Carried,
    DataOptions,
    Feeds,
    Sample,
    State,
    in_memory,
    open_dataset,
    propose_state,
    run_sequences,
    split,
    unroll,
)
from onnxopt.data.state import state_hint
from onnxopt.errors import DataError, UsageError
from onnxopt.signature import Signature, TensorSpec

Dims = tuple[int | str | None, ...]
PAIRS = {"state": "stateN"}


def signature(inputs: Mapping[str, Dims], outputs: Mapping[str, Dims]) -> Signature:
    return Signature(
        tuple(TensorSpec(name, "float32", shape) for name, shape in inputs.items()),
        tuple(TensorSpec(name, "float32", shape) for name, shape in outputs.items()),
    )


SUMMING = signature(
    {"input": ("N", 1), "state": (2, "N", 1)}, {"output": ("N", 1), "stateN": (None, None, None)}
)


def summing(feeds: Feeds) -> dict[str, Any]:
    """A model that adds up what it has seen; its state is twice the sum."""
    total = feeds["state"] + feeds["input"]
    return {"output": total[0], "stateN": total}


def steps(*items: str) -> list[Sample]:
    return [
        Sample({"input": np.full((1, 1), 10**at, np.float32)}, at, item)
        for at, item in enumerate(items)
    ]


def test_state_is_carried_and_reset() -> None:
    dataset = in_memory(steps("a", "a", "b", "b", "b"))
    state = State(SUMMING, PAIRS)
    for _ in range(2):
        found = list(run_sequences(summing, dataset, state))
        assert [float(out["output"][0, 0]) for _, out in found] == [1, 11, 100, 1100, 11100]
        assert [float(s.feeds["state"][0, 0, 0]) for s, _ in found] == [0, 1, 0, 100, 1100]
    assert found[0][0].feeds["state"].shape == (2, 1, 1)
    assert [s.label for s, _ in found] == [0, 1, 2, 3, 4]


def test_unrolled_steps_are_plain_samples() -> None:
    steps_without = in_memory(steps("a", "a", "b"))
    dataset = unroll(steps_without, State(SUMMING, PAIRS), summing, "model")
    assert [set(s.feeds) for s in dataset] == [{"input", "state"}] * 3
    assert [float(s.feeds["state"][0, 0, 0]) for s in dataset] == [0, 1, 0]
    assert [float(s.feeds["state"][0, 0, 0]) for s in dataset.take([1, 0])] == [1, 0]
    assert list(dataset.items) == ["a", "a", "b"]
    other = unroll(steps_without, State(SUMMING, PAIRS), summing, "other")
    assert dataset.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ({"stat": "stateN"}, "no input 'stat'; wanted one of input, state"),
        ({"state": "stateM"}, "no output 'stateM'; wanted one of output, stateN"),
        ({"state": "output"}, "output: .* cannot become state"),
        ({"state": "stateN", "input": "stateN"}, "one output is the state of two inputs"),
    ],
)
def test_wrong_pairs(pairs: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        State(SUMMING, pairs)


def test_sizes_of_the_first_state() -> None:
    feeds = {"x": np.zeros((3, 7), np.float32)}

    def shape(dims: Dims, **known: int) -> tuple[int, ...]:
        made = signature({"x": ("B", "T"), "s": dims}, {"y": ("B",), "sN": dims})
        return State(made, {"s": "sN"}, known).first(feeds)["s"].shape

    assert shape((4, 5)) == (4, 5)
    assert shape(("T", "B")) == (7, 3)
    assert shape((None, 2)) == (3, 2)
    assert shape((2, None, 8)) == (2, 3, 8)
    assert shape(("B", 4, "P"), P=0) == (3, 4, 0)
    assert shape(("B", 4, None), **{"s:2": 6}) == (3, 4, 6)
    with pytest.raises(UsageError, match="size of P is not known; give --dim P=N"):
        shape(("B", 4, "P"))
    scalar = State(signature({"s": (None,)}, {"y": (), "sN": (None,)}), {"s": "sN"})
    with pytest.raises(UsageError, match="size of s:0"):
        scalar.first({})


def test_a_missing_output() -> None:
    dataset = in_memory(steps("a"))
    with pytest.raises(DataError, match="sample a: no output stateN to become state"):
        list(run_sequences(lambda feeds: {}, dataset, State(SUMMING, PAIRS)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        (["input", "state", "sr"], ["output", "stateN"], {"state": "stateN"}),
        (["input", "sr", "h", "c"], ["output", "hn", "cn"], {"h": "hn", "c": "cn"}),
        (["x", "h0", "c0"], ["y", "hN", "cN"], {"h0": "hN", "c0": "cN"}),
        (
            ["ids", "past_key_values.0.key", "past_key_values.1.key"],
            ["logits", "present.0.key", "present.1.key"],
            {
                "past_key_values.0.key": "present.0.key",
                "past_key_values.1.key": "present.1.key",
            },
        ),
        (
            ["x", "hidden_0", "hidden_1"],
            ["y", "hidden_0_out", "hidden_1_out"],
            {"hidden_0": "hidden_0_out", "hidden_1": "hidden_1_out"},
        ),
        (["prev_mem", "x"], ["new_mem", "y"], {"prev_mem": "new_mem"}),
        (["input"], ["output"], {}),
        (["image_in"], ["image_out"], {}),  # nothing would be left
        (["x", "state", "state_in"], ["y", "state_out"], {}),  # which one?
        (["x", "mask"], ["y", "boxes"], {}),
    ],
)
def test_proposals(inputs: list[str], outputs: list[str], expected: dict[str, str]) -> None:
    names = signature(dict.fromkeys(inputs, (None, 4)), dict.fromkeys(outputs, (None, 4)))
    assert propose_state(names) == expected
    assert State(names, expected)
    sizes = signature(dict.fromkeys(inputs, (None, 4)), dict.fromkeys(outputs, (None, 5)))
    assert propose_state(sizes) == {}


def test_a_file_is_a_sequence_and_a_folder_is_many(tmp_path: Path) -> None:
    for name, count in (("a", 2), ("b", 3), ("c", 1)):
        values = np.arange(count, dtype=np.float32)[:, None]
        np.savez(tmp_path / f"{name}.npz", input=values, labels=np.arange(count))
    options = DataOptions(state=PAIRS)
    one = open_dataset(str(tmp_path / "b.npz"), SUMMING, options)
    assert list(one.items) == ["b.npz"] * 3
    dataset = open_dataset(str(tmp_path), SUMMING, options)
    assert list(dataset.items) == ["a.npz"] * 2 + ["b.npz"] * 3 + ["c.npz"]
    assert [s.label for s in dataset] == [0, 1, 0, 1, 2, 0]
    assert [s.label for s in dataset.take([4, 0, 5])] == [2, 0, 0]
    assert set(next(iter(dataset)).feeds) == {"input"}
    parts = split(dataset)
    assert sorted(len(p) for p in (parts.calibration, parts.search, parts.test)) == [1, 2, 3]
    assert dataset.fingerprint != one.fingerprint


def test_a_table_is_a_sequence_unless_it_names_some(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("input,who\n1,ann\n2,ann\n3,bob\n")
    spec = str(tmp_path / "a.csv")
    found = [
        open_dataset(spec, SUMMING, DataOptions(state=PAIRS, items=items)).items
        for items in (None, "who")
    ]
    assert [list(items) for items in found] == [["a.csv"] * 3, ["ann", "ann", "bob"]]


def test_limit_and_shuffling_keep_sequences_whole(tmp_path: Path) -> None:
    for name in "abcdef":
        np.savez(tmp_path / f"{name}.npz", input=np.zeros((3, 1), np.float32))

    def items(**options: Any) -> list[str]:
        asked = DataOptions(state=PAIRS, **options)
        return [item[0] for item in open_dataset(str(tmp_path), SUMMING, asked).items]

    limited, shuffled = items(limit=2), items(shuffle=True)
    assert limited == sorted(limited) and len(limited) == 6
    assert all(shuffled[at : at + 3] == [shuffled[at]] * 3 for at in range(0, 18, 3))
    assert sorted(shuffled) == sorted("abcdef" * 3) != shuffled


def test_what_has_no_sequences() -> None:
    with pytest.raises(UsageError, match="a batch of steps"):
        DataOptions(state=PAIRS, batch=2)
    with pytest.raises(UsageError, match="state for random inputs"):
        open_dataset("random", SUMMING, DataOptions(state=PAIRS))


def test_functions_name_their_sequences(tmp_path: Path) -> None:
    source = """
import numpy as np
from onnxopt.data import Sample

def steps():
    for at in range(4):
        yield Sample({"input": np.ones((1, 1), np.float32)}, None, f"recording{at // 2}")
"""
    (tmp_path / "mine.py").write_text(source)
    options = DataOptions(state=PAIRS, limit=1)
    dataset = open_dataset(f"{tmp_path / 'mine.py'}:steps", SUMMING, options)
    for _ in range(2):
        found = run_sequences(summing, dataset, State(SUMMING, PAIRS))
        assert [float(out["output"][0, 0]) for _, out in found] == [1, 2]


def test_missing_state_is_proposed_and_not_assumed(tmp_path: Path) -> None:
    lstm = signature({"x": (None, 1), "h": (1, None, 4), "c": (1, None, 4)}, {"y": (None, 1)})
    outputs = signature({}, {"hn": (1, None, 4), "cn": (1, None, 4)}).outputs
    model = Signature(lstm.inputs, lstm.outputs + outputs)
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 1), np.float32))
    (tmp_path / "a.csv").write_text("x\n1\n")
    for name in ("a.npz", "a.csv"):
        with pytest.raises(DataError, match=r"input h, c; .* give --state h=hn --state c=cn$"):
            open_dataset(str(tmp_path / name), model)
    with pytest.raises(DataError, match=r"input c; .* give --state c=cn$"):
        open_dataset(str(tmp_path / "a.npz"), model, DataOptions(state={"h": "hn"}))
    assert state_hint(model, ["x"]) == ""


def test_nothing_is_carried_without_state() -> None:
    (sample,) = steps("a")
    carried = Carried(None)
    assert carried.into(sample) is sample
    carried.keep({})


def test_steps_of_an_item_stand_in_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("input,who\n1,ann\n2,bob\n3,ann\n")
    with pytest.raises(DataError, match="steps of several items alternate; wanted each item in"):
        open_dataset(str(tmp_path / "a.csv"), SUMMING, DataOptions(state=PAIRS, items="who"))


def test_notes_that_files_have_in_common_are_said_once(tmp_path: Path) -> None:
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", input=np.zeros((3, 1), np.float32), sr=np.zeros(1))
    (note,) = open_dataset(str(tmp_path), SUMMING, DataOptions(state=PAIRS)).notes
    assert note == "a.npz: arrays that are no inputs were ignored: sr (and 2 more like it)"
