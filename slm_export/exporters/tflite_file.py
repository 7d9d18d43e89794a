"""Edits to a .tflite flatbuffer: layers get their names, and signatures share what they repeat."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.errors import ExportError
from slm_export.quantization.compressed import Compressed
from slm_export.readers import tflite as reader

SMALLEST_LARGE_BUFFER = 1024  # bytes; smaller ones, such as shapes, stay inside the flatbuffer
ALIGNMENT = 16
OUTPUT_OF = "output of "  # prefix of the tensor that a quantized layer's operator makes


def digest(values: Any) -> str:
    """Content hash of a float32 array, whatever its layout."""
    return hashlib.sha256(np.ascontiguousarray(values, np.float32).tobytes()).hexdigest()


def float_digests(compressed: Compressed, names: Iterable[str]) -> dict[str, str]:
    """{hash of the float weight: layer name}"""
    weights = {name: compressed.module.get_submodule(name).weight.detach().numpy() for name in names}
    return {digest(w): name for name, w in weights.items()}


def name_layers(path: Path, layers: Mapping[str, str]) -> None:
    """Rename tensors: weights by their layer, the outputs of quantized layers likewise, the rest by number; behind
    the semicolon the number of the signature, because ai-edge-quantizer wants every name once.

    The converter's own names repeat Python class paths, half a megabyte of them, and do not tell layers apart.
    `layers` is {hash of the float weight: layer name}. Raises ExportError if one of them is not found by its content.
    """
    model = reader.load(path)
    found = set()
    for number, graph in enumerate(model.subgraphs):
        names, uses = {}, Counter[str]()
        for op in graph.operators:
            if len(op.inputs) < 2:
                continue
            layer = next((n for i in op.inputs[:2] if (n := layers.get(_content(model, graph.tensors[int(i)])))), None)
            if layer is not None:
                found.add(layer)
                uses[layer] += 1  # a layer that is shared, as ALBERT's are, runs several times
                names[int(op.outputs[0])] = f"{OUTPUT_OF}{layer}#{uses[layer]}"
        inputs = {int(i) for i in graph.inputs}
        for index, tensor in enumerate(graph.tensors):
            layer = layers.get(_content(model, tensor))
            if layer is not None:
                tensor.name = f"{layer}.weight;{number}"
            elif index not in inputs:
                tensor.name = f"{names.get(index, f't{index}')};{number}"
    missing = sorted(set(layers.values()) - found)
    if missing:
        raise ExportError(
            f"{len(missing)} quantized layers are not in the converted model as they were",
            where=missing[0],
            why="the converter folded something into their weights",
        )
    _write(model, path)


def put_floats(path: Path, target: Path, weights: Mapping[str, Any]) -> None:
    """Write the file again with other float32 weights [outputs, inputs] for the layers that `name_layers` named."""
    model = reader.load(path)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            layer = reader.text(tensor.name).rpartition(";")[0].removesuffix(".weight")
            if layer in weights and reader.text(tensor.name).startswith(f"{layer}.weight;"):
                model.buffers[tensor.buffer].data = np.ascontiguousarray(weights[layer]).view(np.uint8).reshape(-1)
    _write(model, target)


def rename_signature_tensors(path: Path, names: Mapping[str, str]) -> None:
    """Give the inputs and outputs of signatures other names; those not in `names` keep theirs."""
    model = reader.load(path)
    for signature in model.signatureDefs:
        for entry in (*signature.inputs, *signature.outputs):
            entry.name = names.get(reader.text(entry.name), entry.name)
    _write(model, path)


def dequantize_outputs(path: Path) -> None:
    """Put a DEQUANTIZE behind each int8 output: the converter carries integers through slices and reshapes to the very
    end, as of the two logits of question-answering. Nothing is written if there are none."""
    from ai_edge_litert import schema_py_generated as schema

    model, changed = reader.load(path), {}
    for number, graph in enumerate(model.subgraphs):
        graph.outputs = list(graph.outputs)
        for place, index in enumerate(graph.outputs):
            tensor = graph.tensors[index]
            if tensor.type != schema.TensorType.INT8:
                continue
            made = schema.TensorT()
            made.name, made.type, made.buffer = f"float {reader.text(tensor.name)}", schema.TensorType.FLOAT32, 0
            made.shape, made.shapeSignature = tensor.shape, tensor.shapeSignature
            operator = schema.OperatorT()
            operator.opcodeIndex = _opcode(model, schema.BuiltinOperator.DEQUANTIZE, version=2)
            operator.inputs, operator.outputs = [index], [len(graph.tensors)]
            graph.tensors.append(made)
            graph.operators.append(operator)
            graph.outputs[place] = changed[number, index] = len(graph.tensors) - 1
    for signature in model.signatureDefs:
        for entry in signature.outputs:
            entry.tensorIndex = changed.get((signature.subgraphIndex, entry.tensorIndex), entry.tensorIndex)
    if changed:
        _write(model, path)


def _opcode(model: Any, builtin: int, *, version: int) -> int:
    """Its index in the model's table, which gets it if need be."""
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin and code.version >= version:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _content(model: Any, tensor: Any) -> str:
    data = model.buffers[tensor.buffer].data
    shape = tensor.shape if tensor.shape is not None else []
    if data is None or len(shape) != 2 or reader.DTYPES.get(tensor.type) != "float32":
        return ""
    return hashlib.sha256(memoryview(data)).hexdigest()


class _Once:
    """A flatbuffer table that is written once and pointed to by everyone who holds it."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.offset: int | None = None

    def Pack(self, builder: Any) -> int:
        if self.offset is None:
            self.offset = self.table.Pack(builder)
        return self.offset


def share_quantization(path: Path) -> None:
    """Store equal scales and zero points once for all signatures: 12 bytes per channel and signature otherwise, and two
    for each group."""
    model = reader.load(path)
    tables: dict[bytes, _Once] = {}
    buffers: dict[bytes, int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            table = tensor.quantization
            if table is not None and table.details is not None:
                scales = graph.tensors[table.details.scales]
                first = buffers.setdefault(_bytes(model.buffers[scales.buffer].data), scales.buffer)
                if first != scales.buffer:
                    model.buffers[scales.buffer].data, scales.buffer = None, first
            elif table is not None and table.scale is not None:
                key = _bytes(table.scale) + _bytes(table.zeroPoint) + bytes([table.quantizedDimension])
                tensor.quantization = tables.setdefault(key, _Once(table))
    _write(model, path)


def _bytes(vector: Any) -> bytes:
    return np.asarray(vector).tobytes()


def _write(model: Any, path: Path) -> None:
    """Write the flatbuffer, and the large buffers behind it, so that no second copy of the weights is ever held.

    LiteRT reads such files by each buffer's offset and size; ai-edge-quantizer writes them the same way.
    """
    large = [b for b in model.buffers if b.data is not None and len(b.data) >= SMALLEST_LARGE_BUFFER]
    contents = [b.data for b in large]
    for buffer in large:
        buffer.data, buffer.offset, buffer.size = None, 1, 1  # any numbers but 0, which would not be stored
    position = _aligned(len(_packed(model)))
    for buffer, content in zip(large, contents, strict=True):
        buffer.offset, buffer.size = position, len(content)
        position = _aligned(position + len(content))
    aside = path.with_suffix(".aside")
    with aside.open("wb") as file:
        file.write(_packed(model))
        for buffer, content in zip(large, contents, strict=True):
            file.write(b"\0" * (buffer.offset - file.tell()))
            file.write(memoryview(content))
        file.write(b"\0" * (position - file.tell()))
    aside.replace(path)


def _packed(model: Any) -> bytes:
    import flatbuffers

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if isinstance(tensor.quantization, _Once):
                tensor.quantization.offset = None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT
