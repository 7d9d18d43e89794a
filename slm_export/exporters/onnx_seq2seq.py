"""ONNX encoder-decoders as optimum and transformers.js expect them: encoder_model.onnx and decoder_model_merged.onnx.

Batch, text and answer vary freely. The tied table is stored once in each of the two files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slm_export.artifact import Artifact, Part, TensorSpec
from slm_export.errors import ExportError, first_line
from slm_export.exporters.common import TRACED_LENGTH, ExportRequest
from slm_export.exporters.onnx_graph import guard_int8_products, save, tidy
from slm_export.exporters.parts import checked_parts
from slm_export.exporters.seq2seq import BOTH, OWN, CacheShape, cache_shape
from slm_export.quantization.compressed import Compressed

ENCODER, DECODER = "encoder_model.onnx", "decoder_model_merged.onnx"
OPSET = 20
SAID = 3  # tokens of an answer traced with; like TRACED_LENGTH no other dimension


def write(compressed: Compressed, request: ExportRequest, folder: Path, *, root: Path, scheme: str) -> Artifact:
    """Lower both halves into `folder`. Raises ExportError if torch.onnx fails, or a file is not what was asked for.

    The decoder's two branches share all its weights, so that their int8 products are stored unsigned: see
    `onnx_graph.guard_int8_products`.
    """
    from slm_export.exporters.onnx_layers import with_layers

    shape = cache_shape(compressed.module, request)
    halved = [n for n, p in compressed.plan.layers.items() if p.bits == 16]
    weights = [compressed.module.get_submodule(n).weight.detach().numpy() for n in halved]
    try:
        encoder = _encoder(with_layers(compressed))
        tidy(encoder, halved=weights)
        guard_int8_products(encoder)
        save(encoder, folder / ENCODER)
        module = with_layers(compressed, unsigned=True)
        _tie(module, compressed)
        decoder = _decoder(module, shape)
        tidy(decoder, halved=weights)
        save(decoder, folder / DECODER)
    except Exception as err:  # torch.onnx raises its own, torch.export's and plain Python's kinds
        raise ExportError("torch.onnx cannot export this model", where=first_line(err)) from err
    parts = _parts(shape, folder.relative_to(root).as_posix(), compressed.module.lm_head.out_features)
    return checked_parts(parts, compressed, request, format="onnx", root=root, scheme=scheme, batch=None)


def _tie(module: Any, compressed: Compressed) -> None:
    """Let the decoder look up in the head's table, in place, where the two are one."""
    from slm_export.exporters.onnx_layers import tie

    stack = module.get_decoder()
    name = next(n for n, m in module.named_modules(remove_duplicate=False) if m is stack) + ".embed_tokens"
    tensors = compressed.tensors.get(name), compressed.tensors.get("lm_head")
    stack.embed_tokens = tie(stack.embed_tokens, module.lm_head, tensors)


def _encoder(module: Any) -> Any:
    from slm_export.tasks.seq2seq_graphs import Encoder

    varies = {0: "batch_size", 1: "encoder_sequence_length"}
    ids = _ids(TRACED_LENGTH)
    return _lower(
        Encoder(module), (ids, _ids(TRACED_LENGTH)), (varies, varies), ["input_ids", "attention_mask"],
        ["last_hidden_state"],
    )  # fmt: skip


def _decoder(module: Any, shape: CacheShape) -> Any:
    import torch

    from slm_export.exporters.onnx_merge import merge_decoders
    from slm_export.tasks.seq2seq_graphs import FirstStep, NextStep

    text, said, past = ({0: "batch_size", 1: f"{n}_sequence_length"} for n in ("encoder", "decoder", "past_decoder"))
    first = _lower(
        FirstStep(module),
        (_ids(TRACED_LENGTH), _ids(SAID), torch.zeros(2, TRACED_LENGTH, shape.hidden)),
        (text, said, text),
        ["encoder_attention_mask", "input_ids", "encoder_hidden_states"],
        ["logits", *shape.names("present", BOTH)],
    )
    grown, fixed = ({0: "batch_size", 2: d[1]} for d in (past, text))
    later = _lower(
        NextStep(module),
        (_ids(TRACED_LENGTH), _ids(1), *shape.tensors(batch=2, said=SAID, text=TRACED_LENGTH)),
        (text, {0: "batch_size"}, (grown, grown, fixed, fixed) * shape.layers),
        ["encoder_attention_mask", "input_ids", *shape.names("past_key_values", BOTH)],
        ["logits", *shape.names("present", OWN)],
    )
    return merge_decoders(first, later)


def _ids(length: int) -> Any:
    """Two texts of ones: never one, which torch.export would take for a constant, and never the same object twice,
    which it would take for one input."""
    import torch

    return torch.ones(2, length, dtype=torch.int64)


def _lower(graph: Any, inputs: Any, varies: Any, names: list[str], outputs: list[str]) -> Any:
    import torch

    dims = {name: torch.export.Dim(name) for d in _flat(varies) for name in d.values()}
    program = torch.onnx.export(
        graph.eval(),
        inputs,
        input_names=names,
        output_names=outputs,
        dynamic_shapes=_named(varies, dims),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    tidy(program.model)
    return program.model


def _flat(varies: Any) -> list[dict[int, str]]:
    return [d for v in varies for d in (v if isinstance(v, tuple) else (v,))]


def _named(varies: Any, dims: dict[str, Any]) -> Any:
    if isinstance(varies, tuple):
        return tuple(_named(v, dims) for v in varies)
    return {axis: dims[name] for axis, name in varies.items()}


def _parts(shape: CacheShape, folder: str, vocabulary: int) -> list[Part]:
    def cache(prefix: str, length: str) -> tuple[TensorSpec, ...]:
        lengths = {"decoder": length, "encoder": "encoder_sequence_length"}
        return tuple(
            TensorSpec(name=n, dtype="float32", shape=("batch", shape.heads, lengths[n.split(".")[2]], shape.width))
            for n in shape.names(prefix, BOTH)
        )

    text = ("batch", "encoder_sequence_length")
    hidden = (*text, shape.hidden)
    return [
        Part(
            name="encode",
            path=f"{folder}/{ENCODER}",
            inputs=(_spec("input_ids", "int64", text), _spec("attention_mask", "int64", text)),
            outputs=(_spec("last_hidden_state", "float32", hidden),),
        ),
        Part(
            name="decode",
            path=f"{folder}/{DECODER}",
            inputs=(
                _spec("encoder_attention_mask", "int64", text),
                _spec("input_ids", "int64", ("batch", "decoder_sequence_length")),
                _spec("encoder_hidden_states", "float32", hidden),
                *cache("past_key_values", "past_decoder_sequence_length"),
                _spec("use_cache_branch", "bool", (1,)),
            ),
            outputs=(
                _spec("logits", "float32", ("batch", "decoder_sequence_length", vocabulary)),
                *cache("present", "past_decoder_sequence_length + 1"),
            ),
        ),
    ]


def _spec(name: str, dtype: str, shape: tuple[int | str, ...]) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)
