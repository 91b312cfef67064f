from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from onnxopt import store
from onnxopt.comparing import CheckLimits, Filed, check_equivalence, first_difference
from onnxopt.comparing.process import run_limited
from onnxopt.data import in_memory
from onnxopt.errors import DataError, LimitError, ModelError, OnnxoptError
from onnxopt.exactness import Exactness, Tolerance
from onnxopt.fixed import record_fixed

Build = Callable[..., ir.Model]

RELU = "g (float[N, 4] x) => (float[N, 4] y) { t = Relu(x) y = Neg(t) }"
FOREVER = """g (float[2] x) => (float[2] y)
    <int64 many = {9000000000000}, bool yes = {1}> {
    y = Loop (many, yes, x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] r) {
        d = Identity(c)
        r = Add(s, s)
    }>
}"""
GROW = """g (float[2] x) => (float[N] y)
    <int64 many = {9000000000000}, bool yes = {1}> {
    y = Loop (many, yes, x) <body = b (int64 i, bool c, float[K] s) => (bool d, float[M] r) {
        d = Identity(c)
        r = Concat<axis = 0>(s, s)
    }>
}"""


def test_a_model_agrees_with_itself(build: Build, tmp_path: Path) -> None:
    model = build(RELU)
    saved = store.save(model, tmp_path / "m.onnx").path
    for exactness in Exactness:
        found = check_equivalence(model, saved, None, exactness)
        assert found.agrees
        assert found.is_comparable
        assert found.samples == 2
        assert str(found) == "1 outputs agree on 2 samples"
        assert json.dumps(found.to_json(), allow_nan=False)


def test_a_difference_is_described(build: Build) -> None:
    other = build("g (float[N, 4] x) => (float[N, 4] y) { t = Abs(x) y = Neg(t) }")
    feeds = [{"x": np.ones((1, 4), np.float32)}, {"x": np.full((1, 4), -2, np.float32)}]
    found = check_equivalence(build(RELU), other, feeds, Exactness.ROUNDING)
    assert not found.agrees
    assert str(found).startswith("output y of sample 1 differs at [0, 0]: -2.0 instead of ")
    assert found.culprit is not None
    np.testing.assert_array_equal(found.culprit.feeds["x"], feeds[1]["x"])
    where = first_difference(build(RELU), other, found.culprit.feeds, Tolerance(0, 0))
    assert where == "t"


def test_exactness_decides(build: Build) -> None:
    one = build("g (float[3] x) => (float[3] y) <float c = {0.1}> { y = Mul(x, c) }")
    other = build("g (float[3] x) => (float[3] y) <float c = {10}> { y = Div(x, c) }")
    far = build("g (float[3] x) => (float[3] y) { y = Neg(x) }")
    feeds = [{"x": np.array([0.3, 0.7, 1.1], np.float32)}]
    assert not check_equivalence(one, other, feeds, Exactness.BITWISE).agrees
    assert check_equivalence(one, other, feeds, Exactness.ROUNDING).agrees
    assert not check_equivalence(one, far, feeds, Exactness.ROUNDING).agrees
    lossy = check_equivalence(one, far, feeds, Exactness.LOSSY)
    assert lossy.agrees
    assert lossy.outputs[0].worst_abs > 0.3


def test_signatures_are_compared(build: Build) -> None:
    model = build(RELU)
    renamed = build("g (float[N, 4] z) => (float[N, 4] y) { t = Relu(z) y = Neg(t) }")
    found = check_equivalence(model, renamed, None, Exactness.LOSSY)
    assert str(found) == "the candidate takes z: float32; wanted x: float32"
    output = build("g (float[N, 4] x) => (float[N, 4] z) { t = Relu(x) z = Neg(t) }")
    found = check_equivalence(model, output, None, Exactness.LOSSY)
    assert not found.agrees
    assert "lacks this output" in str(found)


def test_a_candidate_that_does_not_run(build: Build) -> None:
    broken = build("g (float[N, 4] x) => (float[N, 4] y) { y = NoSuchOp(x) }")
    found = check_equivalence(build(RELU), broken, None, Exactness.ROUNDING)
    assert not found.agrees
    assert found.failure.startswith("candidate: ONNX Runtime does not load")
    assert not found.is_comparable
    with pytest.raises(ModelError, match="does not load"):
        check_equivalence(broken, build(RELU), None, Exactness.ROUNDING)


def test_random_outputs_are_said_to_be_not_comparable(build: Build) -> None:
    text = "g (float[2] x) => (float[2] y, float[2] z) { y = RandomNormalLike(x) z = Relu(x) }"
    found = check_equivalence(build(text), build(text), None, Exactness.BITWISE)
    assert found.agrees
    assert str(found) == "1 outputs agree on 2 samples; not comparable: y"
    alone = build("g (float[2] x) => (float[2] y) { y = RandomNormalLike(x) }")
    assert not check_equivalence(alone, alone, None, Exactness.BITWISE).is_comparable


def test_made_up_sizes_that_the_reference_rejects_are_left_out(build: Build) -> None:
    picky = """g (float[N, T] x) => (float[2, U] y) <int64[2] s = {2, -1}, float[2, 8] w = {
        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}> {
        r = Reshape(x, s) y = Add(r, w) }"""
    found = check_equivalence(build(picky), build(picky), None, Exactness.BITWISE)
    assert found.agrees
    assert found.samples >= 1
    assert found.rejected
    never = build("""g (float[N] x) => (float[12345] y) <int64[1] s = {12345}> {
        y = Reshape(x, s) }""")
    with pytest.raises(DataError, match=r"original model rejects all .* set sizes with --dim"):
        check_equivalence(never, never, None, Exactness.BITWISE)
    with pytest.raises(DataError, match="sample 0"):
        check_equivalence(never, never, [{"x": np.ones(3, np.float32)}], Exactness.BITWISE)


def test_an_input_that_was_built_in(build: Build) -> None:
    one = build("g (float[2] x, int64 n) => (float[2] y) { f = Cast<to=1>(n) y = Mul(x, f) }")
    other = build("g (float[2] x) => (float[2] y) <float f = {3}> { y = Mul(x, f) }")
    assert not check_equivalence(one, other, None, Exactness.ROUNDING).agrees
    record_fixed(other, "n", np.array(3))
    assert check_equivalence(one, other, None, Exactness.ROUNDING).agrees


def test_inputs_of_every_kind_reach_the_child(build: Build) -> None:
    text = """g (seq(float[A]) s, string[N] t, bfloat16[2] h) =>
        (float[A] y, string[N] u, float[2] v) <int64 first = {0}> {
        y = SequenceAt(s, first) u = Identity(t) v = Cast<to=1>(h) }"""
    import ml_dtypes

    feeds = {
        "s": [np.ones(2, np.float32), np.ones(1, np.float32)],
        "t": np.array(["a", "bc"], dtype=object),
        "h": np.ones(2, ml_dtypes.bfloat16),
    }
    found = check_equivalence(build(text), build(text), in_memory([feeds]), Exactness.BITWISE)
    assert found.agrees, str(found)


def test_no_samples(build: Build) -> None:
    with pytest.raises(DataError, match="no samples to compare with"):
        check_equivalence(build(RELU), build(RELU), [], Exactness.BITWISE)


def test_at_most_the_wanted_samples_are_taken(build: Build) -> None:
    feeds = ({"x": np.ones((1, 4), np.float32)} for _ in range(10**9))
    limits = CheckLimits(samples=3)
    found = check_equivalence(build(RELU), build(RELU), feeds, Exactness.BITWISE, limits=limits)
    assert found.samples == 3


def test_a_model_that_never_returns(build: Build) -> None:
    calm = build("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    limits = CheckLimits(timeout_s=8)
    started = time.monotonic()
    with pytest.raises(LimitError, match=r"candidate model took longer than 8 s \(running sample"):
        check_equivalence(calm, build(FOREVER), None, Exactness.LOSSY, limits=limits)
    assert time.monotonic() - started < 14


def test_a_model_that_takes_all_memory(build: Build) -> None:
    calm = build("g (float[2] x) => (float[N] y) { y = Relu(x) }")
    limits = CheckLimits(timeout_s=60, memory_bytes=600 << 20)
    with pytest.raises(LimitError, match="candidate model took more than 600 MiB of memory"):
        check_equivalence(calm, build(GROW), None, Exactness.LOSSY, limits=limits)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "SIGABRT"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("raise ValueError('odd')", "exit status 1: ValueError: odd"),
    ],
)
def test_how_a_child_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str
) -> None:
    (tmp_path / "ends_so.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    ending = run_limited(["ends_so"], 30)
    assert ending.reason == reason
    assert not ending.limit


def test_a_crash_of_the_candidate_is_a_verdict_and_of_the_reference_an_error(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxopt.comparing import asking
    from onnxopt.comparing.process import Ending

    for model in ("reference", "candidate"):

        def crash(arguments: list[str], *limits: object, model: str = model) -> Ending:
            phase = json.dumps([model, "running sample 0", None])
            (Path(arguments[1]) / "phase.txt").write_text(phase)
            return Ending(-11)

        monkeypatch.setattr(asking, "run_limited", crash)
        if model == "reference":
            with pytest.raises(ModelError, match="reference model ends the process with SIGSEGV"):
                check_equivalence(build(RELU), build(RELU), None, Exactness.BITWISE)
        else:
            found = check_equivalence(build(RELU), build(RELU), None, Exactness.BITWISE)
            assert found.failure == (
                "the candidate model ends the process with SIGSEGV (running sample 0)"
            )


def test_a_process_that_no_longer_starts_is_not_asked_for_ever(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxopt.comparing import asking
    from onnxopt.comparing.process import Ending

    calls = []

    def crash(arguments: list[str], *limits: object) -> Ending:
        calls.append(arguments)
        if len(calls) == 1:
            phase = json.dumps(["reference", "running sample 0", 0])
            (Path(arguments[1]) / "phase.txt").write_text(phase)
        return Ending(-9)

    monkeypatch.setattr(asking, "run_limited", crash)
    with pytest.raises(OnnxoptError, match="did not start: SIGKILL"):
        check_equivalence(build(RELU), build(RELU), None, Exactness.BITWISE)
    assert len(calls) == 2


class TestFirstDifference:
    def test_none_where_all_agrees(self, build: Build) -> None:
        feeds = {"x": np.ones((1, 4), np.float32)}
        assert first_difference(build(RELU), build(RELU), feeds, Tolerance(0, 0)) is None

    def test_the_order_is_the_references_and_random_values_are_passed_over(
        self, build: Build
    ) -> None:
        one = build("""g (float[2] x) => (float[2] y) {
            n = RandomNormalLike(x) a = Relu(x) b = Neg(a) c = Abs(b) y = Add(c, n) }""")
        other = build("""g (float[2] x) => (float[2] y) {
            n = RandomNormalLike(x) a = Relu(x) b = Exp(a) c = Sqrt(b) y = Add(c, n) }""")
        feeds = {"x": np.ones(2, np.float32)}
        assert first_difference(one, other, feeds, Tolerance(1e-4, 1e-3)) == "b"

    def test_names_that_only_one_has_do_not_matter(self, build: Build) -> None:
        one = build("g (float[2] x) => (float[2] y) { a = Exp(x) y = Log(a) }")
        other = build("g (float[2] x) => (float[2] y) { y = Identity(x) }")
        feeds = {"x": np.ones(2, np.float32)}
        assert first_difference(one, other, feeds, Tolerance(1e-4, 1e-3)) is None

    def test_a_changed_weight_is_no_difference_but_what_it_does_is(self, build: Build) -> None:
        text = """g (float[2] x) => (float[2] y) {{
            w = Constant<value = float[2] {{{}}}>() a = Mul(x, w) y = Relu(a) }}"""
        one, other = build(text.format("1, 1")), build(text.format("1, 2"))
        feeds = {"x": np.ones(2, np.float32)}
        assert first_difference(one, other, feeds, Tolerance(0, 0)) == "a"

    def test_neither_model_is_touched(self, build: Build) -> None:
        one = build(RELU)
        before = store.serialize(one)
        first_difference(one, build(RELU), {"x": np.ones((1, 4), np.float32)}, Tolerance(0, 0))
        assert store.serialize(one) == before

    def test_many_tensors_are_looked_at_in_groups(
        self, build: Build, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from onnxopt.comparing import probe

        monkeypatch.setattr(probe, "_AT_ONCE", 3)
        steps = " ".join(f"v{i + 1} = Neg(v{i})" for i in range(9))
        text = "g (float[2] v0) => (float[2] v9) {{ {} }}"
        one, other = (
            build(text.format(steps)),
            build(text.format(steps.replace("v7 = Neg", "v7 = Abs"))),
        )
        feeds = {"v0": -np.ones(2, np.float32)}
        assert first_difference(one, other, feeds, Tolerance(0, 0)) in {"v7", None}
        feeds = {"v0": np.ones(2, np.float32)}
        assert first_difference(one, other, feeds, Tolerance(0, 0)) == "v7"


def test_made_up_samples_count_where_their_sizes_are_new(build: Build) -> None:
    from onnxopt.data import candidate_inputs
    from onnxopt.signature import signature_of

    model = build(RELU)
    chosen = candidate_inputs(signature_of(model), seed=3)
    found = check_equivalence(model, model, chosen, Exactness.BITWISE)
    assert (found.samples, found.rejected) == (2, ())


def chaotic(*, halves: bool, gain: float) -> ir.Model:
    """The sine of large sums, which rounding alone decides; in halves the order is another."""
    rng = np.random.default_rng(0)
    weight = ", ".join(f"{number:.5f}" for number in rng.normal(size=16 * 64 * 9) / 24)
    first = "c = Conv<pads = [1, 1, 1, 1]>(x, w)"
    if halves:
        first = """
            a, b = Split<axis = 1, num_outputs = 2>(x)
            u, v = Split<axis = 1, num_outputs = 2>(w)
            p = Conv<pads = [1, 1, 1, 1]>(a, u)
            q = Conv<pads = [1, 1, 1, 1]>(b, v)
            c = Add(p, q)"""
    return store.from_text(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        g (float[1,64,8,8] x) => (float[1,16,8,8] y)
        <float gain = {{{gain}}}, float[16,64,3,3] w = {{{weight}}}>
        {{ {first} s = Mul(c, gain) y = Sin(s) }}"""
    )


def test_what_rounding_decides_is_no_difference() -> None:
    source, limits = chaotic(halves=False, gain=20000.0), CheckLimits(samples=1)
    other = chaotic(halves=True, gain=20000.0)
    assert check_equivalence(source, other, None, Exactness.ROUNDING, limits=limits).agrees
    wrong = chaotic(halves=True, gain=20100.0)
    assert not check_equivalence(source, wrong, None, Exactness.ROUNDING, limits=limits).agrees


def test_a_file_stands_for_the_model_read_from_it(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    store.save(build(RELU), path)
    filed = Filed(store.load(path), path)
    assert check_equivalence(filed, build(RELU), None, Exactness.BITWISE).agrees
    path.write_bytes(b"no model any more")
    assert check_equivalence(filed, build(RELU), None, Exactness.BITWISE).agrees


@pytest.mark.parametrize("ended", ["killed", "late"])
def test_two_models_at_work_are_told_apart(
    ended: str, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxopt.comparing import asking
    from onnxopt.comparing.process import Ending

    asked = []

    def end(arguments: list[str], *rest: object) -> Ending:
        folder = Path(arguments[1])
        together = json.loads((folder / "request.json").read_text())["together"]
        asked.append(together)
        model = "either" if together else "candidate"
        (folder / "phase.txt").write_text(json.dumps([model, "loading", None]))
        return Ending(-11) if ended == "killed" else Ending(-15, limit="longer than 1 s")

    monkeypatch.setattr(asking, "run_limited", end)
    if ended == "killed":
        found = check_equivalence(build(RELU), build(RELU), None, Exactness.BITWISE)
        assert found.failure == "the candidate model ends the process with SIGSEGV (loading)"
    else:
        with pytest.raises(LimitError, match="the candidate model took longer than 1 s"):
            check_equivalence(build(RELU), build(RELU), None, Exactness.BITWISE)
    assert asked == [True, False]
