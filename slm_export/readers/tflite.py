"""Reads .tflite files, and those in a .litertlm, through LiteRT's own flatbuffer schema."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from slm_export import litertlm
from slm_export.artifact import Memory, Signature, TensorSpec
from slm_export.errors import InputError
from slm_export.quantplan import StaticRange
from slm_export.readers.facts import FileFacts, Method, StoredTensor, StoredWeight, peak_bytes, scheme_of

DTYPES = {0: "float32", 1: "float16", 2: "int32", 4: "int64", 6: "bool", 7: "int16", 9: "int8", 17: "int4"}
BITS = {"float32": 32, "float16": 16, "int32": 32, "int64": 64, "bool": 8, "int16": 16, "int8": 8, "int4": 4}


def read(path: Path, *, max_length: int = 128) -> FileFacts:
    """Facts of a .tflite file; activation bytes are for its longest signature. `max_length` is not needed.

    Raises InputError if it is no TFLite flatbuffer.
    """
    model = load(path)
    signatures = tuple(sorted(_signatures(model), key=lambda s: s.sequence))
    longest = max(model.subgraphs, key=lambda g: sum(_bytes(t) for t in g.tensors))
    inputs, outputs = _interface(model, "")
    return FileFacts(
        format="tflite",
        scheme=scheme_of({kind for g in model.subgraphs for kind in _matrix_products(model, g)}),
        inputs=inputs,
        outputs=outputs,
        signatures=signatures,
        ops=dict(Counter(_op_name(model, op) for g in model.subgraphs for op in g.operators).most_common()),
        tensors=tuple(_stored_tensors(model)),
        memory=Memory(
            weights_bytes=sum(_data_size(b) for b in model.buffers), activations_bytes=_arena(model, longest)
        ),
        methods=tuple(_methods(model)),
    )


def load(path: Path) -> Any:
    """The file as the schema's object tree, buffers kept outside the flatbuffer read in.

    Raises InputError if it is no TFLite flatbuffer.
    """
    from ai_edge_litert import schema_py_generated as schema

    try:
        raw = litertlm.model(path)
    except ValueError as err:  # an empty file too
        raise InputError(f"{path} is not a TFLite model", why=str(err), where=str(path)) from err
    if bytes(raw[4:8]) != b"TFL3":
        raise InputError(f"{path} is not a TFLite model", why="it lacks the TFL3 mark", where=str(path))
    try:
        model = schema.ModelT.InitFromPackedBuf(raw, 0)
        for buffer in model.buffers:
            if buffer.offset > 1:
                if buffer.offset + buffer.size > len(raw):
                    raise ValueError("a buffer lies behind the end of the file")
                buffer.data = np.frombuffer(raw, np.uint8, buffer.size, buffer.offset)
                buffer.offset = buffer.size = 0
    except (ValueError, IndexError, TypeError, OverflowError) as err:
        raise InputError(f"{path} is a damaged TFLite model: {err}", where=str(path)) from err
    except Exception as err:  # struct.error and the schema's own kinds
        raise InputError(f"{path} is a damaged TFLite model: {type(err).__name__}", where=str(path)) from err
    return model


def text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _signatures(model: Any) -> Iterator[Signature]:
    for sig in model.signatureDefs or []:
        graph = model.subgraphs[sig.subgraphIndex]
        shape = graph.tensors[sig.inputs[0].tensorIndex].shape
        yield Signature(name=text(sig.signatureKey), sequence=int(shape[-1]))


def _methods(model: Any) -> Iterator[Method]:
    """Signatures that differ in length only are one: "encode_16" and "encode_32"."""
    names = [text(sig.signatureKey) for sig in model.signatureDefs or []]
    kinds = dict.fromkeys(name.rstrip("0123456789").rstrip("_") for name in names)
    for kind in kinds if len(kinds) > 1 else ():
        inputs, outputs = _interface(model, kind)
        yield Method(name=kind, inputs=inputs, outputs=outputs)


def _interface(model: Any, kind: str) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs, by name, of the signatures whose names start with `kind`; a dimension that differs between
    them is called "sequence"."""
    signatures = [sig for sig in model.signatureDefs or [] if text(sig.signatureKey).startswith(kind)]

    def merged(side: str) -> tuple[TensorSpec, ...]:
        shapes: dict[str, list[tuple[int, ...]]] = {}
        dtypes = {}
        for sig in signatures:
            for entry in getattr(sig, side):
                tensor = model.subgraphs[sig.subgraphIndex].tensors[entry.tensorIndex]
                shapes.setdefault(text(entry.name), []).append(tuple(int(d) for d in tensor.shape))
                dtypes[text(entry.name)] = DTYPES.get(tensor.type, str(tensor.type))
        varying = {
            name: tuple(dims[0] if len(set(dims)) == 1 else "sequence" for dims in zip(*all_shapes, strict=True))
            for name, all_shapes in shapes.items()
            if len(set(map(len, all_shapes))) == 1
        }
        return tuple(TensorSpec(name=n, dtype=dtypes[n], shape=s) for n, s in varying.items())

    return merged("inputs"), merged("outputs")


@cache
def _builtin_names() -> dict[int, str]:
    from ai_edge_litert import schema_py_generated as schema

    return {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


def _op_name(model: Any, op: Any) -> str:
    code = model.operatorCodes[op.opcodeIndex]
    return _builtin_names().get(max(code.builtinCode, code.deprecatedBuiltinCode), "CUSTOM")


def _data_size(buffer: Any) -> int:
    return 0 if buffer.data is None else len(buffer.data)


def _bytes(tensor: Any) -> int:
    shape = tensor.shape if tensor.shape is not None else []
    return math.prod(int(d) for d in shape) * BITS.get(DTYPES.get(tensor.type, ""), 32) // 8


def _stored_tensors(model: Any) -> Iterator[StoredTensor]:
    seen = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.buffer in seen or not _data_size(model.buffers[tensor.buffer]):
                continue
            seen.add(tensor.buffer)
            shape = tuple(int(d) for d in (tensor.shape if tensor.shape is not None else []))
            size = _data_size(model.buffers[tensor.buffer])
            yield StoredTensor(name=text(tensor.name), dtype=DTYPES.get(tensor.type, "?"), shape=shape, bytes=size)


def _matrix_products(model: Any, graph: Any) -> Iterator[tuple[str, str]]:
    made_by = {int(i): op for op in graph.operators for i in op.outputs}
    for op in graph.operators:
        if _op_name(model, op) != "FULLY_CONNECTED":
            continue
        x, w = (graph.tensors[int(i)] for i in op.inputs[:2])
        source = made_by.get(int(op.inputs[1]))
        dequantized = source is not None and _op_name(model, source) == "DEQUANTIZE"
        stored = graph.tensors[int(source.inputs[0])] if dequantized and source is not None else w
        weight, activation = DTYPES.get(stored.type, "?"), DTYPES.get(x.type, "?")
        if activation != "float32":
            yield weight, "static"
        elif not _data_size(model.buffers[stored.buffer]):
            continue  # a product of two activations
        else:
            yield weight, "float" if dequantized or weight == "float32" else "dynamic"


def _arena(model: Any, graph: Any) -> int:
    constant = {str(i) for i, t in enumerate(graph.tensors) if _data_size(model.buffers[t.buffer])}
    sizes = {str(i): _bytes(t) for i, t in enumerate(graph.tensors) if str(i) not in constant}
    steps = [([str(int(i)) for i in op.inputs], [str(int(i)) for i in op.outputs]) for op in graph.operators]
    kept = [str(int(i)) for i in (*graph.inputs, *graph.outputs)]
    return peak_bytes(steps, sizes, kept=kept)


def weights(path: Path) -> Iterator[StoredWeight]:
    """Every quantized matrix [outputs, inputs], once however many signatures share it."""
    model = load(path)
    seen = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            scales = _scales(model, graph, tensor)
            shape = [int(d) for d in (tensor.shape if tensor.shape is not None else [])]
            data = model.buffers[tensor.buffer].data  # None of an activation
            if tensor.buffer in seen or scales is None or data is None or len(shape) != 2:
                continue
            seen.add(tensor.buffer)
            yield StoredWeight(
                name=text(tensor.name).removesuffix(";0").removesuffix(".weight"),
                ints=(_nibbles(data) if DTYPES[tensor.type] == "int4" else np.frombuffer(data, np.int8)).reshape(shape),
                scales=scales,
            )


def _scales(model: Any, graph: Any, tensor: Any) -> Any | None:
    """float32 [outputs], or [outputs, groups]; None of a tensor that is not quantized."""
    table, dtype = tensor.quantization, DTYPES.get(tensor.type)
    if table is None or dtype not in ("int8", "int4"):
        return None
    if table.details is not None:  # by blocks: a float16 tensor of its own
        stored = graph.tensors[table.details.scales]
        halves = np.frombuffer(model.buffers[stored.buffer].data, np.float16)
        return halves.astype(np.float32).reshape(int(tensor.shape[0]), -1)
    return None if table.scale is None else np.asarray(table.scale, np.float32)


def ranges(path: Path) -> list[StaticRange]:
    """Those of every computed int8 or int16 tensor."""
    model = load(path)
    return [
        StaticRange(scale=float(t.quantization.scale[0]), zero_point=int(t.quantization.zeroPoint[0]), bits=BITS[dtype])
        for graph in model.subgraphs
        for t in graph.tensors
        if (dtype := DTYPES.get(t.type)) in ("int8", "int16")
        and not _data_size(model.buffers[t.buffer])
        and t.quantization is not None
        and t.quantization.scale is not None
    ]


def _nibbles(data: Any) -> Any:
    """Two to a byte, the low one first, as int8 from -8 to 7."""
    packed = np.frombuffer(data, np.uint8)
    both = np.stack([packed & 15, packed >> 4], axis=-1).astype(np.int8).reshape(-1)
    return np.where(both > 7, both - 16, both).astype(np.int8)
