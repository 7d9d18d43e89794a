"""ExecuTorch: torch.export lowered to XNNPACK, int8 and int4 weights carried by torchao's tensor subclass.

Sequence length (and batch, if more than 1) varies up to the exported maximum; with LSTM or GRU layers, which are
unrolled, both are fixed at it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slm_export import tasks
from slm_export.artifact import Artifact
from slm_export.errors import ExportError, first_line
from slm_export.exporters import executorch_causal, executorch_lowering, executorch_seq2seq, seq2seq
from slm_export.exporters.common import (
    NO_STATIC_GENERATION,
    TRACED_LENGTH,
    Exported,
    ExportRequest,
    checked_artifact,
    copy_structure,
    float_twin,
    replace_layers,
    sample_inputs,
    static_graph,
)
from slm_export.exporters.executorch_file import share_constants
from slm_export.exporters.executorch_weights import quantized_layer
from slm_export.exporters.parts import checked_parts
from slm_export.quantization.compressed import Compressed, with_weights

ACTIVATIONS = ("per-token",)
INT8_GROUPS = False
TWIN_APART = tasks.CAUSAL  # half a gigabyte of floats, lowered anew
UNROLLS = True
_NO_FLOAT_ACTIVATIONS = "XNNPACK (ExecuTorch 1.5.1) computes garbage from integer weights with float activations"


def supports(task: str, scheme: str) -> str | None:
    if scheme == "w8a8" and task in tasks.GENERATING:
        return NO_STATIC_GENERATION
    return {
        "fp16": "a float16 program lowers and runs on ExecuTorch 1.5.1 with XNNPACK, and answers NaN",
        "w8a16": "XNNPACK (ExecuTorch 1.5.1) has no int16 activations",
        "w8": _NO_FLOAT_ACTIVATIONS,
        "w4": _NO_FLOAT_ACTIVATIONS,
    }.get(scheme)


def export(compressed: Compressed, request: ExportRequest, out: Path) -> Exported:
    """Write out/executorch/model.pte and, if activations are quantized, out/twin/executorch/model.pte.

    The twin's weights are the integers times their scales as float32: XNNPACK takes int8 weights with float
    activations, and computes garbage from them (errors of 1e4 on MiniLM, 1.5.1). That the artifact itself holds the
    same integers is read back from it. Raises ExportError if lowering fails, or the file is not what was asked for.
    """
    path = out / "executorch/model.pte"
    if compressed.plan.ranges:
        from slm_export.exporters.executorch_static import forms

        _save(_lower_graph(static_graph(compressed, request, forms(compressed)), *_varying_shapes(request)), path)
    else:
        module = copy_structure(compressed.module)
        replace_layers(module, lambda name, layer: quantized_layer(compressed.tensors.get(name), layer))
        for name in compressed.tensors:  # the integers stand for them, in the twin too
            weight = compressed.module.get_submodule(name).weight
            weight.data = weight.data.new_empty(0)
        _write(module, request, path)
        del module
    artifact = _checked(path, compressed, request, root=out)
    apart = not compressed.tensors or request.task in TWIN_APART
    return Exported(artifact=artifact, twin=None if apart else twin(compressed, request, artifact, out))


def twin(compressed: Compressed, request: ExportRequest, artifact: Artifact, out: Path) -> Artifact:
    path = out / "twin/executorch/model.pte"
    _write(with_weights(compressed), request, path)
    return float_twin(artifact, path, root=out)


def _checked(path: Path, compressed: Compressed, request: ExportRequest, *, root: Path) -> Artifact:
    scheme, where = compressed.plan.scheme, path.relative_to(root).as_posix()
    if request.task not in tasks.GENERATING:
        return checked_artifact(
            path, compressed, request, format="executorch", root=root, batch=request.batch, scheme=scheme
        )
    if request.task in tasks.CAUSAL:
        parts = [executorch_causal.part(compressed.module.config, where)]
    else:
        shape, vocabulary = seq2seq.cache_shape(compressed.module, request), compressed.module.lm_head.out_features
        parts = seq2seq.fixed_parts(shape, where, vocabulary, integer="int64", text="sequence")
    return checked_parts(parts, compressed, request, format="executorch", root=root, scheme=scheme)


def _write(module: Any, request: ExportRequest, path: Path) -> None:
    _save(_lowered(module, request), path)


def _lowered(module: Any, request: ExportRequest) -> Any:
    if request.task in tasks.CAUSAL:
        assert request.generation is not None, "the pipeline gives rules to tasks that generate"
        return executorch_causal.lower(module, request.generation, length=request.max_length)
    if request.task in tasks.ENCODER_DECODERS:
        return executorch_seq2seq.lower(module, seq2seq.cache_shape(module, request))
    return _lower(module, request)


def _save(program: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        program.write_to_file(file)
    share_constants(path)


def _fixed_shapes(request: ExportRequest) -> tuple[dict[str, Any], None]:
    return sample_inputs(request.inputs, batch=request.batch, length=request.max_length), None


def _varying_shapes(request: ExportRequest) -> tuple[dict[str, Any], Any]:
    import torch

    sequence = {1: torch.export.Dim("sequence", min=1, max=request.max_length)}
    batch = {0: torch.export.Dim("batch", min=1, max=request.batch)} if request.batch > 1 else {}
    inputs = sample_inputs(request.inputs, batch=min(request.batch, 2), length=min(TRACED_LENGTH, request.max_length))
    return inputs, tuple(batch | sequence for _ in inputs)


def _lower(module: Any, request: ExportRequest) -> Any:
    from slm_export.exporters.unrolled import unroll

    inputs, shapes = _fixed_shapes(request) if unroll(module) else _varying_shapes(request)
    return _lower_graph(tasks.get(request.task).graph(module), inputs, shapes)


def _lower_graph(graph: Any, inputs: dict[str, Any], shapes: Any) -> Any:
    import torch

    try:
        with torch.no_grad():
            exported = torch.export.export(graph, tuple(inputs.values()), dynamic_shapes=shapes, strict=False)
        return executorch_lowering.lower({"forward": exported})
    except Exception as err:  # torch.export, exir and the partitioner raise many kinds
        raise ExportError("ExecuTorch cannot lower this model", where=first_line(err)) from err
