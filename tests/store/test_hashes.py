"""Digests: what they see, and that they are kept only where that is safe."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxopt.store import content_hash, load, serialize, structural_hash


def test_large_weights_count_for_content_only(chain: Any) -> None:
    one, other = load(chain(seed=1)), load(chain(seed=2))
    assert structural_hash(one) == structural_hash(other)
    assert content_hash(one) != content_hash(other)


def test_small_weights_count_for_both(chain: Any) -> None:
    one, other = load(chain(size=3, seed=1)), load(chain(size=3, seed=2))
    assert structural_hash(one) != structural_hash(other)
    assert content_hash(one) != content_hash(other)


def test_type_and_shape_of_large_weights_count(chain: Any) -> None:
    base = load(chain())
    for dtype, shape in ((ir.DataType.INT32, [600]), (ir.DataType.FLOAT, [30, 20])):
        model = load(chain())
        old = model.graph.initializers["w0"].const_value
        assert old is not None
        array = np.frombuffer(old.tobytes(), dtype.numpy()).reshape(shape)
        model.graph.initializers["w0"].const_value = ir.Tensor(array, name="w0")
        assert structural_hash(model) != structural_hash(base)
        assert content_hash(model) != content_hash(base)


def test_storage_names_and_documents_do_not_count(chain: Any) -> None:
    proto = chain()
    typed = onnx.ModelProto.FromString(proto.SerializeToString())
    for tensor in typed.graph.initializer:
        tensor.float_data.extend(np.frombuffer(tensor.raw_data, np.float32).tolist())
        tensor.ClearField("raw_data")
    typed.graph.node[0].name = "renamed"
    typed.doc_string = "doc"
    typed.graph.initializer.sort(key=lambda tensor: tensor.name, reverse=True)
    assert structural_hash(load(proto)) == structural_hash(load(typed))
    assert content_hash(load(proto)) == content_hash(load(typed))


def test_clones_and_copies_are_equal(chain: Any) -> None:
    model = load(chain())
    for other in (model.clone(), load(serialize(model))):
        assert structural_hash(model) == structural_hash(other)
        assert content_hash(model) == content_hash(other)


def test_digests_of_writable_arrays_are_not_kept(chain: Any) -> None:
    model = load(chain())
    array = np.zeros(600, np.float32)
    model.graph.initializers["w0"].const_value = ir.Tensor(array, name="w0")
    before = content_hash(model)
    array[0] = 1
    assert content_hash(model) != before


def test_symbolic_shapes_cost_no_algebra(chain: Any) -> None:
    model = load(chain())
    dim = ir.SymbolicDim("batch * 2")
    model.graph.inputs[0].shape = ir.Shape([dim])
    structural_hash(model)
    assert dim._expr_cache is None
