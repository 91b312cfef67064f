"""Broken models end in one line, whatever is broken."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxopt.errors import LimitError, ModelError
from onnxopt.store import content_hash, load, same_graph, serialize, structural_hash, wire


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # onnx_ir warns of what it drops
    yield
    logging.disable(logging.NOTSET)


def seed_model() -> bytes:
    """Subgraphs, a function, external data, and tensors of several kinds, large and small."""
    data = np.arange(300, dtype=np.float32).tobytes()

    def branch(name: str) -> onnx.GraphProto:
        weight = oh.make_tensor(f"w{name}", 1, [300], data, raw=True)
        node = oh.make_node("Add", ["x", f"w{name}"], [f"y{name}"])
        output = oh.make_tensor_value_info(f"y{name}", 1, [300])
        return oh.make_graph([node], name, [], [output], [weight])

    constant = oh.make_node("Constant", [], ["c"], value=oh.make_tensor("c", 1, [2], [1.0, 2.0]))
    function = oh.make_function(
        "local",
        "F",
        ["x"],
        ["y"],
        [constant, oh.make_node("Add", ["x", "c"], ["y"])],
        [oh.make_opsetid("", 18)],
    )
    external = onnx.TensorProto(name="e", data_type=1, dims=[0], data_location=1)
    for key, value in {"location": "w.bin", "offset": "0", "length": "0"}.items():
        external.external_data.add(key=key, value=value)
    graph = oh.make_graph(
        [
            oh.make_node("F", ["x"], ["t"], domain="local"),
            oh.make_node("If", ["flag"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
        ],
        "graph",
        [oh.make_tensor_value_info("x", 1, ["N", 300])],
        [oh.make_tensor_value_info("y", 1, ["N", 300])],
        [
            oh.make_tensor("flag", onnx.TensorProto.BOOL, [], [True]),
            oh.make_tensor("i4", onnx.TensorProto.INT4, [3], [1, 2, 3]),
            oh.make_tensor("s", onnx.TensorProto.STRING, [2], [b"a", b"b"]),
            oh.make_tensor("d", onnx.TensorProto.DOUBLE, [200], [0.5] * 200),
        ],
    )
    opsets = [oh.make_opsetid("", 18), oh.make_opsetid("local", 1)]
    model = oh.make_model(graph, opset_imports=opsets, ir_version=10, functions=[function])
    load(model)
    model.graph.initializer.append(external)
    return model.SerializeToString()


SEED = seed_model()
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "delete", "insert", "repeat"]),
        st.integers(0, len(SEED) - 1),
        st.integers(0, 255),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=6,
)


def edited(edits: Any) -> bytes:
    data = bytearray(SEED)
    for kind, position, number, content in edits:
        at = position % (len(data) or 1)
        if kind == "set":
            data[at : at + 1] = bytes([number])
        elif kind == "flip":
            data[at : at + 1] = bytes([data[at] ^ 1 << number % 8]) if data else b""
        elif kind == "delete":
            del data[at : at + number % 9]
        elif kind == "insert":
            data[at:at] = content
        else:
            data[at:at] = data[number : number + 30]
    return bytes(data)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(EDITS)
def test_damaged_files(edits: Any) -> None:
    try:
        model = load(edited(edits))
        again = load(serialize(model))
        # A shape declared without an element type is no ONNX, and is lost.
        difference = same_graph(model, again)
        assert difference is None or difference.startswith("shape of")
        if difference is None:
            assert structural_hash(model) == structural_hash(again)
            assert content_hash(model) == content_hash(again)
    except (ModelError, LimitError) as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 700


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data: bytes) -> None:
    with pytest.raises((ModelError, LimitError)):
        load(data)


def test_a_weight_of_which_only_the_size_is_there(model_of: Any) -> None:
    """A few bytes that ask for terabytes must not get them."""
    for dims in ([1 << 40], [1 << 31, 1 << 31], [1 << 62] * 8):
        tensor = onnx.TensorProto(name="w", data_type=1, dims=dims)
        with pytest.raises(ModelError, match="has 0 values"):
            load(model_of([oh.make_node("Add", ["x", "w"], ["y"])], [tensor]))
    empty = onnx.TensorProto(name="w", data_type=1, dims=[1 << 40, 0])
    load(model_of([oh.make_node("Add", ["x", "w"], ["y"])], [empty]))


def test_functions_that_multiply(model_of: Any) -> None:
    """A kilobyte of functions, each of which calls the next one twice."""

    def calls(name: str) -> list[onnx.NodeProto]:
        return [
            oh.make_node(name, ["x"], ["t"], domain="local"),
            oh.make_node(name, ["t"], ["y"], domain="local"),
        ]

    opsets = [oh.make_opsetid("", 18), oh.make_opsetid("local", 1)]
    functions = [
        oh.make_function("local", f"F{i}", ["x"], ["y"], calls(f"F{i + 1}"), opsets)
        for i in range(30)
    ]
    last = oh.make_node("Relu", ["x"], ["y"])
    functions.append(oh.make_function("local", "F30", ["x"], ["y"], [last], opsets))
    proto = model_of(calls("F0"), functions=functions)
    assert proto.ByteSize() < 5000
    with pytest.raises(LimitError, match="nodes after expanding functions"):
        load(proto)


def test_types_nested_too_deep(model_of: Any) -> None:
    kind = b"\x0a\x02\x08\x01"
    for _ in range(60):
        inner = b"\x0a" + wire.encode_varint(len(kind)) + kind
        kind = b"\x22" + wire.encode_varint(len(inner)) + inner
    value = b"\x0a\x01z" + wire.header(2, len(kind)) + kind
    graph = wire.header(13, len(value)) + value
    data = model_of([]).SerializeToString() + wire.header(7, len(graph)) + graph
    with pytest.raises(LimitError, match="nest deeper than 100"):
        load(data)


def test_texts_that_are_no_text(model_of: Any) -> None:
    """Damaged doc strings and tensor names are noticed at the latest when they would be written."""
    tensor = oh.make_tensor("tname", 1, [300], bytes(1200), raw=True)
    tensor.doc_string = "tdocs"
    node = oh.make_node("Constant", [], ["y"], value=tensor)
    node.doc_string = "ndocs"
    data = model_of([node]).SerializeToString()
    for text in (b"tname", b"tdocs", b"ndocs", b"graph", b"test"):
        assert text in data
        with pytest.raises(ModelError) as caught:
            serialize(load(data.replace(text, b"\xff" * len(text))))
        assert "\n" not in str(caught.value)


def test_a_function_that_calls_itself(model_of: Any) -> None:
    opsets = [oh.make_opsetid("", 18), oh.make_opsetid("local", 1)]
    call = oh.make_node("F", ["x"], ["y"], domain="local")
    function = oh.make_function("local", "F", ["x"], ["y"], [call], opsets)
    with pytest.raises(ModelError, match="function 'F' calls itself"):
        load(model_of([call], functions=[function]))


def test_names_are_data(model_of: Any) -> None:
    names = [
        "<script>alert(1)</script>",
        "\x1b[2J\x1b]0;title\x07",
        "../../etc/passwd",
        "\u202e",
        "%s",
    ]
    nodes = [
        oh.make_node("Relu", [source], [name], name=name)
        for source, name in zip(["x", *names], [*names, "y"], strict=True)
    ]
    model = load(model_of(nodes))
    assert [node.outputs[0].name for node in model.graph][:-1] == names
    assert same_graph(model, load(serialize(model))) is None
    nodes[2].input[0] = "\x1b[31mghost"
    with pytest.raises(ModelError) as caught:
        load(model_of(nodes))
    assert str(caught.value).isprintable()
    assert r"\x1b[31mghost" in str(caught.value)


def test_messages_name_the_file(tmp_path: Any) -> None:
    path = tmp_path / "some.onnx"
    path.write_bytes(SEED[:-5])
    with pytest.raises(ModelError, match=re.escape(str(path))):
        load(path)


def test_a_split_that_ends_inference_is_refused() -> None:
    """onnx's shape inference aborts the process over it."""
    node = oh.make_node("Split", ["x"], ["a", "b"], num_outputs=1)
    values = [oh.make_tensor_value_info(name, 1, [4]) for name in ("x", "a", "b")]
    graph = oh.make_graph([node], "g", values[:1], values[1:])
    with pytest.raises(ModelError, match="2 outputs and num_outputs = 1"):
        load(oh.make_model(graph, opset_imports=[oh.make_opsetid("", 18)]))
