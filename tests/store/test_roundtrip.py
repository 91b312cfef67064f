"""What survives loading and saving: everything but what the last test names.

onnx_ir adds one thing: a declared type for every initializer.
"""

from __future__ import annotations

import corpus
import onnx
import onnx.helper as oh
import onnx_ir as ir
import pytest

from onnxopt.store import content_hash, load, same_graph, serialize, structural_hash

EVERY = 12


@pytest.mark.parametrize("offset", [0, 5])
def test_models_of_the_onnx_package(offset: int) -> None:
    for case in corpus.cases(EVERY, offset):
        plain = ir.from_proto(case.model)
        if "ai.onnx" in plain.opset_imports:
            plain.opset_imports[""] = plain.opset_imports.pop("ai.onnx")
        model = load(case.model)
        for names in (True, False):
            assert same_graph(plain, model, names=names) is None, case.name
        assert content_hash(plain) == content_hash(model), case.name
        assert structural_hash(plain) == structural_hash(model), case.name
        data = serialize(model)
        assert serialize(load(data)) == data, case.name
        parsed = onnx.ModelProto.FromString(data)
        assert parsed.SerializeToString(deterministic=True) == data, "fields in protobuf's order"


def full_model() -> onnx.ModelProto:
    """Something in every field that survives."""
    value = oh.make_tensor_value_info
    inner = oh.make_graph(
        [oh.make_node("Identity", ["x"], ["i"], name="inner")],
        "branch",
        [],
        [value("i", 1, ["N"])],
        [oh.make_tensor("unused", 1, [1], b"\0\0\0\0", raw=True)],
        value_info=[value("unused", 1, [1])],
    )
    node = oh.make_node("If", ["flag"], ["t"], name="node", then_branch=inner, else_branch=inner)
    node.doc_string = "node doc"
    node.metadata_props.add(key="k", value="node")
    node.attribute[0].doc_string = "attribute doc"
    call = oh.make_node("F", ["t"], ["y"], domain="local", overload="v1", scale=2.0)
    call.device_configurations.add(configuration_id="mesh", pipeline_stage=3)
    function = oh.make_function(
        "local",
        "F",
        ["x"],
        ["z"],
        [oh.make_node("Elu", ["x"], ["z"])],
        [oh.make_opsetid("", 18)],
        ["plain"],
        [oh.make_attribute("scale", 1.0)],
    )
    function.node[0].attribute.append(
        onnx.AttributeProto(name="alpha", ref_attr_name="scale", type=onnx.AttributeProto.FLOAT)
    )
    function.overload, function.doc_string = "v1", "function doc"
    function.metadata_props.add(key="k", value="function")
    function.value_info.append(value("z", 1, ["N"]))
    graph = oh.make_graph(
        [node, call],
        "graph",
        [value("x", 1, ["N"], doc_string="input doc", shape_denotation=["DATA_BATCH"])],
        [value("y", 1, ["N"])],
        [oh.make_tensor("flag", onnx.TensorProto.BOOL, [], b"\1", raw=True)],
        doc_string="graph doc",
        value_info=[value("flag", onnx.TensorProto.BOOL, []), value("t", 1, ["N"])],
    )
    graph.input[0].type.denotation = "TENSOR"
    graph.input[0].metadata_props.add(key="k", value="input")
    graph.metadata_props.add(key="k", value="graph")
    annotation = graph.quantization_annotation.add(tensor_name="t")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="flag")
    model = oh.make_model(
        graph,
        ir_version=11,
        opset_imports=[oh.make_opsetid("local", 1), oh.make_opsetid("", 18)],
        functions=[function],
        producer_name="producer",
        producer_version="1.2",
        domain="domain",
        model_version=7,
        doc_string="model doc",
    )
    model.metadata_props.add(key="k", value="model")
    model.configuration.add(name="mesh", num_devices=2, device=["a", "b"])
    training = model.training_info.add()
    training.algorithm.name = "algorithm"
    training.update_binding.add(key="flag", value="y")
    return model


def test_every_field_survives() -> None:
    proto = full_model()
    onnx.checker.check_model(proto)
    back = onnx.ModelProto.FromString(serialize(load(proto)))
    assert back == proto
    clone = load(proto).clone()
    assert onnx.ModelProto.FromString(serialize(clone)) == proto, "clones keep what is carried"


def test_versions_are_kept() -> None:
    for ir_version, opset in ((3, 7), (4, 9), (8, 18), (onnx.IR_VERSION, 28)):
        proto = oh.make_model(
            oh.make_graph(
                [oh.make_node("Relu", ["x"], ["y"])],
                "g",
                [oh.make_tensor_value_info("x", 1, [1])],
                [oh.make_tensor_value_info("y", 1, [1])],
            ),
            ir_version=ir_version,
            opset_imports=[oh.make_opsetid("", opset)],
        )
        back = onnx.ModelProto.FromString(serialize(load(proto)))
        assert (back.ir_version, back.opset_import[0].version) == (ir_version, opset)


def classifier() -> onnx.ModelProto:
    """The end of a scikit-learn classifier: probabilities as a sequence of maps."""
    outputs = []
    for name, inside in (("scores", True), ("map", False)):
        kind = onnx.TypeProto()
        holder = kind.sequence_type.elem_type if inside else kind
        holder.map_type.key_type = onnx.TensorProto.INT64
        holder.map_type.value_type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        outputs.append(onnx.ValueInfoProto(name=name, type=kind))
    nodes = [
        oh.make_node("ZipMap", ["x"], ["scores"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]),
        oh.make_node("ToMap", ["x"], ["map"], domain="local"),
    ]
    inputs = [oh.make_tensor_value_info("x", 1, [None, 2])]
    graph = oh.make_graph(nodes, "g", inputs, outputs, value_info=[outputs[0]])
    opsets = [oh.make_opsetid(domain, 1) for domain in ("ai.onnx.ml", "local")]
    return oh.make_model(graph, ir_version=8, opset_imports=[oh.make_opsetid("", 18), *opsets])


def test_map_types_are_carried() -> None:
    proto = classifier()
    model = load(proto)
    assert model.graph.outputs[0].type is None
    back = onnx.ModelProto.FromString(serialize(model.clone()))
    assert list(back.graph.output) == list(proto.graph.output)
    twice = onnx.ModelProto.FromString(serialize(load(serialize(model))))
    assert twice == back


def test_a_replaced_type_wins_over_a_carried_one() -> None:
    model = load(classifier())
    model.graph.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    back = onnx.ModelProto.FromString(serialize(model))
    assert back.graph.output[0].type.HasField("tensor_type")


def test_what_does_not_survive() -> None:
    """Nothing here has a meaning for inference: declarations of values that do not exist, fields
    unknown to this version of ONNX, and how a weight was stored."""
    proto = full_model()
    proto.graph.value_info.append(oh.make_tensor_value_info("nobody", 1, [1]))
    typed = oh.make_tensor("typed", 1, [2], [1.0, 2.0])
    proto.graph.initializer.append(typed)
    data = proto.SerializeToString() + b"\xfa\x3f\x03abc"  # field 1023
    back = onnx.ModelProto.FromString(serialize(load(data)))
    assert [v.name for v in back.graph.value_info] == ["flag", "typed", "t"]
    assert back.graph.initializer[1].raw_data and not back.graph.initializer[1].float_data
    assert not serialize(load(data)).endswith(b"abc")
