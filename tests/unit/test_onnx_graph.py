"""What is done to ONNX graphs before they are saved."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from slm_export.exporters.onnx_graph import make_activations_float, tidy

SHAPES = {"x": [2, 4], "y": [2, 3]}


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


@pytest.mark.parametrize(("dtype", "zero"), [(np.int8, 0), (np.uint8, 128)])
def test_a_twin_multiplies_with_what_the_integers_stand_for(dtype, zero):
    rng = np.random.default_rng(0)
    ints, scales = rng.integers(-127, 128, (4, 3)), rng.random(3).astype(np.float32)
    stored = {"l.ints": (ints + zero).astype(dtype), "l.ints.zero_point": np.array(zero, dtype), "l.scales": scales}
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "l.ints", "zero", "l.ints.zero_point"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["scale", "l.scales"], ["both"]),
        helper.make_node("Mul", ["floats", "both"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in SHAPES.items()]
    made = helper.make_graph(
        nodes, "g", values[:1], values[1:], [numpy_helper.from_array(v, n) for n, v in stored.items()]
    )
    model = ir.from_proto(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10))
    x = rng.standard_normal((2, 4)).astype(np.float32)
    rounded = answer(model, x)
    make_activations_float(model)
    expected = x @ (ints * scales).astype(np.float32)
    np.testing.assert_allclose(answer(model, x), expected, rtol=1e-5)
    assert np.abs(rounded - expected).max() > 1e-3 and {n.op_type for n in model.graph} == {"MatMul"}
    assert set(model.graph.initializers) == {"l.float"}


def answer(model, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    return session.run(None, {"x": x})[0]
