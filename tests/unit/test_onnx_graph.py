"""What is done to ONNX graphs before they are saved."""

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from slm_export.exporters.onnx_graph import tidy


def graph(**initializers):
    """x [2, 4], multiplied with each of them [4, n], in turn its transpose's."""
    nodes = [helper.make_node("MatMul", ["x", name], [f"y_{name}"]) for name in initializers]
    outputs = [helper.make_tensor_value_info(f"y_{name}", TensorProto.FLOAT, None) for name in initializers]
    stored = [numpy_helper.from_array(values, name) for name, values in initializers.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4])
    made = helper.make_graph(nodes, "g", [x], outputs, stored)
    return ir.from_proto(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]))


def test_a_weight_is_halved_whole_transposed_or_taken_apart():
    rng = np.random.default_rng(0)
    fused, square, other = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 4), (4, 4), (4, 4)))
    model = graph(first=fused[:2].T.copy(), rest=fused[2:].T.copy(), square=square, other=other)
    tidy(model, halved=[fused, square])
    written = onnx.load_from_string(ir.to_proto(model).SerializeToString())
    kinds = {t.name: t.data_type for t in written.graph.initializer}
    half = TensorProto.FLOAT16
    assert kinds == {"first": half, "rest": half, "square": half, "other": TensorProto.FLOAT}
    (stored,) = (numpy_helper.to_array(t) for t in written.graph.initializer if t.name == "first")
    np.testing.assert_array_equal(stored, fused[:2].T.astype(np.float16))
