"""What exporters of encoder-decoders share: the names and shapes of a cache, and the check of what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slm_export import readers
from slm_export.artifact import Artifact, Memory, Part, TensorSpec, file_record
from slm_export.errors import ExportError
from slm_export.exporters.common import ExportRequest, require_carried, require_halved
from slm_export.quantization.compressed import Compressed
from slm_export.readers.facts import FileFacts
from slm_export.records import record

OWN, CROSS, BOTH = ("decoder",), ("encoder",), ("decoder", "encoder")


@record
class CacheShape:
    """Of one key or value: [batch, heads, tokens, width]; `text` tokens go in, at most `said` come out."""

    layers: int
    heads: int
    width: int
    hidden: int  # of last_hidden_state
    text: int
    said: int

    def tensors(self, *, batch: int, said: int, text: int) -> tuple[Any, ...]:
        """A cache to trace with, in the order of `names(..., BOTH)`."""
        import torch

        lengths = (said, said, text, text) * self.layers
        return tuple(torch.zeros(batch, self.heads, length, self.width) for length in lengths)

    def names(self, prefix: str, parts: Sequence[str], separator: str = ".") -> list[str]:
        """As optimum and transformers.js name them: past_key_values.0.decoder.key ..., present.0.decoder.key ..."""
        return [
            separator.join((prefix, str(layer), part, kind))
            for layer in range(self.layers)
            for part in parts
            for kind in ("key", "value")
        ]


def cache_shape(module: Any, request: ExportRequest) -> CacheShape:
    assert request.generation is not None, "the pipeline gives rules to tasks that generate"
    config = module.config
    t5 = config.model_type == "t5"
    return CacheShape(
        layers=config.num_decoder_layers if t5 else config.decoder_layers,
        heads=config.num_heads if t5 else config.decoder_attention_heads,
        width=config.d_kv if t5 else config.d_model // config.decoder_attention_heads,
        hidden=config.d_model,
        text=request.max_length,
        said=request.generation.max_new_tokens,
    )


def fixed_parts(shape: CacheShape, path: str, vocabulary: int, *, integer: str, text: int | str) -> list[Part]:
    """The parts of an artifact whose cache has room for every token, in the order of the graphs' arguments.

    `text` is how long the encoder's part of the cache is in each call: a number of tokens, or the name of what varies.
    """

    def spec(name: str, *dimensions: int | str, dtype: str = "float32") -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=dimensions)

    def cache(prefix: str, part: tuple[str, ...], said: int) -> list[TensorSpec]:
        lengths = {"decoder": said, "encoder": text}
        return [spec(n, 1, shape.heads, lengths[n.split(".")[2]], shape.width) for n in shape.names(prefix, part)]

    ids = [spec(n, 1, "sequence", dtype=integer) for n in ("input_ids", "attention_mask")]
    step = [
        spec("input_ids", 1, 1, dtype=integer),
        spec("position", 1, dtype=integer),
        spec("encoder_attention_mask", 1, text, dtype=integer),
    ]
    said = [spec("logits", 1, 1, vocabulary), *cache("present", OWN, 1)]
    return [
        Part(name="encode", path=path, inputs=tuple(ids), outputs=tuple(cache("present", CROSS, 1))),
        Part(
            name="decode",
            path=path,
            inputs=(*step, *cache("past_key_values", BOTH, shape.said)),
            outputs=tuple(said),
        ),
    ]


def checked_artifact(
    parts: Sequence[Part],
    compressed: Compressed,
    request: ExportRequest,
    *,
    format: str,
    root: Path,
    scheme: str,
    batch: int | None = 1,
    beside: Sequence[Path] = (),
) -> Artifact:
    """Read the written files back and record them, and those `beside` them; the last part's is the artifact's own path.

    Raises ExportError if a file's scheme is not `scheme`, its inputs or outputs are not the part's, or the integers of
    a quantized layer are in none of them.
    """
    paths = [root / path for path in dict.fromkeys(part.path for part in parts)]
    facts = {path: readers.get(path).read(path, max_length=request.max_length) for path in paths}
    for path, fact in facts.items():
        if fact.scheme != scheme:
            raise ExportError(f"the {format} file came out as {fact.scheme}, not {scheme}", where=path.name)
    for part in parts:
        _require_interface(part, facts[root / part.path])
    require_halved(list(facts.values()), compressed)
    stored = [weight for path in paths for weight in readers.get(path).weights(path)]
    return Artifact(
        format=format,
        scheme=scheme,
        path=parts[-1].path,
        files=tuple(file_record(path, root=root) for path in (*paths, *beside)),
        inputs=parts[0].inputs,
        outputs=parts[-1].outputs[:1],
        parts=tuple(parts),
        generation=request.generation,
        signatures=facts[paths[-1]].signatures,
        batch=batch,
        max_length=request.max_length,
        pad_id=request.pad_id,
        runtime=request.runtime,
        memory=_together(list(facts.values())),
        delegation_share=facts[paths[-1]].delegation_share,
        layers_carried=require_carried(stored, compressed, format=format),
        plan=compressed.plan,
    )


def _require_interface(part: Part, facts: FileFacts) -> None:
    """The file must have the part's inputs and outputs: by name, or as many where the format keeps no names."""
    method = next((m for m in facts.methods if m.name == part.name), facts)
    for expected, found in ((part.inputs, method.inputs), (part.outputs, method.outputs)):
        names, there = [s.name for s in expected], [s.name for s in found]
        nameless = all(name.startswith(("input_", "output_")) and name[-1].isdigit() for name in there)
        if len(names) != len(there) or not (nameless or set(names) == set(there)):
            raise ExportError(f"the file's {part.name} has {', '.join(there)}", why=f"expected {', '.join(names)}")
        shapes = {s.name: s.shape for s in found}
        fixed = [s.name for s in expected if s.shape[0] == "batch" and shapes[s.name][0] != "batch"]
        if fixed:
            raise ExportError(
                f"the file's {part.name} takes {shapes[fixed[0]][0]} texts at once, no other number of them"
            )


def _together(facts: Sequence[FileFacts]) -> Memory:
    """Weights of all files lie in memory at once; the graphs run one after the other."""
    return Memory(
        weights_bytes=sum(f.memory.weights_bytes for f in facts),
        activations_bytes=max(f.memory.activations_bytes for f in facts),
    )
