"""Quantize once: the three files hold the same integers and scales, and they are those of the source's weights."""

import hashlib

import numpy as np
import pytest
from safetensors.numpy import load_file

from slm_export import readers
from tests.conftest import EXAMPLE, Cli

FILES = {"executorch": "executorch/model.pte", "tflite": "tflite/model.tflite", "onnx": "onnx/model.onnx"}


def expected_tables():
    """Rounded here, with numpy, from the checkpoint itself."""
    tables = {}
    for name, tensor in load_file(EXAMPLE / "model.safetensors").items():
        is_linear = tensor.ndim == 2 and "embeddings" not in name
        if not (is_linear or name.endswith("word_embeddings.weight")):
            continue
        weight = tensor.astype(np.float32)
        scales = np.maximum(np.abs(weight).max(axis=1) / np.float32(127), np.float32(6.2e-5 / 127))  # [PAD]'s row is 0
        tables[name.removesuffix(".weight")] = (np.rint(weight / scales[:, None]).astype(np.int8), scales)
    return tables


def digest(ints, scales):
    return hashlib.sha256(np.ascontiguousarray(ints).tobytes() + np.ascontiguousarray(scales).tobytes()).hexdigest()


@pytest.fixture(scope="module")
def stored(example_bundle):
    paths = {format: example_bundle / name for format, name in FILES.items()}
    return {format: list(readers.get(path).weights(path)) for format, path in paths.items()}


@pytest.mark.parametrize("format", FILES)
def test_every_integer_and_scale_of_the_source_is_in_the_file(stored, format):
    expected = expected_tables()
    assert len(expected) == 15
    in_file = {digest(w.ints, w.scales) for w in stored[format]}
    assert {name for name, table in expected.items() if digest(*table) not in in_file} == set()
    assert len(stored[format]) == len(expected), "and nothing else is quantized"


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_files_that_have_names_hold_each_layers_own_integers(stored, format):
    expected = expected_tables()
    for weight in stored[format]:
        ints, scales = expected[weight.name]
        assert np.array_equal(weight.ints, ints) and np.array_equal(weight.scales, scales), weight.name


def test_the_three_files_agree_with_each_other(stored):
    sets = [sorted(digest(w.ints, w.scales) for w in weights) for weights in stored.values()]
    assert sets[0] == sets[1] == sets[2]


def to_bfloat16(values):
    """Round to nearest, ties to even, to the upper half of a float32."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


@pytest.fixture(scope="module")
def int4_bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("int4")
    data = ["--calibration", EXAMPLE / "calibration.csv", "--eval", EXAMPLE / "eval.csv"]
    scheme = ["--scheme", "w4a8-dynamic", "--rounding", "rtn", "--max-length", 32]
    Cli(folder)(EXAMPLE, "--target", "android-arm64", *data, *scheme, "-o", "dist")
    return folder / "dist/banking-intents-android-arm64"


@pytest.mark.parametrize("format", FILES)
def test_every_int4_weight_and_its_groups_scales_are_in_the_file(int4_bundle, format):
    path = int4_bundle / FILES[format]
    stored = {digest(w.ints, w.scales) for w in readers.get(path).weights(path)}
    eight_bits = expected_tables()
    missing = []
    for name, tensor in load_file(EXAMPLE / "model.safetensors").items():
        name = name.removesuffix(".weight")
        if name not in eight_bits:
            continue
        if name.endswith("word_embeddings"):
            table = eight_bits[name]
        else:
            groups = tensor.astype(np.float32).reshape(len(tensor), -1, 32)
            scales = to_bfloat16(np.maximum(np.abs(groups).max(axis=2) / np.float32(7), np.float32(6.2e-5)))
            ints = np.clip(np.rint(groups / scales[..., None]), -8, 7).astype(np.int8)
            table = (ints.reshape(tensor.shape), scales)
        if digest(*table) not in stored:
            missing.append(name)
    assert missing == [] and len(stored) == len(eight_bits)
