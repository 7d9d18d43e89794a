"""ONNX causal language models: one fused decoder graph with a cache, built by onnxruntime-genai's model builder, with
our integers where it would put floats.

The builder reads a transformers module layer by layer and writes GroupQueryAttention and (Skip)SimplifiedLayerNorm. It
is handed the compressed model's own module; where it comes to a Linear or the embedding that the plan quantizes, this
module writes MatMulNBits, and a lookup of integers. A tied table is stored once.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from slm_export.artifact import Artifact, Part, TensorSpec
from slm_export.errors import ExportError, first_line
from slm_export.exporters import onnx_causal_traced
from slm_export.exporters.causal import cache_shape
from slm_export.exporters.common import ExportRequest
from slm_export.exporters.onnx_graph import save, tidy
from slm_export.exporters.onnx_layers import FLOAT_ACTIVATIONS, INT8_ACTIVATIONS, blocks, tie_lookups, with_layers
from slm_export.exporters.parts import checked_parts
from slm_export.quantization.compressed import Compressed
from slm_export.quantization.weights import QuantizedTensor
from slm_export.records import record

MODEL, CONFIG = "model.onnx", "genai_config.json"


def artifact(compressed: Compressed, request: ExportRequest, folder: Path, *, root: Path, scheme: str) -> Artifact:
    """Write a decoder into `folder`, and read it back.

    What onnxruntime-genai's builder cannot build is traced by torch.onnx. Raises ExportError if that fails too, or the
    file is not what was asked for.
    """
    graph, *beside = write(compressed, request, folder)
    part = _part(compressed.module.config, graph.relative_to(root).as_posix())
    return checked_parts(
        [part], compressed, request, format="onnx", root=root, scheme=scheme, batch=None, beside=beside
    )


def _part(config: Any, path: str) -> Part:
    shape = cache_shape(config)

    def spec(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=shape)

    def cache(prefix: str, length: str) -> tuple[TensorSpec, ...]:
        return tuple(spec(name, "batch", shape.heads, length, shape.width) for name in shape.names(prefix))

    return Part(
        name="decode",
        path=path,
        inputs=(
            spec("input_ids", "batch", "sequence", dtype="int64"),
            spec("attention_mask", "batch", "total_sequence_length", dtype="int64"),
            *cache("past_key_values", "past_sequence_length"),
        ),
        outputs=(
            spec("logits", "batch", "sequence", config.vocab_size),
            *cache("present", "total_sequence_length"),
        ),
    )


def write(compressed: Compressed, request: ExportRequest, folder: Path) -> list[Path]:
    """The graph, and onnxruntime-genai's description of it; gives the files, the graph first."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            graph, description = _build(compressed, request, Path(scratch))
    except ExportError as err:
        print(f"traced instead, because {err}", file=sys.stderr)
        graph, description = onnx_causal_traced.build(tie_lookups(with_layers(compressed), compressed), request)
    halved = [compressed.module.get_submodule(n).weight for n, p in compressed.plan.layers.items() if p.bits == 16]
    tidy(graph, halved=[w.detach().numpy() for w in halved])
    _fix_widths(graph.graph, description["model"]["decoder"]["head_size"])
    _drop_absent_inputs(graph.graph)
    (folder / CONFIG).write_text(json.dumps(_limited(description, request), indent=2) + "\n", encoding="utf-8")
    return [*save(graph, folder / MODEL), folder / CONFIG, *_for_other_runners(compressed.module, request, folder)]


def _for_other_runners(module: Any, request: ExportRequest, folder: Path) -> list[Path]:
    """What optimum and transformers.js read beside the graph, as onnxruntime-genai does the tokenizer."""
    module.config.save_pretrained(folder)
    module.generation_config.save_pretrained(folder)
    written = [folder / "config.json", folder / "generation_config.json"]
    if request.tokenizer is not None:
        for source in sorted(Path(request.tokenizer).iterdir()):
            written.append(Path(shutil.copy(source, folder)))
    return written


def _fix_widths(graph: Any, width: int) -> None:
    """The cache's last dimension, which the builder leaves open, and transformers.js would take for 0."""
    import onnx_ir as ir

    for value in (*graph.inputs, *graph.outputs):
        if value.name.startswith(("past_key_values.", "present.")):
            value.shape = ir.Shape([*value.shape[:3], width])


def _drop_absent_inputs(graph: Any) -> None:
    """Those at the end of an operator's inputs, which older runtimes count and refuse."""
    for node in graph:
        while node.inputs and (node.inputs[-1] is None or not node.inputs[-1].name):
            node.resize_inputs(len(node.inputs) - 1)


def _limited(description: dict[str, Any], request: ExportRequest) -> dict[str, Any]:
    """The runtime makes its cache as long as these say: as long as what was asked for, and no longer."""
    description["model"]["context_length"] = description["search"]["max_length"] = request.max_length
    description["model"]["decoder"]["filename"] = MODEL
    return description


def _build(compressed: Compressed, request: ExportRequest, scratch: Path) -> tuple[Any, dict[str, Any]]:
    from onnxruntime_genai.models.builder import create_model

    config = _as_the_builder_reads(compressed.module.config, request.max_length)
    config.save_pretrained(scratch)
    compressed.module.generation_config.save_pretrained(scratch)
    options = {
        "hf_details": {"extra_kwargs": {}, "hf_name": str(scratch), "hf_config": config},
        "hf_token": False,
        "windowed_kv_cache": False,  # which optimum and transformers.js do not know
        "shared_embeddings": bool(config.tie_word_embeddings),
    }
    try:
        with _writing(compressed) as built, _quietly():
            create_model("", str(scratch), str(scratch), "fp32", "cpu", str(scratch / "cache"), **options)
    except Exception as err:  # the builder raises whatever Python does
        raise ExportError(
            f"onnxruntime-genai's builder cannot build {type(compressed.module).__name__}",
            where=f"{type(err).__name__}: {first_line(err)}",
        ) from err
    return built[0], json.loads((scratch / CONFIG).read_text(encoding="utf-8"))


def _as_the_builder_reads(config: Any, length: int) -> Any:
    """transformers keeps Gemma-3's two kinds of positions by kind of layer, the builder as two fields. Tables of
    positions need not be longer than what is read, where their values do not depend on how long they are."""
    config = copy.deepcopy(config)
    kinds = getattr(config, "rope_parameters", None) or {}
    if kinds.get("rope_type") == "default" and not hasattr(config, "original_max_position_embeddings"):
        config.max_position_embeddings = min(length, config.max_position_embeddings)
    if "full_attention" in kinds and "sliding_attention" in kinds:
        config.rope_local_base_freq = kinds["sliding_attention"]["rope_theta"]
        config.rope_parameters = kinds["full_attention"]
    return config


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The builder tells its progress on stdout, where ours is."""
    with contextlib.redirect_stdout(io.StringIO()):
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


@record
class _Rows:
    """Consecutive rows of a layer's weight: the builder takes fused projections apart."""

    layer: str
    first: int
    count: int


@contextlib.contextmanager
def _writing(compressed: Compressed) -> Iterator[list[Any]]:
    """Within the block, the builder reads `compressed.module`, writes its integers, and hands its graph over instead of
    saving it."""
    from onnxruntime_genai.models import builder

    Model = builder.LlamaModel.__base__  # the builder imports its classes by another name than the package's
    built: list[Any] = []
    places = _places(compressed)
    original = {
        name: getattr(Model, name)
        for name in (
            "load_weights", "make_matmul_op", "make_packed_matmul", "is_qkv_projection_packable",
            "make_embedding_lookup", "save_model", "save_processing",
        )
    }  # fmt: skip

    def matmul(self: Any, layer: Any, basename: str, root_input: str, **kwargs: Any) -> Any:
        rows = _rows_of(layer.weight, places)
        if rows is None:
            return original["make_matmul_op"](self, layer, basename, root_input, **kwargs)
        return _matmul(self, compressed, [rows], basename, root_input, **kwargs)

    def packable(self: Any, number: int, attention: Any) -> bool:
        """Whether queries, keys and values can be one product: if they are rounded alike."""
        found = [_rows_of(layer.weight, places) for layer in (attention.q_proj, attention.k_proj, attention.v_proj)]
        return None not in found and len({compressed.plan.layers[rows.layer] for rows in found if rows}) == 1

    def packed(self: Any, *layers_and_names: Any, **kwargs: Any) -> Any:
        *layers, basename, root_input = layers_and_names
        self.attention_attrs.update(k_path="", v_path="")  # which the last layer that is not packed would leave here
        found = [_rows_of(layer.weight, places) for layer in layers]
        return _matmul(self, compressed, [rows for rows in found if rows], basename, root_input, **kwargs)

    def lookup(self: Any, embedding: Any, basename: str, lm_head: Any) -> Any:
        rows = _rows_of(embedding, places)
        if rows is None:
            return original["make_embedding_lookup"](self, embedding, basename, lm_head)
        return _lookup(self, compressed, rows.layer, basename)

    replacements = {
        "load_weights": lambda self, path: compressed.module,
        "make_matmul_op": matmul,
        "make_packed_matmul": packed,
        "is_qkv_projection_packable": packable,
        "make_embedding_lookup": lookup,
        "save_model": lambda self, folder: built.append(self.model),
        "save_processing": lambda self, name, extra, folder: None,
    }
    for name, replacement in replacements.items():
        setattr(Model, name, replacement)
    try:
        yield built
    finally:
        for name, function in original.items():
            setattr(Model, name, function)


def _places(compressed: Compressed) -> dict[tuple[int, int], str]:
    """Where in memory the weights of quantized layers lie. Of tied ones the Linear's name is kept."""
    places = {}
    for name in sorted(compressed.tensors, key=lambda n: hasattr(compressed.module.get_submodule(n), "in_features")):
        weight = compressed.module.get_submodule(name).weight
        places[weight.data_ptr(), weight.data_ptr() + 4 * weight.numel()] = name
    return places


def _rows_of(weight: Any, places: dict[tuple[int, int], str]) -> _Rows | None:
    for (start, end), layer in places.items():
        if start <= weight.data_ptr() < end:
            return _Rows(layer=layer, first=(weight.data_ptr() - start) // (4 * weight.shape[1]), count=len(weight))
    return None


def _cut(tensor: QuantizedTensor, rows: _Rows) -> QuantizedTensor:
    chosen = slice(rows.first, rows.first + rows.count)
    return QuantizedTensor(ints=tensor.ints[chosen], scales=tensor.scales[chosen], bits=tensor.bits, group=tensor.group)


def _stored(builder: Any, layer: str, tensor: QuantizedTensor) -> tuple[list[str], int]:
    ints, scales, block = blocks(tensor)
    names = [f"{layer}.ints", f"{layer}.scales"]
    if names[0] not in builder.model.graph.initializers:
        for name, values in zip(names, (ints, scales), strict=True):
            builder.make_initializer(np.ascontiguousarray(values.numpy()), name)
    return names, block


def _matmul(
    builder: Any, compressed: Compressed, parts: list[_Rows], basename: str, root_input: str, **kwargs: Any
) -> str:
    """One product with the rows of `parts`, which are rounded alike; each part is stored by itself."""
    tensors = [_cut(compressed.tensors[rows.layer], rows) for rows in parts]
    stored = [_stored(builder, _name(compressed, rows), tensor) for rows, tensor in zip(parts, tensors, strict=True)]
    name, block = f"{basename}NBits", stored[0][1]
    columns = zip(*(names for names, _ in stored), strict=True)
    inputs = [
        _joined(builder, f"{name}/{kind}", names) for kind, names in zip(("ints", "scales"), columns, strict=True)
    ]
    output = "logits" if kwargs.get("logits") else f"{name}/output_0"
    outputs = sum(len(tensor.ints) for tensor in tensors)
    float_activations = compressed.plan.layers[parts[0].layer].activations == "float"
    builder.make_node(
        "MatMulNBits",
        inputs=[root_input, *inputs],
        outputs=[output],
        name=name,
        domain="com.microsoft",
        accuracy_level=FLOAT_ACTIVATIONS if float_activations else INT8_ACTIVATIONS,
        bits=tensors[0].bits,
        block_size=block,
        K=tensors[0].ints.shape[1],
        N=outputs,
    )
    shape = builder.make_hidden_state_shape(seq_dim=kwargs.get("seq_dim", "sequence_length"), last_dim=outputs)
    builder.make_value(output, builder.io_dtype, shape=shape)
    return name


def _name(compressed: Compressed, rows: _Rows) -> str:
    whole = rows.count == len(compressed.tensors[rows.layer].ints)
    return rows.layer if whole else f"{rows.layer}[{rows.first}:{rows.first + rows.count}]"


def _joined(builder: Any, name: str, stored: tuple[str, ...]) -> str:
    """Initializers as one, by a Concat that the runtime folds at load."""
    if len(stored) == 1:
        return stored[0]
    values = [builder.model.graph.initializers[part] for part in stored]
    shape = [sum(v.shape[0] for v in values), *values[0].shape[1:]]
    builder.make_concat(name, list(stored), dtype=values[0].dtype, shape=shape, axis=0)
    return f"{name}/output_0"


def _lookup(builder: Any, compressed: Compressed, layer: str, basename: str) -> str:
    """Rows of the table, by standard operators: onnxruntime 1.22 has GatherBlockQuantized for 4 bits only."""
    import onnx_ir as ir

    tensor = compressed.tensors[layer]
    width = tensor.ints.shape[1]
    (ints, scales), block = _stored(builder, layer, tensor)
    ids, shape = builder.input_names["input_ids"], ["batch_size", "sequence_length", width // block]

    def node(kind: str, inputs: list[str], name: str, dtype: Any, *inner: int, **attributes: Any) -> str:
        output = f"{basename}/Lookup/{name}/output_0"
        builder.make_node(kind, inputs=inputs, outputs=[output], name=f"{basename}/Lookup/{name}", **attributes)
        builder.make_value(output, dtype, shape=[*shape, *inner])
        return output

    found = node("Gather", [ints, ids], "Gather", ir.DataType.UINT8, block, axis=0)
    floats = node("Cast", [found], "Cast", ir.DataType.FLOAT, block, to=ir.DataType.FLOAT)
    offset = "/model/constants/FLOAT/128.0"
    centred = node("Sub", [floats, offset], "Sub", ir.DataType.FLOAT, block)
    steps = node("Gather", [scales, ids], "Gather_scales", ir.DataType.FLOAT)
    wide = node("Unsqueeze", [steps, "/model/constants/INT64/[-1]"], "Unsqueeze", ir.DataType.FLOAT, 1)
    made = node("Mul", [centred, wide], "Mul", ir.DataType.FLOAT, block)
    builder.make_reshape(
        f"{basename}/Lookup/Reshape",
        [made, f"/model/constants/INT64/[0, 0, {width}]"],
        dtype=ir.DataType.FLOAT,
        shape=["batch_size", "sequence_length", width],
    )
    return f"{basename}/Lookup/Reshape/output_0"
