"""Quantize once: the three files hold the same integers and scales, and they are those of the source's weights."""

import hashlib

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from slm_export import readers
from slm_export.errors import ExportError
from slm_export.exporters.common import require_carried
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.weights import QuantizedTensor
from slm_export.quantplan import QuantPlan
from tests.conftest import EXAMPLE, FILES, Cli


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


def packed_row(ints, format):
    """Two of 4 bits a byte, the first one low; XNNPACK and ONNX Runtime store them with 8 added."""
    unsigned = ints if format == "tflite" else ints + 8
    return ((unsigned[0::2] & 15) | ((unsigned[1::2] & 15) << 4)).astype(np.uint8).tobytes()


@pytest.mark.parametrize("format", FILES)
def test_one_changed_int4_weight_is_noticed(int4_bundle, format, tmp_path):
    path = int4_bundle / FILES[format]
    stored = list(readers.get(path).weights(path))
    tensors = {
        str(i): QuantizedTensor(ints=torch.from_numpy(w.ints), scales=torch.from_numpy(w.scales))
        for i, w in enumerate(stored)
    }
    plan = QuantPlan(scheme="w4a8-dynamic", layers={})
    compressed = Compressed(module=None, plan=plan, tensors=tensors)
    assert require_carried(stored, compressed, format=format) == len(stored)
    content = bytearray(path.read_bytes())
    wide = next(w for w in stored if w.scales.ndim == 2 and w.ints.shape[1] >= 128)
    at = content.find(packed_row(wide.ints[5], format))
    assert at > 0, "where the sixth row of a layer lies"
    content[at] ^= 1
    changed = tmp_path / path.name
    changed.write_bytes(content)
    with pytest.raises(ExportError, match=f"1 of {len(stored)} quantized layers are not in the {format} file"):
        require_carried(list(readers.get(changed).weights(changed)), compressed, format=format)
