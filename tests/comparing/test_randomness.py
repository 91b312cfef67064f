from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from onnxopt.comparing import random_outputs, random_values

Build = Callable[..., ir.Model]


def test_direct_and_downstream(build: Build) -> None:
    model = build("""g (float[2] x) => (float[2] a, float[2] b, float[2] c) {
        noise = RandomNormalLike(x)
        t = Add(x, noise)
        a = Relu(t)
        b = Relu(x)
        c = Bernoulli(x)
    }""")
    assert set(random_outputs(model)) == {"a", "c"}
    assert "random op RandomNormalLike" in random_outputs(model)["a"]
    assert set(random_values(model)) == {"noise", "t", "a", "c"}


def test_dropout_only_while_training(build: Build) -> None:
    model = build("""g (float[2] x, bool mode) => (float[2] a, float[2] b, float[2] c, float[2] d)
    <float ratio = {0.5}, bool on = {1}, bool off = {0}> {
        a = Dropout(x)
        b = Dropout(x, ratio, on)
        c = Dropout(x, ratio, off)
        d = Dropout(x, ratio, mode)
    }""")
    assert set(random_outputs(model)) == {"b", "d"}
    assert "Dropout in training mode" in random_outputs(model)["b"]


def test_in_subgraphs(build: Build) -> None:
    model = build("""g (float[2] x, bool c) => (float[2] a, float[2] b, float[2] d) {
        noise = RandomUniform<shape = [2]>()
        a = If (c) <
            then_branch = t () => (float[2] ta) { ta = RandomUniform<shape = [2]>() },
            else_branch = e () => (float[2] ea) { ea = Relu(x) }
        >
        b = If (c) <
            then_branch = t2 () => (float[2] tb) { tb = Add(x, noise) },
            else_branch = e2 () => (float[2] eb) { eb = Relu(x) }
        >
        d = If (c) <
            then_branch = t3 () => (float[2] td) { td = Neg(x) },
            else_branch = e3 () => (float[2] ed) { ed = Relu(x) }
        >
    }""")
    assert set(random_outputs(model)) == {"a", "b"}


def test_in_subgraphs_of_subgraphs(build: Build) -> None:
    model = build("""g (float[2] x, bool c) => (float[2] a, float[2] b) {
        a = If (c) <
            then_branch = t () => (float[2] ta) {
                ta = If (c) <
                    then_branch = tt () => (float[2] tta) { tta = RandomNormalLike(x) },
                    else_branch = te () => (float[2] tea) { tea = Relu(x) }
                >
            },
            else_branch = e () => (float[2] ea) { ea = Relu(x) }
        >
        b = Relu(x)
    }""")
    assert set(random_outputs(model)) == {"a"}


def test_in_subgraphs_of_functions(build: Build) -> None:
    functions = """
    <domain: "my", opset_import: ["" : 17]>
    noisy (p, c) => (q) {
        q = If (c) <
            then_branch = t () => (float[2] tq) { tq = RandomNormalLike(p) },
            else_branch = e () => (float[2] eq) { eq = Relu(p) }
        >
    }
    """
    graph = """g (float[2] x, bool c) => (float[2] a, float[2] b) {
        a = my.noisy(x, c)
        b = Relu(x)
    }"""
    assert set(random_outputs(build(graph, functions, ', "my" : 1'))) == {"a"}


def test_in_functions_that_call_functions(build: Build) -> None:
    functions = """
    <domain: "my", opset_import: ["" : 17, "my" : 1]>
    outer (p) => (q) { q = my.inner(p) }
    <domain: "my", opset_import: ["" : 17]>
    inner (p) => (q) { n = RandomNormalLike(p)  q = Add(p, n) }
    <domain: "my", opset_import: ["" : 17]>
    calm (p) => (q) { q = Relu(p) }
    """
    graph = """g (float[2] x) => (float[2] a, float[2] b) {
        a = my.outer(x)
        b = my.calm(x)
    }"""
    assert set(random_outputs(build(graph, functions, ', "my" : 1'))) == {"a"}
