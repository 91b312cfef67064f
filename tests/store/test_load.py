"""Every kind of source, and what is refused."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import onnx_ir as ir
import pytest

from onnxopt.errors import LimitError, ModelError
from onnxopt.graph import all_graphs
from onnxopt.guard import Limits
from onnxopt.store import load, same_graph, serialize
from onnxopt.store.decode import decode
from onnxopt.store.files import open_model


def refused(source: Any, *parts: str, error: type[Exception] = ModelError) -> str:
    with pytest.raises(error) as caught:
        load(source)
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert "\n" not in message
    assert len(message) < 500
    return message


def test_every_source_gives_the_same_model(chain: Any, tmp_path: Path) -> None:
    proto = chain()
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    reference = load(proto)
    for source in (path, str(path), path.read_bytes(), ir.from_proto(proto)):
        assert same_graph(reference, load(source)) is None


def test_a_model_in_memory_is_returned_as_it_is(chain: Any) -> None:
    model = load(chain())
    assert load(model) is model


def test_the_callers_message_stays_its_own(chain: Any) -> None:
    proto = chain()
    before = proto.SerializeToString()
    model = load(proto)
    value = next(iter(model.graph.initializers.values()))
    value.name = "renamed"
    serialize(model)
    assert proto.SerializeToString() == before


def test_large_files_are_mapped(chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(chain().SerializeToString())
    mapped = open_model(path, Limits(), map_bytes=0)
    assert type(mapped.obj).__name__ == "mmap"
    model = decode(mapped, "test", None, Limits())
    array = model.graph.initializers["w0"].const_value.numpy()  # type: ignore[union-attr]
    assert np.shares_memory(array, np.frombuffer(mapped, np.uint8))
    assert same_graph(model, load(path)) is None


def test_payloads_are_found_everywhere(model_of: Any) -> None:
    data = np.arange(600, dtype=np.float32).tobytes()

    def tensor(name: str) -> onnx.TensorProto:
        return oh.make_tensor(name, 1, [600], data, raw=True)

    def branch(name: str) -> onnx.GraphProto:
        nodes = [
            oh.make_node("Constant", [], [f"c_{name}"], value=tensor("c")),
            oh.make_node("Add", [f"c_{name}", f"w_{name}"], [f"y_{name}"]),
        ]
        output = oh.make_tensor_value_info(f"y_{name}", 1, [600])
        return oh.make_graph(nodes, name, [], [output], [tensor(f"w_{name}")])

    function = oh.make_function(
        "local",
        "F",
        ["x"],
        ["y"],
        [
            oh.make_node("Constant", [], ["c"], value=tensor("c")),
            oh.make_node("Add", ["x", "c"], ["y"]),
        ],
        [oh.make_opsetid("", 18)],
    )
    custom = oh.make_node(
        "Custom", ["f"], ["t"], domain="local", several=[tensor("a"), tensor("b")]
    )
    proto = model_of(
        [
            oh.make_node("F", ["x"], ["f"], domain="local"),
            custom,
            oh.make_node("If", ["flag"], ["y"], then_branch=branch("a"), else_branch=branch("b")),
        ],
        [oh.make_tensor("flag", onnx.TensorProto.BOOL, [], b"\1", raw=True)],
        functions=[function],
    )
    source = proto.SerializeToString()
    model = load(source)
    held = np.frombuffer(source, np.uint8)
    found = [
        held_tensor
        for graph in all_graphs(model)
        for node in graph
        for attr in node.attributes.values()
        if attr.type in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS)
        for held_tensor in ((attr.value,) if attr.type == ir.AttributeType.TENSOR else attr.value)
    ]
    found += [
        value.const_value
        for graph in all_graphs(model)
        for name, value in graph.initializers.items()
        if name != "flag"
    ]
    assert len(found) == 7
    for tensor_found in found:
        assert np.shares_memory(tensor_found.numpy(), held)
    assert onnx.ModelProto.FromString(serialize(model)) == ir.to_proto(ir.from_proto(proto))


def test_no_such_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "none.onnx", "No such file")
    refused("bad\0name", "null")


def test_a_folder(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder; wanted a file")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(tmp_path / "pipe.onnx", "is no regular file")


def test_not_a_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("a", "b")
    cases = {
        b"": "is empty",
        (tmp_path / "z").read_bytes(): "a zip archive",
        b"\x89PNG\r\n\x1a\n" + bytes(100): "a PNG image",
        b"<!DOCTYPE html><html>": "text",
        b'{"a": 1}': "JSON",
        b"version https://git-lfs.github.com/spec/v1\n": "git LFS pointer",
        b"\x1c\0\0\0TFL3" + bytes(50): "a TensorFlow Lite model",
        b"hello world, this is no model": "no ONNX model",
        b"\x08\x09": "holds no graph",
        os.urandom(5000): "model.onnx",
        bytes(5000): "no ONNX model",
    }
    for content, expected in cases.items():
        path.write_bytes(content)
        refused(path, str(path), expected)


def test_truncated_anywhere(chain: Any) -> None:
    data = chain(weights=1).SerializeToString()
    after_graph = sum(2 + entry.ByteSize() for entry in chain().opset_import)
    for end in range(1, len(data) - after_graph, 7):
        refused(data[:end])
    refused(data[:-1], "truncated", "lacks 1 of its")


def test_versions(chain: Any) -> None:
    proto = chain()
    proto.ir_version = onnx.IR_VERSION + 1
    refused(proto, f"IR version {onnx.IR_VERSION + 1}", "upgrade onnx")
    proto.ir_version = 0
    refused(proto, "IR version 0")
    proto.ir_version = 9
    del proto.opset_import[:]
    refused(proto, "imports no operator set")


def test_contradicting_imports(chain: Any) -> None:
    proto = chain()
    proto.opset_import.add(domain="ai.onnx", version=17)
    refused(proto, "versions 18 and 17")


def test_the_default_domain_spelled_out(chain: Any) -> None:
    proto = chain()
    proto.opset_import[0].domain = "ai.onnx"
    assert dict(load(proto).opset_imports) == {"": 18, "local": 1}


def test_defined_twice(chain: Any, model_of: Any) -> None:
    proto = chain()
    proto.graph.initializer.append(proto.graph.initializer[0])
    refused(proto, "initializer 'w0' is defined twice")

    proto = chain()
    proto.graph.node[1].output[0] = "v0"
    refused(proto, "'v0' is redeclared")

    proto = chain()
    proto.graph.input.append(proto.graph.input[0])
    refused(proto, "graph input 'x' is defined twice")

    function = oh.make_function("local", "F", ["x"], ["x"], [], [oh.make_opsetid("", 18)])
    proto = model_of([oh.make_node("F", ["x"], ["y"], domain="local")], functions=[function] * 2)
    refused(proto, "function 'local:F:' is defined twice")

    node = oh.make_node("Flatten", ["x"], ["y"], axis=1)
    node.attribute.append(node.attribute[0])
    refused(model_of([node]), "'Flatten' has two attributes 'axis'")


def test_an_initializer_without_a_name(chain: Any) -> None:
    proto = chain()
    proto.graph.initializer[1].name = ""
    refused(proto, "initializer 1 has no name")


def test_reads_what_nothing_defines(model_of: Any) -> None:
    refused(model_of([oh.make_node("Add", ["x", "ghost"], ["y"], name="n")]), "'n'", "'ghost'")
    refused(model_of([oh.make_node("Relu", ["x"], ["z"])]), "nothing computes", "'y'")
    refused(model_of([oh.make_node("Relu", ["x"], ["y\x1b[31m"])]), "'y'")


def test_unsorted_nodes_are_sorted(chain: Any) -> None:
    proto = chain()
    ordered = load(proto)
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    model = load(proto)
    assert [node.name for node in model.graph] == ["add0", "add1", "add2"]
    assert same_graph(ordered, model) is None


def test_sorted_nodes_stay_in_their_order(chain: Any) -> None:
    proto = chain()
    proto.graph.node.insert(0, oh.make_node("Relu", ["x"], ["aside"], name="aside"))
    names = [node.name for node in proto.graph.node]
    assert [node.name for node in load(proto).graph] == names


def test_cycles(model_of: Any) -> None:
    loop = [
        oh.make_node("Add", ["x", "b"], ["a"], name="first"),
        oh.make_node("Relu", ["a"], ["b"], name="second"),
        oh.make_node("Relu", ["b"], ["y"]),
    ]
    assert "first -> second -> first" in refused(model_of(loop), "the nodes form a cycle")

    body = oh.make_graph([oh.make_node("Relu", ["y"], ["z"])], "b", [], [], [])
    body.output.append(oh.make_tensor_value_info("z", 1, None))
    own = oh.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body, name="own")
    refused(model_of([own]), "own -> own")

    inner = oh.make_graph([*loop[:2]], "b", [], [oh.make_tensor_value_info("b", 1, None)])
    deep = oh.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    refused(model_of([deep]), "the nodes form a cycle")


def test_sparse_attributes(model_of: Any) -> None:
    sparse = onnx.SparseTensorProto(dims=[4])
    sparse.values.CopyFrom(oh.make_tensor("s", 1, [1], [1.0]))
    sparse.indices.CopyFrom(oh.make_tensor("i", 7, [1], [2]))
    node = oh.make_node("Constant", [], ["y"])
    attribute = onnx.AttributeProto(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.CopyFrom(sparse)
    node.attribute.append(attribute)
    refused(model_of([node]), "attribute 'sparse_value'", "is a sparse tensor")


def test_attributes_of_the_first_format(model_of: Any) -> None:
    node = oh.make_node("Flatten", ["x"], ["y"], axis=3, names=["a"], scale=2.5)
    for attribute in node.attribute:
        attribute.ClearField("type")
    flatten = next(iter(load(model_of([node])).graph))
    assert {name: attr.value for name, attr in flatten.attributes.items()} == {
        "axis": 3,
        "names": ("a",),
        "scale": 2.5,
    }
    node.attribute.add(name="empty")
    refused(model_of([node]), "'empty' of 'Flatten' has no type")


def test_names_that_are_no_text(chain: Any) -> None:
    data = chain().SerializeToString()
    assert b"add0" in data
    refused(data.replace(b"add0", b"a\xff\xfe0"), "is no UTF-8 text")


def test_deep_nesting(model_of: Any) -> None:
    def nested(levels: int) -> bytes:
        body = b""
        for _ in range(levels):  # a graph in an attribute in a node in a graph
            attribute = wrap(6, body) + wrap(1, b"b") + b"\xa0\x01\x05"
            body = wrap(1, wrap(5, attribute) + wrap(4, b"If"))
        head = model_of([]).SerializeToString()
        return head + wrap(7, body)

    def wrap(number: int, content: bytes) -> bytes:
        size, digits = len(content), bytearray()
        while size > 0x7F:
            digits.append(size & 0x7F | 0x80)
            size >>= 7
        return bytes([number << 3 | 2, *digits, size]) + content

    for levels in (40, 500, 3000):
        refused(nested(levels), "deeper than 100", error=LimitError)


def test_limits(chain: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(chain().SerializeToString())
    for limits, name in (
        (Limits(file_bytes=100), "file_bytes"),
        (Limits(nodes=2), "nodes"),
        (Limits(tensor_bytes=7000), "tensor_bytes"),
    ):
        with pytest.raises(LimitError, match=f"raise the limit {name}"):
            load(path, limits=limits)
    load(path, limits=Limits(nodes=3, tensor_bytes=7200))
