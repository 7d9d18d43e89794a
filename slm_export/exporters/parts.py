"""The check of what was written, of artifacts whose graphs are named: encoder-decoders and causal models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slm_export import readers
from slm_export.artifact import Artifact, Memory, Part, file_record
from slm_export.errors import ExportError
from slm_export.exporters.common import ExportRequest, require_carried, require_halved
from slm_export.quantization.compressed import Compressed
from slm_export.readers.facts import FileFacts


def checked_parts(
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
